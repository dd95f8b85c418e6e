//! What is to be done for one pod, now: `plan(pod, observed, now) -> Plan`. Pure.
//!
//! A pod either *runs* ([`run`]) or *ends* ([`end`]); [`Ending`] says which and why. Steps that are under way
//! ([`Observed::busy`]) are not asked for again, so the worker may plan as often as it likes. Time enters as `now`,
//! and leaves as the next moment at which a plan can come out differently.

mod end;
mod restart;
mod run;
#[cfg(test)]
mod tests;

use super::{
    observed::{Hook, Observed, Seen, State, Verdict},
    resize::{self, Change},
    spec::{self, Role, Wanted},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{Pod, PodSpec};

pub use restart::{
    START_ERROR, crash_delay, crashes_after_next, pull_delay, restart_at, start_error_shown_until,
};

/// How long `ErrImagePull` stands before it reads `ImagePullBackOff`.
pub const PULL_ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(2);

#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// Notes that the pod begins to end: its grace counts from now.
    BeginEnding,
    /// The pod must end by itself: its deadline has passed.
    Fail(Verdict),
    /// Mount every volume.
    PrepareVolumes,
    /// Make the sandbox and attach it to the network.
    CreateSandbox,
    /// Kill what is left in it, detach it, forget it.
    RemoveSandbox,
    /// Check, and pull where the policy says so.
    EnsureImage {
        container: String,
        attempt: u32,
    },
    /// Create, start, run the post-start hook.
    Start {
        container: String,
        attempt: u32,
        /// Value of `Seen::crashes` from then on.
        crashes: u32,
    },
    /// Changes the limits of containers that run.
    Resize,
    /// Notes that a container is to stop.
    BeginStop {
        container: String,
        grace_seconds: Option<i64>,
        message: String,
    },
    PreStop {
        container: String,
    },
    /// The container's stop signal.
    Signal {
        container: String,
    },
    /// SIGKILL.
    Kill {
        container: String,
    },
    /// Unmount the volumes; with `Ending::Shutdown` the data on disk stays.
    TearDown {
        keeps_data: bool,
    },
    /// Nothing runs: all containers begin from the first init container, in the same sandbox.
    StartOver,
    /// Remove the object: everything of the pod is gone.
    Delete,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    pub steps: Vec<Step>,
    /// When to plan again if nothing happens before.
    pub wake_at: Option<Timestamp>,
}

impl Plan {
    fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |old| old.min(at)));
    }
}

/// Why a pod does not run (any longer).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The object has been removed under our feet.
    Gone,
    Deleted,
    /// Rejected, evicted, past its deadline.
    Verdict,
    /// The daemon stops its pods and means to bring them back.
    Shutdown,
    /// All main containers have ended for good, or an init container has failed for good.
    Over,
}

/// The facts every part of the plan needs.
struct Scene<'a> {
    pod: &'a Pod,
    spec: &'a PodSpec,
    all: Vec<Wanted<'a>>,
    observed: &'a Observed,
    now: Timestamp,
}

#[must_use]
pub fn plan(pod: &Pod, observed: &Observed, now: Timestamp) -> Plan {
    let spec = spec::of(pod);
    let scene = Scene {
        pod,
        spec: &spec,
        all: spec::containers(&spec),
        observed,
        now,
    };
    let mut plan = Plan::default();
    match ending(pod, observed) {
        Some(_) if observed.ending_since.is_none() => plan.steps.push(Step::BeginEnding),
        Some(why) => end::end(&scene, why, &mut plan),
        None => run::run(&scene, &mut plan),
    }
    plan
}

/// Whether and why the pod ends; the weightiest reason first.
#[must_use]
pub fn ending(pod: &Pod, observed: &Observed) -> Option<Ending> {
    let spec = spec::of(pod);
    let all = spec::containers(&spec);
    if observed.gone {
        Some(Ending::Gone)
    } else if pod.metadata.deletion_timestamp.is_some() {
        Some(Ending::Deleted)
    } else if observed.verdict.is_some() {
        Some(Ending::Verdict)
    } else if observed.shutdown.is_some() {
        Some(Ending::Shutdown)
    } else if is_over(&spec, &all, observed) {
        Some(Ending::Over)
    } else {
        None
    }
}

/// Whether the pod has reached its end by itself.
fn is_over(spec: &PodSpec, all: &[Wanted<'_>], observed: &Observed) -> bool {
    if observed.terminal_phase().is_some() {
        return true;
    }
    if observed.starts_over {
        return false;
    }
    let ended_for_good = |wanted: &Wanted<'_>| {
        let code = observed.exit_code(wanted.name());
        code.is_some_and(|code| !wanted.restarts_after(spec, code))
    };
    let of = |role: Role| all.iter().filter(move |wanted| wanted.role == role);
    let init_failed = of(Role::Init)
        .filter(|wanted| observed.exit_code(wanted.name()) != Some(0))
        .any(ended_for_good);
    if init_failed && !observed.has_begun(all) {
        return true;
    }
    of(Role::Main).count() > 0 && of(Role::Main).all(ended_for_good)
}

/// Whether a container runs another image than the spec names by now. It starts anew, whatever its restart policy.
#[must_use]
pub fn is_redefined(seen: &Seen, wanted: &Wanted<'_>) -> bool {
    let image = wanted.container.image.as_deref().unwrap_or_default();
    matches!(wanted.role, Role::Main | Role::Sidecar)
        && !seen.asked_image.is_empty()
        && seen.asked_image != image
}

/// Whether a running container has to start anew to get what was granted to it.
fn wants_restart(scene: &Scene<'_>, wanted: &Wanted<'_>) -> bool {
    let allocation = &scene.observed.allocation;
    scene.observed.is_running(wanted.name())
        && allocation.in_progress.is_some()
        && resize::change(&wanted.container, allocation) == Some(Change::Restart)
}

/// Steps that bring a running container down. `pod_deadline` is set while the whole pod ends.
fn stop(scene: &Scene<'_>, wanted: &Wanted<'_>, pod_deadline: Option<Timestamp>, plan: &mut Plan) {
    let name = wanted.name();
    let seen = scene.observed.seen(name);
    let State::Running { .. } = seen.state else {
        return;
    };
    let container = name.to_owned();
    let Some(stop) = &seen.stop else {
        let message = match &seen.probes.unhealthy {
            _ if pod_deadline.is_none() && is_redefined(&seen, wanted) => {
                format!("Container {name} definition changed, will be restarted")
            }
            Some(unhealthy) if pod_deadline.is_none() => {
                let probe = unhealthy.probe;
                format!("Container {name} failed {probe} probe, will be restarted")
            }
            None if pod_deadline.is_none() && matches!(seen.post_start, Hook::Failed(_)) => {
                "FailedPostStartHook".to_owned()
            }
            None if pod_deadline.is_none() && wants_restart(scene, wanted) => {
                format!("Container {name} resize requires restart")
            }
            _ => format!("Stopping container {name}"),
        };
        let unhealthy = seen.probes.unhealthy.filter(|_| pod_deadline.is_none());
        plan.steps.push(Step::BeginStop {
            container,
            grace_seconds: unhealthy.and_then(|unhealthy| unhealthy.grace_seconds),
            message,
        });
        return;
    };
    let after = |seconds: i64| stop.since + SignedDuration::from_secs(seconds.max(0));
    let deadline = match (stop.grace_seconds, pod_deadline) {
        (None, Some(deadline)) => deadline,
        (Some(own), Some(deadline)) => after(own).min(deadline),
        (None, None) => after(spec::grace_seconds(scene.spec)),
        (Some(own), None) => after(own),
    };
    let hook_over = stop.hook_done.unwrap_or(deadline);
    if scene.now < hook_over {
        let job = super::observed::Job::PreStop(container.clone());
        if !scene.observed.busy.contains(&job) {
            plan.steps.push(Step::PreStop { container });
        }
        plan.wake(hook_over);
        return;
    }
    // As upstream: whatever the hook has eaten, two seconds are left between signal and SIGKILL.
    let kill_at = deadline.max(hook_over + SignedDuration::from_secs(2));
    if !stop.is_signaled {
        plan.steps.push(Step::Signal { container });
        plan.wake(kill_at);
    } else if scene.now < kill_at {
        plan.wake(kill_at);
    } else if !stop.is_killed {
        plan.steps.push(Step::Kill { container });
    }
}
