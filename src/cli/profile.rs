//! `kubik profile`.

use super::{
    args::{Output, ProfileCommand, ProfileOptions},
    failure::Failure,
    place, screen, settings,
};
use crate::{config::ClusterConfig, daemon::launch};
use serde_json::json;

pub fn run(current: &str, options: &ProfileOptions) -> Result<(), Failure> {
    match (&options.command, &options.name) {
        (Some(ProfileCommand::List { output }), _) => list(current, *output),
        (None, Some(name)) => choose(name),
        (None, None) => {
            screen::result(current);
            Ok(())
        }
    }
}

fn choose(name: &str) -> Result<(), Failure> {
    let exists = place::load(&place::layout(name)).is_some();
    if !exists && name != place::DEFAULT_PROFILE {
        return Err(Failure::no_cluster(name));
    }
    settings::choose_profile(name)?;
    screen::line(&format!(
        "Commands without -p act on \"{name}\" from now on."
    ));
    Ok(())
}

fn list(current: &str, output: Output) -> Result<(), Failure> {
    let found: Vec<(String, Option<ClusterConfig>, bool)> = place::profiles()
        .into_iter()
        .map(|name| {
            let layout = place::layout(&name);
            (name, place::load(&layout), launch::is_running(&layout))
        })
        .collect();
    if output == Output::Json {
        let documents = found.iter().map(|(name, config, running)| {
            let status = word(config.is_some(), *running);
            json!({ "Name": name, "Status": status, "Active": name == current, "Config": config })
        });
        screen::result(&json!({ "valid": documents.collect::<Vec<_>>() }).to_string());
        return Ok(());
    }
    if found.is_empty() {
        screen::line("There is no cluster. Create one with: kubik start");
        return Ok(());
    }
    let mut rows = vec![
        ["PROFILE", "STATUS", "NODES", "API", "PODS", "ACTIVE"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, config, running) in found {
        let status = word(config.is_some(), running).to_owned();
        let mark = if name == current { "*" } else { "" };
        rows.push(match config {
            Some(config) => vec![
                name,
                status,
                config.nodes.len().to_string(),
                format!("127.0.0.1:{}", config.api_port),
                config.pod_cidr.to_string(),
                mark.to_owned(),
            ],
            None => vec![name, status],
        });
    }
    screen::result(&screen::table(&rows));
    Ok(())
}

fn word(has_config: bool, running: bool) -> &'static str {
    match (has_config, running) {
        (_, true) => "Running",
        (true, false) => "Stopped",
        (false, false) => "Leftovers",
    }
}
