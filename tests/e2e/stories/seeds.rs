//! The manifests of the user's own study notes, applied in their own words. The images they name come from a mirror
//! of Docker's registry on loopback.

use crate::{
    Story,
    cluster::{Place, project},
    images::{busybox, nginx},
    registry::start_mirror,
};
use std::fs;

pub const STORIES: &[Story] = &[(
    "seeds::the_notes_work_as_they_say",
    the_notes_work_as_they_say,
)];

fn the_notes_work_as_they_say() {
    let place = Place::new();
    let mirror = start_mirror(&place);
    for tag in ["nginx:1.14.2", "nginx:1.17", "nginx:1.7.9", "nginx:latest"] {
        mirror.push(&nginx(tag), &format!("library/{tag}"));
    }
    mirror.push(&busybox("busybox:latest"), "library/busybox:latest");
    place.must(&["start", "--registry-mirror", &mirror.url()]);
    pods(&place);
    deployments(&place);
    configuration(&place);
    jobs(&place);
    invalid(&place);
}

fn apply(place: &Place, name: &str) {
    let path = project()
        .join("tests/e2e/seeds")
        .join(format!("{name}.yaml"));
    place.kubectl(&["apply", "-f", path.to_str().unwrap()]);
}

fn delete(place: &Place, name: &str) {
    let path = project()
        .join("tests/e2e/seeds")
        .join(format!("{name}.yaml"));
    place.kubectl(&["delete", "-f", path.to_str().unwrap(), "--grace-period=1"]);
}

fn until_ready(place: &Place, pod: &str) {
    place.kubectl(&[
        "wait",
        "--for=condition=Ready",
        &format!("pod/{pod}"),
        "--timeout=60s",
    ]);
}

fn pods(place: &Place) {
    apply(place, "pod-nginx");
    until_ready(place, "nginx");
    delete(place, "pod-nginx");

    apply(place, "pod-counter");
    until_ready(place, "counter");
    place.eventually("the counter's first line", || {
        place
            .kubectl(&["logs", "counter"])
            .starts_with("0: ")
            .then_some(())
    });
    delete(place, "pod-counter");

    apply(place, "sample-pod-entrypoint");
    until_ready(place, "sample-entrypoint");
    let words = place.kubectl(&["exec", "sample-entrypoint", "--", "cat", "/proc/1/cmdline"]);
    assert_eq!(words.trim_end_matches('\0'), "/bin/sleep\x003600");
    delete(place, "sample-pod-entrypoint");

    apply(place, "sample-pod-workingdir");
    until_ready(place, "sample-workingdir");
    assert_eq!(
        place.kubectl(&["exec", "sample-workingdir", "--", "pwd"]),
        "/tmp\n"
    );
    delete(place, "sample-pod-workingdir");

    apply(place, "sample-pod-hostaliases");
    until_ready(place, "sample-hostaliases");
    let hosts = place.kubectl(&["exec", "sample-hostaliases", "--", "cat", "/etc/hosts"]);
    assert!(
        hosts.contains("8.8.8.8\tgoogle-dns\tgoogle-public-dns"),
        "{hosts}"
    );
    delete(place, "sample-pod-hostaliases");

    apply(place, "sample-invalid-pod-port-conflict");
    // Two web servers want one port: the second crashes again and again.
    place.eventually("a crashing container", || {
        let path = ".status.containerStatuses[*].state.waiting.reason";
        place
            .field(&["pod", "sample-2pod-fail"], path)
            .contains("CrashLoopBackOff")
            .then_some(())
    });
    delete(place, "sample-invalid-pod-port-conflict");
}

fn deployments(place: &Place) {
    apply(place, "deployment-nginx");
    place.kubectl(&[
        "rollout",
        "status",
        "deployment/nginx-deployment",
        "--timeout=60s",
    ]);
    delete(place, "deployment-nginx");

    apply(place, "deployment-change-cause");
    place.kubectl(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    place.kubectl(&["set", "image", "deployment/my-app", "my-app=nginx:1.14.2"]);
    place.kubectl(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    let history = place.kubectl(&["rollout", "history", "deployment/my-app"]);
    assert!(history.contains("initial image 1.0"), "{history}");
    place.kubectl(&["rollout", "undo", "deployment/my-app", "--to-revision=1"]);
    place.kubectl(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    let image = place.field(
        &["deployment", "my-app"],
        ".spec.template.spec.containers[0].image",
    );
    assert_eq!(image, "nginx:1.17");
    delete(place, "deployment-change-cause");

    apply(place, "deployment-recreate-my-app");
    place.kubectl(&["rollout", "status", "deployment/my-app", "--timeout=60s"]);
    delete(place, "deployment-recreate-my-app");

    apply(place, "sample-replicaset");
    place.kubectl(&[
        "wait",
        "--for=jsonpath={.status.readyReplicas}=3",
        "rs/sample-rs",
        "--timeout=60s",
    ]);
    place.kubectl(&["scale", "rs/sample-rs", "--replicas=1"]);
    place.kubectl(&[
        "wait",
        "--for=jsonpath={.status.replicas}=1",
        "rs/sample-rs",
        "--timeout=60s",
    ]);
    delete(place, "sample-replicaset");
}

fn configuration(place: &Place) {
    place.kubectl(&["create", "namespace", "snackbar"]);
    // The manifest was saved from another cluster: its server's fields are ignored, as upstream does on apply.
    let path = project().join("tests/e2e/seeds/configmap-korean-with-server-fields.yaml");
    let text = fs::read_to_string(path).unwrap();
    let own: Vec<&str> = text
        .lines()
        .filter(|line| !line.contains("resourceVersion:") && !line.contains("uid:"))
        .collect();
    place.apply(&own.join("\n"));
    let message = place.field(
        &["configmap", "-n", "snackbar", "greeting-config-from-file"],
        ".data.MESSAGE",
    );
    assert_eq!(message, "안녕하세요");

    place.kubectl(&[
        "create",
        "configmap",
        "greeting-config",
        "--from-literal=STUDENT_NAME=홍은표",
        "--from-literal=MESSAGE=안녕하세요",
    ]);
    for (manifest, pod, expected) in [
        ("pod-configmap-env", "greeting-app", "안녕하세요 홍은표\n"),
        (
            "pod-configmap-envfrom",
            "greeting-app-all",
            "안녕하세요! 홍은표\n",
        ),
    ] {
        apply(place, manifest);
        until_ready(place, pod);
        let greeting = place.kubectl(&["exec", pod, "--", "sh", "-c", "echo \"$GREETING\""]);
        assert_eq!(greeting, expected);
        delete(place, manifest);
    }
}

fn jobs(place: &Place) {
    apply(place, "sample-job-onfailure-restart");
    place.eventually("a restarted container", || {
        let path = ".items[0].status.containerStatuses[0].restartCount";
        let restarts = place.field(&["pods", "-l", "job-name=errorjob-unvalidcommand"], path);
        restarts
            .parse::<u32>()
            .is_ok_and(|count| count > 0)
            .then_some(())
    });
    delete(place, "sample-job-onfailure-restart");
}

fn invalid(place: &Place) {
    let refused = |name: &str| {
        let path = project()
            .join("tests/e2e/seeds")
            .join(format!("{name}.yaml"));
        place.kubectl_fails(&["apply", "-f", path.to_str().unwrap()])
    };
    let selector = refused("sample-invalid-replicaset-selector");
    assert!(
        selector.contains(
            "The ReplicaSet \"sample-rs-fail\" is invalid: spec.template.metadata.labels: Invalid value: \
             {\"app\":\"sample-app-fail\"}: `selector` does not match template `labels`"
        ),
        "{selector}"
    );
    let typo = refused("sample-invalid-deployment-progressdeadline-typo");
    assert!(
        typo.contains("strict decoding error: unknown field \"spec.progressDeadlineSecods\""),
        "{typo}"
    );
    let annotation = refused("invalid-deployment-annotation-typo");
    assert!(
        annotation.contains("strict decoding error: unknown field \"metadata.annotation\""),
        "{annotation}"
    );
}
