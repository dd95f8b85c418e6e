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
    minute(&corner);
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
