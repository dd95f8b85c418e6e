//! What a new state of the object means for containers that exist: other images, another chance for those that failed.
//!
//! Does not stop anything itself: that is the plan's, which compares what runs with the spec.

use super::Worker;
use crate::{
    api::object::Object,
    node::{
        observed::{Image, State},
        plan::{crashes_after_next, ending, is_redefined},
        spec::{self, Role},
        volume,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;

impl Worker {
    pub(super) fn new_pod(&mut self, pod: Arc<Pod>) {
        if pod.revision() > self.reported_at {
            // Somebody else has written: what was accepted may have to be said again.
            self.accepted = None;
        }
        if pod.revision() >= self.reported_at {
            self.reported_at = pod.revision();
            self.observed.reported = pod.status.clone().unwrap_or_default();
        }
        if pod.revision() >= self.pod.revision() {
            let is_changed = pod.metadata.generation != self.pod.metadata.generation;
            let is_relabeled = pod.metadata.labels != self.pod.metadata.labels
                || pod.metadata.annotations != self.pod.metadata.annotations;
            let old = std::mem::replace(&mut self.pod, pod);
            if is_changed {
                self.forget_old_images(&old);
                self.consider_resize();
            }
            if is_changed || is_relabeled {
                self.retry_starts();
            }
            if is_relabeled && volume::shows_metadata(&self.pod) {
                self.volumes_changed();
            }
        }
    }

    /// Containers that could not be made may be possible now.
    pub(super) fn retry_starts(&mut self) {
        for seen in self.observed.seen.values_mut() {
            if let Some(failure) = &mut seen.failure {
                failure.retry_at = Timestamp::default();
            }
        }
    }

    /// A container that has got another image begins a new series of pulls and crashes.
    fn forget_old_images(&mut self, old: &Pod) {
        let (old, new) = (spec::of(old), spec::of(&self.pod));
        for wanted in spec::containers(&new) {
            let before = spec::container(&old, wanted.name());
            if before.is_some_and(|before| before.container.image == wanted.container.image) {
                continue;
            }
            if let Some(seen) = self.observed.seen.get_mut(wanted.name()) {
                seen.image = Image::Unknown;
                seen.crashes = 0;
            }
        }
    }

    /// All containers but those for debugging wait for their turn again.
    pub(super) fn start_over(&mut self) {
        let spec = spec::of(&self.pod);
        let all = spec::containers(&spec);
        for wanted in &all {
            if let Some(seen) = self.observed.seen.get_mut(wanted.name()) {
                seen.crashes = crashes_after_next(seen);
            }
        }
        let debugs = |name: &str| {
            let mut debugs = all.iter().filter(|wanted| wanted.role == Role::Ephemeral);
            debugs.any(|wanted| wanted.name() == name)
        };
        self.observed.start_over(|name, _| debugs(name));
    }

    /// Whether the end of a container starts all of them anew.
    pub(super) fn starts_all_over(&self, name: &str, code: i32) -> bool {
        let spec = spec::of(&self.pod);
        let wanted = spec::container(&spec, name);
        wanted.is_some_and(|wanted| wanted.restarts_all(code))
            && ending(&self.pod, &self.observed).is_none()
    }

    /// Whether a container was stopped to start anew from another image.
    pub(super) fn ended_for_image(&self, name: &str) -> bool {
        let spec = spec::of(&self.pod);
        let Some((wanted, seen)) = spec::container(&spec, name).zip(self.observed.seen.get(name))
        else {
            return false;
        };
        matches!(seen.state, State::Running { .. })
            && seen.stop.is_some()
            && is_redefined(seen, &wanted)
            && ending(&self.pod, &self.observed).is_none()
    }
}
