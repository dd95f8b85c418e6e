//! `kubik node`: the nodes of a cluster, stopped and started as if one pulled the plug.

use super::{
    args::NodeCommand,
    failure::{Failure, for_profile},
    place,
    screen::{self, Steps},
};
use crate::daemon::{
    control::{self, Answer, Request},
    launch,
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(profile: &str, command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List => list(profile),
        NodeCommand::Start { name } => switch(profile, name, true),
        NodeCommand::Stop { name } => switch(profile, name, false),
    }
}

fn list(profile: &str) -> Result<(), Failure> {
    let (_, config) = place::existing(profile)?;
    for node in &config.nodes {
        screen::result(&format!("{}\t{}", node.name, node.address()));
    }
    Ok(())
}

fn switch(profile: &str, name: &str, runs: bool) -> Result<(), Failure> {
    place::require_root()?;
    let (layout, config) = place::existing(profile)?;
    if config.nodes.iter().all(|node| node.name != name) {
        let text = format!("the cluster \"{profile}\" has no node \"{name}\"");
        let advice = format!("List them with: kubik node list{}", for_profile(profile));
        return Err(Failure::new("GUEST_NODE_RETRIEVE", 85, text).advise(advice));
    }
    if !launch::is_running(&layout) {
        let text = format!("the cluster \"{profile}\" does not run");
        let advice = format!("Start it with: kubik start{}", for_profile(profile));
        return Err(Failure::new("GUEST_STATUS", 80, text).advise(advice));
    }
    let (doing, done) = match runs {
        true => ("Starting", "runs"),
        false => ("Stopping", "stopped"),
    };
    let steps = Steps::begin(&format!("{doing} node \"{name}\""));
    let request = Request::Node {
        name: name.to_owned(),
        runs,
    };
    let asked = control::ask(&layout, &request, PATIENCE);
    match asked.map_err(|e| Failure::host("ask the daemon", &format!("{e:#}")))? {
        Answer::Done => {
            steps.done(done, steps.elapsed());
            Ok(())
        }
        Answer::Failed { message } => Err(Failure::new("GUEST_NODE", 80, message)),
        _ => Err(Failure::new(
            "GUEST_STATUS",
            80,
            "the cluster is still starting",
        )),
    }
}
