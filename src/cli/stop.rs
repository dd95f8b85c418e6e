//! `kubik stop`.

use super::{
    failure::{Failure, for_profile},
    kubeconfig, place,
    screen::{self, Steps},
};
use crate::daemon::launch;
use std::time::Duration;

/// Pods get their own grace periods; this bounds the whole.
pub const STOP_DEADLINE: Duration = Duration::from_secs(60);

pub fn run(profile: &str) -> Result<(), Failure> {
    place::require_root()?;
    let (layout, _) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        screen::line(&format!("The cluster \"{profile}\" is not running."));
        return kubeconfig::release(profile, &layout, false);
    }
    let mut steps = Steps::begin(&format!("Stopping cluster \"{profile}\""));
    steps.spin("ending pods");
    launch::stop(&layout, STOP_DEADLINE)
        .map_err(|e| Failure::host("stop the daemon", &format!("{e:#}")))?;
    steps.done("pods and daemon ended", steps.elapsed());
    kubeconfig::release(profile, &layout, false)?;
    screen::line(&format!(
        "Start it again with: kubik start{}",
        for_profile(profile)
    ));
    Ok(())
}
