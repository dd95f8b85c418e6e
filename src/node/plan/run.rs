//! The plan of a pod that shall run: sandbox and volumes, init containers in order, then all others.

use super::{
    Plan, Scene, Step, is_redefined,
    restart::{crashes_after_next, restart_at, start_error_shown_until},
    stop, wants_restart,
};
use crate::node::{
    observed::{Hook, Image, Job, Sandbox, Seen, State, Verdict, Volumes},
    spec::{Role, Wanted},
};
use jiff::{SignedDuration, Timestamp};

pub(super) fn run(scene: &Scene<'_>, plan: &mut Plan) {
    if deadline_passed(scene, plan) {
        return;
    }
    prepare(scene, plan);
    if scene.observed.starts_over {
        return start_over(scene, plan);
    }
    resize(scene, plan);
    let progress = scene.observed.allocation.in_progress.as_ref();
    let may_restart = progress.is_some_and(|progress| progress.is_wide);
    for wanted in &scene.all {
        let seen = scene.observed.seen(wanted.name());
        let hook_failed = matches!(seen.post_start, Hook::Failed(_));
        let is_stopping = seen.stop.is_some() || seen.probes.unhealthy.is_some() || hook_failed;
        let must_restart =
            is_redefined(&seen, wanted) || (may_restart && wants_restart(scene, wanted));
        if is_stopping || must_restart {
            stop(scene, wanted, None, plan);
        }
    }
    // Containers start one after the other, each when the one before has started (with its post-start hook) or has to
    // wait for its time: of two that want one port, the later one fails. Their images are fetched side by side.
    let starts = |name: &str| scene.observed.busy.contains(&Job::Start(name.to_owned()));
    let mut all = scene.all.iter();
    let mut is_held = all.any(|one| one.role != Role::Ephemeral && starts(one.name()));
    for wanted in due(scene) {
        let is_ephemeral = wanted.role == Role::Ephemeral;
        let has_passed = start(scene, wanted, is_held && !is_ephemeral, plan);
        is_held |= !has_passed && !is_ephemeral;
    }
}

/// Everything is stopped, and begins anew once the container that asked for it may restart.
fn start_over(scene: &Scene<'_>, plan: &mut Plan) {
    let observed = scene.observed;
    let is_starting = observed.is_busy(|job| matches!(job, Job::Start(_)));
    let of_pod = || {
        scene
            .all
            .iter()
            .filter(|wanted| wanted.role != Role::Ephemeral)
    };
    let mut is_down = !is_starting;
    for wanted in of_pod().filter(|wanted| observed.is_running(wanted.name())) {
        is_down = false;
        stop(scene, wanted, None, plan);
    }
    let asked = of_pod().filter_map(|wanted| {
        let seen = observed.seen(wanted.name());
        let code = seen.ended()?.code;
        restart_at(&seen).filter(|_| wanted.restarts_all(code))
    });
    match asked.max().filter(|&at| at > scene.now) {
        Some(at) => plan.wake(at),
        None if is_down => plan.steps.push(Step::StartOver),
        None => {}
    }
}

/// `activeDeadlineSeconds`, which counts from the moment the node took the pod up.
fn deadline_passed(scene: &Scene<'_>, plan: &mut Plan) -> bool {
    let seconds = scene.spec.active_deadline_seconds;
    let Some((seconds, started)) = seconds.zip(scene.observed.started_at) else {
        return false;
    };
    let deadline = started + SignedDuration::from_secs(seconds.max(0));
    if scene.now < deadline {
        plan.wake(deadline);
        return false;
    }
    plan.steps.push(Step::Fail(Verdict {
        reason: "DeadlineExceeded".to_owned(),
        message: "Pod was active on the node longer than the specified deadline".to_owned(),
        ..Verdict::default()
    }));
    true
}

/// Sandbox and volumes, side by side.
fn prepare(scene: &Scene<'_>, plan: &mut Plan) {
    let observed = scene.observed;
    let sandbox_retry = match &observed.sandbox {
        Sandbox::Absent | Sandbox::Removed => Some(scene.now),
        Sandbox::Failed { retry_at, .. } => Some(*retry_at),
        Sandbox::Dead => {
            if !observed.busy.contains(&Job::Sandbox) {
                plan.steps.push(Step::RemoveSandbox);
            }
            None
        }
        Sandbox::Ready { .. } => None,
    };
    let volumes_retry = match &observed.volumes {
        Volumes::Absent | Volumes::TornDown => Some(scene.now),
        Volumes::Failed { retry_at, .. } => Some(*retry_at),
        Volumes::Ready => None,
    };
    let acts = [
        (sandbox_retry, Job::Sandbox, Step::CreateSandbox),
        (volumes_retry, Job::Volumes, Step::PrepareVolumes),
    ];
    for (retry, job, step) in acts {
        let Some(at) = retry.filter(|_| !observed.busy.contains(&job)) else {
            continue;
        };
        if at <= scene.now {
            plan.steps.push(step);
        } else {
            plan.wake(at);
        }
    }
}

/// Carries out what was granted: once before containers start anew that must, and once after.
fn resize(scene: &Scene<'_>, plan: &mut Plan) {
    let observed = scene.observed;
    let Some(progress) = &observed.allocation.in_progress else {
        return;
    };
    let is_possible =
        matches!(observed.sandbox, Sandbox::Ready { .. }) && !observed.busy.contains(&Job::Resize);
    let waits = progress.is_wide && scene.all.iter().any(|wanted| wants_restart(scene, wanted));
    match progress.retry_at.filter(|&at| at > scene.now) {
        Some(at) => plan.wake(at),
        None if is_possible && !waits => plan.steps.push(Step::Resize),
        None => {}
    }
}

/// The containers whose turn it is: not running, and to run now or after a delay.
fn due<'a>(scene: &'a Scene<'_>) -> Vec<&'a Wanted<'a>> {
    let observed = scene.observed;
    let has_begun = observed.has_begun(&scene.all);
    let mut due = Vec::new();
    let mut is_blocked = false;
    for wanted in &scene.all {
        let seen = observed.seen(wanted.name());
        let is_due = match &seen.state {
            State::Waiting => wanted.role != Role::Ephemeral || seen.attempt.is_none(),
            State::Running { .. } => false,
            State::Ended(ended) => wanted.restarts_after(scene.spec, ended.code),
        };
        let takes_turn = match wanted.role {
            Role::Ephemeral => true,
            Role::Init => !has_begun && !is_blocked,
            Role::Sidecar | Role::Main => !is_blocked,
        };
        if is_due && takes_turn {
            due.push(wanted);
        }
        // What comes later waits for an init container's success, and for a sidecar's start, but only once: after
        // main containers have begun, a sidecar that restarts holds up nobody.
        let passes = match wanted.role {
            Role::Init => observed.exit_code(wanted.name()) == Some(0),
            Role::Sidecar => seen.is_started(),
            Role::Main | Role::Ephemeral => true,
        };
        is_blocked |= !passes && !has_begun;
    }
    due
}

/// Image, then start unless one before holds it up. True when those behind it need not wait for it.
fn start(scene: &Scene<'_>, wanted: &Wanted<'_>, is_held: bool, plan: &mut Plan) -> bool {
    let observed = scene.observed;
    let container = wanted.name().to_owned();
    let seen = observed.seen(&container);
    if observed.busy.contains(&Job::Start(container.clone())) {
        return false;
    }
    let earliest = restart_at(&seen).into_iter();
    let earliest = earliest.chain(seen.failure.as_ref().map(|failure| failure.retry_at));
    if let Some(at) = earliest.max().filter(|&at| at > scene.now) {
        plan.wake(at);
        if let Some(at) = start_error_shown_until(&seen).filter(|&at| at > scene.now) {
            plan.wake(at);
        }
        return true;
    }
    let attempt = seen.next_attempt();
    if !has_image(scene, &seen, attempt, plan) {
        if image_retry_at(&seen).is_some_and(|at| at > scene.now) {
            return true;
        }
        if !observed.busy.contains(&Job::Image(container.clone())) {
            plan.steps.push(Step::EnsureImage { container, attempt });
        }
        return false;
    }
    let is_prepared = matches!(observed.sandbox, Sandbox::Ready { .. })
        && observed.volumes == Volumes::Ready
        && !observed.busy.contains(&Job::Sandbox);
    if is_prepared && !is_held {
        plan.steps.push(Step::Start {
            container,
            attempt,
            crashes: crashes_after_next(&seen),
        });
    }
    false
}

fn image_retry_at(seen: &Seen) -> Option<Timestamp> {
    match &seen.image {
        Image::Failed { retry_at, .. } => Some(*retry_at),
        _ => None,
    }
}

fn has_image(scene: &Scene<'_>, seen: &Seen, attempt: u32, plan: &mut Plan) -> bool {
    match &seen.image {
        Image::Ready { attempt: of, .. } => *of == attempt,
        Image::Failed {
            retry_at, since, ..
        } => {
            let shown = *since + super::PULL_ERROR_SHOWN;
            let moments = [shown, *retry_at];
            for at in moments.into_iter().filter(|&at| at > scene.now) {
                plan.wake(at);
            }
            false
        }
        Image::Unknown => false,
    }
}
