//! CronJobs: make a job whenever the schedule says so.
//!
//! A job is known as a run by its name and its annotation, which tell the same time. So a run is found again after a
//! crash between making the job and writing the status: what is active, and when the last run was, follow from the
//! jobs that exist; the status only remembers runs whose jobs are gone.

mod history;
mod run;

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Notice, Watches, World, Write},
    job,
};
use crate::{
    api::{call::Propagation, object::Object},
    client::reference,
};
use k8s_openapi::{
    api::{
        batch::v1::{CronJob, CronJobStatus, Job},
        core::v1::ObjectReference,
    },
    apimachinery::pkg::apis::meta::v1::Time,
};
use std::sync::Arc;

pub fn start(ctx: &ControllerContext) {
    framework::start(ctx, "cronjob-controller", "cronjob-controller", CronJobs);
}

struct CronJobs;

impl Controller for CronJobs {
    type Primary = CronJob;

    fn watches(watches: &mut Watches) {
        watches.owned::<Job, CronJob>();
    }

    fn reconcile(&self, cron_job: &CronJob, world: &World) -> Decision {
        let mut decision = Decision::default();
        let namespace = cron_job.key().namespace;
        let all = world.all::<Job>();
        let jobs: Vec<Arc<Job>> = all
            .controlled_by(&namespace, cron_job.uid())
            .cloned()
            .collect();
        let mut status = cron_job.status.clone().unwrap_or_default();
        follow(cron_job, &jobs, &mut status, &mut decision);
        if !cron_job.is_deleting() {
            run::run(cron_job, world, &jobs, &mut status, &mut decision);
        }
        for job in history::surplus(cron_job, &jobs) {
            decision.push(deletion(cron_job, job));
        }
        if status.active.as_ref().is_some_and(Vec::is_empty) {
            status.active = None;
        }
        if Some(&status) != cron_job.status.as_ref() && status != CronJobStatus::default() {
            decision.push(Write::update_status(&CronJob {
                status: Some(status),
                ..cron_job.clone()
            }));
        }
        decision
    }
}

/// Brings the status up to what the jobs show.
fn follow(
    cron_job: &CronJob,
    jobs: &[Arc<Job>],
    status: &mut CronJobStatus,
    decision: &mut Decision,
) {
    let active = status.active.get_or_insert_default();
    for job in jobs {
        let name = job.key().name;
        let is_known = active.iter().any(|one| is_of(one, job));
        let time = run::time_of(cron_job, job);
        if let Some(time) = time {
            let last = status.last_schedule_time.as_ref();
            if last.is_none_or(|last| last.0 < time) {
                status.last_schedule_time = Some(Time(time));
            }
        }
        let Some(end) = job::finished(job) else {
            if !is_known && time.is_some() && !job.is_deleting() {
                active.push(reference(job.as_ref()));
            } else if !is_known && time.is_none() {
                let text = "Saw a job that the controller did not create or forgot: ";
                let message = format!("{text}{name}");
                decision.push(Notice::warning(cron_job, "UnexpectedJob", message));
            }
            continue;
        };
        if is_known {
            active.retain(|one| !is_of(one, job));
            let message = format!("Saw completed job: {name}, condition: {}", end.type_);
            decision.push(Notice::normal(cron_job, "SawCompletedJob", message));
        }
        let completed = job
            .status
            .as_ref()
            .and_then(|status| status.completion_time.as_ref());
        let last = status.last_successful_time.as_ref();
        if let Some(completed) = completed.filter(|_| end.type_ == "Complete")
            && last.is_none_or(|last| last.0 < completed.0)
        {
            status.last_successful_time = Some(completed.clone());
        }
    }
    active.retain(|one| {
        let is_there = jobs.iter().any(|job| is_of(one, job));
        if !is_there {
            let name = one.name.as_deref().unwrap_or_default();
            let message = format!("Active job went missing: {name}");
            decision.push(Notice::normal(cron_job, "MissingJob", message));
        }
        is_there
    });
}

fn is_of(reference: &ObjectReference, job: &Job) -> bool {
    reference.uid.as_deref() == Some(job.uid())
}

/// With its pods, which follow in the background.
fn deletion(cron_job: &CronJob, job: &Job) -> Write {
    let done = format!("Deleted job {}", job.key().name);
    Write::delete(job)
        .propagating(Propagation::Background)
        .told(Notice::normal(cron_job, "SuccessfulDelete", done))
        .lamented(Notice::warning(cron_job, "FailedDelete", "Deleted job: "))
}

#[cfg(test)]
mod tests;
