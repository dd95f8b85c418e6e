//! How many pods a job should have now, and what they look like.

use super::{
    TRACKING,
    account::{self, FAILURE_COUNT, Totals},
    index::{self, INDEX},
    seconds,
    survey::{Survey, ended_at, is_tracked},
};
use crate::{
    api::object::Object,
    controllers::{
        framework::{Decision, Notice, World, Write, controller_ref},
        pods,
    },
};
use jiff::Timestamp;
use k8s_openapi::api::{
    batch::v1::Job,
    core::v1::{Container, EnvVar, EnvVarSource, ObjectFieldSelector, Pod},
};
use std::{collections::BTreeSet, time::Duration};

/// Pods created or deleted in one pass.
const BURST: usize = 500;
/// Pause after the first failure in a row; it doubles up to the maximum.
const BACKOFF_SECONDS: i64 = 10;
const BACKOFF_MAX_SECONDS: i64 = 600;

#[derive(Debug, Default)]
pub struct Made<'a> {
    pub created: usize,
    pub deleted: Vec<&'a Pod>,
}

impl<'a> Made<'a> {
    pub fn without(deleted: &[&'a Pod]) -> Made<'a> {
        Made {
            created: 0,
            deleted: deleted.to_vec(),
        }
    }
}

/// Creates what is missing, deletes what is too much.
pub fn adjust<'a>(
    survey: &Survey<'a>,
    totals: &Totals,
    world: &World,
    decision: &mut Decision,
) -> Made<'a> {
    let active = survey.active.len();
    let wanted = wanted_active(survey, totals, active);
    if active > wanted {
        // The youngest and least ready lose least.
        let mut order = survey.active.clone();
        order.sort_by_key(|pod| (pods::is_ready(pod), std::cmp::Reverse(created(pod))));
        order.truncate((active - wanted).min(BURST));
        withdraw(survey.job, &order, decision);
        return Made::without(&order);
    }
    let leaving = if survey.replaces_failed_only() {
        survey.terminating
    } else {
        0
    };
    let missing = wanted.saturating_sub(active + leaving).min(BURST);
    if missing == 0 {
        return Made::default();
    }
    let per_index = survey.spec.backoff_limit_per_index.is_some();
    if !per_index && let Some(pause) = pause(&survey.failed, &survey.succeeded, world) {
        decision.again(pause);
        return Made::default();
    }
    let pods: Vec<Pod> = if survey.is_indexed() {
        let indexes = open_indexes(survey, totals, world, decision);
        indexes
            .into_iter()
            .take(missing)
            .map(|index| indexed(survey, index, totals))
            .collect()
    } else {
        vec![plain(survey); missing]
    };
    let created = pods.len();
    for pod in pods {
        let write = Write::create(&pod)
            .told(Notice::normal(
                survey.job,
                "SuccessfulCreate",
                "Created pod: ",
            ))
            .lamented(Notice::warning(
                survey.job,
                "FailedCreate",
                "Error creating: ",
            ));
        decision.push(write);
    }
    Made {
        created,
        deleted: Vec::new(),
    }
}

/// Deletes pods that are not wanted any more. They lose the finalizer first: nobody shall count them as failures.
pub fn withdraw(job: &Job, pods: &[&Pod], decision: &mut Decision) {
    for pod in pods.iter().filter(|pod| is_tracked(pod)) {
        decision.push(account::untrack(pod));
    }
    for pod in pods {
        decision.push(deletion(job, pod));
    }
}

fn wanted_active(survey: &Survey<'_>, totals: &Totals, active: usize) -> usize {
    let size = |number: i32| usize::try_from(number).unwrap_or_default();
    let parallelism = size(survey.spec.parallelism.unwrap_or(1));
    match survey.completions() {
        // A work queue: after the first success the others finish on their own.
        None if totals.succeeded > 0 => active.min(parallelism),
        None => parallelism,
        Some(completions) => {
            let failed = i32::try_from(totals.failed_indexes.len()).unwrap_or(i32::MAX);
            parallelism.min(size(completions - totals.succeeded - failed))
        }
    }
}

/// The time left before another pod may be made; `None`: now.
fn pause(failed: &[&Pod], succeeded: &[&Pod], world: &World) -> Option<Duration> {
    let last_success = succeeded.iter().filter_map(|pod| ended_at(pod)).max();
    let since = failed.iter().filter_map(|pod| ended_at(pod));
    let since: Vec<Timestamp> = since
        .filter(|at| last_success.is_none_or(|last| *at > last))
        .collect();
    let last = since.iter().max()?;
    let doublings = u32::try_from(since.len() - 1).unwrap_or(u32::MAX).min(16);
    let delay = (BACKOFF_SECONDS << doublings).min(BACKOFF_MAX_SECONDS);
    world.until(*last, seconds(delay))
}

/// Indexes that are neither done, failed, in work nor pausing.
fn open_indexes(
    survey: &Survey<'_>,
    totals: &Totals,
    world: &World,
    decision: &mut Decision,
) -> Vec<i32> {
    let mut busy: BTreeSet<i32> = survey.active_indexes().into_iter().collect();
    if survey.replaces_failed_only() {
        let leaving = survey
            .pods
            .iter()
            .filter(|pod| pod.is_deleting() && !pods::is_terminal(pod));
        busy.extend(leaving.filter_map(|pod| index::of(pod)));
    }
    let all = 0..survey.completions().unwrap_or_default();
    let open = all.filter(|index| {
        !busy.contains(index)
            && !totals.completed.contains(index)
            && !totals.failed_indexes.contains(index)
    });
    let has_own_backoff = survey.spec.backoff_limit_per_index.is_some();
    let open = open.filter(|index| {
        if !has_own_backoff {
            return true;
        }
        let its: Vec<&Pod> = survey
            .failed
            .iter()
            .filter(|pod| index::of(pod) == Some(*index))
            .copied()
            .collect();
        let pause = pause(&its, &[], world);
        if let Some(pause) = pause {
            decision.again(pause);
        }
        pause.is_none()
    });
    open.collect()
}

fn plain(survey: &Survey<'_>) -> Pod {
    let key = survey.job.key();
    let owner = controller_ref(survey.job);
    let mut pod = pods::from_template(&survey.spec.template, &key.namespace, &key.name, owner);
    let labels = pod.metadata.labels.get_or_insert_default();
    for (name, value) in [
        ("batch.kubernetes.io/controller-uid", survey.job.uid()),
        ("batch.kubernetes.io/job-name", key.name.as_str()),
        ("controller-uid", survey.job.uid()),
        ("job-name", key.name.as_str()),
    ] {
        // A manual selector leaves the labels to the user, who may have set them otherwise.
        labels
            .entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    pod.metadata
        .finalizers
        .get_or_insert_default()
        .push(TRACKING.to_owned());
    pod
}

fn indexed(survey: &Survey<'_>, index: i32, totals: &Totals) -> Pod {
    let name = survey.job.key().name;
    let mut pod = plain(survey);
    pod.metadata.generate_name = Some(format!("{name}-{index}-"));
    let text = index.to_string();
    pod.metadata
        .labels
        .get_or_insert_default()
        .insert(INDEX.to_owned(), text.clone());
    let annotations = pod.metadata.annotations.get_or_insert_default();
    annotations.insert(INDEX.to_owned(), text);
    if survey.spec.backoff_limit_per_index.is_some() {
        let failures = totals
            .index_failures
            .get(&index)
            .copied()
            .unwrap_or_default();
        annotations.insert(FAILURE_COUNT.to_owned(), failures.to_string());
    }
    if let Some(spec) = &mut pod.spec {
        spec.hostname
            .get_or_insert_with(|| format!("{name}-{index}"));
        spec.containers.iter_mut().for_each(tell_index);
        spec.init_containers
            .iter_mut()
            .flatten()
            .for_each(tell_index);
    }
    pod
}

fn tell_index(container: &mut Container) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    let env = container.env.get_or_insert_default();
    if env.iter().any(|one| one.name == NAME) {
        return;
    }
    env.push(EnvVar {
        name: NAME.to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            field_ref: Some(ObjectFieldSelector {
                api_version: None,
                field_path: format!("metadata.labels['{INDEX}']"),
            }),
            ..EnvVarSource::default()
        }),
    });
}

pub fn deletion(job: &Job, pod: &Pod) -> Write {
    let told = format!("Deleted pod: {}", pod.key().name);
    Write::delete(pod)
        .told(Notice::normal(job, "SuccessfulDelete", told))
        .lamented(Notice::warning(job, "FailedDelete", "Error deleting: "))
}

fn created(pod: &Pod) -> Option<Timestamp> {
    pod.metadata.creation_timestamp.as_ref().map(|time| time.0)
}
