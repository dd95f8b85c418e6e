//! Jobs: run pods until enough of them succeeded.
//!
//! Every finished pod is counted exactly once, across crashes: its uid goes into `uncountedTerminatedPods`, then its
//! tracking finalizer is removed, then the uid becomes a number. One pass takes one of these steps per pod; the next
//! follows when the caches show it. Back-off is derived from the finish times of the pods that are still there.

mod account;
mod ending;
mod index;
mod making;
mod policy;
mod survey;

use super::{
    ControllerContext,
    framework::{
        self, Controller, Decision, Notice, Watches, World, Write, claim, controller_of, matches,
    },
    pods,
};
use crate::api::{name::Key, object::Object};
use jiff::SignedDuration;
use k8s_openapi::{
    Resource as _,
    api::{
        batch::v1::{Job, JobCondition, JobSpec, JobStatus},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use survey::Survey;

pub const TRACKING: &str = "batch.kubernetes.io/job-tracking";
const MANAGER: &str = "kubernetes.io/job-controller";

pub fn start(ctx: &ControllerContext) {
    framework::start(ctx, "job-controller", "job-controller", Jobs);
}

struct Jobs;

impl Controller for Jobs {
    type Primary = Job;

    fn watches(watches: &mut Watches) {
        watches.owned::<Pod, Job>().adopted::<Pod, Job>(|job, pod| {
            let selector = job.spec.as_ref().and_then(|spec| spec.selector.as_ref());
            let labels = pod.metadata.labels.as_ref();
            selector.is_some_and(|selector| matches(selector, labels))
        });
        watches.on::<Pod>(|pod, _| left_by(pod).into_iter().collect());
    }

    fn reconcile(&self, job: &Job, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = job.spec.as_ref().filter(|spec| is_ours(spec)) else {
            return decision;
        };
        let all = world.all::<Pod>();
        let namespace = job.key().namespace;
        let claims = claim(
            job,
            all.controlled_by(&namespace, job.uid()).cloned(),
            all.uncontrolled(&namespace).cloned(),
            |pod: &Pod| {
                let selector = spec.selector.as_ref();
                let is_mine =
                    controller_of(&pod.metadata).is_some_and(|owner| owner.uid == job.uid());
                selector.map_or(is_mine, |selector| {
                    matches(selector, pod.metadata.labels.as_ref())
                })
            },
        );
        let is_settled = claims.patches.is_empty();
        for mut patch in claims.patches {
            account::track_claimed(job, all, &mut patch);
            decision.push(patch);
        }
        if is_finished(job) || job.is_deleting() {
            // Nobody counts any more: let the pods go.
            let held = claims.owned.iter().filter(|pod| survey::is_tracked(pod));
            held.for_each(|pod| decision.push(account::untrack(pod)));
            return decision;
        }
        if !is_settled {
            // What is about to be adopted counts in the next pass; until then no pod is made in its place.
            return decision;
        }
        let survey = Survey::new(job, spec, &claims.owned);
        work(&survey, world, &mut decision);
        decision
    }

    /// A job that is gone holds nobody: pods that survived it, as its own or as orphans, lose the finalizer.
    fn gone(&self, key: &Key, world: &World) -> Decision {
        let mut decision = Decision::default();
        let pods = world.all::<Pod>().in_namespace(&key.namespace);
        let orphans = pods.filter(|pod| {
            let owner = controller_of(&pod.metadata);
            let was_its =
                owner.is_some_and(|owner| owner.kind == Job::KIND && owner.name == key.name);
            survey::is_tracked(pod) && (was_its || left_by(pod).as_ref() == Some(key))
        });
        orphans.for_each(|pod| decision.push(account::untrack(pod)));
        decision
    }
}

/// The job that left a pod behind which nobody controls and which still waits to be counted.
fn left_by(pod: &Pod) -> Option<Key> {
    if controller_of(&pod.metadata).is_some() || !survey::is_tracked(pod) {
        return None;
    }
    let labels = pod.metadata.labels.as_ref()?;
    let name = labels.get("batch.kubernetes.io/job-name")?;
    Some(Key::new(pod.key().namespace, name.clone()))
}

fn work(survey: &Survey<'_>, world: &World, decision: &mut Decision) {
    let (job, spec) = (survey.job, survey.spec);
    let mut status = job.status.clone().unwrap_or_default();
    let strips = account::count(survey, &mut status);
    strips.into_iter().for_each(|write| decision.push(write));
    suspend_or_resume(survey, &mut status, world, decision);
    let totals = account::Totals::of(survey, &status);
    if spec.backoff_limit_per_index.is_some() {
        status.failed_indexes = index::format(&totals.failed_indexes);
    }
    let made = if let Some(end) = ending::of(survey, &status, &totals, world) {
        for pod in &survey.active {
            decision.push(making::deletion(job, pod));
        }
        ending::announce(survey, &end, &mut status, world, decision);
        making::Made::without(&survey.active)
    } else if spec.suspend == Some(true) {
        making::withdraw(job, &survey.active, decision);
        making::Made::without(&survey.active)
    } else {
        if let Some(left) = ending::until_deadline(survey, &status, world) {
            decision.again(left);
        }
        making::adjust(survey, &totals, world, decision)
    };
    // Those that go in this pass count neither as active nor as ready: never more ready than active.
    let stays = |pod: &&&Pod| !made.deleted.iter().any(|gone| gone.uid() == pod.uid());
    let staying: Vec<&&Pod> = survey.active.iter().filter(stays).collect();
    let ready = staying.iter().filter(|pod| pods::is_ready(pod)).count();
    status.active = nonzero(staying.len() + made.created);
    status.ready = Some(count(ready));
    status.terminating = Some(count(survey.terminating));
    if Some(&status) != job.status.as_ref() {
        let status = Some(status);
        decision.push(Write::update_status(&Job {
            status,
            ..job.clone()
        }));
    }
}

/// Sets the start time, and tells when a job was suspended or resumed.
fn suspend_or_resume(
    survey: &Survey<'_>,
    status: &mut JobStatus,
    world: &World,
    decision: &mut Decision,
) {
    let is_suspended = survey.spec.suspend == Some(true);
    let was = condition(status, "Suspended").map(|one| one.status == "True");
    if is_suspended && was != Some(true) {
        let told = ("True", "JobSuspended", "Job suspended");
        set_condition(status, "Suspended", told, &world.stamp());
        status.start_time = None;
        decision.push(Notice::normal(survey.job, "Suspended", "Job suspended"));
    }
    if !is_suspended && was == Some(true) {
        let told = ("False", "JobResumed", "Job resumed");
        set_condition(status, "Suspended", told, &world.stamp());
        status.start_time = Some(world.stamp());
        decision.push(Notice::normal(survey.job, "Resumed", "Job resumed"));
    }
    if !is_suspended && status.start_time.is_none() {
        status.start_time = Some(world.stamp());
    }
}

fn condition<'a>(status: &'a JobStatus, type_: &str) -> Option<&'a JobCondition> {
    status
        .conditions
        .iter()
        .flatten()
        .find(|one| one.type_ == type_)
}

/// `told` is status, reason and message.
fn set_condition(status: &mut JobStatus, type_: &str, told: (&str, &str, &str), now: &Time) {
    let conditions = status.conditions.get_or_insert_default();
    conditions.retain(|one| one.type_ != type_);
    conditions.push(JobCondition {
        type_: type_.to_owned(),
        status: told.0.to_owned(),
        reason: Some(told.1.to_owned()),
        message: Some(told.2.to_owned()),
        last_probe_time: Some(now.clone()),
        last_transition_time: Some(now.clone()),
    });
}

/// The condition that ended the job, and when.
pub fn finished(job: &Job) -> Option<&JobCondition> {
    let status = job.status.as_ref()?;
    let mut all = status.conditions.iter().flatten();
    all.find(|one| matches!(one.type_.as_str(), "Complete" | "Failed") && one.status == "True")
}

pub fn is_finished(job: &Job) -> bool {
    finished(job).is_some()
}

fn is_ours(spec: &JobSpec) -> bool {
    spec.managed_by
        .as_deref()
        .is_none_or(|manager| manager == MANAGER)
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

fn nonzero(number: usize) -> Option<i32> {
    (number > 0).then(|| count(number))
}

fn seconds(number: i64) -> SignedDuration {
    SignedDuration::from_secs(number)
}

#[cfg(test)]
mod tests;
