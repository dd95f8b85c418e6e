//! `kubik pause` and `kubik unpause`.

use super::{args::PauseOptions, failure::Failure, place, question, screen::Steps};
use crate::{
    config::Layout,
    daemon::{
        control::{Answer, Request},
        launch,
    },
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(profile: &str, options: &PauseOptions, pause: bool) -> Result<(), Failure> {
    place::require_root()?;
    let (layout, _) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    let what = if options.namespace.is_empty() {
        "all namespaces".to_owned()
    } else {
        options.namespace.join(", ")
    };
    let (doing, done) = if pause {
        ("Pausing", "paused")
    } else {
        ("Unpausing", "unpaused")
    };
    let steps = Steps::begin(&format!("{doing} {what} of cluster \"{profile}\""));
    let request = Request::Pause {
        namespaces: options.namespace.clone(),
        pause,
    };
    let refusal = ("GUEST_PAUSE", 80);
    let answer = question::ask(profile, &layout, &request, PATIENCE, refusal, |_| {})?;
    if let Answer::Pods { count } = answer {
        steps.done(&format!("{done} {count} pods"), steps.elapsed());
    }
    Ok(())
}

/// The namespaces that are frozen, for people; `None` when nothing is.
pub fn paused(layout: &Layout) -> Option<String> {
    let found = launch::paused(layout);
    if found.contains("*") {
        return Some("all namespaces".to_owned());
    }
    let names: Vec<String> = found.into_iter().collect();
    (!names.is_empty()).then(|| names.join(", "))
}
