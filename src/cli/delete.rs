//! `kubik delete`.

use super::{
    args::DeleteOptions,
    failure::Failure,
    kubeconfig, place,
    screen::{self, Steps},
};
use crate::daemon::{erase, launch};

pub fn run(profile: &str, options: &DeleteOptions) -> Result<(), Failure> {
    place::require_root()?;
    let profiles = if options.all {
        place::profiles()
    } else {
        vec![profile.to_owned()]
    };
    if profiles.is_empty() {
        screen::line("There is no cluster.");
    }
    for name in &profiles {
        one(name)?;
    }
    if options.purge {
        purge()?;
    }
    place::tidy()
}

/// Works from what is found, so a cluster that is half gone can be deleted again.
pub fn one(profile: &str) -> Result<(), Failure> {
    let layout = place::layout(profile);
    let config = place::load(&layout);
    if config.is_none() && !layout.state.exists() && !layout.run.exists() {
        screen::line(&format!("There is no cluster \"{profile}\"."));
        return Ok(());
    }
    let steps = Steps::begin(&format!("Deleting cluster \"{profile}\""));
    // The entries go first: a half-deleted cluster must not stay kubectl's current one.
    kubeconfig::release(profile, &layout, true)?;
    let failed = |error: anyhow::Error| {
        Failure::new(
            "GUEST_DELETE",
            80,
            format!("delete \"{profile}\": {error:#}"),
        )
        .advise("Run the same command again: it goes on where it was stopped.")
    };
    launch::end_by_force(&layout).map_err(failed)?;
    steps.done("daemon ended", steps.elapsed());
    erase::everything(&place::host_name(profile), &layout, config.as_ref()).map_err(failed)?;
    steps.done(
        "pods, links, rules, cgroups, files removed",
        steps.elapsed(),
    );
    Ok(())
}

/// Removes what is kept beside the clusters, when no cluster is left.
fn purge() -> Result<(), Failure> {
    if !place::profiles().is_empty() {
        let why = format!(
            "{} still holds other clusters",
            place::state_root().display()
        );
        return Err(Failure::new("GUEST_PURGE", 81, why)
            .advise("Remove all of them with: kubik delete --all --purge"));
    }
    let settings = place::state_root().join(place::SETTINGS);
    match std::fs::remove_file(&settings) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(Failure::host(&settings.display().to_string(), &error))
        }
        _ => Ok(()),
    }
}
