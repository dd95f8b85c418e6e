//! What the API shall read of one pod: `status(pod, observed, …) -> PodStatus`. Pure.
//!
//! Derived from the facts on every pass, never incremented. The status the API has lends only what time has settled:
//! transition times, start time, a terminal phase, and the conditions of others, which [`patch`] never touches.

mod condition;
mod container;
mod patch;
mod phase;
#[cfg(test)]
mod tests;

use super::{
    observed::{Observed, Sandbox, State, Verdict},
    plan::{Ending, ending},
    qos,
    resize::WHOLE,
    spec::{self, Role, Wanted},
};
use jiff::Timestamp;
use k8s_openapi::{
    api::core::v1::{ContainerStatus, HostIP, Pod, PodIP, PodSpec, PodStatus},
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::net::Ipv4Addr;

pub use patch::patch;

/// The scheme of our container ids.
pub const RUNTIME_SCHEME: &str = "kubik";

/// The facts every part of the status needs.
struct Scene<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    all: &'a [Wanted<'a>],
    observed: &'a Observed,
    ending: Option<Ending>,
    /// The pod ends and nothing of it runs any more.
    is_final: bool,
    now: Timestamp,
}

#[must_use]
pub fn status(pod: &Pod, observed: &Observed, host: Ipv4Addr, now: Timestamp) -> PodStatus {
    let spec = spec::of(pod);
    let all = spec::containers(&spec);
    let ending = ending(pod, observed);
    let is_busy = !matches!(observed.sandbox, Sandbox::Removed)
        && observed.is_busy(|job| matches!(job, super::observed::Job::Start(_)));
    let runs = observed
        .seen
        .values()
        .any(|seen| matches!(seen.state, State::Running { .. }));
    let scene = Scene {
        pod,
        spec: &spec,
        all: &all,
        observed,
        ending,
        is_final: ending.is_some_and(|why| why != Ending::Shutdown) && !runs && !is_busy,
        now,
    };
    let verdict = observed.verdict.as_ref().filter(|_| scene.is_final);
    if let Some(rejection) = verdict.filter(|verdict| verdict.is_rejection) {
        return rejected(&scene, rejection);
    }
    let of = |roles: &[Role]| -> Option<Vec<ContainerStatus>> {
        let wanted = all.iter().filter(|wanted| roles.contains(&wanted.role));
        let statuses: Vec<ContainerStatus> = wanted
            .map(|wanted| container::status(&scene, wanted))
            .collect();
        (!statuses.is_empty()).then_some(statuses)
    };
    let init = of(&[Role::Init, Role::Sidecar]);
    let main = of(&[Role::Main]);
    let mut new = PodStatus {
        init_container_statuses: init,
        container_statuses: main,
        ephemeral_container_statuses: of(&[Role::Ephemeral]),
        ..base(&scene)
    };
    let phase = phase::phase(&scene, &new);
    new.phase = Some(phase.to_owned());
    match verdict {
        Some(verdict) => {
            new.reason = Some(verdict.reason.clone());
            new.message = Some(verdict.message.clone());
        }
        // Once reported, reason and message of a pod that is over stay: the verdict itself does not survive a restart.
        None if observed.terminal_phase().is_some() => {
            new.reason.clone_from(&observed.reported.reason);
            new.message.clone_from(&observed.reported.message);
        }
        None => {}
    }
    let allocation = &observed.allocation;
    new.resources = allocation.actual.get(WHOLE).cloned();
    new.allocated_resources = allocation
        .granted
        .get(WHOLE)
        .and_then(|granted| granted.requests.clone())
        .filter(|_| new.resources.is_some());
    place(&scene, host, &mut new);
    new.conditions = Some(condition::conditions(&scene, phase, &new));
    new
}

/// What every status has.
fn base(scene: &Scene<'_>) -> PodStatus {
    let reported = &scene.observed.reported;
    PodStatus {
        start_time: scene.observed.started_at.map(|at| Time(whole_seconds(at))),
        observed_generation: scene.pod.metadata.generation,
        qos_class: Some(
            reported
                .qos_class
                .clone()
                .unwrap_or_else(|| qos::class(scene.spec).as_str().to_owned()),
        ),
        ..PodStatus::default()
    }
}

fn rejected(scene: &Scene<'_>, verdict: &Verdict) -> PodStatus {
    PodStatus {
        phase: Some("Failed".to_owned()),
        reason: Some(verdict.reason.clone()),
        message: Some(format!("Pod was rejected: {}", verdict.message)),
        conditions: Some(Vec::new()),
        ..base(scene)
    }
}

/// Addresses of node and pod. They stay after the sandbox has gone: the last ones known are the true ones.
fn place(scene: &Scene<'_>, host: Ipv4Addr, new: &mut PodStatus) {
    let reported = &scene.observed.reported;
    new.host_ip = Some(host.to_string());
    new.host_ips = Some(vec![HostIP {
        ip: host.to_string(),
    }]);
    match scene.observed.sandbox {
        Sandbox::Ready { address } => {
            let ip = address.to_string();
            new.pod_ips = Some(vec![PodIP { ip: ip.clone() }]);
            new.pod_ip = Some(ip);
        }
        _ => {
            new.pod_ip.clone_from(&reported.pod_ip);
            new.pod_ips.clone_from(&reported.pod_ips);
        }
    }
}

/// The API's times have whole seconds.
fn whole_seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
