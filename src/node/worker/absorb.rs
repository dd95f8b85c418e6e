//! What a worker learns: from its mailbox and from its own jobs.

use super::{CONFIG_RETRY, Outcome, SETUP, Worker};
use crate::{
    api::object::Object,
    client::EventKind,
    node::{
        act::{self, StartFailed},
        adopt, image,
        mailbox::{Mail, ProbeReport},
        observed::{Ended, Failure, Hook, Image, Job, Sandbox, State, Unhealthy, Volumes},
        plan::{Ending, ending, pull_delay},
        probe,
        resize::WHOLE,
        spec, volume,
        volume::Prepared,
    },
    runtime::model::{ContainerInfo, ContainerState, ImageInfo, SandboxInfo},
    task::clock,
};
use jiff::{SignedDuration, Timestamp};
use std::net::Ipv4Addr;
use tracing::{info, warn};

impl Worker {
    pub(super) fn absorb(&mut self, mail: Mail) {
        if let Some(pod) = mail.pod {
            self.new_pod(pod);
        }
        self.observed.gone |= mail.gone;
        if mail.shutdown.is_some() {
            self.observed.shutdown = mail.shutdown;
        }
        if mail.verdict.is_some() && self.observed.verdict.is_none() {
            self.observed.verdict = mail.verdict;
        }
        for info in mail.exits {
            self.exited(info);
        }
        for report in mail.probes {
            self.probed(&report);
        }
        if mail.has_room {
            self.consider_resize();
        }
        if mail.objects_changed {
            self.objects_changed();
        }
        if mail.look_again {
            self.look_again();
        }
    }

    /// The message it left is read before anybody is told of the end.
    fn exited(&mut self, info: ContainerInfo) {
        let (host, pod) = self.both();
        self.jobs.spawn(async move {
            match act::ended(&host, &pod, &info).await {
                Some(ended) => Outcome::Ended(info.name, ended),
                None => Outcome::Done,
            }
        });
    }

    fn probed(&mut self, report: &ProbeReport) {
        let name = &report.container;
        let Some(seen) = self.observed.seen.get_mut(name) else {
            return;
        };
        match &seen.state {
            State::Running { id, .. } if *id == report.id => {}
            _ => return,
        }
        match (report.kind, report.success) {
            (probe::Kind::Readiness, ready) => seen.probes.is_ready = ready,
            (probe::Kind::Startup, true) => {
                seen.probes.is_started = true;
                self.start_probes(&name.clone());
            }
            (probe::Kind::Liveness, true) => {}
            (kind, false) => {
                seen.probes.unhealthy = Some(Unhealthy {
                    probe: kind.lower(),
                    grace_seconds: report.grace_seconds,
                });
            }
        }
    }

    /// Volumes follow their objects; what waited for an object is tried again at once.
    fn objects_changed(&mut self) {
        self.retry_starts();
        self.volumes_changed();
    }

    pub(super) fn volumes_changed(&mut self) {
        if self.observed.busy.contains(&Job::Volumes) {
            // What is being made may have been read before the change.
            self.are_volumes_stale = true;
            return;
        }
        match &mut self.observed.volumes {
            Volumes::Ready => self.prepare_volumes(),
            Volumes::Failed { retry_at, .. } => *retry_at = Timestamp::default(),
            Volumes::Absent | Volumes::TornDown => {}
        }
    }

    fn look_again(&mut self) {
        let (host, pod) = self.both();
        self.jobs.spawn(async move {
            let all = host.runtime.sandboxes().await;
            let found = all.map(|all| all.into_iter().find(|sandbox| sandbox.id == pod.uid()));
            Outcome::LookedAgain(found.map_err(anyhow::Error::from))
        });
    }

    fn looked_again(&mut self, found: Option<&SandboxInfo>) {
        if !matches!(self.observed.sandbox, Sandbox::Ready { .. })
            || self.observed.busy.contains(&Job::Sandbox)
        {
            return;
        }
        let now = clock::now();
        if let Some(found) = found {
            for info in &found.containers {
                if matches!(info.state, ContainerState::Exited(_)) {
                    self.exited(info.clone());
                }
            }
        }
        if found.is_none_or(|found| !found.alive) {
            adopt::sandbox_died(&mut self.observed, now);
            let names: Vec<String> = self.observed.seen.keys().cloned().collect();
            for name in names {
                self.stop_probes(&name);
            }
            if ending(&self.pod, &self.observed).is_none() {
                let text = "Pod sandbox changed, it will be killed and re-created.";
                self.host
                    .event(&self.pod, None, EventKind::Normal, "SandboxChanged", text);
            }
        }
    }

    pub(super) fn apply(&mut self, outcome: Outcome) {
        let now = clock::now();
        match outcome {
            Outcome::Sandbox(result) => self.sandbox_made(result, now),
            Outcome::SandboxRemoved(Ok(())) => self.sandbox_removed(),
            Outcome::SandboxRemoved(Err(failure)) => {
                warn!(pod = %self.pod.key(), ?failure, "remove a sandbox");
            }
            Outcome::Volumes(result) => {
                self.volumes_made(result, now);
                if std::mem::take(&mut self.are_volumes_stale) {
                    self.volumes_changed();
                }
            }
            Outcome::TornDown(Ok(())) => self.observed.volumes = Volumes::TornDown,
            Outcome::TornDown(Err(failure)) => {
                warn!(pod = %self.pod.key(), %failure, "tear volumes down");
            }
            Outcome::Image(name, attempt, result) => self.image_checked(name, attempt, result, now),
            Outcome::Started(name, attempt, crashes, result) => {
                self.started(&name, attempt, crashes, result, now);
            }
            Outcome::PostStart(name, result) => self.post_started(&name, result, now),
            Outcome::PreStop(name, result) => {
                if let Err(text) = result {
                    info!(pod = %self.pod.key(), container = name, text, "pre-stop hook failed");
                    self.tell_container(
                        &name,
                        EventKind::Warning,
                        "FailedPreStopHook",
                        "PreStopHook failed",
                    );
                }
                if let Some(stop) = self
                    .observed
                    .seen
                    .get_mut(&name)
                    .and_then(|seen| seen.stop.as_mut())
                {
                    stop.hook_done.get_or_insert(now);
                }
            }
            Outcome::Done => {}
            Outcome::Ended(name, ended) => self.ended(&name, ended),
            Outcome::Resized(done) => self.resized(done, now),
            Outcome::LookedAgain(Ok(found)) => self.looked_again(found.as_ref()),
            Outcome::LookedAgain(Err(failure)) => {
                warn!(pod = %self.pod.key(), ?failure, "look at a sandbox");
            }
            Outcome::Reported(patch, result) => self.reported(patch, *result),
            Outcome::Deleted(Ok(())) => {
                // With finalizers the object stays for others to remove; our part is done.
                self.observed.busy.insert(Job::Delete);
                if self
                    .pod
                    .metadata
                    .finalizers
                    .as_ref()
                    .is_none_or(Vec::is_empty)
                {
                    self.observed.gone = true;
                }
            }
            Outcome::Deleted(Err(failure)) => {
                warn!(pod = %self.pod.key(), %failure, "delete a pod that has ended");
            }
        }
    }

    fn sandbox_made(&mut self, result: anyhow::Result<Ipv4Addr>, now: Timestamp) {
        match result {
            Ok(address) => {
                self.observed.sandbox = Sandbox::Ready { address };
                let allocation = &mut self.observed.allocation;
                if let Some(whole) = allocation.granted.get(WHOLE).cloned() {
                    allocation.actual.insert(WHOLE.to_owned(), whole);
                }
            }
            Err(failure) => {
                let failures = match self.observed.sandbox {
                    Sandbox::Failed { failures, .. } => failures + 1,
                    _ => 1,
                };
                let text = format!("Failed to create pod sandbox: {failure:#}");
                self.host.event(
                    &self.pod,
                    None,
                    EventKind::Warning,
                    "FailedCreatePodSandBox",
                    &text,
                );
                self.observed.sandbox = Sandbox::Failed {
                    retry_at: now + delay(failures),
                    failures,
                };
            }
        }
    }

    fn sandbox_removed(&mut self) {
        let ends = ending(&self.pod, &self.observed);
        if ends.is_some() {
            self.observed.sandbox = Sandbox::Removed;
        } else {
            adopt::forget_sandbox(&self.pod, &mut self.observed);
        }
    }

    fn volumes_made(&mut self, result: Result<Prepared, Vec<volume::Failed>>, now: Timestamp) {
        match result {
            Ok(prepared) => {
                self.volumes = prepared;
                self.observed.volumes = Volumes::Ready;
            }
            Err(failed) => {
                for failure in &failed {
                    let text = failure.text();
                    self.host
                        .event(&self.pod, None, EventKind::Warning, "FailedMount", &text);
                }
                let failures = match self.observed.volumes {
                    // What is mounted stays as it is; the next change tries again.
                    Volumes::Ready => return,
                    Volumes::Failed { failures, .. } => failures + 1,
                    _ => 1,
                };
                self.observed.volumes = Volumes::Failed {
                    retry_at: now + delay(failures),
                    failures,
                };
            }
        }
    }

    fn image_checked(
        &mut self,
        name: String,
        attempt: u32,
        result: Result<ImageInfo, image::Trouble>,
        now: Timestamp,
    ) {
        let seen = self.observed.seen.entry(name.clone()).or_default();
        match result {
            Ok(image) => {
                seen.image = Image::Ready {
                    id: image.id.clone(),
                    attempt,
                };
                self.images.insert(name, image);
            }
            Err(trouble) => {
                let failures = match seen.image {
                    Image::Failed { failures, .. } => failures + 1,
                    _ => 1,
                };
                seen.image = Image::Failed {
                    image: trouble.image,
                    reason: trouble.reason.to_owned(),
                    message: trouble.message,
                    since: now,
                    retry_at: now + pull_delay(failures),
                    failures,
                };
            }
        }
    }

    fn started(
        &mut self,
        name: &str,
        attempt: u32,
        crashes: u32,
        result: Result<ContainerInfo, StartFailed>,
        now: Timestamp,
    ) {
        let spec = spec::of(&self.pod).into_owned();
        let Some(wanted) = spec::container(&spec, name) else {
            return;
        };
        let asked = wanted.container.image.clone().unwrap_or_default();
        let names = self
            .images
            .get(name)
            .map(|image| image::names(&asked, image));
        let seen = self.observed.seen.entry(name.to_owned()).or_default();
        let failed = match result {
            Ok(info) => {
                if let State::Ended(ended) = &seen.state {
                    seen.last = Some(ended.clone());
                }
                let started_at = match info.state {
                    ContainerState::Running { started_at, .. } => started_at,
                    _ => now,
                };
                seen.state = State::Running {
                    id: info.id.clone(),
                    started_at,
                };
                seen.user = info.user;
                None
            }
            Err(failed) => Some(failed),
        };
        if let Some(failed) = failed {
            let Some(ended) = failed.ended else {
                seen.failure = Some(Failure {
                    reason: failed.reason.to_owned(),
                    message: failed.message,
                    retry_at: now + CONFIG_RETRY,
                });
                return;
            };
            if let State::Ended(before) = &seen.state {
                seen.last = Some(before.clone());
            }
            seen.state = State::Ended(*ended);
        }
        seen.attempt = Some(attempt);
        seen.crashes = crashes;
        seen.image_names = names.unwrap_or_default();
        seen.asked_image = asked;
        seen.failure = None;
        seen.stop = None;
        seen.post_start = Hook::None;
        seen.probes.unhealthy = None;
        seen.probes.is_started = wanted.container.startup_probe.is_none();
        seen.probes.is_ready = wanted.container.readiness_probe.is_none();
        self.after_start(name);
    }

    /// The post-start hook, probes, and an end that came before the start was known.
    fn after_start(&mut self, name: &str) {
        let Some(target) = self.target(name) else {
            return;
        };
        if let Some(at) = self.early.iter().position(|ended| ended.id == target.id) {
            let ended = self.early.remove(at);
            self.ended(name, ended);
            return;
        }
        let lifecycle = target.container.lifecycle.clone();
        let Some(handler) = lifecycle.and_then(|lifecycle| lifecycle.post_start) else {
            self.start_probes(name);
            return;
        };
        if let Some(seen) = self.observed.seen.get_mut(name) {
            seen.post_start = Hook::Running;
        }
        let name = name.to_owned();
        self.spawn(Job::Start(name.clone()), async move {
            let result = crate::node::hook::run(&target, &handler).await;
            Outcome::PostStart(name, result)
        });
    }

    fn post_started(&mut self, name: &str, result: Result<(), String>, now: Timestamp) {
        let Some(seen) = self.observed.seen.get_mut(name) else {
            return;
        };
        if seen.post_start != Hook::Running {
            return;
        }
        match result {
            Ok(()) => {
                seen.post_start = Hook::None;
                self.start_probes(name);
            }
            Err(text) => {
                seen.post_start = Hook::Failed(text.clone());
                info!(pod = %self.pod.key(), container = name, text, at = %now, "post-start hook failed");
                self.tell_container(
                    name,
                    EventKind::Warning,
                    "FailedPostStartHook",
                    "PostStartHook failed",
                );
            }
        }
    }

    fn ended(&mut self, name: &str, ended: Ended) {
        let starts_anew = self.ended_for_resize(name) || self.ended_for_image(name);
        let starts_over = self.starts_all_over(name, ended.code);
        let Some(seen) = self.observed.seen.get_mut(name) else {
            self.early.push(ended);
            return;
        };
        match &seen.state {
            State::Running { id, .. } if *id == ended.id => {}
            State::Ended(known) if known.id == ended.id => return,
            _ => {
                self.early.retain(|early| early.id != ended.id);
                self.early.push(ended);
                return;
            }
        }
        seen.state = if starts_anew {
            // Whatever its restart policy says of the exit code.
            seen.last = Some(ended);
            State::Waiting
        } else {
            State::Ended(ended)
        };
        seen.stop = None;
        seen.post_start = Hook::None;
        seen.probes.unhealthy = None;
        self.observed.starts_over |= starts_over;
        self.stop_probes(name);
    }

    pub(super) fn tell_container(&self, name: &str, kind: EventKind, reason: &str, text: &str) {
        let spec = spec::of(&self.pod);
        let field = spec::container(&spec, name).map(|wanted| wanted.field_path());
        self.host
            .event(&self.pod, field.as_deref(), kind, reason, text);
    }

    /// Whether status and object matter to anybody any more.
    pub(super) fn is_reported(&self) -> bool {
        ending(&self.pod, &self.observed) != Some(Ending::Gone)
    }
}

fn delay(failures: u32) -> SignedDuration {
    SignedDuration::try_from(SETUP.jittered(failures)).unwrap_or(SignedDuration::MAX)
}
