//! Start, stop, delete, crash: what a cluster survives and what it leaves behind.

use crate::{
    Story, census,
    cluster::{Place, stderr},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub const STORIES: &[Story] = &[
    (
        "lifecycle::start_and_delete_leave_no_trace",
        start_and_delete_leave_no_trace,
    ),
    (
        "lifecycle::stop_keeps_objects_and_pods_come_back",
        stop_keeps_objects_and_pods_come_back,
    ),
    (
        "lifecycle::pods_survive_a_killed_daemon",
        pods_survive_a_killed_daemon,
    ),
    (
        "lifecycle::delete_after_a_killed_daemon_leaves_no_trace",
        delete_after_a_killed_daemon_leaves_no_trace,
    ),
    (
        "lifecycle::the_previous_context_is_restored",
        the_previous_context_is_restored,
    ),
    (
        "lifecycle::run_passes_the_exit_code_on",
        run_passes_the_exit_code_on,
    ),
    (
        "lifecycle::several_clusters_side_by_side",
        several_clusters_side_by_side,
    ),
];

/// A Deployment of the built-in image; needs neither network nor archive.
pub const HELLO: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: hello}
spec:
  replicas: 2
  selector: {matchLabels: {app: hello}}
  template:
    metadata: {labels: {app: hello}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: hello, image: kubik/hello, imagePullPolicy: IfNotPresent}]
";

fn start_and_delete_leave_no_trace() {
    let place = Place::new();
    let before = census::take(place.home.path());
    place.must(&["start"]);
    assert!(place.must(&["status"]).contains("apiserver: Running"));
    place.kubectl(&["get", "serviceaccount", "default"]);
    assert_eq!(
        place.field(
            &["node", &place.profile],
            ".status.conditions[?(@.type=='Ready')].status"
        ),
        "True"
    );
    place.apply(HELLO);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    place.must(&["delete", "--purge"]);
    let _ = std::fs::remove_file(place.home.path().join("manifest.yaml"));
    let _ = std::fs::remove_dir_all(place.home.path().join(".kube"));
    census::assert_same(&before, &census::take(place.home.path()));
}

fn stop_keeps_objects_and_pods_come_back() {
    let place = Place::new();
    place.must(&["start"]);
    place.apply(HELLO);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    place.must(&["stop"]);
    assert_eq!(
        place.kubik(&["status"]).output().unwrap().status.code(),
        Some(3)
    );
    place.must(&["start"]);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    assert_eq!(
        place.field(&["deployment", "hello"], ".status.readyReplicas"),
        "2"
    );
}

fn pods_survive_a_killed_daemon() {
    let place = Place::new();
    place.must(&["start"]);
    place.apply(HELLO);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    let ids = || {
        place.field(
            &["pods"],
            ".items[*].status.containerStatuses[*].containerID",
        )
    };
    let before = ids();
    kill(Pid::from_raw(place.daemon_pid()), Signal::SIGKILL).unwrap();
    place.must(&["start"]);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    assert_eq!(ids(), before);
    let restarts = place.field(
        &["pods"],
        ".items[*].status.containerStatuses[*].restartCount",
    );
    assert_eq!(restarts, "0 0");
}

fn delete_after_a_killed_daemon_leaves_no_trace() {
    let place = Place::new();
    let before = census::take(place.home.path());
    place.must(&["start", "--no-kubeconfig"]);
    let own = place
        .home
        .path()
        .join("state")
        .join(&place.profile)
        .join("kubeconfig");
    let manifest = place.home.path().join("hello.yaml");
    std::fs::write(&manifest, HELLO).unwrap();
    place.kubectl(&[
        "--kubeconfig",
        own.to_str().unwrap(),
        "apply",
        "-f",
        manifest.to_str().unwrap(),
    ]);
    // In the middle of making pods.
    kill(Pid::from_raw(place.daemon_pid()), Signal::SIGKILL).unwrap();
    place.must(&["delete", "--purge"]);
    std::fs::remove_file(manifest).unwrap();
    let _ = std::fs::remove_dir_all(place.home.path().join(".kube"));
    census::assert_same(&before, &census::take(place.home.path()));
}

fn the_previous_context_is_restored() {
    let place = Place::new();
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: work\ncontexts:\n- name: work\n  context: {cluster: work, user: me}\n";
    std::fs::write(place.kubeconfig(), theirs).unwrap();
    let current = || place.kubectl(&["config", "current-context"]);
    place.must(&["start"]);
    assert_eq!(current().trim(), place.profile);
    place.must(&["stop"]);
    assert_eq!(current().trim(), "work");
    place.must(&["start"]);
    place.must(&["delete"]);
    assert_eq!(current().trim(), "work");
}

fn run_passes_the_exit_code_on() {
    let place = Place::new();
    let before = census::take(place.home.path());
    let script = "kubectl get --raw /readyz && exit 42";
    let mut command = place.kubik(&["run", "--", "sh", "-c", script]);
    let tools = crate::cluster::project().join("target/tools");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let output = command.env("PATH", path).output().unwrap();
    assert_eq!(output.status.code(), Some(42), "{}", stderr(&output));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "ok");
    place.must(&["delete", "--all", "--purge"]);
    let _ = std::fs::remove_dir_all(place.home.path().join(".kube"));
    census::assert_same(&before, &census::take(place.home.path()));
}

fn several_clusters_side_by_side() {
    let place = Place::new();
    let second = format!("{}-b", place.profile);
    place.must(&["start"]);
    place.must(&["start", "-p", &second]);
    let nodes =
        |context: &str| place.kubectl(&["--context", context, "get", "nodes", "-o", "name"]);
    assert_eq!(
        nodes(&place.profile).trim(),
        format!("node/{}", place.profile)
    );
    assert_eq!(nodes(&second).trim(), format!("node/{second}"));
    let list = place.must(&["profile", "list"]);
    assert!(
        list.contains(&second) && list.contains("10.243.0.0/16"),
        "{list}"
    );
}
