//! What people type because another program taught them to.

use crate::{
    Story,
    cluster::{Place, project, run, shared, stderr},
    images::load_busybox,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;
use std::process::{Command, Output};

pub const STORIES: &[Story] = &[
    (
        "habits::a_pause_freezes_and_outlives_the_daemon",
        a_pause_freezes_and_outlives_the_daemon,
    ),
    (
        "habits::services_are_found_by_url",
        services_are_found_by_url,
    ),
    ("habits::the_node_is_this_machine", the_node_is_this_machine),
    ("habits::addons_are_what_they_say", addons_are_what_they_say),
    (
        "habits::profiles_and_settings_are_kept",
        profiles_and_settings_are_kept,
    ),
    (
        "habits::options_of_others_are_explained_or_refused",
        options_of_others_are_explained_or_refused,
    ),
    (
        "habits::kubectl_logs_doctor_and_completion",
        kubectl_logs_doctor_and_completion,
    ),
];

/// Counts ten times a second; a probe would kill it for standing still.
const COUNTER: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: NAMESPACE}
spec:
  restartPolicy: RESTART
  terminationGracePeriodSeconds: 1
  containers:
  - name: main
    image: busybox:1.36
    command: [sh, -c, 'i=0; while [ $i -lt COUNT ]; do date > /tmp/alive; i=$((i+1)); echo $i; sleep 0.1; done']
    livenessProbe:
      exec: {command: [sh, -c, 'test -e /tmp/alive && rm /tmp/alive']}
      periodSeconds: 1
      failureThreshold: 1
";

fn counter(place: &Place, namespace: &str, name: &str, count: &str) {
    let restart = if count == "1000000" {
        "Always"
    } else {
        "Never"
    };
    let text = COUNTER
        .replace("NAMESPACE", namespace)
        .replace("NAME", name)
        .replace("COUNT", count)
        .replace("RESTART", restart);
    place.apply(&text);
}

/// Lets three seconds pass by waiting for a pod that counts them.
fn pass_time(place: &Place, name: &str) {
    counter(place, "default", name, "30");
    let pod = format!("pod/{name}");
    place.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        &pod,
        "--timeout=60s",
    ]);
}

fn a_pause_freezes_and_outlives_the_daemon() {
    let place = Place::new();
    place.must(&["start"]);
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "frozen"]);
    counter(&place, "frozen", "counter", "1000000");
    place.kubectl(&[
        "wait",
        "-n",
        "frozen",
        "--for=condition=Ready",
        "pod/counter",
        "--timeout=60s",
    ]);
    let count = || {
        place
            .kubectl(&["logs", "-n", "frozen", "counter"])
            .lines()
            .count()
    };
    place.must(&["pause", "-n", "frozen"]);
    let status = place.must(&["status"]);
    assert!(
        status.contains("kubelet: Paused") && status.contains("paused: frozen"),
        "{status}"
    );
    let document: Value = serde_json::from_str(&place.must(&["status", "-o", "json"])).unwrap();
    assert_eq!(document["Kubelet"], "Paused");
    let before = count();
    pass_time(&place, "first");
    assert_eq!(count(), before);
    let refused = place.kubectl_fails(&["exec", "-n", "frozen", "counter", "--", "true"]);
    assert!(refused.contains("the pod is paused"), "{refused}");

    // The next daemon finds it frozen, and does not kill it for that.
    kill(Pid::from_raw(place.daemon_pid()), Signal::SIGKILL).unwrap();
    place.must(&["start"]);
    assert!(place.must(&["status"]).contains("paused: frozen"));
    pass_time(&place, "second");
    assert_eq!(count(), before);
    place.must(&["unpause"]);
    assert!(!place.must(&["status"]).contains("aused"));
    place.eventually("the counter to go on", || {
        (count() > before + 5).then_some(())
    });
    let restarts = place.field(
        &["pod", "counter", "-n", "frozen"],
        ".status.containerStatuses[0].restartCount",
    );
    assert_eq!(restarts, "0");
    // What is frozen can be ended: one pod by its deletion, all by a stop.
    place.must(&["pause"]);
    place.kubectl(&["delete", "pod", "-n", "frozen", "counter", "--timeout=30s"]);
    counter(&place, "frozen", "another", "1000000");
    place.kubectl(&[
        "wait",
        "-n",
        "frozen",
        "--for=condition=Ready",
        "pod/another",
        "--timeout=60s",
    ]);
    place.must(&["pause"]);
    place.must(&["stop"]);
    place.must(&["start"]);
    assert!(!place.must(&["status"]).contains("aused"));
}

fn services_are_found_by_url() {
    let place = shared();
    place.kubectl(&["create", "namespace", "urls"]);
    place.apply(
        "apiVersion: v1\nkind: Pod\nmetadata: {name: hello, namespace: urls, labels: {app: hello}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
         containers: [{name: hello, image: kubik/hello, imagePullPolicy: IfNotPresent}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: urls}\nspec:\n  type: NodePort\n  selector: {app: hello}\n  \
         ports: [{name: http, port: 80, targetPort: 8080}]\n---\n\
         apiVersion: v1\nkind: Service\nmetadata: {name: none, namespace: urls}\nspec: {clusterIP: None, selector: {app: hello}, ports: [{port: 80}]}\n",
    );
    place.kubectl(&[
        "wait",
        "-n",
        "urls",
        "--for=condition=Ready",
        "pod/hello",
        "--timeout=60s",
    ]);
    let url = place.must(&["service", "web", "-n", "urls", "--url"]);
    assert!(
        url.starts_with(&format!("http://{}:3", place.must(&["ip"]).trim())),
        "{url}"
    );
    place.eventually("the service to answer", || {
        let answer = Command::new("curl")
            .args(["-s", "-m", "5", url.trim()])
            .output()
            .unwrap();
        String::from_utf8_lossy(&answer.stdout)
            .contains("Hello")
            .then_some(())
    });
    assert!(
        place
            .must(&["service", "web", "-n", "urls", "--https"])
            .starts_with("https://")
    );
    let list = place.must(&["service", "list"]);
    let row = |name: &str| {
        let rows = list
            .lines()
            .map(|line| line.split_whitespace().collect::<Vec<_>>());
        let mut own = rows.filter(|row| row[0] == "urls" && row[1] == name);
        own.next().unwrap_or_else(|| panic!("{name}: {list}"))
    };
    assert_eq!(row("web"), ["urls", "web", "http/80", url.trim()]);
    assert_eq!(row("none"), ["urls", "none", "No", "node", "port"]);
    let documents: Value =
        serde_json::from_str(&place.must(&["service", "list", "-n", "urls", "-o", "json"]))
            .unwrap();
    assert_eq!(documents[1]["URLs"][0], url.trim());
    fails(
        &place,
        &["service", "absent", "-n", "urls"],
        115,
        "services \"absent\" not found",
    );
    fails(
        &place,
        &["service", "none", "-n", "urls"],
        119,
        "no port that could be reached",
    );
    place.kubectl(&["delete", "namespace", "urls", "--wait=false"]);
}

/// Must fail with this code and these words; answers everything it said.
fn fails(place: &Place, words: &[&str], code: i32, text: &str) -> String {
    let output = place.kubik(words).output().unwrap();
    let said = stderr(&output);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {said}");
    assert!(said.contains(text), "{words:?}: {said}");
    said
}

fn the_node_is_this_machine() {
    let place = shared();
    load_busybox(&place);
    let home = place.home.path();
    // A shell in the node's network, with the cluster's kubeconfig; exit codes pass.
    let links = place.must(&["shell", "--", "ip", "-o", "-br", "link"]);
    assert!(links.contains("kubik"), "{links}");
    let output = place
        .kubik(&["ssh", "--", "sh", "-c", "test -r $KUBECONFIG && exit 9"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(9));
    // A copied file is there for a pod.
    let source = home.join("data.txt");
    std::fs::write(&source, "data\n").unwrap();
    let target = home.join("srv/node/data.txt");
    let remote = format!("{}:{}", place.profile, target.display());
    place.must(&["cp", source.to_str().unwrap(), &remote]);
    let folder = target.parent().unwrap().display();
    place.apply(&format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: reader}}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: main\n    \
         image: busybox:1.36\n    command: [cat, /node/data.txt]\n    volumeMounts: [{{name: node, mountPath: /node}}]\n  \
         volumes: [{{name: node, hostPath: {{path: {folder}}}}}]\n"
    ));
    place.kubectl(&[
        "wait",
        "--for=jsonpath={.status.phase}=Succeeded",
        "pod/reader",
        "--timeout=60s",
    ]);
    assert_eq!(place.kubectl(&["logs", "reader"]), "data\n");
    place.kubectl(&["delete", "pod", "reader", "--wait=false"]);
    fails(
        &place,
        &["cp", "/nonexistent", &remote],
        35,
        "is not a file",
    );
    // What needs no doing says so, and scripts go on.
    let mount = place.must(&["mount", &format!("{}:/data", home.display())]);
    assert!(
        mount.contains(&format!("hostPath: {{path: {}}}", home.display())),
        "{mount}"
    );
    assert!(place.must(&["tunnel"]).contains("No tunnel is needed"));
    for engine in ["docker-env", "podman-env"] {
        let kubik = env!("CARGO_BIN_EXE_kubik");
        let script = format!("eval $({kubik} {engine}) && echo good");
        let output = in_place(&place, "sh", &["-c", &script]);
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            "good\n",
            "{}",
            stderr(&output)
        );
    }
}

/// A program with the environment that kubik has in this place.
fn in_place(place: &Place, program: &str, words: &[&str]) -> Output {
    let home = place.home.path();
    Command::new(program)
        .args(words)
        .env("KUBIK_HOME", home.join("state"))
        .env("KUBIK_RUN", home.join("run"))
        .env("KUBIK_PROFILE", &place.profile)
        .env("KUBECONFIG", place.kubeconfig())
        .env("HOME", home)
        .output()
        .unwrap()
}

fn addons_are_what_they_say() {
    let place = shared();
    let default_class = || {
        let path = r".metadata.annotations.storageclass\.kubernetes\.io/is-default-class";
        place.field(&["storageclass", "standard"], path)
    };
    assert_eq!(default_class(), "true");
    place.must(&["addons", "disable", "default-storageclass"]);
    assert_eq!(default_class(), "false");
    let list: Value = serde_json::from_str(&place.must(&["addons", "list", "-o", "json"])).unwrap();
    assert_eq!(list["default-storageclass"]["Status"], "disabled");
    assert_eq!(list["dns"]["Status"], "enabled");
    place.must(&["addons", "enable", "default-storageclass"]);
    assert_eq!(default_class(), "true");
    place.must(&["addons", "enable", "dns"]);
    // Without its class nobody serves Ingresses; whoever wants another controller has the way free.
    place.must(&["addons", "disable", "ingress"]);
    let gone = place.kubectl_fails(&["get", "ingressclass", "nginx"]);
    assert!(gone.contains("NotFound"), "{gone}");
    place.must(&["addons", "enable", "ingress"]);
    place.kubectl(&["get", "ingressclass", "nginx"]);
    fails(
        &place,
        &["addons", "disable", "dns"],
        16,
        "cannot be turned off",
    );
    fails(
        &place,
        &["addons", "enable", "metallb"],
        16,
        "without an addon",
    );
    fails(
        &place,
        &["addons", "enable", "gvisor"],
        15,
        "there is no addon \"gvisor\"",
    );
}

fn profiles_and_settings_are_kept() {
    let place = Place::new();
    let profile = place.profile.clone();
    let without = |words: &[&str]| {
        let mut command = place.kubik(words);
        let output = command.env_remove("KUBIK_PROFILE").output().unwrap();
        assert!(output.status.success(), "{words:?}: {}", stderr(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    assert_eq!(without(&["profile"]).trim(), "kubik");
    fails(
        &place,
        &["profile", "absent"],
        85,
        "there is no cluster \"absent\"",
    );
    fails(
        &place,
        &["config", "set", "color", "red"],
        15,
        "there is no option \"color\"",
    );
    fails(
        &place,
        &["config", "set", "nodes", "many"],
        14,
        "is no value for nodes",
    );
    fails(
        &place,
        &["config", "get", "nodes"],
        15,
        "\"nodes\" is not set",
    );
    place.must(&["config", "set", "nodes", "2"]);
    place.must(&["config", "set", "driver", "docker"]);
    assert_eq!(place.must(&["config", "get", "nodes"]).trim(), "2");
    assert_eq!(
        place.must(&["config", "view"]),
        "- driver: docker\n- nodes: 2\n"
    );
    let output = place.kubik(&["start"]).output().unwrap();
    assert!(
        stderr(&output).contains("--driver docker: there is no driver"),
        "{}",
        stderr(&output)
    );
    assert_eq!(
        place
            .kubectl(&["get", "nodes", "-o", "name"])
            .lines()
            .count(),
        2
    );
    place.must(&["config", "unset", "driver"]);
    place.must(&["profile", &profile]);
    assert_eq!(without(&["profile"]).trim(), profile);
    assert!(without(&["status"]).starts_with(&profile));
    assert!(without(&["profile", "list"]).contains("Running"));
    // Somebody spoiled the kubeconfig.
    std::fs::remove_file(place.kubeconfig()).unwrap();
    assert_eq!(
        place.kubik(&["status"]).output().unwrap().status.code(),
        Some(4)
    );
    let second = place.must(&["ip", "-n", &format!("{profile}-m02")]);
    assert!(second.trim().ends_with(".1.1"), "{second}");
    place.must(&["update-context"]);
    assert_eq!(
        place.kubectl(&["config", "current-context"]).trim(),
        profile
    );
    place.must(&["status"]);
}

fn options_of_others_are_explained_or_refused() {
    let place = shared();
    let words = [
        "start",
        "--driver=docker",
        "--memory",
        "4096",
        "--cpus=2",
        "--cni",
        "calico",
        "--wait=all",
        "--embed-certs",
    ];
    let output = place.kubik(&words).output().unwrap();
    let said = stderr(&output);
    assert!(output.status.success(), "{said}");
    for note in [
        "--driver docker: there is no driver",
        "--memory 4096: not a limit here",
        "--cni calico: the pod network is part",
    ] {
        assert!(said.contains(note), "{note}: {said}");
    }
    assert!(
        !said.contains("--wait") && !said.contains("--embed-certs"),
        "{said}"
    );
    for (words, code, text) in [
        (["start", "--gpus=all"], 16, "GPUs are not offered"),
        (["start", "--rootless"], 16, "kubik needs root"),
        (
            ["start", "--kubernetes-version=v1.30.0"],
            106,
            "Kubernetes v1.30.0 is not served",
        ),
        (["start", "--nodes=7"], 18, "exists with another --nodes"),
        (["start", "--addons=gvisor"], 15, "there is no addon"),
        (["start", "--nonsense"], 14, "--nonsense"),
    ] {
        let words: Vec<&str> = words.to_vec();
        fails(&place, &words, code, text);
    }
    place.must(&["start", "--kubernetes-version", "v1.36.0"]);
    // Nothing comes of a dry run; a real one tells programs what it does.
    let place = Place::new();
    let output = place.kubik(&["start", "--dry-run"]).output().unwrap();
    assert!(
        output.status.success() && stderr(&output).contains("Would create"),
        "{}",
        stderr(&output)
    );
    assert!(
        !place
            .home
            .path()
            .join("state")
            .join(&place.profile)
            .exists()
    );
    let events = place.must(&["start", "-o", "json"]);
    let events: Vec<Value> = events
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps: Vec<&Value> = events
        .iter()
        .filter(|event| event["type"] == "io.k8s.sigs.minikube.step")
        .collect();
    assert!(steps.len() >= 4, "{events:?}");
    assert_eq!(steps.last().unwrap()["data"]["name"], "Done");
    let refused = place
        .kubik(&["start", "-o", "json", "--gpus=all"])
        .output()
        .unwrap();
    let error: Value = serde_json::from_slice(&refused.stdout).unwrap();
    assert_eq!(error["type"], "io.k8s.sigs.minikube.error");
    assert_eq!(error["data"]["exitcode"], "16");
}

fn kubectl_logs_doctor_and_completion() {
    let place = shared();
    let home = place.home.path();
    // By name, and as a link that is called kubectl; the one on PATH is used.
    let tools = project().join("target/tools");
    let path = format!("{}:{}", tools.display(), std::env::var("PATH").unwrap());
    let output = place
        .kubik(&["kubectl", "--", "get", "nodes", "-o", "name"])
        .env("PATH", &path)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout).trim(),
        format!("node/{}", place.profile)
    );
    let link = home.join("kubectl");
    let _ = std::fs::remove_file(&link);
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_kubik"), &link).unwrap();
    // Without KUBIK_PROFILE it would be the chosen profile's; a link has no option for it.
    place.must(&["profile", &place.profile]);
    let output = in_place(&place, link.to_str().unwrap(), &["get", "namespaces"]);
    assert!(
        String::from_utf8_lossy(&output.stdout).contains("kube-system"),
        "{}",
        stderr(&output)
    );

    let file = home.join("logs.txt");
    place.must(&["logs", "--file", file.to_str().unwrap()]);
    let whole = std::fs::read_to_string(&file).unwrap();
    assert!(whole.contains("cluster is ready"), "{whole}");
    let problems = place.must(&["logs", "--problems"]);
    assert!(!problems.contains(" INFO "), "{problems}");
    assert_eq!(place.must(&["logs", "-n", "1"]).lines().count(), 1);

    let checked = place.must(&["doctor"]);
    assert!(
        checked.contains("This machine can run kubik.") && checked.contains("ok    network"),
        "{checked}"
    );
    let version: Value = serde_json::from_str(&place.must(&["version", "-o", "json"])).unwrap();
    assert!(
        version["kubernetesVersion"]
            .as_str()
            .unwrap()
            .starts_with("v1.36.")
    );

    let script = home.join("completion.bash");
    std::fs::write(&script, place.must(&["completion", "bash"])).unwrap();
    let ask = format!(
        "source {}; COMP_WORDS=(kubik unp); COMP_CWORD=1; _kubik kubik unp kubik; echo \"${{COMPREPLY[@]}}\"",
        script.display()
    );
    assert_eq!(run("bash", &["-c", &ask]).trim(), "unpause");
    for shell in ["zsh", "fish"] {
        assert!(
            place.must(&["completion", shell]).contains("unpause"),
            "{shell}"
        );
    }
}
