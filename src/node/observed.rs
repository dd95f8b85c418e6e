//! What the node agent knows about one pod: plain values, the input of [`super::plan`] and [`super::status`].
//!
//! Filled by the pod's worker from the runtime's answers and events, probe results and the API's last status. Nothing
//! here acts, and nothing here is lost for good by a restart of the daemon.

use super::{
    resize::Allocation,
    spec::{Role, Wanted},
};
use crate::runtime::model::ProcessUser;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv4Addr,
};

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observed {
    /// When this node took the pod up: `status.startTime`.
    pub started_at: Option<Timestamp>,
    /// Why the pod as a whole must end although nobody deleted it.
    pub verdict: Option<Verdict>,
    /// When the pod began to end, for whatever reason; the grace of all containers counts from here.
    pub ending_since: Option<Timestamp>,
    /// The daemon is stopping its pods (`kubik stop`): they end, but their objects stay. Grace in seconds.
    pub shutdown: Option<i64>,
    /// The object has vanished from the API (force delete): nobody is interested in a status any more.
    pub gone: bool,
    pub sandbox: Sandbox,
    pub volumes: Volumes,
    pub seen: BTreeMap<String, Seen>,
    pub allocation: Allocation,
    /// A container has ended by whose rules all of them start anew.
    pub starts_over: bool,
    /// What is being done right now; [`super::plan`] does not ask for it twice.
    pub busy: BTreeSet<Job>,
    /// The status the API has: transition times, restart counts, conditions of others.
    pub reported: PodStatus,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    pub reason: String,
    pub message: String,
    /// `None`: the pod's own grace.
    pub grace_seconds: Option<i64>,
    /// Reason and message of a `DisruptionTarget` condition.
    pub disruption: Option<(String, String)>,
    /// The node never took the pod up.
    pub is_rejection: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Sandbox {
    #[default]
    Absent,
    /// Could not be made; not tried before `retry_at`.
    Failed { retry_at: Timestamp, failures: u32 },
    /// With `host_network` the address is the node's.
    Ready { address: Ipv4Addr },
    /// Pause is gone: it must be removed before another one can be made.
    Dead,
    /// The pod is over and the sandbox was removed for good.
    Removed,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Volumes {
    #[default]
    Absent,
    Failed {
        retry_at: Timestamp,
        failures: u32,
    },
    Ready,
    /// Unmounted, the pod's directory removed.
    TornDown,
}

/// One container, over all its attempts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    pub state: State,
    /// Number of the newest attempt that was created. `None`: never created.
    pub attempt: Option<u32>,
    /// How the attempt before the newest one ended.
    pub last: Option<Ended>,
    /// Restarts in the present series of crashes; decides the next delay.
    pub crashes: u32,
    pub image: Image,
    /// Why the next attempt could not be made.
    pub failure: Option<Failure>,
    pub stop: Option<Stopping>,
    pub probes: Probes,
    pub post_start: Hook,
    /// Resolved names of the image the newest attempt runs: `status.image` and `status.imageID`.
    pub image_names: (String, String),
    /// The spec's word for the image of the newest attempt; empty when it is not known.
    pub asked_image: String,
    /// Who the newest attempt is.
    pub user: Option<ProcessUser>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum State {
    /// No attempt in the present sandbox.
    #[default]
    Waiting,
    Running {
        id: String,
        started_at: Timestamp,
    },
    Ended(Ended),
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Ended {
    pub id: String,
    pub code: i32,
    pub signal: i32,
    pub reason: String,
    pub message: String,
    pub started_at: Option<Timestamp>,
    pub finished_at: Timestamp,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Image {
    #[default]
    Unknown,
    /// Checked (and pulled where the policy says so) for this attempt.
    Ready { id: String, attempt: u32 },
    Failed {
        /// What could not be had: the container's own image or one that it mounts.
        image: String,
        reason: String,
        message: String,
        since: Timestamp,
        retry_at: Timestamp,
        failures: u32,
    },
}

/// `CreateContainerConfigError` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    pub reason: String,
    pub message: String,
    pub retry_at: Timestamp,
}

/// A container on its way out: pre-stop hook, stop signal, SIGKILL.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stopping {
    pub since: Timestamp,
    /// `None`: the pod's.
    pub grace_seconds: Option<i64>,
    /// When the pre-stop hook was over; equal to `since` where there is none.
    pub hook_done: Option<Timestamp>,
    pub is_signaled: bool,
    pub is_killed: bool,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Probes {
    pub is_started: bool,
    pub is_ready: bool,
    /// A liveness or startup probe gave up.
    pub unhealthy: Option<Unhealthy>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Unhealthy {
    /// `liveness` or `startup`.
    pub probe: &'static str,
    pub grace_seconds: Option<i64>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub enum Hook {
    #[default]
    None,
    Running,
    Failed(String),
}

/// Work that takes time. One of each kind and name runs at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Job {
    Sandbox,
    Volumes,
    Image(String),
    Start(String),
    PreStop(String),
    Signal(String),
    Resize,
    Delete,
}

impl Observed {
    /// What is known of a container; the default when nothing is.
    #[must_use]
    pub fn seen(&self, name: &str) -> Seen {
        self.seen.get(name).cloned().unwrap_or_default()
    }

    #[must_use]
    pub fn is_running(&self, name: &str) -> bool {
        let state = self.seen.get(name).map(|seen| &seen.state);
        matches!(state, Some(State::Running { .. }))
    }

    /// The exit code of the newest attempt, if it has ended in this sandbox.
    #[must_use]
    pub fn exit_code(&self, name: &str) -> Option<i32> {
        match self.seen.get(name).map(|seen| &seen.state) {
            Some(State::Ended(ended)) => Some(ended.code),
            _ => None,
        }
    }

    /// Whether init containers are behind us: a main container has been created in this sandbox.
    #[must_use]
    pub fn has_begun(&self, all: &[Wanted<'_>]) -> bool {
        all.iter().any(|wanted| {
            let state = self.seen.get(wanted.name()).map(|seen| &seen.state);
            wanted.role == Role::Main && !matches!(state, None | Some(State::Waiting))
        })
    }

    /// The phase the API has, if it is one that a pod never leaves.
    #[must_use]
    pub fn terminal_phase(&self) -> Option<&str> {
        let phase = self.reported.phase.as_deref();
        phase.filter(|&phase| phase == "Succeeded" || phase == "Failed")
    }

    #[must_use]
    pub fn is_busy(&self, jobs: impl Fn(&Job) -> bool) -> bool {
        self.busy.iter().any(jobs)
    }

    /// Forgets the present sandbox: attempts that ended in it become the last ones, so that what must run runs again.
    pub fn sandbox_lost(&mut self, stays: impl Fn(&str, i32) -> bool) {
        self.sandbox = Sandbox::Absent;
        self.start_over(stays);
    }

    /// Attempts that have ended become the last ones, but for those that stay.
    pub fn start_over(&mut self, stays: impl Fn(&str, i32) -> bool) {
        self.starts_over = false;
        for (name, seen) in &mut self.seen {
            seen.stop = None;
            seen.post_start = Hook::None;
            seen.probes = Probes::default();
            if let State::Ended(ended) = &seen.state
                && !stays(name, ended.code)
            {
                seen.last = Some(ended.clone());
                seen.state = State::Waiting;
            }
        }
    }
}

impl Seen {
    #[must_use]
    pub fn next_attempt(&self) -> u32 {
        self.attempt.map_or(0, |attempt| attempt + 1)
    }

    #[must_use]
    pub fn ended(&self) -> Option<&Ended> {
        match &self.state {
            State::Ended(ended) => Some(ended),
            _ => None,
        }
    }

    /// Running, past its startup probe and its post-start hook.
    #[must_use]
    pub fn is_started(&self) -> bool {
        let running = matches!(self.state, State::Running { .. });
        running && self.probes.is_started && self.post_start == Hook::None
    }
}
