//! `kubik status`: text, JSON and exit codes as minikube has them.

use super::{
    args::{Output, StatusOptions},
    failure::{Failure, for_profile},
    kubeconfig::{self, Standing},
    pause, place, screen,
};
use crate::{
    config::ClusterConfig,
    daemon::{
        control::{self, Answer, Request},
        launch,
    },
};
use serde_json::{Value, json};
use std::{process::ExitCode, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    daemon: bool,
    ready: bool,
    kubeconfig: Standing,
    /// Some containers are frozen.
    paused: bool,
    /// Every node is to run.
    complete: bool,
}

/// Added up: 1 the daemon or a node, 2 node agent or API, 4 the kubeconfig.
fn exit_code(facts: Facts) -> u8 {
    let host = facts.daemon && facts.complete;
    let agents = facts.ready && facts.complete;
    let kubeconfig = facts.kubeconfig != Standing::Misconfigured;
    u8::from(!host) + 2 * u8::from(!agents) + 4 * u8::from(!kubeconfig)
}

pub fn run(profile: &str, options: &StatusOptions) -> Result<ExitCode, Failure> {
    let layout = place::layout(profile);
    let Some(config) = place::read(&layout)? else {
        return Err(Failure::new(
            "GUEST_NOT_FOUND",
            85,
            format!("Profile \"{profile}\" not found"),
        )
        .advise(format!(
            "To start a cluster, run: kubik start{}",
            for_profile(profile)
        )));
    };
    let daemon = launch::is_running(&layout);
    let frozen = pause::paused(&layout);
    let answer = daemon.then(|| control::ask(&layout, &Request::Status, Duration::from_secs(10)));
    let facts = Facts {
        daemon,
        ready: matches!(answer, Some(Ok(Answer::Done))),
        kubeconfig: kubeconfig::standing(profile, &layout),
        paused: daemon && frozen.is_some(),
        complete: config.nodes.iter().all(|node| !node.stopped),
    };
    screen::result(&match options.output {
        Output::Text => text(&config, facts, frozen.as_deref()),
        Output::Json => document(&config, facts).to_string(),
    });
    if facts.daemon && facts.kubeconfig == Standing::Misconfigured {
        let again = for_profile(profile);
        screen::advice(&format!(
            "kubectl does not know the cluster. Tell it with: kubik update-context{again}"
        ));
    }
    Ok(ExitCode::from(exit_code(facts)))
}

fn word(running: bool) -> &'static str {
    if running { "Running" } else { "Stopped" }
}

fn configured(standing: Standing) -> &'static str {
    match standing {
        Standing::Configured => "Configured",
        Standing::Misconfigured => "Misconfigured",
        Standing::Irrelevant => "Irrelevant",
    }
}

/// What an agent does: paused pods are frozen and their probes wait.
fn kubelet(facts: Facts) -> &'static str {
    if facts.paused {
        "Paused"
    } else {
        word(facts.ready)
    }
}

/// The facts of one node: a stopped one runs nothing.
fn of_node(facts: Facts, stopped: bool) -> Facts {
    match stopped {
        true => Facts {
            daemon: false,
            ready: false,
            paused: false,
            ..facts
        },
        false => facts,
    }
}

fn text(config: &ClusterConfig, facts: Facts, frozen: Option<&str>) -> String {
    let frozen = frozen.filter(|_| facts.paused);
    let frozen = frozen.map(|names| format!("paused: {names}\n"));
    let blocks = config.nodes.iter().enumerate().map(|(index, node)| {
        let own = of_node(facts, node.stopped);
        let (name, host, agent) = (&node.name, word(own.daemon), kubelet(own));
        match index {
            0 => format!(
                "{name}\ntype: Control Plane\nhost: {host}\nkubelet: {agent}\napiserver: {}\nkubeconfig: {}\n{}",
                word(facts.ready),
                configured(facts.kubeconfig),
                frozen.as_deref().unwrap_or_default()
            ),
            _ => format!("{name}\ntype: Worker\nhost: {host}\nkubelet: {agent}\n"),
        }
    });
    blocks.collect::<Vec<_>>().join("\n")
}

/// One document, or a list when there are several nodes.
fn document(config: &ClusterConfig, facts: Facts) -> Value {
    let nodes = config.nodes.iter().enumerate().map(|(index, node)| {
        let own = of_node(facts, node.stopped);
        let is_worker = index > 0;
        let (api, kubeconfig) = match is_worker {
            true => ("Irrelevant", "Irrelevant"),
            false => (word(facts.ready), configured(facts.kubeconfig)),
        };
        json!({
            "Name": node.name, "Host": word(own.daemon), "Kubelet": kubelet(own), "APIServer": api,
            "Kubeconfig": kubeconfig, "Worker": is_worker,
        })
    });
    let mut nodes: Vec<Value> = nodes.collect();
    match nodes.len() {
        1 => nodes.remove(0),
        _ => Value::Array(nodes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan_cluster;

    const WELL: Facts = Facts {
        daemon: true,
        ready: true,
        kubeconfig: Standing::Configured,
        paused: false,
        complete: true,
    };

    #[test]
    fn exit_codes_are_a_bit_mask() {
        let stopped = Facts {
            daemon: false,
            ready: false,
            ..WELL
        };
        let kubeconfig = Standing::Misconfigured;
        for (facts, code) in [
            (WELL, 0),
            (
                Facts {
                    ready: false,
                    ..WELL
                },
                2,
            ),
            (
                Facts {
                    complete: false,
                    ..WELL
                },
                3,
            ),
            (stopped, 3),
            (
                Facts {
                    kubeconfig,
                    ..stopped
                },
                7,
            ),
            (
                Facts {
                    kubeconfig: Standing::Irrelevant,
                    ..WELL
                },
                0,
            ),
        ] {
            assert_eq!(exit_code(facts), code, "{facts:?}");
        }
    }

    #[test]
    fn nodes_have_a_block_each() {
        let mut config = plan_cluster("kubik", 0, 8443, false);
        config.add_nodes(2);
        config.nodes[1].stopped = true;
        let expected = "kubik\ntype: Control Plane\nhost: Running\nkubelet: Running\napiserver: Running\n\
            kubeconfig: Configured\n\nkubik-m02\ntype: Worker\nhost: Stopped\nkubelet: Stopped\n";
        assert_eq!(text(&config, WELL, None), expected);
        let document = document(&config, WELL);
        assert_eq!(document[1]["Host"], "Stopped");
        assert_eq!(document[1]["APIServer"], "Irrelevant");
        config.nodes.pop();
        assert_eq!(super::document(&config, WELL)["Name"], "kubik");
    }
}
