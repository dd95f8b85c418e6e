//! Jobs in every way they end, and a CronJob over a real minute.

use super::workloads::Corner;
use crate::{
    Story,
    cluster::{project, shared},
    images::{busybox, load},
};

pub const STORIES: &[Story] = &[(
    "jobs::jobs_end_as_they_say_and_cron_jobs_repeat",
    jobs_end_as_they_say_and_cron_jobs_repeat,
)];

/// Name, more of the specification, the shell's words, the restart policy.
const JOBS: &[(&str, &str, &str, &str)] = &[
    (
        "indexed",
        "completions: 3, parallelism: 2, completionMode: Indexed",
        "echo number $JOB_COMPLETION_INDEX",
        "Never",
    ),
    ("queue", "parallelism: 2", "true", "Never"),
    ("hopeless", "backoffLimit: 0", "exit 1", "Never"),
    ("restarted", "backoffLimit: 1", "exit 1", "OnFailure"),
    ("slow", "activeDeadlineSeconds: 1", "sleep 1000", "Never"),
    ("brief", "ttlSecondsAfterFinished: 0", "true", "Never"),
    ("waiting", "suspend: true", "true", "Never"),
    (
        "fatal",
        "backoffLimit: 5, podFailurePolicy: {rules: [{action: FailJob, onExitCodes: {operator: In, values: [42]}}]}",
        "exit 42",
        "Never",
    ),
    (
        "partial",
        "completions: 3, parallelism: 3, completionMode: Indexed, backoffLimitPerIndex: 0",
        "test $JOB_COMPLETION_INDEX != 1",
        "Never",
    ),
    (
        "elastic",
        "completions: 3, parallelism: 3, completionMode: Indexed",
        "test $JOB_COMPLETION_INDEX = 0 || sleep 1000",
        "Never",
    ),
    (
        "idle",
        "completions: 2, parallelism: 2, backoffLimit: 0",
        "sleep 1000",
        "Never",
    ),
    (
        "moved",
        "backoffLimit: 0, podFailurePolicy: {rules: [{action: Ignore, onPodConditions: [{type: DisruptionTarget}]}]}",
        "sleep 1000",
        "Never",
    ),
    (
        "leader",
        "completions: 2, parallelism: 2, completionMode: Indexed, successPolicy: {rules: [{succeededIndexes: '0'}]}",
        "test $JOB_COMPLETION_INDEX = 0 || sleep 1000",
        "Never",
    ),
];

fn jobs_end_as_they_say_and_cron_jobs_repeat() {
    let place = shared();
    let corner = Corner::new(&place, "wl-jobs");
    load(&place, &busybox("busybox:latest"), "busybox-latest");
    let path = project().join("tests/e2e/seeds/sample-cronjob-hello.yaml");
    corner.words(&["apply", "-f", path.to_str().unwrap()]);
    corner.k("create job by-hand --from=cronjob/hello");
    let [forbidding, replaced] =
        ["Forbid", "Replace"].map(|policy| one_runs_already(&corner, policy));

    let manifest: Vec<String> = JOBS
        .iter()
        .map(|(name, more, script, policy)| {
            format!(
                "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {name}}}, spec: {{{more}, template: {{spec: \
                 {{terminationGracePeriodSeconds: 0, restartPolicy: {policy}, containers: [{{name: main, image: 'busybox:1.36', \
                 command: [sh, -c, {script:?}]}}]}}}}}}}}"
            )
        })
        .collect();
    corner.apply(&manifest.join("\n---\n"));
    corner.k("wait --for=delete job/brief --timeout=60s");
    assert_eq!(
        corner.field("job waiting", ".status.conditions[0].reason"),
        "JobSuspended"
    );
    assert_eq!(corner.k("get pods -l job-name=waiting -o name"), "");
    corner.words(&[
        "patch",
        "job",
        "waiting",
        "-p",
        r#"{"spec":{"suspend":false}}"#,
    ]);

    ends(&corner);
    details(&corner);
    changes(&corner);
    minute(&corner);
    meets_the_one_that_runs(&corner, &forbidding, &replaced);
    corner.end();
}

fn ends(corner: &Corner<'_>) {
    for (name, condition, reason) in [
        ("by-hand", "Complete", "CompletionsReached"),
        ("indexed", "Complete", "CompletionsReached"),
        ("queue", "Complete", "CompletionsReached"),
        ("waiting", "Complete", "CompletionsReached"),
        ("leader", "Complete", "SuccessPolicy"),
        ("hopeless", "Failed", "BackoffLimitExceeded"),
        ("restarted", "Failed", "BackoffLimitExceeded"),
        ("slow", "Failed", "DeadlineExceeded"),
        ("fatal", "Failed", "PodFailurePolicy"),
        ("partial", "Failed", "FailedIndexes"),
    ] {
        corner.k(&format!(
            "wait --for=condition={condition} job/{name} --timeout=60s"
        ));
        let path = format!(".status.conditions[?(@.type==\"{condition}\")].reason");
        assert_eq!(
            corner.field(&format!("job {name}"), &path),
            reason,
            "{name}"
        );
    }
}

fn details(corner: &Corner<'_>) {
    assert_eq!(
        corner.field("job indexed", ".status.completedIndexes"),
        "0-2"
    );
    assert_eq!(corner.field("job queue", ".status.succeeded"), "2");
    assert_eq!(corner.field("job hopeless", ".status.failed"), "1");
    let partial = |field: &str| corner.field("job partial", &format!(".status.{field}"));
    assert_eq!(
        (partial("completedIndexes"), partial("failedIndexes")),
        ("0,2".to_owned(), "1".to_owned())
    );
    let why = corner.field(
        "job fatal",
        ".status.conditions[?(@.type==\"Failed\")].message",
    );
    assert!(
        why.starts_with("Container main for pod wl-jobs/fatal-")
            && why.ends_with("failed with exit code 42 matching FailJob rule at index 0"),
        "{why}"
    );
    let numbers = corner.k("logs -l job-name=indexed --tail=-1");
    let mut numbers: Vec<&str> = numbers.lines().collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["number 0", "number 1", "number 2"]);
    assert!(
        corner
            .k("logs job/by-hand")
            .ends_with("Hello from Kubernetes Cluster\n")
    );
}

/// What becomes of running jobs when they are resized, suspended, or lose a pod to an eviction.
fn changes(corner: &Corner<'_>) {
    // Fewer indexes: the one that is done suffices.
    let resize = r#"{"spec":{"completions":1,"parallelism":1}}"#;
    corner.words(&["patch", "job", "elastic", "-p", resize]);
    corner.k("wait --for=condition=Complete job/elastic --timeout=60s");
    assert_eq!(corner.field("job elastic", ".status.completedIndexes"), "0");
    assert_eq!(corner.field("job elastic", ".status.failed"), "");

    // Suspended pods have not failed, and the job was told once.
    corner.until("job idle", ".status.ready", "2");
    let suspend = r#"{"spec":{"suspend":true}}"#;
    corner.words(&["patch", "job", "idle", "-p", suspend]);
    corner.k("wait --for=condition=Suspended job/idle --timeout=60s");
    corner.until("job idle", ".status.active", "");
    corner.has_event("idle", "Suspended Job suspended");
    let told = corner.field(
        "events --field-selector=reason=Suspended,involvedObject.name=idle",
        ".items[*].count",
    );
    assert_eq!(told, "1");
    let resume = r#"{"spec":{"suspend":false}}"#;
    corner.words(&["patch", "job", "idle", "-p", resume]);
    corner.until("job idle", ".status.ready", "2");
    assert_eq!(corner.field("job idle", ".status.failed"), "");

    // An evicted pod is ignored and made again.
    assert_eq!(
        corner.field(
            "job moved",
            ".spec.podFailurePolicy.rules[0].onPodConditions[0].status"
        ),
        "True"
    );
    let pod = corner.field("pods -l job-name=moved", ".items[0].metadata.name");
    let eviction = format!(
        r#"{{"apiVersion":"policy/v1","kind":"Eviction","metadata":{{"namespace":"wl-jobs","name":"{pod}"}}}}"#
    );
    let file = corner.place.home.path().join("eviction.json");
    std::fs::write(&file, eviction).unwrap();
    let target = format!("/api/v1/namespaces/wl-jobs/pods/{pod}/eviction");
    corner
        .place
        .kubectl(&["create", "--raw", &target, "-f", file.to_str().unwrap()]);
    corner.place.eventually("another pod", || {
        let names = corner.field("pods -l job-name=moved", ".items[*].metadata.name");
        (!names.is_empty() && !names.contains(&pod)).then_some(())
    });
    assert_eq!(corner.field("job moved", ".status.failed"), "");
}

/// A CronJob, and a Job that runs as if the CronJob had made it in this minute; its name.
fn one_runs_already(corner: &Corner<'_>, policy: &str) -> String {
    let name = policy.to_lowercase();
    let job = "spec: {template: {spec: {terminationGracePeriodSeconds: 0, restartPolicy: Never, containers: \
               [{name: main, image: 'busybox:1.36', command: [sleep, '1000']}]}}}";
    corner.apply(&format!(
        "{{apiVersion: batch/v1, kind: CronJob, metadata: {{name: {name}}}, spec: {{schedule: '* * * * *', timeZone: \
         Asia/Seoul, concurrencyPolicy: {policy}, jobTemplate: {{{job}}}}}}}"
    ));
    let cron_job = format!("cronjob {name}");
    let made = corner.field(&cron_job, ".metadata.creationTimestamp");
    let minute = made.parse::<jiff::Timestamp>().unwrap().as_second() / 60;
    let time = jiff::Timestamp::from_second(minute * 60).unwrap();
    let uid = corner.field(&cron_job, ".metadata.uid");
    let run = format!("{name}-{minute}");
    corner.apply(&format!(
        "{{apiVersion: batch/v1, kind: Job, metadata: {{name: {run}, annotations: \
         {{batch.kubernetes.io/cronjob-scheduled-timestamp: '{time}'}}, ownerReferences: \
         [{{apiVersion: batch/v1, kind: CronJob, name: {name}, uid: {uid}, controller: true}}]}}, {job}}}"
    ));
    run
}

/// In the minute that has just begun.
fn meets_the_one_that_runs(corner: &Corner<'_>, forbidding: &str, replaced: &str) {
    corner.has_event(
        "forbid",
        "JobAlreadyActive Not starting job because prior execution is running and concurrency policy is Forbid",
    );
    corner.has_event(
        "replace",
        &format!("SuccessfulDelete Deleted job {replaced}"),
    );
    let active = |name: &str| corner.field(&format!("cronjob {name}"), ".status.active[*].name");
    let run = corner.place.eventually("the next run", || {
        let name = active("replace");
        (!name.is_empty() && name != replaced).then_some(name)
    });
    assert_eq!(active("forbid"), forbidding);
    let mark = r".metadata.annotations.batch\.kubernetes\.io/cronjob-scheduled-timestamp";
    let time = corner.field(&format!("job {run}"), mark);
    assert!(time.ends_with(":00+09:00"), "{time}");
}

/// The real minute that began with the story.
fn minute(corner: &Corner<'_>) {
    corner.words(&[
        "wait",
        "--for=jsonpath={.status.lastSuccessfulTime}",
        "cronjob/hello",
        "--timeout=90s",
    ]);
    corner.words(&[
        "wait",
        "--for=jsonpath={.status.lastScheduleTime}",
        "cronjob/hello",
        "--timeout=90s",
    ]);
    let jobs = corner.k("get jobs -o name");
    let run = jobs
        .lines()
        .find(|name| name.starts_with("job.batch/hello-"))
        .unwrap()
        .to_owned();
    let name = run.trim_start_matches("job.batch/");
    corner.k(&format!(
        "wait --for=condition=Complete {run} --timeout=60s"
    ));
    corner.has_event("hello", &format!("SuccessfulCreate Created job {name}"));
    corner.has_event(
        "hello",
        &format!("SawCompletedJob Saw completed job: {name}, condition: Complete"),
    );
    let time = corner.field("cronjob hello", ".status.lastScheduleTime");
    assert!(time.ends_with(":00Z"), "{time}");
    let mark = r".metadata.annotations.batch\.kubernetes\.io/cronjob-scheduled-timestamp";
    assert_eq!(corner.field(&run, mark), time);
    assert!(
        corner
            .k(&format!("logs {run}"))
            .ends_with("Hello from Kubernetes Cluster\n")
    );
    let row = corner.k("get cronjob hello --no-headers");
    assert!(
        row.contains("*/1 * * * *") && row.contains("False"),
        "{row}"
    );
}
