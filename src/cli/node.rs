//! `kubik node`: the nodes of a cluster, stopped and started as if one pulled the plug. What was stopped stays so at later
//! starts of the cluster.

use super::{
    args::NodeCommand,
    failure::{Failure, for_profile},
    place, question,
    screen::{self, Steps},
};
use crate::{
    config::Layout,
    daemon::{control::Request, launch},
};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(60);

pub fn run(profile: &str, command: &NodeCommand) -> Result<(), Failure> {
    match command {
        NodeCommand::List => list(profile),
        NodeCommand::Add => add(profile),
        NodeCommand::Delete { name } => delete(profile, name),
        NodeCommand::Start { name } => switch(profile, name, true),
        NodeCommand::Stop { name } => switch(profile, name, false),
    }
}

fn list(profile: &str) -> Result<(), Failure> {
    let (_, config) = place::existing(profile)?;
    for node in &config.nodes {
        let stopped = if node.stopped { "\tstopped" } else { "" };
        screen::result(&format!("{}\t{}{stopped}", node.name, node.address()));
    }
    Ok(())
}

fn switch(profile: &str, name: &str, runs: bool) -> Result<(), Failure> {
    let layout = with_node(profile, name)?;
    if launch::is_running(&layout) {
        tell(profile, &layout, name, runs)?;
    } else {
        let word = if runs { "starts" } else { "stays stopped" };
        let again = for_profile(profile);
        screen::line(&format!(
            "The node \"{name}\" {word} at the next: kubik start{again}"
        ));
    }
    place::change(&layout, |config| {
        for node in config.nodes.iter_mut().filter(|node| node.name == name) {
            node.stopped = !runs;
        }
    })
    .map(drop)
}

/// The directories of a cluster that has such a node.
fn with_node(profile: &str, name: &str) -> Result<Layout, Failure> {
    place::require_root()?;
    let (layout, config) = place::existing(profile)?;
    if config.nodes.iter().any(|node| node.name == name) {
        return Ok(layout);
    }
    Err(Failure::no_node(profile, name))
}

/// Saved first: the daemon reads it, and a cluster that does not run makes it at its next start.
fn add(profile: &str) -> Result<(), Failure> {
    place::require_root()?;
    let (layout, _) = place::existing(profile)?;
    let mut added = None;
    place::change(&layout, |config| {
        added = config.next_node();
        config.nodes.extend(added.clone());
    })?;
    let Some(node) = added else {
        return Err(Failure::new(
            "RSRC_NO_NODE",
            20,
            "the cluster has as many nodes as it can",
        ));
    };
    if !launch::is_running(&layout) {
        let again = for_profile(profile);
        screen::line(&format!(
            "The node \"{}\" joins at the next: kubik start{again}",
            node.name
        ));
        return Ok(());
    }
    let told = tell(profile, &layout, &node.name, true);
    if told.is_err() {
        place::change(&layout, |config| {
            config.nodes.retain(|other| other.name != node.name);
        })?;
    }
    told
}

fn delete(profile: &str, name: &str) -> Result<(), Failure> {
    let layout = with_node(profile, name)?;
    if name == profile {
        let text = format!("\"{name}\" is the cluster's first node, which holds its control plane");
        return Err(Failure::new("GUEST_NODE_DELETE", 84, text).advise(format!(
            "Remove the cluster with: kubik delete{}",
            for_profile(profile)
        )));
    }
    let steps = Steps::begin(&format!("Removing node \"{name}\""));
    let request = Request::RemoveNode {
        name: name.to_owned(),
    };
    question::ask(
        profile,
        &layout,
        &request,
        PATIENCE,
        ("GUEST_NODE", 80),
        |_| {},
    )?;
    place::change(&layout, |config| {
        config.nodes.retain(|node| node.name != name);
    })?;
    steps.done("removed", steps.elapsed());
    Ok(())
}

fn tell(profile: &str, layout: &Layout, name: &str, runs: bool) -> Result<(), Failure> {
    let (doing, done) = match runs {
        true => ("Starting", "runs"),
        false => ("Stopping", "stopped"),
    };
    let steps = Steps::begin(&format!("{doing} node \"{name}\""));
    let request = Request::Node {
        name: name.to_owned(),
        runs,
    };
    question::ask(
        profile,
        layout,
        &request,
        PATIENCE,
        ("GUEST_NODE", 80),
        |_| {},
    )?;
    steps.done(done, steps.elapsed());
    Ok(())
}
