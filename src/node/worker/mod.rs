//! One pod's worker: observes, plans, acts, reports, until nothing of the pod is left.
//!
//! The newest spec wins. Work that takes time runs beside the loop as a [`Job`]; its [`Outcome`] changes what is
//! observed, and the plan is made anew. Between two changes the worker sleeps until the plan's next deadline.

mod absorb;
mod begin;
mod renew;
mod report;
mod resize;

use super::{
    act::{self, StartFailed},
    host::Host,
    image,
    mailbox::Mailbox,
    observed::{Ended, Job, Observed, Verdict, Volumes},
    plan::{self, Step},
    probe,
    resize::granted,
    sandbox,
    volume::{self, Prepared},
};
use crate::{
    api::{ApiError, object::Object},
    client::EventKind,
    runtime::model::{ContainerInfo, ImageInfo, SandboxInfo},
    task::{backoff::Backoff, clock},
};
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::Pod;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::Ipv4Addr,
    sync::Arc,
    time::Duration,
};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tracing::error;

/// Pauses after a failed sandbox or volume.
const SETUP: Backoff = Backoff {
    first: Duration::from_millis(500),
    cap: Duration::from_secs(122),
};
/// The pause before a container is tried again that could not be made.
const CONFIG_RETRY: SignedDuration = SignedDuration::from_secs(10);
/// The pause after a refused status, a failed removal and the like.
const RETRY: Duration = Duration::from_secs(1);
/// A pod that is to go does not wait longer than this for its last status to be accepted.
const REFUSALS_MAX: u32 = 5;

pub struct Worker {
    pub(super) host: Arc<Host>,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) pod: Arc<Pod>,
    pub(super) observed: Observed,
    jobs: JoinSet<Outcome>,
    /// Which job a task does, so that its panic is put down to it.
    running: HashMap<Id, Job>,
    images: BTreeMap<String, ImageInfo>,
    volumes: Prepared,
    /// An object of a volume has changed while volumes were being made.
    are_volumes_stale: bool,
    /// Probe tasks of running containers.
    probes: Vec<(String, probe::Kind, AbortHandle)>,
    /// Exits of containers that we did not know of yet.
    early: Vec<Ended>,
    /// The revision `observed.reported` was taken from.
    reported_at: u64,
    is_reporting: bool,
    /// The patch that was accepted last, and how often in a row one was refused.
    accepted: Option<Value>,
    refusals: u32,
    /// Reason of each waiting container when it was last looked at: events tell changes.
    waits: BTreeMap<String, String>,
}

/// What a task of the worker brings back.
enum Outcome {
    Sandbox(anyhow::Result<Ipv4Addr>),
    SandboxRemoved(anyhow::Result<()>),
    Volumes(Result<Prepared, Vec<volume::Failed>>),
    TornDown(std::io::Result<()>),
    Image(String, u32, Result<ImageInfo, image::Trouble>),
    Started(String, u32, u32, Result<ContainerInfo, StartFailed>),
    PostStart(String, Result<(), String>),
    PreStop(String, Result<(), String>),
    Ended(String, Ended),
    Resized(resize::Done),
    LookedAgain(anyhow::Result<Option<SandboxInfo>>),
    Reported(Value, Box<Result<Pod, ApiError>>),
    Deleted(Result<(), ApiError>),
    /// Nothing to learn from: a signal was sent, a probe has ended.
    Done,
}

impl Worker {
    #[must_use]
    pub fn new(
        host: Arc<Host>,
        mailbox: Arc<Mailbox>,
        pod: Arc<Pod>,
        observed: Observed,
    ) -> Worker {
        let reported_at = pod.revision();
        Worker {
            host,
            mailbox,
            pod,
            observed,
            jobs: JoinSet::new(),
            running: HashMap::new(),
            images: BTreeMap::new(),
            volumes: Prepared::default(),
            are_volumes_stale: false,
            probes: Vec::new(),
            early: Vec::new(),
            reported_at,
            is_reporting: false,
            accepted: None,
            refusals: 0,
            waits: BTreeMap::new(),
        }
    }

    /// Until the pod is gone for good, or the daemon stops; then the pod is left as it is.
    pub async fn run(mut self) {
        let mut stop = self.host.tasks.stop_signal();
        self.resume_probes();
        self.consider_resize();
        loop {
            let mail = self.mailbox.take();
            self.absorb(mail);
            self.admit();
            let wake_at = self.settle();
            self.report();
            if self.is_over() {
                break;
            }
            let until = wake_at.map(|at| {
                let wait = at.duration_since(clock::now());
                Duration::try_from(wait).unwrap_or_default()
            });
            tokio::select! {
                () = self.mailbox.told() => {}
                Some(done) = self.jobs.join_next_with_id() => self.finished(done),
                () = sleep_for(until) => {}
                () = stop.stopped() => return,
            }
        }
        if self.observed.gone {
            act::remove_logs(&self.host, &self.pod).await;
        }
        self.forget();
    }

    /// Nothing is left to do, now or later.
    fn is_over(&self) -> bool {
        let torn_down = self.observed.volumes == Volumes::TornDown;
        let ends = self.observed.gone || self.observed.shutdown.is_some();
        let is_told = !self.is_reporting && self.next_patch().is_none();
        let is_told = is_told || self.refusals >= REFUSALS_MAX;
        ends && torn_down && self.running.is_empty() && is_told
    }

    fn forget(&self) {
        let uid = self.pod.uid();
        let mut workers = self.host.workers.lock().expect("no panic while locked");
        if workers
            .get(uid)
            .is_some_and(|known| Arc::ptr_eq(known, &self.mailbox))
        {
            workers.remove(uid);
        }
        drop(workers);
        self.release();
        self.host.worker_ended.notify_waiters();
    }

    fn release(&self) {
        let mut admitted = self.host.admitted.lock().expect("no panic while locked");
        admitted.remove(self.pod.uid());
        drop(admitted);
        self.host.admitted_changed.notify_one();
        self.host.room_made();
    }

    /// A pod that is new here is taken up or rejected, once.
    fn admit(&mut self) {
        let ends = plan::ending(&self.pod, &self.observed).is_some();
        if self.observed.started_at.is_some() {
            if ends && self.observed.terminal_phase().is_some() {
                self.release();
            }
            return;
        }
        self.observed.started_at = Some(clock::now());
        if !ends {
            self.observed.verdict = super::admission(&self.host, &self.pod);
            if let Some(verdict) = &self.observed.verdict {
                let text = format!("Pod was rejected: {}", verdict.message);
                let reason = verdict.reason.clone();
                self.host
                    .event(&self.pod, None, EventKind::Warning, &reason, &text);
            }
        }
    }

    /// Plans and begins steps until nothing changes at once; the next deadline.
    fn settle(&mut self) -> Option<Timestamp> {
        loop {
            let now = clock::now();
            let plan = plan::plan(&self.pod, &self.observed, now);
            let mut again = false;
            for step in plan.steps {
                again |= self.begin(step, now);
            }
            if again {
                continue;
            }
            let refresh_at = self.volumes.refresh_at();
            let refreshes =
                self.observed.volumes == Volumes::Ready && self.observed.ending_since.is_none();
            if let Some(at) = refresh_at.filter(|_| refreshes) {
                if at > now {
                    return Some(plan.wake_at.map_or(at, |wake| wake.min(at)));
                }
                self.prepare_volumes();
            }
            return plan.wake_at;
        }
    }

    /// Carries a step out or begins to. True when the plan may come out differently at once.
    fn begin(&mut self, step: Step, now: Timestamp) -> bool {
        match step {
            Step::BeginEnding => {
                self.observed.ending_since = Some(now);
                self.probes.retain(|(_, kind, task)| {
                    let stays = *kind == probe::Kind::Readiness;
                    if !stays {
                        task.abort();
                    }
                    stays
                });
                return true;
            }
            Step::Fail(verdict) => {
                self.fail(verdict);
                return true;
            }
            Step::BeginStop {
                container,
                grace_seconds,
                message,
            } => {
                self.begin_stop(&container, grace_seconds, &message, now);
                return true;
            }
            Step::PrepareVolumes => self.prepare_volumes(),
            Step::CreateSandbox => {
                let (host, pod) = self.both();
                self.spawn(Job::Sandbox, async move {
                    Outcome::Sandbox(sandbox::create(&host, &pod).await)
                });
            }
            Step::RemoveSandbox => {
                let (host, pod) = self.both();
                self.spawn(Job::Sandbox, async move {
                    let removed = sandbox::remove(&host, pod.uid()).await;
                    Outcome::SandboxRemoved(paced(removed).await)
                });
            }
            Step::EnsureImage { container, attempt } => self.ensure_image(container, attempt),
            Step::Start {
                container,
                attempt,
                crashes,
            } => self.start(container, attempt, crashes),
            Step::Resize => self.resize(),
            Step::StartOver => {
                self.start_over();
                return true;
            }
            Step::PreStop { container } => self.pre_stop(container),
            Step::Signal { container } => return self.signal(&container, None),
            Step::Kill { container } => return self.signal(&container, Some(KILL)),
            Step::TearDown { keeps_data } => {
                let (host, pod) = self.both();
                self.spawn(Job::Volumes, async move {
                    let done = volume::tear_down(&host, pod.uid(), keeps_data).await;
                    Outcome::TornDown(paced(done).await)
                });
            }
            Step::Delete => {
                // The final status goes first: it is what controllers judge the pod by.
                let is_told = self.next_patch().is_none() || self.refusals >= REFUSALS_MAX;
                if is_told && !self.is_reporting {
                    let (host, pod) = self.both();
                    self.spawn(Job::Delete, async move {
                        let deleted = act::delete(&host, &pod).await;
                        Outcome::Deleted(match deleted {
                            Err(failure) if failure.is_not_found() || failure.is_conflict() => {
                                Ok(())
                            }
                            other => paced(other).await,
                        })
                    });
                }
            }
        }
        false
    }

    fn fail(&mut self, verdict: Verdict) {
        let (reason, message) = (&verdict.reason, &verdict.message);
        self.host
            .event(&self.pod, None, EventKind::Normal, reason, message);
        self.observed.verdict = Some(verdict);
    }

    /// For a job: the host, and the pod with the resources that were granted to it.
    pub(super) fn both(&self) -> (Arc<Host>, Arc<Pod>) {
        let pod = granted(&self.pod, &self.observed.allocation.granted);
        (Arc::clone(&self.host), pod)
    }

    fn spawn(&mut self, job: Job, work: impl Future<Output = Outcome> + Send + 'static) {
        self.observed.busy.insert(job.clone());
        let task = self.jobs.spawn(work);
        self.running.insert(task.id(), job);
    }

    fn finished(&mut self, done: Result<(Id, Outcome), JoinError>) {
        let (id, outcome) = match done {
            Ok((id, outcome)) => (id, Some(outcome)),
            Err(failure) => {
                if failure.is_panic() {
                    error!(pod = %self.pod.key(), %failure, "a step of a pod panicked");
                }
                (failure.id(), None)
            }
        };
        if let Some(job) = self.running.remove(&id) {
            self.observed.busy.remove(&job);
        }
        if let Some(outcome) = outcome {
            self.apply(outcome);
        }
    }
}

const KILL: i32 = 9;

async fn sleep_for(time: Option<Duration>) {
    match time {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

/// Holds a failure back for a moment, so that what is tried again at once does not spin.
async fn paced<T, E>(result: Result<T, E>) -> Result<T, E> {
    if result.is_err() {
        tokio::time::sleep(RETRY).await;
    }
    result
}
