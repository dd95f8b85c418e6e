//! `kubik status`: text, JSON and exit codes as minikube has them.

use super::{
    args::{Output, StatusOptions},
    failure::{Failure, for_profile},
    kubeconfig, pause, place, screen,
};
use crate::daemon::{
    control::{self, Answer, Request},
    launch,
};
use serde_json::json;
use std::{process::ExitCode, time::Duration};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Facts {
    daemon: bool,
    ready: bool,
    kubeconfig: bool,
    /// Some containers are frozen.
    paused: bool,
}

/// Added up: 1 the daemon, 2 node agent or API, 4 the kubeconfig.
fn exit_code(facts: Facts) -> u8 {
    u8::from(!facts.daemon) + 2 * u8::from(!facts.ready) + 4 * u8::from(!facts.kubeconfig)
}

pub fn run(profile: &str, options: &StatusOptions) -> Result<ExitCode, Failure> {
    let layout = place::layout(profile);
    if place::load(&layout).is_none() {
        return Err(Failure::new(
            "GUEST_NOT_FOUND",
            85,
            format!("Profile \"{profile}\" not found"),
        )
        .advise(format!(
            "To start a cluster, run: kubik start{}",
            for_profile(profile)
        )));
    }
    let daemon = launch::is_running(&layout);
    let frozen = pause::paused(&layout);
    let answer = daemon.then(|| control::ask(&layout, &Request::Status, Duration::from_secs(10)));
    let facts = Facts {
        daemon,
        ready: matches!(answer, Some(Ok(Answer::Done))),
        kubeconfig: kubeconfig::is_configured(profile, &layout),
        paused: daemon && frozen.is_some(),
    };
    screen::result(&match options.output {
        Output::Text => text(profile, facts, frozen.as_deref()),
        Output::Json => document(profile, facts).to_string(),
    });
    Ok(ExitCode::from(exit_code(facts)))
}

fn word(running: bool) -> &'static str {
    if running { "Running" } else { "Stopped" }
}

fn configured(is: bool) -> &'static str {
    if is { "Configured" } else { "Misconfigured" }
}

/// What the node agent does: paused pods are frozen and their probes wait.
fn kubelet(facts: Facts) -> &'static str {
    if facts.paused {
        "Paused"
    } else {
        word(facts.ready)
    }
}

fn text(profile: &str, facts: Facts, frozen: Option<&str>) -> String {
    let frozen = frozen.filter(|_| facts.paused);
    let frozen = frozen.map(|names| format!("paused: {names}\n"));
    format!(
        "{profile}\ntype: Control Plane\nhost: {}\nkubelet: {}\napiserver: {}\nkubeconfig: {}\n{}",
        word(facts.daemon),
        kubelet(facts),
        word(facts.ready),
        configured(facts.kubeconfig),
        frozen.unwrap_or_default()
    )
}

fn document(profile: &str, facts: Facts) -> serde_json::Value {
    json!({
        "Name": profile,
        "Host": word(facts.daemon),
        "Kubelet": kubelet(facts),
        "APIServer": word(facts.ready),
        "Kubeconfig": configured(facts.kubeconfig),
        "Worker": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_a_bit_mask() {
        let facts = |daemon, ready, kubeconfig| Facts {
            daemon,
            ready,
            kubeconfig,
            paused: false,
        };
        assert_eq!(exit_code(facts(true, true, true)), 0);
        assert_eq!(exit_code(facts(true, false, true)), 2);
        assert_eq!(exit_code(facts(false, false, true)), 3);
        assert_eq!(exit_code(facts(false, false, false)), 7);
    }
}
