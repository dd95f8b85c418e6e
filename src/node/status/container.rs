//! One container's status.

use super::{RUNTIME_SCHEME, Scene, whole_seconds};
use crate::node::{
    observed::{Ended, Hook, Image, Seen, State},
    plan::{PULL_ERROR_SHOWN, restart_at, start_error_shown_until},
    spec::{self, Role, Wanted},
};
use crate::runtime::model::ProcessUser;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::core::v1::{
        ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
        ContainerStatus, ContainerUser, LinuxContainerUser, VolumeMountStatus,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};

/// Exit code and message of a container that nobody can tell anything about.
const UNKNOWN_CODE: i32 = 137;
const UNKNOWN_REASON: &str = "ContainerStatusUnknown";
const UNKNOWN_MESSAGE: &str = "The container could not be located when the pod was terminated";

pub(super) fn status(scene: &Scene<'_>, wanted: &Wanted<'_>) -> ContainerStatus {
    let seen = scene.observed.seen(wanted.name());
    let (state, last) = match succeeded_before(scene, wanted) {
        Some(ended) => (ended, ContainerState::default()),
        None => states(scene, wanted, &seen),
    };
    let is_started = seen.is_started();
    let ready = match (wanted.role, &seen.state) {
        (Role::Init, _)
            if state
                .terminated
                .as_ref()
                .is_some_and(|ended| ended.exit_code == 0) =>
        {
            true
        }
        (Role::Init, State::Ended(ended)) => ended.code == 0,
        (Role::Init, _) => false,
        _ => is_started && seen.probes.is_ready,
    };
    let was_created = seen.attempt.is_some();
    let (image, image_id) = if was_created && !seen.image_names.0.is_empty() {
        seen.image_names.clone()
    } else {
        let asked = wanted.container.image.clone();
        (asked.unwrap_or_default(), String::new())
    };
    let allocation = &scene.observed.allocation;
    let granted = allocation.granted.get(wanted.name());
    let granted = granted.or(wanted.container.resources.as_ref());
    let actual = match &seen.state {
        State::Running { .. } => allocation.actual.get(wanted.name()).or(granted),
        _ => granted,
    };
    ContainerStatus {
        name: wanted.name().to_owned(),
        container_id: container_id(&seen).map(|id| format!("{RUNTIME_SCHEME}://{id}")),
        image,
        image_id,
        ready,
        started: Some(is_started),
        restart_count: i32::try_from(seen.attempt.unwrap_or(0)).unwrap_or(i32::MAX),
        allocated_resources: granted
            .and_then(|granted| granted.requests.clone())
            .filter(|_| was_created),
        resources: was_created.then(|| actual.cloned().unwrap_or_default()),
        state: Some(state),
        last_state: Some(last),
        volume_mounts: mounts(wanted),
        user: seen.user.as_ref().filter(|_| was_created).map(user),
        ..ContainerStatus::default()
    }
}

fn user(user: &ProcessUser) -> ContainerUser {
    let groups = user.groups.iter().copied().map(i64::from).collect();
    ContainerUser {
        linux: Some(LinuxContainerUser {
            uid: user.uid.into(),
            gid: user.gid.into(),
            supplemental_groups: Some(groups),
        }),
    }
}

fn container_id(seen: &Seen) -> Option<&str> {
    let id = match &seen.state {
        State::Running { id, .. } => id,
        State::Ended(ended) => &ended.id,
        State::Waiting => &seen.last.as_ref()?.id,
    };
    (!id.is_empty()).then_some(id)
}

/// An init container that has succeeded reads so for ever in a pod that does not always restart, also while it runs
/// once more in a new sandbox: the API lets no such container leave its end.
fn succeeded_before(scene: &Scene<'_>, wanted: &Wanted<'_>) -> Option<ContainerState> {
    if wanted.role != Role::Init || spec::restart_policy(scene.spec) == "Always" {
        return None;
    }
    let reported = &scene.observed.reported.init_container_statuses;
    let mut reported = reported.iter().flatten();
    let reported = reported.find(|status| status.name == wanted.name())?;
    let state = reported.state.clone()?;
    let code = state.terminated.as_ref()?.exit_code;
    (code == 0).then_some(state)
}

/// The present and the last state.
fn states(scene: &Scene<'_>, wanted: &Wanted<'_>, seen: &Seen) -> (ContainerState, ContainerState) {
    let last = seen.last.as_ref().map(terminated).unwrap_or_default();
    match &seen.state {
        // Not reported as running before its post-start hook is over.
        State::Running { started_at, .. } if seen.post_start == Hook::None => {
            let running = ContainerStateRunning {
                started_at: Some(Time(whole_seconds(*started_at))),
            };
            let state = ContainerState {
                running: Some(running),
                ..ContainerState::default()
            };
            (state, last)
        }
        State::Running { .. } => (waiting(default_reason(scene), ""), last),
        State::Waiting if scene.is_final && takes_blame(scene, wanted) => (unknown(), last),
        State::Waiting => match why_waiting(scene, wanted, seen) {
            Some((reason, message)) => (waiting(&reason, &message), last),
            None => (waiting(default_reason(scene), ""), last),
        },
        State::Ended(ended) => match why_waiting(scene, wanted, seen) {
            Some((reason, message)) => (waiting(&reason, &message), terminated(ended)),
            None => (terminated(ended), last),
        },
    }
}

/// Whether a container that never ran counts as terminated when the pod has ended. Main ones do once the pod was
/// initialized: before that it was not their turn. Of init containers all up to the last one that has begun, and at
/// least the first. Ephemeral ones never.
fn takes_blame(scene: &Scene<'_>, wanted: &Wanted<'_>) -> bool {
    let is_init = |other: &&Wanted<'_>| matches!(other.role, Role::Init | Role::Sidecar);
    let has_begun = |name: &str| scene.observed.seen(name).attempt.is_some();
    match wanted.role {
        Role::Main => {
            let mut mains = scene.all.iter().filter(|other| other.role == Role::Main);
            let last = scene.all.iter().rfind(is_init);
            mains.any(|main| has_begun(main.name())) || last.is_some_and(|last| passes(scene, last))
        }
        Role::Init | Role::Sidecar => {
            let mut from_here = scene.all.iter().filter(is_init);
            let is_first = from_here
                .next()
                .is_some_and(|first| first.name() == wanted.name());
            let place = scene
                .all
                .iter()
                .position(|other| other.name() == wanted.name());
            let mut rest = scene
                .all
                .iter()
                .skip(place.unwrap_or_default())
                .filter(is_init);
            is_first || rest.any(|other| has_begun(other.name()))
        }
        Role::Ephemeral => false,
    }
}

/// Whether an init container has done its part, so that the next one may begin.
fn passes(scene: &Scene<'_>, wanted: &Wanted<'_>) -> bool {
    let seen = scene.observed.seen(wanted.name());
    match wanted.role {
        Role::Sidecar => seen.attempt.is_some(),
        _ => scene.observed.exit_code(wanted.name()) == Some(0),
    }
}

/// Why the next attempt does not run yet, where there is more to say than that it is being made.
fn why_waiting(scene: &Scene<'_>, wanted: &Wanted<'_>, seen: &Seen) -> Option<(String, String)> {
    if scene.ending.is_some() {
        return None;
    }
    if let Some(ended) = seen.ended() {
        if !wanted.restarts_after(scene.spec, ended.code) {
            return None;
        }
        if let Some(at) = restart_at(seen).filter(|&at| at > scene.now) {
            if start_error_shown_until(seen).is_some_and(|until| until > scene.now) {
                return Some(("RunContainerError".to_owned(), ended.message.clone()));
            }
            let delay = at.duration_since(ended.finished_at);
            return Some(crash_loop(scene, wanted, delay));
        }
    }
    match &seen.image {
        Image::Failed {
            image,
            reason,
            message,
            since,
            ..
        } => Some(image_trouble(scene.now, reason, message, *since, image)),
        _ => seen
            .failure
            .as_ref()
            .map(|failure| (failure.reason.clone(), failure.message.clone())),
    }
}

fn crash_loop(scene: &Scene<'_>, wanted: &Wanted<'_>, delay: SignedDuration) -> (String, String) {
    let meta = &scene.pod.metadata;
    let message = format!(
        "back-off {} restarting failed container={} pod={}_{}({})",
        go_duration(delay),
        wanted.name(),
        meta.name.as_deref().unwrap_or_default(),
        meta.namespace.as_deref().unwrap_or_default(),
        meta.uid.as_deref().unwrap_or_default(),
    );
    ("CrashLoopBackOff".to_owned(), message)
}

/// A failed pull reads by its own reason first, as back-off after that; a name that can never work stays as it is.
fn image_trouble(
    now: Timestamp,
    reason: &str,
    message: &str,
    since: Timestamp,
    image: &str,
) -> (String, String) {
    let is_final = reason == "InvalidImageName" || reason == "ErrImageNeverPull";
    if is_final || now < since + PULL_ERROR_SHOWN {
        return (reason.to_owned(), message.to_owned());
    }
    let message = format!("Back-off pulling image \"{image}\": {reason}: {message}");
    ("ImagePullBackOff".to_owned(), message)
}

fn default_reason(scene: &Scene<'_>) -> &'static str {
    let has_init = scene
        .all
        .iter()
        .any(|wanted| matches!(wanted.role, Role::Init | Role::Sidecar));
    if has_init {
        "PodInitializing"
    } else {
        "ContainerCreating"
    }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting {
            reason: Some(reason.to_owned()),
            message: (!message.is_empty()).then(|| message.to_owned()),
        }),
        ..ContainerState::default()
    }
}

fn terminated(ended: &Ended) -> ContainerState {
    let text = |text: &String| (!text.is_empty()).then(|| text.clone());
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            container_id: text(&ended.id).map(|id| format!("{RUNTIME_SCHEME}://{id}")),
            exit_code: ended.code,
            signal: (ended.signal != 0).then_some(ended.signal),
            reason: text(&ended.reason),
            message: text(&ended.message),
            started_at: ended.started_at.map(|at| Time(whole_seconds(at))),
            finished_at: Some(Time(whole_seconds(ended.finished_at))),
        }),
        ..ContainerState::default()
    }
}

fn unknown() -> ContainerState {
    ContainerState {
        terminated: Some(ContainerStateTerminated {
            exit_code: UNKNOWN_CODE,
            reason: Some(UNKNOWN_REASON.to_owned()),
            message: Some(UNKNOWN_MESSAGE.to_owned()),
            ..ContainerStateTerminated::default()
        }),
        ..ContainerState::default()
    }
}

fn mounts(wanted: &Wanted<'_>) -> Option<Vec<VolumeMountStatus>> {
    let mounts = wanted.container.volume_mounts.as_ref()?;
    let status = mounts.iter().map(|mount| {
        let is_read_only = mount.read_only == Some(true);
        VolumeMountStatus {
            mount_path: mount.mount_path.clone(),
            name: mount.name.clone(),
            read_only: mount.read_only,
            recursive_read_only: is_read_only.then(|| {
                let asked = mount.recursive_read_only.as_deref();
                let is_recursive = asked.is_some_and(|asked| asked != "Disabled");
                if is_recursive { "Enabled" } else { "Disabled" }.to_owned()
            }),
            volume_status: None,
        }
    });
    Some(status.collect())
}

/// `10s`, `1m20s`, `5m0s`: as Go prints a duration of whole seconds.
fn go_duration(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    match seconds / 60 {
        0 => format!("{seconds}s"),
        minutes => format!("{minutes}m{}s", seconds % 60),
    }
}
