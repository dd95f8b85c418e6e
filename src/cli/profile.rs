//! `kubik profile`.

use super::{
    args::{Output, ProfileCommand},
    failure::Failure,
    place, screen,
};
use crate::{config::ClusterConfig, daemon::launch};
use serde_json::json;

pub fn run(command: &ProfileCommand) -> Result<(), Failure> {
    let ProfileCommand::List { output } = command;
    let found: Vec<(String, Option<ClusterConfig>, bool)> = place::profiles()
        .into_iter()
        .map(|name| {
            let layout = place::layout(&name);
            (name, place::load(&layout), launch::is_running(&layout))
        })
        .collect();
    if *output == Output::Json {
        let documents = found.iter().map(|(name, config, running)| {
            json!({ "Name": name, "Status": word(config.is_some(), *running), "Config": config })
        });
        screen::result(&json!({ "valid": documents.collect::<Vec<_>>() }).to_string());
        return Ok(());
    }
    if found.is_empty() {
        screen::line("There is no cluster. Create one with: kubik start");
        return Ok(());
    }
    let mut rows = vec![
        ["PROFILE", "STATUS", "NODES", "API", "PODS"]
            .map(str::to_owned)
            .to_vec(),
    ];
    for (name, config, running) in found {
        let status = word(config.is_some(), running).to_owned();
        rows.push(match config {
            Some(config) => vec![
                name,
                status,
                config.nodes.len().to_string(),
                format!("127.0.0.1:{}", config.api_port),
                config.pod_cidr.to_string(),
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
