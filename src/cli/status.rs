//! `kubik status`: text, JSON and exit codes as minikube has them.

use super::{
    args::{Output, StatusOptions},
    failure::{Failure, for_profile},
    kubeconfig, place, screen,
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
    let answer = daemon.then(|| control::ask(&layout, &Request::Status, Duration::from_secs(10)));
    let facts = Facts {
        daemon,
        ready: matches!(answer, Some(Ok(Answer::Done))),
        kubeconfig: kubeconfig::is_configured(profile, &layout),
    };
    screen::result(&match options.output {
        Output::Text => text(profile, facts),
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

fn text(profile: &str, facts: Facts) -> String {
    format!(
        "{profile}\ntype: Control Plane\nhost: {}\nkubelet: {}\napiserver: {}\nkubeconfig: {}\n",
        word(facts.daemon),
        word(facts.ready),
        word(facts.ready),
        configured(facts.kubeconfig)
    )
}

fn document(profile: &str, facts: Facts) -> serde_json::Value {
    json!({
        "Name": profile,
        "Host": word(facts.daemon),
        "Kubelet": word(facts.ready),
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
        };
        assert_eq!(exit_code(facts(true, true, true)), 0);
        assert_eq!(exit_code(facts(true, false, true)), 2);
        assert_eq!(exit_code(facts(false, false, true)), 3);
        assert_eq!(exit_code(facts(false, false, false)), 7);
    }
}
