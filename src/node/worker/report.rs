//! Tells the API what there is to tell: one patch at a time, only when something has changed.

use super::{Outcome, REFUSALS_MAX, Worker, paced};
use crate::{
    api::{ApiError, object::Object},
    client::EventKind,
    node::{act, image, observed::Image, status},
    task::clock,
};
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use serde_json::Value;
use tracing::{debug, warn};

impl Worker {
    fn status(&self) -> PodStatus {
        status::status(&self.pod, &self.observed, self.host.address(), clock::now())
    }

    /// The patch that is due, if any.
    pub(super) fn next_patch(&self) -> Option<Value> {
        if !self.is_reported() {
            return None;
        }
        self.patch_to(&self.status())
    }

    /// A patch that was accepted and changed nothing is not sent again: the server sees something in it that we do not.
    fn patch_to(&self, new: &PodStatus) -> Option<Value> {
        let patch = status::patch(self.pod.uid(), &self.observed.reported, new);
        patch.filter(|patch| self.accepted.as_ref() != Some(patch))
    }

    pub(super) fn report(&mut self) {
        if !self.is_reported() {
            return;
        }
        let new = self.status();
        self.tell_back_offs(&new);
        if self.is_reporting {
            return;
        }
        let Some(patch) = self.patch_to(&new) else {
            return;
        };
        self.is_reporting = true;
        let (host, pod) = self.both();
        self.jobs.spawn(async move {
            let reported = act::report(&host, &pod, &patch).await;
            let reported = match reported {
                Err(failure) if failure.is_not_found() => Err(failure),
                other => paced(other).await,
            };
            Outcome::Reported(patch, Box::new(reported))
        });
    }

    pub(super) fn reported(&mut self, patch: Value, result: Result<Pod, ApiError>) {
        self.is_reporting = false;
        match result {
            Ok(pod) => {
                self.accepted = Some(patch);
                self.refusals = 0;
                if pod.revision() >= self.reported_at {
                    self.reported_at = pod.revision();
                    self.observed.reported = pod.status.unwrap_or_default();
                }
            }
            Err(failure) if failure.is_not_found() => self.observed.gone = true,
            Err(failure) => {
                self.refusals += 1;
                if self.refusals == REFUSALS_MAX {
                    warn!(pod = %self.pod.key(), %failure, "the status of a pod is refused");
                }
                debug!(pod = %self.pod.key(), %failure, "report a pod's status");
            }
        }
    }

    /// Events for containers that have begun to wait before the next attempt.
    fn tell_back_offs(&mut self, new: &PodStatus) {
        let lists = [
            &new.init_container_statuses,
            &new.container_statuses,
            &new.ephemeral_container_statuses,
        ];
        let statuses = lists.into_iter().flatten().flatten();
        let mut told = Vec::new();
        for status in statuses {
            let waiting = status
                .state
                .as_ref()
                .and_then(|state| state.waiting.as_ref());
            let reason = waiting.and_then(|waiting| waiting.reason.clone());
            let reason = reason.unwrap_or_default();
            let before = self.waits.insert(status.name.clone(), reason.clone());
            if before.as_ref() != Some(&reason) {
                let image = match self.observed.seen(&status.name).image {
                    Image::Failed { image, .. } => image,
                    _ => status.image.clone(),
                };
                told.push((status.name.clone(), image, reason));
            }
        }
        for (name, image, reason) in told {
            match reason.as_str() {
                "CrashLoopBackOff" => {
                    let text = image::crash_text(&self.pod, &name);
                    self.tell_container(&name, EventKind::Warning, "BackOff", &text);
                }
                "ImagePullBackOff" => {
                    let text = format!("Back-off pulling image \"{image}\"");
                    self.tell_container(&name, EventKind::Normal, "BackOff", &text);
                    let text = "Error: ImagePullBackOff";
                    self.tell_container(&name, EventKind::Warning, "Failed", text);
                }
                _ => {}
            }
        }
    }
}
