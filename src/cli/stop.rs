//! `kubik stop`.

use super::{
    args::StopOptions,
    failure::{Failure, for_profile},
    kubeconfig, place,
    screen::{self, Steps},
};
use crate::{
    config::{ClusterConfig, Layout},
    daemon::{erase, launch},
};
use std::{fs, time::Duration};

/// Pods get their own grace periods; this bounds the whole.
pub const STOP_DEADLINE: Duration = Duration::from_secs(60);

pub fn run(profile: &str, options: &StopOptions) -> Result<(), Failure> {
    place::require_root()?;
    if !options.all {
        return one(profile, options);
    }
    let profiles = place::profiles();
    let all = profiles.iter().filter(|name| {
        let layout = place::layout(name);
        place::load(&layout).is_some()
    });
    all.into_iter().try_for_each(|name| one(name, options))
}

fn one(profile: &str, options: &StopOptions) -> Result<(), Failure> {
    let (layout, config) = place::existing(profile)?;
    // First: whoever starts the cluster again at once has the last word about kubectl's context.
    if !options.keep_context_active {
        kubeconfig::release(profile, &layout, false)?;
    }
    if !launch::is_running(&layout) {
        end_orphans(&layout, &config)?;
        screen::line(&format!("The cluster \"{profile}\" is not running."));
        return Ok(());
    }
    let steps = Steps::begin(&format!("Stopping cluster \"{profile}\""));
    steps.spin("ending pods");
    launch::stop(&layout, STOP_DEADLINE)
        .map_err(|e| Failure::host("stop the daemon", &format!("{e:#}")))?;
    steps.done("pods and daemon ended", steps.elapsed());
    let kept = match config.ephemeral {
        true => "Its objects were in memory only. Start it anew with",
        false => "Start it again with",
    };
    screen::line(&format!("{kept}: kubik start{}", for_profile(profile)));
    Ok(())
}

/// Pods that a killed daemon left behind: nobody is there to end them gracefully, so they are killed.
fn end_orphans(layout: &Layout, config: &ClusterConfig) -> Result<(), Failure> {
    let left = fs::read_dir(layout.shims()).map_or(0, Iterator::count);
    if left == 0 {
        return Ok(());
    }
    screen::line(&format!(
        "The daemon is gone; ending the {left} pods it left."
    ));
    erase::pods(layout, config).map_err(|e| Failure::host("end pods", &format!("{e:#}")))
}
