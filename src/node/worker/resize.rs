//! Changes of a running pod's resources: asking the node for them, carrying them out, telling people.

use super::{CONFIG_RETRY, Outcome, Worker};
use crate::{
    client::EventKind,
    node::{
        act, grant,
        observed::{Job, State},
        plan::ending,
        resize::{self, Change, DEFERRED, InProgress, Pending, Shares, WHOLE},
        spec,
    },
};
use jiff::Timestamp;

/// What a resize has come to.
pub(super) struct Done {
    /// What the containers have from now on.
    applied: Shares,
    /// No container is left that must start anew.
    is_last: bool,
    result: Result<(), String>,
}

impl Worker {
    /// Asks for what the spec wishes for, if that is not what was granted.
    pub(super) fn consider_resize(&mut self) {
        let spec = spec::of(&self.pod).into_owned();
        let is_up =
            self.observed.started_at.is_some() && ending(&self.pod, &self.observed).is_none();
        if !is_up || !resize::differs(&spec, &self.observed.allocation.granted) {
            self.observed.allocation.pending = None;
            return;
        }
        match grant(&self.host, &self.pod) {
            Ok(()) => {
                let allocation = &mut self.observed.allocation;
                allocation.granted = resize::wishes(&spec);
                allocation.pending = None;
                allocation.in_progress = Some(InProgress::default());
                self.tell_resize(EventKind::Normal, "ResizeStarted", "Pod resize started", "");
                // A pod that asked for less has left some for others.
                self.host.room_made();
            }
            Err((reason, message)) => {
                if reason == DEFERRED {
                    let uid = self.pod.metadata.uid.clone().unwrap_or_default();
                    let mut deferred = self.host.deferred.lock().expect("no panic while locked");
                    deferred.insert(uid);
                }
                let pending = Pending { reason, message };
                if self.observed.allocation.pending.as_ref() != Some(&pending) {
                    let event = format!("Resize{reason}");
                    let title = format!("Pod resize {reason}");
                    self.tell_resize(EventKind::Warning, &event, &title, &pending.message);
                    self.observed.allocation.pending = Some(pending);
                }
            }
        }
    }

    pub(super) fn resize(&mut self) {
        let (host, pod) = self.both();
        let allocation = &self.observed.allocation;
        let before = resize::granted(&self.pod, &allocation.actual);
        let spec = spec::of(&self.pod);
        let mut containers = Vec::new();
        let mut is_last = true;
        let all_change = resize::changes_whole(allocation);
        for wanted in spec::containers(&spec) {
            let seen = self.observed.seen(wanted.name());
            let State::Running { id, .. } = seen.state else {
                continue;
            };
            match resize::change(&wanted.container, allocation) {
                Some(Change::InPlace) => containers.push((wanted.name().to_owned(), id)),
                Some(Change::Restart) => is_last = false,
                None if all_change => containers.push((wanted.name().to_owned(), id)),
                None => {}
            }
        }
        let granted = |(name, _): &(String, String)| {
            let granted = allocation.granted.get(name)?;
            Some((name.clone(), granted.clone()))
        };
        let mut applied: Shares = containers.iter().filter_map(granted).collect();
        if let Some(whole) = allocation.granted.get(WHOLE).filter(|_| is_last) {
            applied.insert(WHOLE.to_owned(), whole.clone());
        }
        self.spawn(Job::Resize, async move {
            let done = act::resize(&host, &pod, &before, &containers, is_last).await;
            Outcome::Resized(Done {
                applied,
                is_last,
                result: done.map_err(|failure| failure.to_string()),
            })
        });
    }

    pub(super) fn resized(&mut self, done: Done, now: Timestamp) {
        let Done {
            applied,
            is_last,
            result,
        } = done;
        let allocation = &mut self.observed.allocation;
        match result {
            Ok(()) => {
                allocation.actual.extend(applied);
                allocation.in_progress = (!is_last).then(|| InProgress {
                    is_wide: true,
                    ..InProgress::default()
                });
                if is_last {
                    let title = "Pod resize completed";
                    self.tell_resize(EventKind::Normal, "ResizeCompleted", title, "");
                }
            }
            Err(error) => {
                let is_wide = allocation
                    .in_progress
                    .as_ref()
                    .is_some_and(|before| before.is_wide);
                allocation.in_progress = Some(InProgress {
                    is_wide,
                    error: error.clone(),
                    retry_at: Some(now + CONFIG_RETRY),
                });
                self.tell_resize(
                    EventKind::Warning,
                    "ResizeError",
                    "Pod resize error",
                    &error,
                );
            }
        }
    }

    /// Whether a container was stopped to start anew with what was granted to it.
    pub(super) fn ended_for_resize(&self, name: &str) -> bool {
        let spec = spec::of(&self.pod);
        let allocation = &self.observed.allocation;
        let is_wide = allocation
            .in_progress
            .as_ref()
            .is_some_and(|progress| progress.is_wide);
        let stops = self
            .observed
            .seen
            .get(name)
            .is_some_and(|seen| seen.stop.is_some());
        let wanted = spec::container(&spec, name);
        is_wide
            && stops
            && ending(&self.pod, &self.observed).is_none()
            && wanted.is_some_and(|wanted| {
                resize::change(&wanted.container, allocation) == Some(Change::Restart)
            })
    }

    fn tell_resize(&self, kind: EventKind, reason: &str, title: &str, error: &str) {
        let spec = spec::of(&self.pod);
        let text = resize::summary(title, &spec, self.pod.metadata.generation, error);
        self.host.event(&self.pod, None, kind, reason, &text);
    }
}
