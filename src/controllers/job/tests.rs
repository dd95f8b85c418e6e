//! Jobs from the first pod to the last condition.

use super::*;
use crate::controllers::framework::testing::Stage;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

fn stage(spec: &Value) -> Stage<Jobs> {
    let mut stage = Stage::new(Jobs);
    let mut all = json!({"backoffLimit": 6, "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c"}]}}});
    for (name, value) in spec.as_object().unwrap() {
        all[name] = value.clone();
    }
    stage.put::<Job>(
        json!({"metadata": {"namespace": "a", "name": "job", "uid": "job"}, "spec": all}),
    );
    stage.settle();
    stage
}

fn status(stage: &Stage<Jobs>) -> JobStatus {
    stage.get::<Job>("a", "job").status.unwrap()
}

fn active(stage: &Stage<Jobs>) -> Vec<Pod> {
    stage
        .all::<Pod>()
        .into_iter()
        .filter(pods::is_active)
        .collect()
}

/// Ends the first active pods.
fn end(stage: &mut Stage<Jobs>, phase: &str, count: usize) {
    for pod in active(stage).iter().take(count) {
        stage.set_pod(&pod.key().name, "a", phase, false);
    }
    stage.settle();
}

fn conditions(stage: &Stage<Jobs>) -> Vec<String> {
    let all = status(stage).conditions.unwrap_or_default();
    all.iter()
        .map(|one| {
            format!(
                "{}={} {}",
                one.type_,
                one.status,
                one.reason.as_deref().unwrap()
            )
        })
        .collect()
}

#[test]
fn a_job_completes_when_enough_pods_succeeded() {
    let mut stage = stage(&json!({"completions": 3, "parallelism": 2}));
    assert_eq!((active(&stage).len(), status(&stage).active), (2, Some(2)));
    let pod = &active(&stage)[0];
    assert_eq!(pod.metadata.labels.as_ref().unwrap()["job-name"], "job");
    assert!(survey::is_tracked(pod));
    end(&mut stage, "Succeeded", 2);
    assert_eq!(
        (active(&stage).len(), status(&stage).succeeded),
        (1, Some(2))
    );
    end(&mut stage, "Succeeded", 1);
    assert_eq!(
        conditions(&stage),
        [
            "SuccessCriteriaMet=True CompletionsReached",
            "Complete=True CompletionsReached"
        ]
    );
    assert_eq!(
        (
            status(&stage).succeeded,
            status(&stage).active,
            status(&stage).ready
        ),
        (Some(3), None, Some(0))
    );
    assert!(status(&stage).completion_time.is_some());
    assert!(!stage.all::<Pod>().iter().any(survey::is_tracked));
    assert_eq!(
        stage.events.last().unwrap(),
        "Normal Completed Job completed"
    );
}

#[test]
fn failures_are_repeated_with_growing_pauses_up_to_the_limit() {
    let mut stage = stage(&json!({"completions": 1, "parallelism": 1, "backoffLimit": 1}));
    end(&mut stage, "Failed", 1);
    assert_eq!((status(&stage).failed, active(&stage).len()), (Some(1), 0));
    assert_eq!(stage.again_after.unwrap().as_secs(), 10);
    stage.advance(10);
    stage.settle();
    assert_eq!(active(&stage).len(), 1);
    end(&mut stage, "Failed", 1);
    assert_eq!(
        conditions(&stage),
        [
            "FailureTarget=True BackoffLimitExceeded",
            "Failed=True BackoffLimitExceeded"
        ]
    );
    assert_eq!(
        stage.events.last().unwrap(),
        "Warning BackoffLimitExceeded Job has reached the specified backoff limit"
    );
}

#[test]
fn a_work_queue_ends_with_its_workers() {
    let mut stage = stage(&json!({"parallelism": 2}));
    end(&mut stage, "Succeeded", 1);
    assert_eq!((active(&stage).len(), conditions(&stage).len()), (1, 0));
    end(&mut stage, "Succeeded", 1);
    assert!(is_finished(&stage.get("a", "job")));
}

#[test]
fn indexes_are_done_once_each() {
    let mut stage =
        stage(&json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
    let pod = &active(&stage)[1];
    assert_eq!(index::of(pod), Some(1));
    assert!(pod.key().name.starts_with("job-1-"));
    let spec = pod.spec.as_ref().unwrap();
    assert_eq!(spec.hostname.as_deref(), Some("job-1"));
    assert_eq!(
        spec.containers[0].env.as_ref().unwrap()[0].name,
        "JOB_COMPLETION_INDEX"
    );
    let name = pod.key().name;
    stage.set_pod(&name, "a", "Failed", false);
    end(&mut stage, "Succeeded", 2);
    assert_eq!(status(&stage).completed_indexes.as_deref(), Some("0,2"));
    stage.advance(10);
    stage.settle();
    assert_eq!(index::of(&active(&stage)[0]), Some(1));
    end(&mut stage, "Succeeded", 1);
    assert_eq!(status(&stage).completed_indexes.as_deref(), Some("0-2"));
    assert!(is_finished(&stage.get("a", "job")));
}

#[test]
fn an_index_may_fail_alone() {
    let mut stage = stage(
        &json!({"completions": 2, "parallelism": 2, "completionMode": "Indexed", "backoffLimitPerIndex": 0, "backoffLimit": 100}),
    );
    let first = active(&stage)[0].key().name;
    stage.set_pod(&first, "a", "Failed", false);
    end(&mut stage, "Succeeded", 1);
    assert_eq!(
        conditions(&stage).last().unwrap(),
        "Failed=True FailedIndexes"
    );
    assert_eq!(status(&stage).completed_indexes.as_deref(), Some("1"));
    assert_eq!(status(&stage).failed_indexes.as_deref(), Some("0"));
}

#[test]
fn suspension_removes_pods_and_restarts_the_clock() {
    let mut stage = stage(&json!({"completions": 1, "suspend": true, "activeDeadlineSeconds": 50}));
    assert_eq!((active(&stage).len(), status(&stage).start_time), (0, None));
    stage.edit::<Job>("a", "job", |job| {
        job.spec.as_mut().unwrap().suspend = Some(false);
    });
    stage.settle();
    assert_eq!(active(&stage).len(), 1);
    assert_eq!(conditions(&stage), ["Suspended=False JobResumed"]);
    stage.edit::<Job>("a", "job", |job| {
        job.spec.as_mut().unwrap().suspend = Some(true);
    });
    stage.settle();
    assert_eq!(
        (active(&stage).len(), conditions(&stage)),
        (0, vec!["Suspended=True JobSuspended".to_owned()])
    );
    assert_eq!(status(&stage).failed, None);
    let told = stage
        .events
        .iter()
        .filter(|event| event.contains("Suspended"));
    assert_eq!(told.count(), 2);
}

#[test]
fn pods_that_are_too_many_or_suspended_have_not_failed() {
    let mut stage = stage(&json!({"completions": 9, "parallelism": 3, "backoffLimit": 0}));
    stage.run_pods();
    stage.settle();
    assert_eq!(
        (status(&stage).active, status(&stage).ready),
        (Some(3), Some(3))
    );
    for (parallelism, suspend) in [(1, false), (1, true)] {
        stage.edit::<Job>("a", "job", |job| {
            let spec = job.spec.as_mut().unwrap();
            (spec.parallelism, spec.suspend) = (Some(parallelism), Some(suspend));
        });
        stage.settle();
        let left = i32::from(!suspend);
        let found = (
            status(&stage).active,
            status(&stage).ready,
            status(&stage).failed,
        );
        assert_eq!(found, ((left > 0).then_some(left), Some(left), None));
    }
    assert!(!stage.all::<Pod>().iter().any(survey::is_tracked));
}

#[test]
fn an_index_knows_its_failures_although_pods_are_deleted() {
    let mut stage = stage(
        &json!({"completions": 1, "parallelism": 1, "completionMode": "Indexed", "backoffLimitPerIndex": 1, "backoffLimit": 100}),
    );
    let first = active(&stage)[0].key().name;
    end(&mut stage, "Failed", 1);
    let pod: Pod = stage.get("a", &first);
    assert!(survey::is_tracked(&pod), "its number would go with it");
    stage.advance(10);
    stage.settle();
    assert!(!survey::is_tracked(&stage.get("a", &first)));
    stage.remove::<Pod>("a", &first);
    assert_eq!(
        active(&stage)[0].metadata.annotations.as_ref().unwrap()[account::FAILURE_COUNT],
        "1"
    );
    end(&mut stage, "Failed", 1);
    assert_eq!(
        conditions(&stage).last().unwrap(),
        "Failed=True FailedIndexes"
    );
    assert_eq!(status(&stage).failed, Some(2));
    assert!(!stage.all::<Pod>().iter().any(survey::is_tracked));
}

#[test]
fn restarts_of_init_containers_count_too() {
    let mut stage = stage(
        &json!({"completions": 1, "backoffLimit": 2, "template": {"spec": {"restartPolicy": "OnFailure", "containers": [{"name": "c"}]}}}),
    );
    let name = active(&stage)[0].key().name;
    stage.set_pod(&name, "a", "Pending", false);
    stage.edit::<Pod>("a", &name, |pod| {
        let status =
            json!([{"name": "i", "image": "", "imageID": "", "ready": false, "restartCount": 2}]);
        pod.status.as_mut().unwrap().init_container_statuses =
            serde_json::from_value(status).unwrap();
    });
    stage.settle();
    assert_eq!(
        conditions(&stage),
        ["FailureTarget=True BackoffLimitExceeded"]
    );
}

#[test]
fn a_deadline_ends_a_job_after_its_pods() {
    let mut stage = stage(&json!({"completions": 1, "activeDeadlineSeconds": 5}));
    stage.run_pods();
    assert_eq!(stage.again_after.unwrap().as_secs(), 5);
    stage.advance(6);
    stage.settle();
    assert_eq!(conditions(&stage), ["FailureTarget=True DeadlineExceeded"]);
    let name = stage.all::<Pod>()[0].key().name;
    stage.remove::<Pod>("a", &name);
    stage.settle();
    assert_eq!(
        conditions(&stage).last().unwrap(),
        "Failed=True DeadlineExceeded"
    );
}

#[test]
fn rules_ignore_or_end() {
    let policy = |action: &str| {
        json!({"completions": 1, "backoffLimit": 0, "podReplacementPolicy": "Failed", "podFailurePolicy": {"rules": [
        {"action": action, "onExitCodes": {"operator": "In", "values": [42]}}]}})
    };
    for (action, expected) in [
        ("FailJob", "Failed=True PodFailurePolicy"),
        ("Count", "Failed=True BackoffLimitExceeded"),
        ("Ignore", ""),
    ] {
        let mut stage = stage(&policy(action));
        let name = active(&stage)[0].key().name;
        stage.set_pod(&name, "a", "Failed", false);
        stage.edit::<Pod>("a", &name, |pod| {
            let status = json!([{"name": "c", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": {"terminated": {"exitCode": 42}}}]);
            pod.status.as_mut().unwrap().container_statuses = serde_json::from_value(status).unwrap();
        });
        stage.settle();
        assert_eq!(
            conditions(&stage).last().map_or("", String::as_str),
            expected,
            "{action}"
        );
    }
}

#[test]
fn who_leaves_a_job_is_held_by_nobody() {
    let mut stage = stage(
        &json!({"parallelism": 2, "completions": 2, "selector": {"matchLabels": {"job-name": "job"}}}),
    );
    let names: Vec<String> = active(&stage).iter().map(|pod| pod.key().name).collect();
    let edit = |stage: &mut Stage<Jobs>, change: fn(&mut ObjectMeta)| {
        stage.edit::<Pod>("a", &names[0], |pod| change(&mut pod.metadata));
        stage.settle();
        let pod: Pod = stage.get("a", &names[0]);
        (
            controller_of(&pod.metadata).is_some(),
            survey::is_tracked(&pod),
        )
    };
    let orphaned = |meta: &mut ObjectMeta| (meta.owner_references, meta.finalizers) = (None, None);
    assert_eq!(edit(&mut stage, orphaned), (true, true));
    assert_eq!(edit(&mut stage, |meta| meta.labels = None), (false, false));
    // Left behind by a job that was deleted without its pods.
    stage.edit::<Pod>("a", &names[1], |pod| pod.metadata.owner_references = None);
    let pod: Pod = stage.get("a", &names[1]);
    assert_eq!(left_by(&pod), Some(Key::new("a", "job")));
    stage.remove::<Job>("a", "job");
    stage.pass_over(&[Key::new("a", "job")]);
    assert!(!survey::is_tracked(&stage.get("a", &names[1])));
}

#[test]
fn a_job_that_shrinks_to_what_is_done_has_no_failures() {
    let mut stage =
        stage(&json!({"completions": 3, "parallelism": 3, "completionMode": "Indexed"}));
    end(&mut stage, "Succeeded", 1);
    stage.edit::<Job>("a", "job", |job| {
        let spec = job.spec.as_mut().unwrap();
        (spec.completions, spec.parallelism) = (Some(1), Some(1));
    });
    stage.settle();
    stage.run_pods();
    stage.settle();
    assert!(is_finished(&stage.get("a", "job")));
    let found = (status(&stage).succeeded, status(&stage).failed);
    assert_eq!(found, (Some(1), None));
}
