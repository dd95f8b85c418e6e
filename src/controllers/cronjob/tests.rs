//! Decisions of the controller on a stage; the clock of the stage begins at 05:00:00.

use super::*;
use crate::controllers::framework::testing::Stage;
use k8s_openapi::api::batch::v1::JobStatus;
use serde_json::{Value, json};

fn stage(change: impl FnOnce(&mut Value)) -> Stage<CronJobs> {
    let mut stage = Stage::new(CronJobs);
    let mut cron_job = json!({
        "metadata": {"namespace": "a", "name": "hello"},
        "spec": {
            "schedule": "*/1 * * * *", "concurrencyPolicy": "Allow", "suspend": false,
            "successfulJobsHistoryLimit": 3, "failedJobsHistoryLimit": 1,
            "jobTemplate": {
                "metadata": {"labels": {"app": "hello"}},
                "spec": {"template": {"spec": {"containers": [], "restartPolicy": "OnFailure"}}},
            },
        },
    });
    change(&mut cron_job);
    stage.put::<CronJob>(cron_job);
    stage.settle();
    stage
}

fn names(stage: &Stage<CronJobs>) -> Vec<String> {
    stage
        .all::<Job>()
        .iter()
        .map(|job| job.key().name)
        .collect()
}

fn status(stage: &Stage<CronJobs>) -> CronJobStatus {
    stage
        .get::<CronJob>("a", "hello")
        .status
        .unwrap_or_default()
}

fn active(stage: &Stage<CronJobs>) -> Vec<String> {
    let active = status(stage).active.unwrap_or_default();
    active.into_iter().filter_map(|one| one.name).collect()
}

fn finish(stage: &mut Stage<CronJobs>, name: &str, condition: &str) {
    let now = stage.now;
    stage.edit::<Job>("a", name, |job| {
        let time = crate::api::time::format(now);
        let mut status = json!({
            "startTime": time,
            "conditions": [{"type": condition, "status": "True", "lastTransitionTime": time}],
        });
        if condition == "Complete" {
            status["completionTime"] = json!(time);
        }
        job.status = serde_json::from_value::<Option<JobStatus>>(status).unwrap();
    });
}

const FIRST: &str = "hello-29920621";
const SECOND: &str = "hello-29920622";

#[test]
fn a_run_is_made_remembered_and_seen_to_end() {
    let mut stage = stage(|_| {});
    assert!(names(&stage).is_empty());
    assert_eq!(stage.again_after.unwrap().as_millis(), 60_100);
    stage.advance(60);
    stage.settle();
    assert_eq!(names(&stage), [FIRST]);
    let job: Job = stage.get("a", FIRST);
    assert_eq!(job.metadata.labels.unwrap()["app"], "hello");
    assert_eq!(
        job.metadata.annotations.unwrap()["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-11-21T05:01:00Z"
    );
    assert_eq!(active(&stage), [FIRST]);
    assert_eq!(
        status(&stage).last_schedule_time.unwrap().0.to_string(),
        "2026-11-21T05:01:00Z"
    );
    stage.advance(5);
    finish(&mut stage, FIRST, "Complete");
    stage.settle();
    assert!(active(&stage).is_empty());
    assert_eq!(
        status(&stage).last_successful_time.unwrap().0.to_string(),
        "2026-11-21T05:01:05Z"
    );
    assert_eq!(stage.again_after.unwrap().as_millis(), 55_100);
    assert_eq!(
        stage.events,
        [
            "Normal SuccessfulCreate Created job hello-29920621",
            "Normal SawCompletedJob Saw completed job: hello-29920621, condition: Complete",
        ]
    );
}

#[test]
fn policies_decide_when_runs_overlap() {
    for (policy, jobs, active_jobs, events) in [
        (
            "Allow",
            vec![FIRST, SECOND],
            vec![FIRST, SECOND],
            "Normal SuccessfulCreate Created job hello-29920622",
        ),
        (
            "Forbid",
            vec![FIRST],
            vec![FIRST],
            "Normal JobAlreadyActive Not starting job because prior execution is running and concurrency policy is Forbid",
        ),
        (
            "Replace",
            vec![SECOND],
            vec![SECOND],
            "Normal SuccessfulDelete Deleted job hello-29920621",
        ),
    ] {
        let mut stage = stage(|cron_job| cron_job["spec"]["concurrencyPolicy"] = policy.into());
        stage.advance(60);
        stage.settle();
        stage.advance(60);
        stage.settle();
        assert_eq!(names(&stage), jobs, "{policy}");
        assert_eq!(active(&stage), active_jobs, "{policy}");
        assert!(
            stage.events.contains(&events.to_owned()),
            "{policy}: {:#?}",
            stage.events
        );
    }
}

#[test]
fn a_forbidden_run_starts_when_the_other_has_ended() {
    let mut stage = stage(|cron_job| cron_job["spec"]["concurrencyPolicy"] = "Forbid".into());
    stage.advance(60);
    stage.settle();
    stage.advance(130);
    finish(&mut stage, FIRST, "Failed");
    stage.settle();
    // Only the latest of the missed runs is made up for.
    assert_eq!(names(&stage), [FIRST, "hello-29920623"]);
}

#[test]
fn missed_runs() {
    // Deadline, seconds until the controller looks, whether a job is made, the warning.
    let table = [
        (None, 3600, true, ""),
        (
            None,
            7200,
            true,
            "Warning TooManyMissedTimes too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew",
        ),
        (Some(200), 7200, true, ""),
        (
            Some(10),
            3615,
            false,
            "Warning MissSchedule Missed scheduled time to start a job: Sat, 21 Nov 2026 06:00:00 +0000",
        ),
        (Some(20), 3615, true, ""),
    ];
    for (deadline, seconds, is_made, warning) in table {
        let mut stage = stage(|cron_job| {
            if let Some(deadline) = deadline {
                cron_job["spec"]["startingDeadlineSeconds"] = deadline.into();
            }
        });
        stage.advance(seconds);
        stage.settle();
        let case = format!("{deadline:?} after {seconds}: {:?}", stage.events);
        assert_eq!(names(&stage).len(), usize::from(is_made), "{case}");
        let warned = stage
            .events
            .iter()
            .find(|event| event.starts_with("Warning"));
        assert_eq!(warned.map_or("", String::as_str), warning, "{case}");
    }
}

#[test]
fn suspended_schedules_wait_and_time_zones_count() {
    let mut waiting = stage(|cron_job| cron_job["spec"]["suspend"] = true.into());
    waiting.advance(120);
    waiting.settle();
    assert!(names(&waiting).is_empty());
    assert_eq!(waiting.again_after, None);

    let mut abroad = stage(|cron_job| {
        cron_job["spec"]["schedule"] = "30 14 * * *".into();
        cron_job["spec"]["timeZone"] = "Asia/Seoul".into();
    });
    assert_eq!(abroad.again_after.unwrap().as_secs(), 1800);
    abroad.advance(1800);
    abroad.settle();
    let made = &abroad.all::<Job>()[0];
    assert_eq!(
        made.metadata.annotations.as_ref().unwrap()["batch.kubernetes.io/cronjob-scheduled-timestamp"],
        "2026-11-21T14:30:00+09:00"
    );
    assert_eq!(active(&abroad).len(), 1);

    let lost = stage(|cron_job| cron_job["spec"]["timeZone"] = "Mars/Base".into());
    assert_eq!(
        lost.events[0],
        "Warning UnknownTimeZone invalid timeZone: \"Mars/Base\": unknown time zone Mars/Base"
    );
}

#[test]
fn history_is_limited_the_oldest_go() {
    let mut stage = stage(|_| {});
    for _ in 0..5 {
        stage.advance(60);
        stage.settle();
        let name = active(&stage).remove(0);
        finish(&mut stage, &name, "Complete");
        stage.settle();
    }
    assert_eq!(
        names(&stage),
        ["hello-29920623", "hello-29920624", "hello-29920625"]
    );
    assert!(
        stage
            .events
            .contains(&"Normal SuccessfulDelete Deleted job hello-29920621".to_owned())
    );
}

#[test]
fn runs_by_hand_are_not_taken_for_scheduled_ones() {
    let mut stage = stage(|_| {});
    let owner = crate::controllers::framework::controller_ref(&stage.get::<CronJob>("a", "hello"));
    stage.put::<Job>(json!({
        "metadata": {"namespace": "a", "name": "by-hand", "ownerReferences": [owner]}, "spec": {"template": {}},
    }));
    stage.settle();
    assert!(active(&stage).is_empty());
    assert_eq!(
        stage.events[0],
        "Warning UnexpectedJob Saw a job that the controller did not create or forgot: by-hand"
    );
    finish(&mut stage, "by-hand", "Complete");
    stage.settle();
    assert!(status(&stage).last_successful_time.is_some());
}

#[test]
fn a_job_that_vanished_is_forgotten() {
    let mut stage = stage(|_| {});
    stage.advance(60);
    stage.settle();
    stage.remove::<Job>("a", FIRST);
    stage.settle();
    assert!(active(&stage).is_empty());
    assert_eq!(
        stage.events[1],
        "Normal MissingJob Active job went missing: hello-29920621"
    );
    // The same run is not made again.
    assert!(names(&stage).is_empty());
}
