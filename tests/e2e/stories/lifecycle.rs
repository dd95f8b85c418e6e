//! Start, stop, delete, crash: what a cluster survives and what it leaves behind.

use crate::{
    Story, census,
    cluster::{Place, run, stderr},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{process::Stdio, time::Duration};

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
    ("lifecycle::ten_clusters_at_once", ten_clusters_at_once),
    (
        "lifecycle::homes_do_not_share_what_bears_a_name",
        homes_do_not_share_what_bears_a_name,
    ),
    (
        "lifecycle::killed_at_any_moment_a_cluster_can_be_deleted",
        killed_at_any_moment_a_cluster_can_be_deleted,
    ),
    (
        "lifecycle::killed_at_any_moment_a_cluster_can_be_started",
        killed_at_any_moment_a_cluster_can_be_started,
    ),
    (
        "lifecycle::stop_after_a_killed_daemon_ends_its_pods",
        stop_after_a_killed_daemon_ends_its_pods,
    ),
    (
        "lifecycle::several_nodes_share_the_pods",
        several_nodes_share_the_pods,
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
    // How they ended is known, although nobody but the stopping daemon saw it.
    let path = ".items[*].status.containerStatuses[*].lastState.terminated.reason";
    let reasons = place.field(&["pods"], path);
    assert!(
        !reasons.is_empty() && !reasons.contains("Unknown"),
        "{reasons}"
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
    // Whichever of two clusters goes first.
    let second = format!("{}-b", place.profile);
    place.must(&["start"]);
    place.must(&["start", "-p", &second]);
    place.must(&["delete"]);
    assert_eq!(current().trim(), second);
    place.must(&["delete", "-p", &second]);
    assert_eq!(current().trim(), "work");
}

/// Ten at once, made and removed: no address, port or file is fought over.
fn ten_clusters_at_once() {
    let place = Place::new();
    let before = census::take(place.home.path());
    let all = |verb: &str| {
        let one = |n: u32| {
            let profile = format!("{}-{n}", place.profile);
            let mut command = place.kubik(&[verb, "-p", &profile]);
            command.stderr(Stdio::piped()).spawn().unwrap()
        };
        let running: Vec<_> = (0..10).map(one).collect();
        for child in running {
            let output = child.wait_with_output().unwrap();
            assert!(output.status.success(), "{verb}: {}", stderr(&output));
        }
    };
    all("start");
    for n in 0..10 {
        let context = format!("{}-{n}", place.profile);
        let ready = place.kubectl(&["--context", &context, "get", "--raw", "/readyz"]);
        assert_eq!(ready, "ok");
    }
    place.must(&["stop", "--all"]);
    assert!(!place.must(&["profile", "list"]).contains("Running"));
    all("delete");
    let _ = std::fs::remove_dir_all(place.home.path().join(".kube"));
    census::assert_same(&before, &census::take(place.home.path()));
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

/// Two people, or two checkouts, each with a cluster of the same name: neither may notice the other.
fn homes_do_not_share_what_bears_a_name() {
    let (ours, mut theirs) = (Place::new(), Place::new());
    theirs.profile.clone_from(&ours.profile);
    for place in [&ours, &theirs] {
        place.must(&["start"]);
        place.apply(HELLO);
        place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    }
    let ids = || {
        let path = ".items[*].status.containerStatuses[*].containerID";
        ours.field(&["pods"], path)
    };
    let before = ids();
    theirs.must(&["delete", "--purge"]);
    let pod = ours.field(&["pods"], ".items[0].metadata.name");
    let url = "http://kubernetes.default.svc.cluster.local:1/";
    // It runs, and it still has a network: a name resolves, nobody listens there.
    let refused = ours.kubectl_fails(&["exec", &pod, "--", "/kubik-hello", "fetch", url]);
    assert!(refused.contains("refused"), "{refused}");
    assert_eq!(ids(), before);
    // A home that comes back to addresses that somebody else has got meanwhile is told so.
    ours.must(&["stop"]);
    let bridge = ours.bridge();
    run("ip", &["link", "delete", &bridge]);
    theirs.must(&["start"]);
    assert_eq!(theirs.bridge(), bridge);
    let refused = ours.kubik(&["start"]).output().unwrap();
    let state = theirs.home.path().join("state");
    assert!(
        !refused.status.success() && stderr(&refused).contains(state.to_str().unwrap()),
        "{}",
        stderr(&refused)
    );
    ours.must(&["delete"]);
    theirs.kubectl(&["get", "--raw", "/readyz"]);
    run("ip", &["link", "show", &bridge]);
}

/// Moments of a start, from before the first file to after the last step. Seeded, so that a failure comes again.
fn moments() -> impl Iterator<Item = Duration> {
    let mut seed = 42u64;
    (0..8).map(move |_| {
        seed = seed
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        Duration::from_millis((seed >> 33) % 120)
    })
}

/// Starts in the background and kills the daemon after a while, wherever it is then.
fn start_and_kill(place: &Place, after: Duration) {
    let mut start = place.kubik(&["start", "--no-kubeconfig"]);
    let mut start = start
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(after);
    let lock = place
        .home
        .path()
        .join("run")
        .join(&place.profile)
        .join("daemon.lock");
    let pid = std::fs::read_to_string(lock)
        .ok()
        .and_then(|text| text.trim().parse().ok());
    if let Some(pid) = pid {
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
    }
    start.wait().unwrap();
}

fn killed_at_any_moment_a_cluster_can_be_deleted() {
    for after in moments() {
        let place = Place::new();
        let before = census::take(place.home.path());
        start_and_kill(&place, after);
        place.must(&["delete", "--purge"]);
        let _ = std::fs::remove_dir_all(place.home.path().join(".kube"));
        println!("killed after {after:?}");
        census::assert_same(&before, &census::take(place.home.path()));
    }
}

fn killed_at_any_moment_a_cluster_can_be_started() {
    let place = Place::new();
    for after in moments() {
        println!("killed after {after:?}");
        start_and_kill(&place, after);
        place.must(&["start"]);
        assert_eq!(place.kubectl(&["get", "--raw", "/readyz"]), "ok");
        place.must(&["stop"]);
    }
}

fn stop_after_a_killed_daemon_ends_its_pods() {
    let place = Place::new();
    place.must(&["start"]);
    place.apply(HELLO);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    kill(Pid::from_raw(place.daemon_pid()), Signal::SIGKILL).unwrap();
    place.eventually("the daemon's end", || {
        place
            .kubik(&["status"])
            .output()
            .unwrap()
            .status
            .code()
            .filter(|code| code & 1 == 1)
    });
    place.must(&["stop"]);
    let own = place.home.path().to_string_lossy().into_owned();
    let all = census::take(place.home.path()).into_iter();
    let left: Vec<String> = all
        .filter(|line| line.starts_with("process: ") && line.contains(&own))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    place.must(&["start"]);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
}

const ON_EVERY_NODE: &str = "
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: everywhere}
spec:
  selector: {matchLabels: {app: everywhere}}
  template:
    metadata: {labels: {app: everywhere}}
    spec:
      terminationGracePeriodSeconds: 1
      containers: [{name: hello, image: kubik/hello, imagePullPolicy: IfNotPresent}]
";

fn several_nodes_share_the_pods() {
    let place = Place::new();
    place.must(&["start", "--nodes", "3"]);
    assert_eq!(
        place
            .kubectl(&["get", "nodes", "-o", "name"])
            .lines()
            .count(),
        3
    );
    place.apply(ON_EVERY_NODE);
    place.kubectl(&["rollout", "status", "daemonset/everywhere", "--timeout=60s"]);
    let nodes = place.field(&["pods"], ".items[*].spec.nodeName");
    let distinct: std::collections::BTreeSet<&str> = nodes.split(' ').collect();
    assert_eq!(distinct.len(), 3, "{nodes}");
    let addresses = place.field(&["pods"], ".items[*].status.podIP");
    let first = place.field(&["pods"], ".items[0].metadata.name");
    for address in addresses.split(' ') {
        let url = format!("http://{address}:8080/");
        let answer = place.kubectl(&["exec", &first, "--", "/kubik-hello", "fetch", &url]);
        assert!(answer.contains("pod: everywhere-"), "{answer}");
    }
    // One more joins while the cluster runs, and goes again.
    place.must(&["node", "delete", &format!("{}-m02", place.profile)]);
    place.must(&["node", "add"]);
    place.must(&["node", "add"]);
    let fourth = format!("node/{}-m04", place.profile);
    place.kubectl(&["wait", "--for=condition=Ready", &fourth, "--timeout=60s"]);
    place.kubectl(&["rollout", "status", "daemonset/everywhere", "--timeout=60s"]);
    let own = format!("--field-selector=spec.nodeName={}-m04", place.profile);
    place.eventually("a pod of the new node", || {
        let ip = place.kubectl(&[
            "get",
            "pods",
            &own,
            "-o",
            "jsonpath={.items[*].status.podIP}",
        ]);
        let url = format!("http://{}:8080/", ip.trim());
        let words = ["exec", &first, "--", "/kubik-hello", "fetch", &url];
        let answer = place.kubectl_command(&words).output().unwrap();
        (!ip.is_empty() && answer.status.success()).then_some(())
    });
    place.must(&["node", "delete", &format!("{}-m04", place.profile)]);
    place.kubectl_fails(&["get", &fourth]);
}
