//! The phase, counted from the containers' statuses.

use super::Scene;
use crate::node::spec::Role;
use k8s_openapi::api::core::v1::{ContainerState, ContainerStatus, PodStatus};

/// What the main containers do.
#[derive(Default)]
struct Count {
    waiting: usize,
    running: usize,
    stopped: usize,
    succeeded: usize,
}

pub(super) fn phase(scene: &Scene<'_>, new: &PodStatus) -> &'static str {
    match scene.observed.terminal_phase() {
        Some("Succeeded") => return "Succeeded",
        Some(_) => return "Failed",
        None => {}
    }
    if scene.is_final {
        return final_phase(scene, new);
    }
    if !scene.observed.has_begun(scene.all) && is_initializing(scene, new) {
        return "Pending";
    }
    let count = count(new);
    if count.waiting > 0 || count.running + count.stopped == 0 {
        "Pending"
    } else {
        // With nothing running, all that has stopped is about to restart: otherwise the pod would be final.
        "Running"
    }
}

/// Of a pod of which nothing runs and nothing will.
fn final_phase(scene: &Scene<'_>, new: &PodStatus) -> &'static str {
    let count = count(new);
    let is_success =
        scene.observed.verdict.is_none() && count.stopped > 0 && count.stopped == count.succeeded;
    if is_success && count.waiting == 0 {
        "Succeeded"
    } else {
        "Failed"
    }
}

fn count(new: &PodStatus) -> Count {
    let mut count = Count::default();
    for status in new.container_statuses.iter().flatten() {
        let ended = match state(status) {
            ContainerState {
                running: Some(_), ..
            } => {
                count.running += 1;
                continue;
            }
            ContainerState {
                terminated: Some(ended),
                ..
            } => Some(ended.exit_code),
            _ => last_code(status),
        };
        match ended {
            None => count.waiting += 1,
            Some(code) => {
                count.stopped += 1;
                count.succeeded += usize::from(code == 0);
            }
        }
    }
    count
}

/// Whether an init container is still to succeed, or a sidecar to start.
fn is_initializing(scene: &Scene<'_>, new: &PodStatus) -> bool {
    let statuses = new.init_container_statuses.iter().flatten();
    statuses.into_iter().any(|status| {
        if is(scene, &status.name, Role::Sidecar) {
            let waits = state(status).waiting.is_some() && last_code(status).is_none();
            let starts = state(status).running.is_some() && status.started != Some(true);
            waits || starts
        } else {
            !status.ready
        }
    })
}

fn is(scene: &Scene<'_>, name: &str, role: Role) -> bool {
    scene
        .all
        .iter()
        .any(|wanted| wanted.role == role && wanted.name() == name)
}

fn state(status: &ContainerStatus) -> ContainerState {
    status.state.clone().unwrap_or_default()
}

fn last_code(status: &ContainerStatus) -> Option<i32> {
    let last = status.last_state.as_ref()?;
    Some(last.terminated.as_ref()?.exit_code)
}
