//! Steps of a worker that need some of its memory to begin.

use super::{KILL, Outcome, Worker};
use crate::{
    client::EventKind,
    node::{
        act::{self, Start},
        hook, image,
        observed::{Image, Job, Sandbox, State, Stopping},
        probe::{self, Target},
        signal::stop_signal,
        spec, volume,
    },
};
use jiff::Timestamp;
use std::{net::Ipv4Addr, sync::Arc};

impl Worker {
    pub(super) fn begin_stop(
        &mut self,
        container: &str,
        grace_seconds: Option<i64>,
        message: &str,
        now: Timestamp,
    ) {
        let spec = spec::of(&self.pod);
        let Some(wanted) = spec::container(&spec, container) else {
            return;
        };
        let lifecycle = wanted.container.lifecycle.as_ref();
        let has_hook = lifecycle.is_some_and(|lifecycle| lifecycle.pre_stop.is_some());
        let field = wanted.field_path();
        self.host.event(
            &self.pod,
            Some(&field),
            EventKind::Normal,
            "Killing",
            message,
        );
        let seen = self.observed.seen.entry(container.to_owned()).or_default();
        seen.stop = Some(Stopping {
            since: now,
            grace_seconds,
            hook_done: (!has_hook).then_some(now),
            ..Stopping::default()
        });
    }

    pub(super) fn prepare_volumes(&mut self) {
        if self.observed.busy.contains(&Job::Volumes) {
            return;
        }
        let (host, pod) = self.both();
        let tokens = self.volumes.tokens.clone();
        self.spawn(Job::Volumes, async move {
            Outcome::Volumes(volume::prepare(&host, &pod, tokens).await)
        });
    }

    pub(super) fn ensure_image(&mut self, container: String, attempt: u32) {
        let (host, pod) = self.both();
        let job = Job::Image(container.clone());
        self.spawn(job, async move {
            let spec = spec::of(&pod);
            let image = match spec::container(&spec, &container) {
                Some(wanted) => image::ensure_for(&host, &pod, &wanted).await,
                None => return Outcome::Done,
            };
            Outcome::Image(container, attempt, image)
        });
    }

    pub(super) fn start(&mut self, container: String, attempt: u32, crashes: u32) {
        let (host, pod) = self.both();
        let Sandbox::Ready { address } = self.observed.sandbox else {
            return;
        };
        let seen = self.observed.seen(&container);
        let Some(image) = self.images.get(&container).cloned() else {
            // After an adoption the image is looked up again.
            let seen = self.observed.seen.entry(container).or_default();
            seen.image = Image::Unknown;
            return;
        };
        let start = Start {
            attempt,
            crashes,
            image,
            volumes: self.volumes.clone(),
            address,
            previous: seen
                .ended()
                .or(seen.last.as_ref())
                .map(|ended| ended.id.clone()),
        };
        let allocation = &mut self.observed.allocation;
        if let Some(granted) = allocation.granted.get(&container) {
            allocation.actual.insert(container.clone(), granted.clone());
        }
        self.spawn(Job::Start(container.clone()), async move {
            let spec = spec::of(&pod);
            let Some(wanted) = spec::container(&spec, &container) else {
                return Outcome::Done;
            };
            let started = act::start(&host, &pod, &wanted, start).await;
            Outcome::Started(container, attempt, crashes, started)
        });
    }

    /// What probes and hooks need to reach a running container.
    pub(super) fn target(&self, container: &str) -> Option<Target> {
        let seen = self.observed.seen.get(container)?;
        let State::Running { id, .. } = &seen.state else {
            return None;
        };
        let spec = spec::of(&self.pod);
        let wanted = spec::container(&spec, container)?;
        Some(Target {
            host: Arc::clone(&self.host),
            pod: Arc::clone(&self.pod),
            field: wanted.field_path(),
            id: id.clone(),
            address: self.address(),
            container: Arc::new(wanted.container.into_owned()),
        })
    }

    pub(super) fn address(&self) -> Ipv4Addr {
        match self.observed.sandbox {
            Sandbox::Ready { address } => address,
            _ => self.host.address(),
        }
    }

    pub(super) fn pre_stop(&mut self, container: String) {
        let Some(target) = self.target(&container) else {
            return;
        };
        self.spawn(Job::PreStop(container.clone()), async move {
            let lifecycle = target.container.lifecycle.as_ref();
            let result = match lifecycle.and_then(|lifecycle| lifecycle.pre_stop.as_ref()) {
                Some(handler) => hook::run(&target, handler).await,
                None => Ok(()),
            };
            Outcome::PreStop(container, result)
        });
    }

    /// Sends the stop signal, or `number`. True: the plan goes on from there.
    pub(super) fn signal(&mut self, container: &str, number: Option<i32>) -> bool {
        let job = Job::Signal(container.to_owned());
        if self.observed.busy.contains(&job) {
            return false;
        }
        let spec = spec::of(&self.pod).into_owned();
        let Some(wanted) = spec::container(&spec, container) else {
            return false;
        };
        let image = self.images.get(container);
        let number = number.unwrap_or_else(|| stop_signal(&wanted, image));
        let Some(seen) = self.observed.seen.get_mut(container) else {
            return false;
        };
        let (State::Running { id, .. }, Some(stop)) = (&seen.state, &mut seen.stop) else {
            return false;
        };
        if number == KILL {
            stop.is_killed = true;
        }
        stop.is_signaled = true;
        let id = id.clone();
        let (host, pod) = self.both();
        self.spawn(job, async move {
            act::signal(&host, &pod, &id, number).await;
            Outcome::Done
        });
        true
    }

    /// Starts the probes that are due for a container: the startup probe alone, the others once it has succeeded.
    pub(super) fn start_probes(&mut self, container: &str) {
        let Some(target) = self.target(container) else {
            return;
        };
        let is_started = self.observed.seen(container).probes.is_started;
        let kinds: &[probe::Kind] = if is_started {
            &[probe::Kind::Liveness, probe::Kind::Readiness]
        } else {
            &[probe::Kind::Startup]
        };
        for &kind in kinds {
            let is_running = self
                .probes
                .iter()
                .any(|(name, of, task)| name == container && *of == kind && !task.is_finished());
            if kind.of(&target.container).is_none() || is_running {
                continue;
            }
            let (target, mailbox) = (target.clone(), Arc::clone(&self.mailbox));
            let task = self.jobs.spawn(async move {
                probe::watch(target, kind, mailbox).await;
                Outcome::Done
            });
            self.probes.push((container.to_owned(), kind, task));
        }
    }

    pub(super) fn stop_probes(&mut self, container: &str) {
        self.probes.retain(|(name, _, task)| {
            let is_over = name == container;
            if is_over {
                task.abort();
            }
            !is_over && !task.is_finished()
        });
    }

    /// After an adoption: probes begin anew, results stand until they say otherwise.
    pub(super) fn resume_probes(&mut self) {
        let names: Vec<String> = self.observed.seen.keys().cloned().collect();
        for name in names {
            self.start_probes(&name);
        }
    }
}
