//! Ways to start, and to fail to: in the foreground, in memory, for one command, on a machine that is not as it should.

use crate::{
    Story, census,
    cluster::{Place, run, stderr},
    registry::free_port,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    net::TcpListener,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
};

pub const STORIES: &[Story] = &[
    (
        "starts::in_the_foreground_a_signal_stops_the_cluster",
        in_the_foreground_a_signal_stops_the_cluster,
    ),
    (
        "starts::an_ephemeral_cluster_forgets",
        an_ephemeral_cluster_forgets,
    ),
    (
        "starts::a_killed_run_takes_its_cluster_along",
        a_killed_run_takes_its_cluster_along,
    ),
    (
        "starts::commands_at_the_same_time_wait_for_each_other",
        commands_at_the_same_time_wait_for_each_other,
    ),
    (
        "starts::what_cannot_start_says_why",
        what_cannot_start_says_why,
    ),
    (
        "starts::a_full_disk_refuses_and_loses_nothing",
        a_full_disk_refuses_and_loses_nothing,
    ),
    (
        "starts::the_kubeconfig_is_chosen_as_kubectl_does",
        the_kubeconfig_is_chosen_as_kubectl_does,
    ),
];

fn spawn(place: &Place, words: &[&str]) -> Child {
    place
        .kubik(words)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn until_running(place: &Place) {
    place.eventually("the cluster to run", || {
        let status = place.kubik(&["status"]).output().unwrap().status;
        status.success().then_some(())
    });
}

fn in_the_foreground_a_signal_stops_the_cluster() {
    let place = Place::new();
    let mut start = spawn(&place, &["start", "--foreground"]);
    until_running(&place);
    place.kubectl(&["create", "configmap", "kept"]);
    kill(Pid::from_raw(start.id().cast_signed()), Signal::SIGTERM).unwrap();
    assert_eq!(start.wait().unwrap().code(), Some(0));
    // It ended after its cluster, and gave kubectl's context back.
    let status = place.kubik(&["status"]).output().unwrap();
    assert_eq!(status.status.code().map(|code| code & 1), Some(1));
    place.kubectl_fails(&["config", "current-context"]);
    // Killed, it cannot stop anything: the daemon notices and does it.
    let mut start = spawn(&place, &["start", "--foreground"]);
    until_running(&place);
    place.kubectl(&["get", "configmap", "kept"]);
    let daemon = place.daemon_pid();
    start.kill().unwrap();
    start.wait().unwrap();
    place.eventually("the daemon's end", || {
        (!Path::new(&format!("/proc/{daemon}")).exists()).then_some(())
    });
}

fn an_ephemeral_cluster_forgets() {
    let place = Place::new();
    place.must(&["start", "--ephemeral"]);
    place.kubectl(&["create", "configmap", "forgotten"]);
    let state = place.home.path().join("state");
    let on_disk: Vec<PathBuf> = std::fs::read_dir(&state)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .collect();
    assert!(on_disk.iter().all(|path| path.is_file()), "{on_disk:?}");
    place.must(&["stop"]);
    place.must(&["start", "--ephemeral"]);
    place.kubectl_fails(&["get", "configmap", "forgotten"]);
}

fn a_killed_run_takes_its_cluster_along() {
    let place = Place::new();
    let before = census::take(place.home.path());
    let started = place.home.path().join("started");
    let script = format!("touch {}; sleep 1000", started.display());
    let mut command = place.kubik(&["run", "--", "sh", "-c", &script]);
    // A group of its own, so that what is left of it can be ended.
    let mut running = command
        .process_group(0)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    place.eventually("the command to run", || started.exists().then_some(()));
    running.kill().unwrap();
    running.wait().unwrap();
    // The command itself was nobody's to end: a killed parent cannot.
    let group = Pid::from_raw(-running.id().cast_signed());
    kill(group, Signal::SIGKILL).unwrap();
    std::fs::remove_file(started).unwrap();
    place.eventually("every trace to go", || {
        let roots = ["state", "run"].map(|name| place.home.path().join(name));
        let left = roots
            .iter()
            .flat_map(|root| std::fs::read_dir(root).into_iter().flatten().flatten());
        (!left.into_iter().any(|entry| entry.path().is_dir())).then_some(())
    });
    place.must(&["delete", "--all", "--purge"]);
    let _ = std::fs::remove_dir_all(place.home.path().join(".kube"));
    census::assert_same(&before, &census::take(place.home.path()));
}

fn commands_at_the_same_time_wait_for_each_other() {
    let place = Place::new();
    let all: Vec<Child> = (0..4).map(|_| spawn(&place, &["start"])).collect();
    for mut start in all {
        assert_eq!(start.wait().unwrap().code(), Some(0));
    }
    place.kubectl(&["get", "--raw", "/readyz"]);
    // A start that meets a stop waits for its end and has the last word.
    place.apply(super::lifecycle::HELLO);
    place.kubectl(&["rollout", "status", "deployment/hello", "--timeout=60s"]);
    let mut stop = spawn(&place, &["stop"]);
    place.eventually("the stop to begin", || {
        let status = place.kubik(&["status"]).output().unwrap().status;
        (!status.success()).then_some(())
    });
    place.must(&["start"]);
    assert!(stop.wait().unwrap().success());
    place.must(&["status"]);
    assert_eq!(
        place.kubectl(&["config", "current-context"]).trim(),
        place.profile
    );
    // A start that is given up either was done already or leaves nothing running.
    place.must(&["stop"]);
    let mut start = spawn(&place, &["start"]);
    let lock = place
        .home
        .path()
        .join("run")
        .join(&place.profile)
        .join("daemon.lock");
    std::fs::remove_file(&lock).unwrap_or_default();
    place.eventually("the daemon to begin", || lock.exists().then_some(()));
    start.kill().unwrap();
    start.wait().unwrap();
    place.eventually("the daemon to end or to be ready", || {
        let code = place.kubik(&["status"]).output().unwrap().status.code()?;
        (code & 3 != 2).then_some(())
    });
    place.must(&["start"]);
}

fn fails(place: &Place, words: &[&str], code: i32, text: &str) {
    let output = place.kubik(words).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    assert!(said.contains(text), "{words:?}: {said}");
}

fn what_cannot_start_says_why() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    fails(
        &place,
        &["start", "--api-port", &port],
        71,
        &format!("port {port} is in use"),
    );
    // A cluster whose port was taken while it was stopped; it is removed, as it was asked to be.
    let own = free_port();
    place.must(&["start", "--api-port", &own.to_string()]);
    place.must(&["stop"]);
    // Somebody has taken the port: the API moves, and pods find it as before.
    let other = TcpListener::bind(("127.0.0.1", own)).unwrap();
    let moved = place.kubik(&["start"]).output().unwrap();
    let said = stderr(&moved);
    assert!(
        moved.status.success() && said.contains(&format!("port {own} is in use")),
        "{said}"
    );
    drop(other);
    let path = ".subsets[0].ports[0].port";
    let port = place.field(&["endpoints", "kubernetes"], path);
    assert_ne!(port, own.to_string());
    let server = place.kubectl(&["config", "view", "--minify", "-o", "yaml"]);
    assert!(
        server.contains(&format!("https://127.0.0.1:{port}")),
        "{server}"
    );
    // A registry that cannot listen is said, and costs nothing else.
    place.must(&["stop"]);
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let registry = other.local_addr().unwrap().port().to_string();
    let noted = place.kubik(&["start", "--registry-port", &registry]);
    let noted = { noted }.output().unwrap();
    assert!(noted.status.success());
    let said = stderr(&noted);
    assert!(said.contains("the addon \"registry\" is off"), "{said}");
    drop(other);
    // Somebody else, on a machine where root is needed.
    let mut command = place.kubik(&["start"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    assert_eq!(output.status.code(), Some(37), "{}", stderr(&output));
    assert!(
        stderr(&output).contains("Run it with sudo"),
        "{}",
        stderr(&output)
    );
    fails(
        &place,
        &["start", "--registry-ca", "/etc/hostname"],
        38,
        "holds no certificate",
    );
    // Anybody may look.
    let mut command = place.kubik(&["status"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("apiserver: Running"), "{said}");
    let mut command = place.kubik(&["addons", "disable", "registry"]);
    let output = command.uid(65534).gid(65534).output().unwrap();
    assert_eq!(output.status.code(), Some(37), "{}", stderr(&output));
    fails(
        &place,
        &["stop", "-p", "absent"],
        85,
        "there is no cluster \"absent\"",
    );
}

/// A small disk of memory; unmounted on drop.
struct Disk(PathBuf);

impl Disk {
    fn mount(path: PathBuf, size: &str) -> Disk {
        std::fs::create_dir_all(&path).unwrap();
        let options = format!("size={size}");
        run(
            "mount",
            &[
                "-t",
                "tmpfs",
                "-o",
                &options,
                "tmpfs",
                path.to_str().unwrap(),
            ],
        );
        Disk(path)
    }

    fn remount(&self, options: &str) {
        let options = format!("remount,{options}");
        run("mount", &["-o", &options, self.0.to_str().unwrap()]);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn a_full_disk_refuses_and_loses_nothing() {
    let place = Place::new();
    let disk = Disk::mount(place.home.path().join("state"), "48m");
    place.must(&["start"]);
    place.kubectl(&["create", "configmap", "before"]);
    // Everything but a little is taken; objects take the rest.
    let ballast = disk.0.join("ballast");
    let _ = run(
        "sh",
        &[
            "-c",
            &format!(
                "head -c 200m /dev/zero > {} 2>/dev/null || true",
                ballast.display()
            ),
        ],
    );
    let big = place.home.path().join("big");
    std::fs::write(&big, "x".repeat(900_000)).unwrap();
    let from = format!("--from-file={}", big.display());
    let create = |n: u32| {
        let name = format!("full{n}");
        let words = ["create", "configmap", &name, &from];
        place.kubectl_command(&words).output().unwrap()
    };
    let mut stored = Vec::new();
    let refused = (0..40).map(|n| (n, create(n))).find(|(n, output)| {
        if output.status.success() {
            stored.push(format!("full{n}"));
        }
        !output.status.success()
    });
    let (_, refused) = refused.expect("a full disk takes no objects");
    let said = stderr(&refused);
    assert!(said.contains("no space left on device"), "{said}");
    // Also when the log, which is on that disk, takes no line any more.
    let many = place.home.path().join("many.yaml");
    let map =
        |n: u32| format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: many{n}}}\n---\n");
    std::fs::write(&many, (0..100).map(map).collect::<String>()).unwrap();
    place.kubectl_fails(&["create", "-f", many.to_str().unwrap()]);
    // It reads on, and writes again when there is room.
    place.kubectl(&["get", "configmap", "before"]);
    std::fs::remove_file(&ballast).unwrap();
    place.eventually("writes to be taken again", || {
        let output = place
            .kubectl_command(&["create", "configmap", "after"])
            .output()
            .unwrap();
        output.status.success().then_some(())
    });
    place.must(&["stop"]);
    // A disk that cannot be written to: said before anything is done.
    disk.remount("ro");
    let output = place.kubik(&["start"]).output().unwrap();
    assert!(!output.status.success());
    assert!(
        stderr(&output).contains("Read-only file system"),
        "{}",
        stderr(&output)
    );
    disk.remount("rw");
    place.must(&["start"]);
    let names = place.kubectl(&["get", "configmaps", "-o", "name"]);
    for name in stored.iter().map(String::as_str).chain(["before", "after"]) {
        assert!(
            names.contains(&format!("configmap/{name}")),
            "{name}: {names}"
        );
    }
    place.must(&["delete"]);
}

fn the_kubeconfig_is_chosen_as_kubectl_does() {
    let place = Place::new();
    let file = |name: &str| place.home.path().join(name);
    let theirs = "apiVersion: v1\nkind: Config\ncurrent-context: ''\nx-own: kept\n";
    std::fs::write(file("second"), theirs).unwrap();
    let list = format!("{}:{}", file("first").display(), file("second").display());
    let with = |words: &[&str]| {
        place
            .kubik(words)
            .env("KUBECONFIG", &list)
            .output()
            .unwrap()
    };
    // The first that exists is written to; what others keep in it stays.
    assert!(with(&["start"]).status.success());
    assert!(!file("first").exists());
    let text = std::fs::read_to_string(file("second")).unwrap();
    assert!(
        text.contains("x-own: kept") && text.contains(&place.profile),
        "{text}"
    );
    assert!(with(&["delete"]).status.success());
    let text = std::fs::read_to_string(file("second")).unwrap();
    assert!(
        text.contains("x-own: kept") && !text.contains(&place.profile),
        "{text}"
    );
    // An option wins over the environment.
    let own = file("own");
    let words = ["start", "--kubeconfig", own.to_str().unwrap()];
    assert!(with(&words).status.success());
    assert!(
        std::fs::read_to_string(&own)
            .unwrap()
            .contains("client-key-data")
    );
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&own).unwrap()) & 0o777;
    assert_eq!(mode, 0o600);
    assert!(with(&["delete"]).status.success());
    assert!(!own.exists());
    // Others' entries of the same name are not ours to replace, whoever made the file keeps it, and a lock of a process
    // that was killed holds nobody up.
    let theirs = format!(
        "clusters:\n- name: {}\n  cluster: {{server: 'https://prod.example'}}\n",
        place.profile
    );
    std::fs::write(&own, &theirs).unwrap();
    fails(&place, &words, 31, "https://prod.example");
    assert_eq!(std::fs::read_to_string(&own).unwrap(), theirs);
    std::fs::write(&own, "current-context: x\n").unwrap();
    std::os::unix::fs::chown(&own, Some(65534), Some(65534)).unwrap();
    std::fs::write(file("own.lock"), format!("kubik {}", u32::MAX)).unwrap();
    assert!(with(&words).status.success());
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&own).unwrap());
    assert_eq!(owner, 65534);
    assert!(with(&["delete"]).status.success());
    // What is no kubeconfig is left alone.
    std::fs::write(file("broken"), "- not a kubeconfig\n").unwrap();
    let broken = file("broken");
    fails(
        &place,
        &["start", "--kubeconfig", broken.to_str().unwrap()],
        38,
        "is no kubeconfig",
    );
    assert_eq!(
        std::fs::read_to_string(&broken).unwrap(),
        "- not a kubeconfig\n"
    );
    place.must(&["start", "--no-kubeconfig"]);
    assert!(!place.kubeconfig().exists());
}
