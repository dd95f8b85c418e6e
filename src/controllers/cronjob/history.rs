//! Which finished jobs are too many.

use crate::controllers::job;
use jiff::Timestamp;
use k8s_openapi::api::batch::v1::{CronJob, Job};
use std::sync::Arc;

/// Beyond the limits for successes and failures, the oldest first. A limit that is not set keeps all.
pub fn surplus<'a>(cron_job: &CronJob, jobs: &'a [Arc<Job>]) -> Vec<&'a Job> {
    let spec = &cron_job.spec;
    let limits = [
        ("Complete", spec.successful_jobs_history_limit),
        ("Failed", spec.failed_jobs_history_limit),
    ];
    let mut surplus = Vec::new();
    for (condition, limit) in limits {
        let Some(limit) = limit.and_then(|limit| usize::try_from(limit).ok()) else {
            continue;
        };
        let ended = jobs
            .iter()
            .map(AsRef::as_ref)
            .filter(|job: &&Job| job::finished(job).is_some_and(|one| one.type_ == condition));
        let mut ended: Vec<&Job> = ended.collect();
        ended.sort_by_key(|job| (started(job), job.metadata.name.clone()));
        ended.truncate(ended.len().saturating_sub(limit));
        surplus.extend(ended);
    }
    surplus
}

/// Those that never started count as the youngest.
fn started(job: &Job) -> Timestamp {
    let start = job
        .status
        .as_ref()
        .and_then(|status| status.start_time.as_ref());
    start.map_or(Timestamp::MAX, |time| time.0)
}
