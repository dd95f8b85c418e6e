//! What is known of a pod when its worker begins: the API's last word, and what still runs from an earlier daemon.
//!
//! Pure. A pod without a living sandbox starts over, as after a reboot of the node; counts go on.

use super::{
    act::end_of,
    observed::{Ended, Observed, Probes, Sandbox, Seen, State, Volumes},
    resize,
    spec::{self, Role},
    status::RUNTIME_SCHEME,
    translate::{LABEL_ASKED, LABEL_CRASHES, LABEL_IMAGE, LABEL_IMAGE_ID},
};
use crate::runtime::model::{ContainerInfo, ContainerState, ProcessUser, SandboxInfo};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, ContainerUser, Pod};
use std::net::Ipv4Addr;

/// Exit code of a container whose end nobody saw.
const UNSEEN_CODE: i32 = 255;
const UNSEEN_REASON: &str = "Unknown";

/// `sandbox` is what the runtime found, with its address if the network still knows it.
#[must_use]
pub fn observe(
    pod: &Pod,
    sandbox: Option<(&SandboxInfo, Option<Ipv4Addr>)>,
    now: Timestamp,
) -> Observed {
    let reported = pod.status.clone().unwrap_or_default();
    let mut observed = Observed {
        started_at: reported.start_time.as_ref().map(|time| time.0),
        reported,
        ..Observed::default()
    };
    let lists = [
        observed.reported.init_container_statuses.clone(),
        observed.reported.container_statuses.clone(),
        observed.reported.ephemeral_container_statuses.clone(),
    ];
    observed.allocation.granted = resize::wishes(&spec::of(pod));
    if let Some(whole) = observed.reported.resources.clone() {
        let allocation = &mut observed.allocation;
        for shares in [&mut allocation.granted, &mut allocation.actual] {
            shares.insert(resize::WHOLE.to_owned(), whole.clone());
        }
    }
    for status in lists.into_iter().flatten().flatten() {
        let seen = from_status(&status, now);
        if let Some(resources) = &status.resources
            && observed.allocation.granted.contains_key(&status.name)
        {
            let granted = |shares: &mut resize::Shares| {
                shares.insert(status.name.clone(), resources.clone());
            };
            granted(&mut observed.allocation.granted);
            granted(&mut observed.allocation.actual);
        }
        observed.seen.insert(status.name.clone(), seen);
    }
    match sandbox {
        Some((info, Some(address))) if info.alive => {
            observed.sandbox = Sandbox::Ready { address };
            take_containers(&mut observed, &info.containers, now);
        }
        Some((info, _)) => {
            take_containers(&mut observed, &info.containers, now);
            sandbox_died(&mut observed, now);
        }
        None => {
            forget_sandbox(pod, &mut observed);
            if observed.terminal_phase().is_some() {
                // What there was to remove was removed before the phase was told, or lies in the pod's directory.
                observed.sandbox = Sandbox::Removed;
            }
        }
    }
    observed.volumes = Volumes::Absent;
    observed
}

/// Starts over: only main containers that have ended for good stay as they are, and those for debugging.
pub fn forget_sandbox(pod: &Pod, observed: &mut Observed) {
    let spec = spec::of(pod);
    let all = spec::containers(&spec);
    let is_terminal = observed.terminal_phase().is_some();
    observed.sandbox_lost(|name, code| {
        let wanted = all.iter().find(|wanted| wanted.name() == name);
        wanted.is_some_and(|wanted| {
            is_terminal
                || match wanted.role {
                    Role::Main => !wanted.restarts_after(&spec, code),
                    Role::Ephemeral => true,
                    Role::Init | Role::Sidecar => false,
                }
        })
    });
}

/// Merges what the runtime has of the sandbox' containers: the newest attempt of each name counts.
pub fn take_containers(observed: &mut Observed, containers: &[ContainerInfo], now: Timestamp) {
    for (name, seen) in &mut observed.seen {
        let is_known = containers.iter().any(|info| info.name == *name);
        if !is_known {
            lose(seen, now);
        }
    }
    let mut newest: Vec<&ContainerInfo> = containers.iter().collect();
    newest.sort_by_key(|info| info.attempt);
    for info in newest {
        let seen = observed.seen.entry(info.name.clone()).or_default();
        take_container(seen, info, now);
    }
}

/// With pause everything in the sandbox has died.
pub fn sandbox_died(observed: &mut Observed, now: Timestamp) {
    observed.sandbox = Sandbox::Dead;
    for seen in observed.seen.values_mut() {
        lose(seen, now);
    }
}

fn lose(seen: &mut Seen, now: Timestamp) {
    if let State::Running { id, started_at } = &seen.state {
        seen.state = State::Ended(unseen(id, Some(*started_at), now));
    }
}

fn take_container(seen: &mut Seen, info: &ContainerInfo, now: Timestamp) {
    let was = seen.attempt;
    if was.is_some_and(|attempt| attempt > info.attempt) {
        return;
    }
    if was != Some(info.attempt)
        && let State::Ended(ended) = &seen.state
    {
        seen.last = Some(ended.clone());
    }
    seen.attempt = Some(info.attempt);
    let label = |key: &str| info.labels.get(key).cloned().unwrap_or_default();
    seen.image_names = (label(LABEL_IMAGE), label(LABEL_IMAGE_ID));
    seen.asked_image = label(LABEL_ASKED);
    seen.crashes = label(LABEL_CRASHES).parse().unwrap_or_default();
    seen.user.clone_from(&info.user);
    seen.state = match &info.state {
        ContainerState::Running { started_at, .. } => State::Running {
            id: info.id.clone(),
            started_at: *started_at,
        },
        ContainerState::Exited(exit) => {
            // The API may already have the message, which the file may no longer hold.
            let known = seen.ended();
            let known = known.filter(|ended| ended.id == info.id && ended.reason != UNSEEN_REASON);
            match known.cloned() {
                Some(known) => State::Ended(known),
                None => State::Ended(end_of(info, exit, String::new())),
            }
        }
        // Made by a daemon that died before it could start it.
        ContainerState::Created => State::Ended(unseen(&info.id, None, now)),
    };
}

fn from_status(status: &ContainerStatus, now: Timestamp) -> Seen {
    let state = status.state.clone().unwrap_or_default();
    let last = status.last_state.clone().unwrap_or_default();
    let id = plain_id(status.container_id.as_deref());
    let was_created = !id.is_empty() || status.restart_count > 0;
    Seen {
        attempt: was_created.then(|| u32::try_from(status.restart_count).unwrap_or(0)),
        last: last.terminated.as_ref().map(from_terminated),
        state: match (state.running, &state.terminated) {
            (Some(running), _) => {
                let started_at = running.started_at.map(|time| time.0);
                State::Ended(unseen(&id, started_at, now))
            }
            (None, Some(ended)) if was_created => State::Ended(from_terminated(ended)),
            _ => State::Waiting,
        },
        probes: Probes {
            is_started: status.started == Some(true),
            is_ready: status.ready,
            unhealthy: None,
        },
        image_names: (status.image.clone(), status.image_id.clone()),
        user: status.user.as_ref().and_then(process_user),
        ..Seen::default()
    }
}

fn process_user(user: &ContainerUser) -> Option<ProcessUser> {
    let linux = user.linux.as_ref()?;
    let id = |id: i64| u32::try_from(id).ok();
    let groups = linux.supplemental_groups.iter().flatten();
    Some(ProcessUser {
        uid: id(linux.uid)?,
        gid: id(linux.gid)?,
        groups: groups.filter_map(|&group| id(group)).collect(),
    })
}

fn unseen(id: &str, started_at: Option<Timestamp>, now: Timestamp) -> Ended {
    Ended {
        id: id.to_owned(),
        code: UNSEEN_CODE,
        reason: UNSEEN_REASON.to_owned(),
        started_at,
        finished_at: now,
        ..Ended::default()
    }
}

fn from_terminated(ended: &ContainerStateTerminated) -> Ended {
    Ended {
        id: plain_id(ended.container_id.as_deref()),
        code: ended.exit_code,
        signal: ended.signal.unwrap_or_default(),
        reason: ended.reason.clone().unwrap_or_default(),
        message: ended.message.clone().unwrap_or_default(),
        started_at: ended.started_at.as_ref().map(|time| time.0),
        finished_at: ended
            .finished_at
            .as_ref()
            .map(|time| time.0)
            .unwrap_or_default(),
    }
}

fn plain_id(id: Option<&str>) -> String {
    let id = id.unwrap_or_default();
    let scheme = format!("{RUNTIME_SCHEME}://");
    id.strip_prefix(&scheme).unwrap_or(id).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn pod(policy: &str, status: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "uid": "u"},
            "spec": {"restartPolicy": policy, "initContainers": [{"name": "i"}], "containers": [{"name": "a"}],
                "ephemeralContainers": [{"name": "e"}]},
            "status": status,
        }))
        .unwrap()
    }

    fn running() -> Value {
        json!({
            "phase": "Running", "startTime": "1970-01-01T00:00:01Z",
            "initContainerStatuses": [{"name": "i", "containerID": "kubik://i0", "image": "x", "imageID": "", "ready": true,
                "restartCount": 0, "state": {"terminated": {"exitCode": 0, "containerID": "kubik://i0"}}}],
            "ephemeralContainerStatuses": [{"name": "e", "containerID": "kubik://e0", "image": "x", "imageID": "", "ready": false,
                "restartCount": 0, "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}}],
            "containerStatuses": [{"name": "a", "containerID": "kubik://a2", "image": "x", "imageID": "y", "ready": true,
                "started": true, "restartCount": 2, "state": {"running": {"startedAt": "1970-01-01T00:00:02Z"}}}],
        })
    }

    fn now() -> Timestamp {
        Timestamp::from_second(100).unwrap()
    }

    #[test]
    fn after_a_reboot_everything_starts_over_and_counts_go_on() {
        let observed = observe(&pod("Always", &running()), None, now());
        assert_eq!(observed.sandbox, Sandbox::Absent);
        let (init, main) = (observed.seen("i"), observed.seen("a"));
        assert_eq!((init.state, init.attempt), (State::Waiting, Some(0)));
        assert_eq!((main.state, main.attempt), (State::Waiting, Some(2)));
        assert_eq!(observed.exit_code("e"), Some(255), "never runs again");
        let last = main.last.unwrap();
        assert_eq!(
            (last.code, last.reason.as_str(), last.id.as_str()),
            (255, "Unknown", "a2")
        );
        let observed = observe(&pod("Never", &running()), None, now());
        assert!(
            matches!(observed.seen("a").state, State::Ended(_)),
            "ended for good"
        );
    }

    #[test]
    fn living_containers_are_adopted() {
        let info = |name: &str, attempt, state| ContainerInfo {
            id: format!("{name}{attempt}"),
            name: name.to_owned(),
            attempt,
            image: String::new(),
            state,
            log_path: "/l".into(),
            labels: [(LABEL_CRASHES.to_owned(), "2".to_owned())].into(),
            user: None,
        };
        let exit = crate::runtime::model::Exit {
            code: 3,
            signal: 0,
            oom_killed: false,
            started_at: Some(now()),
            finished_at: now(),
            message: String::new(),
        };
        let running_now = ContainerState::Running {
            pid: 1,
            started_at: now(),
        };
        let sandbox = SandboxInfo {
            id: "u".to_owned(),
            pid: 1,
            netns: "/n".into(),
            created_at: now(),
            alive: true,
            labels: Default::default(),
            containers: vec![
                info("a", 3, running_now),
                info("a", 2, ContainerState::Exited(exit)),
            ],
        };
        let address = Ipv4Addr::new(10, 244, 0, 5);
        let observed = observe(
            &pod("Always", &running()),
            Some((&sandbox, Some(address))),
            now(),
        );
        assert_eq!(observed.sandbox, Sandbox::Ready { address });
        let main = observed.seen("a");
        assert_eq!(
            observed.exit_code("i"),
            Some(0),
            "init containers stay done"
        );
        assert_eq!((main.attempt, main.crashes), (Some(3), 2));
        assert_eq!(
            main.state,
            State::Running {
                id: "a3".to_owned(),
                started_at: now()
            }
        );
        assert_eq!(main.last.map(|last| last.code), Some(3));
        assert!(main.probes.is_ready, "readiness outlives the daemon");
    }
}
