//! `kubik addons`: which parts of the cluster are on. The choice is kept in the cluster's configuration; a running
//! daemon is told at once.

use super::{
    args::{AddonsCommand, Output},
    failure::{Failure, for_profile},
    place, question,
    screen::{self, Steps},
};
use crate::{
    config::{ADDONS, Addon, BUILT_IN, ClusterConfig, Layout, Switch, find_addon},
    daemon::{control::Request, launch},
};
use serde_json::{Map, json};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(30);

pub fn run(profile: &str, command: &AddonsCommand) -> Result<(), Failure> {
    match command {
        AddonsCommand::List { output } => list(profile, *output),
        AddonsCommand::Enable { names } => {
            names.iter().try_for_each(|name| set(profile, name, true))
        }
        AddonsCommand::Disable { names } => {
            names.iter().try_for_each(|name| set(profile, name, false))
        }
    }
}

fn list(profile: &str, output: Output) -> Result<(), Failure> {
    let (_, config) = place::existing(profile)?;
    if output == Output::Json {
        let entries = ADDONS.iter().map(|addon| {
            let status = if config.is_enabled(addon) {
                "enabled"
            } else {
                "disabled"
            };
            (
                addon.name.to_owned(),
                json!({ "Profile": profile, "Status": status }),
            )
        });
        screen::result(&json!(entries.collect::<Map<_, _>>()).to_string());
        return Ok(());
    }
    let mut rows = vec![
        ["ADDON", "STATUS", "WHAT IT IS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for addon in ADDONS {
        let about = about(addon, &config);
        rows.push(vec![
            addon.name.to_owned(),
            status(addon, &config).to_owned(),
            about,
        ]);
    }
    screen::result(&screen::table(&rows));
    Ok(())
}

fn status(addon: &Addon, config: &ClusterConfig) -> &'static str {
    match (addon.switch, config.is_enabled(addon)) {
        (Switch::Always(_), _) => "built in",
        (Switch::Live { .. }, true) => "enabled",
        (Switch::Live { .. }, false) => "disabled",
    }
}

fn about(addon: &Addon, config: &ClusterConfig) -> String {
    match addon.name {
        "registry" if config.registry_port != 0 => {
            format!("{} (localhost:{})", addon.about, config.registry_port)
        }
        _ => addon.about.to_owned(),
    }
}

/// The addon of a name, or why there is none. Pure.
pub fn named(name: &str, enabled: bool) -> Result<&'static Addon, Failure> {
    if let Some(addon) = find_addon(name) {
        return match addon.switch {
            Switch::Always(why) if !enabled => {
                let text = format!("the addon \"{name}\" cannot be turned off: {why}");
                Err(Failure::new("MK_ADDON_UNSUPPORTED", 16, text))
            }
            _ => Ok(addon),
        };
    }
    if let Some((_, why)) = BUILT_IN.iter().find(|(other, _)| *other == name) {
        let text = format!("there is no addon \"{name}\" here, and no need for one");
        return Err(Failure::new("MK_ADDON_UNSUPPORTED", 16, text).advise(*why));
    }
    let text = format!("there is no addon \"{name}\"");
    Err(Failure::new("MK_ADDON_NOT_FOUND", 15, text).advise(
        "List them with: kubik addons list. Anything else is installed with kubectl or helm.",
    ))
}

pub fn set(profile: &str, name: &str, enabled: bool) -> Result<(), Failure> {
    place::require_root()?;
    let addon = named(name, enabled)?;
    let (layout, _) = place::existing(profile)?;
    if let Switch::Always(why) = addon.switch {
        screen::line(&format!("The addon \"{name}\" is always on: {why}."));
        return Ok(());
    }
    if launch::is_running(&layout) {
        let steps = Steps::begin(&format!("Turning \"{name}\" {}", on(enabled)));
        tell(profile, &layout, name, enabled)?;
        steps.done(
            if enabled { "enabled" } else { "disabled" },
            steps.elapsed(),
        );
    } else {
        let again = for_profile(profile);
        screen::line(&format!(
            "\"{name}\" will be {} after: kubik start{again}",
            on(enabled)
        ));
    }
    // Only what could be done is kept.
    let config = place::change(&layout, |config| {
        config.addons.insert(name.to_owned(), enabled);
    })?;
    if enabled && name == "registry" {
        let port = config.registry_port;
        screen::line(&format!(
            "Push to it with: docker push localhost:{port}/NAME:TAG"
        ));
    }
    Ok(())
}

fn on(enabled: bool) -> &'static str {
    if enabled { "on" } else { "off" }
}

fn tell(profile: &str, layout: &Layout, name: &str, enabled: bool) -> Result<(), Failure> {
    let name = name.to_owned();
    let request = Request::Addon { name, enabled };
    question::ask(
        profile,
        layout,
        &request,
        PATIENCE,
        ("GUEST_ADDON", 80),
        |_| {},
    )
    .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_done_says_why() {
        assert!(named("registry", true).is_ok() && named("registry", false).is_ok());
        assert!(named("dns", true).is_ok());
        for (name, enabled, code) in [
            ("dns", false, 16),
            ("metallb", true, 16),
            ("gvisor", true, 15),
        ] {
            assert_eq!(named(name, enabled).unwrap_err().code, code, "{name}");
        }
    }
}
