//! When the next run is due, and what it is made of.

use super::{deletion, is_of};
use crate::{
    api::{
        cron::{self, Schedule},
        name::Key,
        object::Object,
        time,
    },
    controllers::framework::{Decision, Notice, World, Write, controller_ref},
};
use jiff::{SignedDuration, Timestamp, tz::TimeZone};
use k8s_openapi::{
    api::batch::v1::{CronJob, CronJobSpec, CronJobStatus, Job},
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::{sync::Arc, time::Duration};

const SCHEDULED_AT: &str = "batch.kubernetes.io/cronjob-scheduled-timestamp";
/// More missed runs than these are worth a warning.
const MISSED_MAX: i64 = 100;
/// So that the clock has surely passed the time when it is looked at.
const AFTER: Duration = Duration::from_millis(100);
const TOO_MANY: &str = "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew";
const STILL_RUNNING: &str =
    "Not starting job because prior execution is running and concurrency policy is Forbid";

/// The time a job is the run of; `None` when somebody else made it.
pub fn time_of(cron_job: &CronJob, job: &Job) -> Option<Timestamp> {
    let annotations = job.metadata.annotations.as_ref()?;
    let time = time::parse(annotations.get(SCHEDULED_AT)?).ok()?;
    (job.metadata.name == Some(name(cron_job, time))).then_some(time)
}

fn name(cron_job: &CronJob, time: Timestamp) -> String {
    format!("{}-{}", cron_job.key().name, time.as_second() / 60)
}

/// Makes the job that is due, and says when to look again.
pub fn run(
    cron_job: &CronJob,
    world: &World,
    jobs: &[Arc<Job>],
    status: &mut CronJobStatus,
    decision: &mut Decision,
) {
    let spec = &cron_job.spec;
    let schedule = match schedule(cron_job, spec) {
        Ok(schedule) if spec.suspend != Some(true) => schedule,
        Ok(_) => return,
        Err(notice) => return decision.push(*notice),
    };
    let made = cron_job.metadata.creation_timestamp.as_ref();
    let last = status.last_schedule_time.as_ref().or(made);
    let earliest = last.map_or(world.now, |time| time.0);
    let met = schedule.latest(earliest, world.now);
    let Some(next) = schedule.next(met.map_or(earliest, |(time, _)| time)) else {
        let why = "time difference between two schedules is less than 1 second";
        let message = format!("invalid schedule: {} : {why}", spec.schedule);
        return decision.push(Notice::warning(cron_job, "InvalidSchedule", message));
    };
    decision.again(next.duration_since(world.now).unsigned_abs() + AFTER);
    let Some((due, mut missed)) = met else { return };
    if let Some(seconds) = spec.starting_deadline_seconds {
        let deadline = SignedDuration::from_secs(seconds);
        if world.now.duration_since(due) > deadline {
            return decision.push(miss(cron_job, due));
        }
        let opened = world.now.checked_sub(deadline).unwrap_or(Timestamp::MIN);
        let within = schedule.latest(opened.max(earliest), world.now);
        missed = within.map_or(1, |(_, count)| count);
    }
    if missed > MISSED_MAX {
        decision.push(Notice::warning(cron_job, "TooManyMissedTimes", TOO_MANY));
    }
    let namespace = cron_job.key().namespace;
    let key = Key::new(&namespace, name(cron_job, due));
    if world.all::<Job>().get(&key).is_some() {
        // Somebody else's job of that name is taken for the run.
        return;
    }
    let active = status.active.get_or_insert_default();
    match spec.concurrency_policy.as_deref() {
        Some("Forbid") if !active.is_empty() => {
            return decision.push(Notice::normal(cron_job, "JobAlreadyActive", STILL_RUNNING));
        }
        Some("Replace") => {
            let running = jobs
                .iter()
                .filter(|job| active.iter().any(|one| is_of(one, job)));
            for job in running {
                decision.push(deletion(cron_job, job));
            }
            active.clear();
        }
        _ => {}
    }
    decision.push(creation(cron_job, spec, due, key.name));
}

fn schedule(cron_job: &CronJob, spec: &CronJobSpec) -> Result<Schedule, Box<Notice>> {
    let zone = match spec.time_zone.as_deref() {
        None => TimeZone::UTC,
        Some(name) => cron::zone(name).ok_or_else(|| {
            let message = format!("invalid timeZone: {name:?}: unknown time zone {name}");
            Box::new(Notice::warning(cron_job, "UnknownTimeZone", message))
        })?,
    };
    Schedule::parse(&spec.schedule, zone).map_err(|why| {
        let message = format!("unparseable schedule: {:?} : {why}", spec.schedule);
        Box::new(Notice::warning(cron_job, "UnparseableSchedule", message))
    })
}

fn miss(cron_job: &CronJob, time: Timestamp) -> Notice {
    let time = time.strftime("%a, %d %b %Y %H:%M:%S +0000");
    let message = format!("Missed scheduled time to start a job: {time}");
    Notice::warning(cron_job, "MissSchedule", message)
}

fn creation(cron_job: &CronJob, spec: &CronJobSpec, due: Timestamp, name: String) -> Write {
    let template = spec.job_template.metadata.clone().unwrap_or_default();
    let mut annotations = template.annotations.unwrap_or_default();
    let zone = spec.time_zone.as_deref().and_then(cron::zone);
    let local = due.to_zoned(zone.unwrap_or(TimeZone::UTC));
    let format = match local.offset().is_zero() {
        true => "%Y-%m-%dT%H:%M:%SZ",
        false => "%Y-%m-%dT%H:%M:%S%:z",
    };
    annotations.insert(SCHEDULED_AT.to_owned(), local.strftime(format).to_string());
    let told = format!("Created job {name}");
    let job = Job {
        metadata: ObjectMeta {
            namespace: cron_job.metadata.namespace.clone(),
            name: Some(name),
            labels: template.labels,
            annotations: Some(annotations),
            owner_references: Some(vec![controller_ref(cron_job)]),
            ..ObjectMeta::default()
        },
        spec: spec.job_template.spec.clone(),
        status: None,
    };
    Write::create(&job)
        .told(Notice::normal(cron_job, "SuccessfulCreate", told))
        .lamented(Notice::warning(
            cron_job,
            "FailedCreate",
            "Error creating job: ",
        ))
}
