//! Pods as users meet them: every word of `kubectl get pods`, what ended containers leave behind, sidecars.

use crate::{
    Story,
    cluster::{Place, shared},
    images::load_busybox,
};
use std::{collections::BTreeSet, time::Instant};

pub const STORIES: &[Story] = &[
    ("pods::logs_exec_and_exit_codes", logs_exec_and_exit_codes),
    ("pods::a_missing_image_is_told", a_missing_image_is_told),
    ("pods::every_word_of_get_pods", every_word_of_get_pods),
    (
        "pods::sidecars_start_before_and_end_after_the_rest",
        sidecars_start_before_and_end_after_the_rest,
    ),
    (
        "pods::the_node_has_the_last_word",
        the_node_has_the_last_word,
    ),
    (
        "pods::another_image_starts_a_container_anew",
        another_image_starts_a_container_anew,
    ),
    (
        "pods::manifests_of_the_node_run_as_static_pods",
        manifests_of_the_node_run_as_static_pods,
    ),
];

fn logs_exec_and_exit_codes() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "pods"]);
    place.kubectl(&[
        "run",
        "-n",
        "pods",
        "talker",
        "--image=busybox:1.36",
        "--restart=Never",
        "--",
        "sh",
        "-c",
        "echo out; echo err >&2; sleep 1000",
    ]);
    place.until_ready("pods", &["talker"]);
    let logs = place.kubectl(&["logs", "-n", "pods", "talker"]);
    assert!(logs.contains("out") && logs.contains("err"), "{logs}");
    assert_eq!(
        place
            .kubectl(&["exec", "-n", "pods", "talker", "--", "cat", "/etc/hostname"])
            .trim(),
        "talker"
    );
    let code = place
        .kubectl_command(&["exec", "-n", "pods", "talker", "--", "sh", "-c", "exit 7"])
        .output()
        .unwrap();
    assert_eq!(code.status.code(), Some(7));
    place.kubectl(&["delete", "pod", "-n", "pods", "talker", "--grace-period=1"]);
}

fn a_missing_image_is_told() {
    let place = shared();
    place.kubectl(&[
        "run",
        "absent",
        "--image=busybox:9.99",
        "--image-pull-policy=Never",
    ]);
    let reason = place.eventually("ErrImageNeverPull", || {
        let reason = place.field(
            &["pod", "absent"],
            ".status.containerStatuses[0].state.waiting.reason",
        );
        (!reason.is_empty() && reason != "ContainerCreating").then_some(reason)
    });
    assert_eq!(reason, "ErrImageNeverPull");
    place.kubectl(&["delete", "pod", "absent", "--grace-period=0", "--force"]);
}

/// A pod of one container of busybox, as one line of YAML; `more` goes into the spec, `inside` into the container.
fn pod(name: &str, more: &str, inside: &str) -> String {
    format!(
        "---\napiVersion: v1\nkind: Pod\nmetadata: {{name: {name}, namespace: words}}\n\
         spec: {{terminationGracePeriodSeconds: 1, {more} containers: [{{name: a, image: 'busybox:1.36', {inside}}}]}}\n"
    )
}

/// Name, rest of the spec, rest of the container, and the words its status column shows, in any order.
#[rustfmt::skip]
const CASES: &[(&str, &str, &str, &[&str])] = &[
    ("done", "restartPolicy: OnFailure,", "command: ['true']", &["Completed"]),
    ("failed", "restartPolicy: Never,",
        "command: [sh, -c, echo last words; exit 5], terminationMessagePolicy: FallbackToLogsOnError", &["Error"]),
    ("crash", "", "command: [sh, -c, echo tried; echo why > /dev/termination-log; exit 1]", &["CrashLoopBackOff"]),
    ("again", "", "command: ['true']", &["CrashLoopBackOff"]),
    ("retry", "restartPolicy: OnFailure,", "command: ['false']", &["CrashLoopBackOff"]),
    ("norun", "", "command: [/nosuch]", &["RunContainerError", "CrashLoopBackOff"]),
    ("noconf", "", "envFrom: [{configMapRef: {name: nosuch}}]", &["CreateContainerConfigError"]),
    ("novolume", "volumes: [{name: v, configMap: {name: nosuch}}],", "volumeMounts: [{name: v, mountPath: /v}]",
        &["ContainerCreating"]),
    ("initslow", "initContainers: [{name: i, image: 'busybox:1.36', command: [sleep, '3']}],",
        "command: [sleep, '1000'], lifecycle: {postStart: {exec: {command: [sleep, '3']}}}",
        &["Init:0/1", "PodInitializing", "Running"]),
    ("initfails", "restartPolicy: Never, initContainers: [{name: i, image: 'busybox:1.36', command: ['false']}],",
        "command: ['true']", &["Init:Error"]),
    ("initloops", "initContainers: [{name: i, image: 'busybox:1.36', command: ['false']}],", "command: ['true']",
        &["Init:CrashLoopBackOff"]),
    ("oom", "restartPolicy: Never,", "command: [tail, /dev/zero], resources: {limits: {memory: 16Mi}}", &["OOMKilled"]),
    ("late", "restartPolicy: Never, activeDeadlineSeconds: 1,", "command: [sleep, '1000']", &["Running", "Error"]),
    ("slow", "terminationGracePeriodSeconds: 1000,", "command: [sleep, '1000']", &["Running", "Terminating"]),
    ("ruled", "restartPolicy: Never,", "command: [sh, -c, exit 42], restartPolicy: Never, \
        restartPolicyRules: [{action: Restart, exitCodes: {operator: In, values: [42]}}]", &["CrashLoopBackOff"]),
    ("over", "restartPolicy: Never,", "command: [sh, -c, exit 42], restartPolicy: Never, \
        restartPolicyRules: [{action: RestartAllContainers, exitCodes: {operator: In, values: [42]}}]", &["CrashLoopBackOff"]),
    ("gated", "schedulingGates: [{name: example.com/gate}],", "command: ['true']", &["SchedulingGated"]),
    ("large", "", "resources: {requests: {cpu: 1k}}", &["Pending"]),
];

const IMAGES: &[(&str, &str, &[&str])] = &[
    (
        "nopull",
        "127.0.0.1:1/x:y",
        &["ErrImagePull", "ImagePullBackOff"],
    ),
    ("noname", "busybox:1.36:x", &["InvalidImageName"]),
];

fn every_word_of_get_pods() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "words"]);
    let mut manifest = String::new();
    let mut wanted: BTreeSet<(String, String)> = BTreeSet::new();
    let mut want = |name: &str, words: &[&str]| {
        wanted.extend(
            words
                .iter()
                .map(|word| (name.to_owned(), (*word).to_owned())),
        );
    };
    for (name, more, inside, words) in CASES {
        // A grace of its own replaces the common one.
        let text = pod(name, more, inside);
        manifest.push_str(&match more.contains("terminationGracePeriodSeconds") {
            true => text.replacen("terminationGracePeriodSeconds: 1, ", "", 1),
            false => text,
        });
        want(name, words);
    }
    for (name, image, words) in IMAGES {
        manifest.push_str(&pod(name, "", "").replace("busybox:1.36", image));
        want(name, words);
    }
    place.apply(&manifest);
    let mut is_deleted = false;
    place.eventually("every word", || {
        let rows = place.kubectl(&["get", "pods", "-n", "words", "--no-headers"]);
        for row in rows.lines() {
            let mut cells = row.split_whitespace();
            let name = cells.next()?.to_owned();
            let word = cells.nth(1)?.to_owned();
            if name == "slow" && word == "Running" && !is_deleted {
                place.kubectl(&["delete", "pod", "-n", "words", "slow", "--wait=false"]);
                is_deleted = true;
            }
            wanted.remove(&(name, word));
        }
        wanted.is_empty().then_some(())
    });
    what_ended_containers_leave(&place);
    grace_and_force(&place);
    place.kubectl(&["delete", "namespace", "words", "--wait=false"]);
}

fn what_ended_containers_leave(place: &Place) {
    let phase = |pod: &str| place.field(&["pod", "-n", "words", pod], ".status.phase");
    let expected = [
        ("done", "Succeeded"),
        ("failed", "Failed"),
        ("crash", "Running"),
        ("initfails", "Failed"),
        ("initloops", "Pending"),
        ("noconf", "Pending"),
        ("late", "Failed"),
        ("large", "Pending"),
    ];
    for (pod, expected) in expected {
        assert_eq!(phase(pod), expected, "{pod}");
    }
    let ended = |pod: &str, state: &str| {
        let path = format!(".status.containerStatuses[0].{state}.terminated");
        let of =
            |field: &str| place.field(&["pod", "-n", "words", pod], &format!("{path}.{field}"));
        (of("exitCode"), of("reason"), of("message"))
    };
    let texts = |code: &str, reason: &str, message: &str| {
        (code.to_owned(), reason.to_owned(), message.to_owned())
    };
    assert_eq!(
        ended("failed", "state"),
        texts("5", "Error", "last words\n")
    );
    assert_eq!(ended("crash", "lastState"), texts("1", "Error", "why\n"));
    assert_eq!(ended("oom", "state"), texts("137", "OOMKilled", ""));
    let (code, reason, message) = ended("norun", "lastState");
    assert_eq!((code.as_str(), reason.as_str()), ("128", "StartError"));
    assert!(
        message.contains("exec: \"/nosuch\": stat /nosuch: no such file or directory"),
        "{message}"
    );
    let restarts = place.field(
        &["pod", "-n", "words", "crash"],
        ".status.containerStatuses[0].restartCount",
    );
    assert!(restarts.parse::<u32>().unwrap() >= 1, "{restarts}");
    let previous = place.kubectl(&["logs", "-n", "words", "crash", "--previous"]);
    assert_eq!(previous, "tried\n");
    let none = place.kubectl_fails(&["logs", "-n", "words", "done", "-p"]);
    assert!(
        none.contains("previous terminated container \"a\" in pod \"done\" not found"),
        "{none}"
    );
    let described = place.kubectl(&["describe", "pod", "-n", "words", "crash"]);
    for text in [
        "CrashLoopBackOff\n",
        "Back-off restarting failed container a in pod crash_words(",
    ] {
        assert!(described.contains(text), "{text}:\n{described}");
    }
    let message = place.field(&["pod", "-n", "words", "late"], ".status.message");
    assert_eq!(
        message,
        "Pod was active on the node longer than the specified deadline"
    );
}

/// Its first process has no handler for SIGTERM, which the kernel then does not deliver.
fn grace_and_force(place: &Place) {
    let begun = Instant::now();
    place.kubectl(&[
        "delete",
        "pod",
        "-n",
        "words",
        "initslow",
        "--grace-period=1",
    ]);
    assert!(begun.elapsed().as_millis() > 900, "grace was given");
    // Terminating with a grace of many minutes; now it goes at once.
    let told = place
        .kubectl_command(&[
            "delete",
            "pod",
            "-n",
            "words",
            "slow",
            "--grace-period=0",
            "--force",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&told.stdout);
    assert!(text.contains("pod \"slow\" force deleted"), "{text}");
    let gone = place.kubectl_fails(&["get", "pod", "-n", "words", "slow"]);
    assert!(gone.contains("pods \"slow\" not found"), "{gone}");
}

const SIDECARS: &str = "
apiVersion: batch/v1
kind: Job
metadata: {name: work, namespace: sidecars}
spec:
  template:
    spec:
      restartPolicy: Never
      volumes: [{name: v, emptyDir: {}}]
      initContainers:
      - {name: first, image: 'busybox:1.36', command: [sh, -c, 'echo first >> /v/diary'], volumeMounts: [{name: v, mountPath: /v}]}
      - name: helper
        image: 'busybox:1.36'
        restartPolicy: Always
        volumeMounts: [{name: v, mountPath: /v}]
        command: [sh, -c, \"trap 'echo helper ends >> /v/diary; cat /v/diary; exit 0' TERM; echo helper >> /v/diary; touch /v/up; while true; do sleep 0.1; done\"]
        startupProbe: {exec: {command: [test, -f, /v/up]}, periodSeconds: 1}
      - name: second-helper
        image: 'busybox:1.36'
        restartPolicy: Always
        volumeMounts: [{name: v, mountPath: /v}]
        command: [sh, -c, \"trap 'echo second helper ends >> /v/diary; exit 0' TERM; echo second helper >> /v/diary; while true; do sleep 0.1; done\"]
      - {name: last, image: 'busybox:1.36', command: [sh, -c, 'echo last >> /v/diary'], volumeMounts: [{name: v, mountPath: /v}]}
      containers:
      - {name: main, image: 'busybox:1.36', command: [sh, -c, 'echo main >> /v/diary; sleep 1; echo main ends >> /v/diary'], volumeMounts: [{name: v, mountPath: /v}]}
";

fn sidecars_start_before_and_end_after_the_rest() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "sidecars"]);
    place.apply(SIDECARS);
    let pod = place.eventually("a pod with both sidecars", || {
        let rows = place.kubectl(&["get", "pods", "-n", "sidecars", "--no-headers"]);
        let row = rows.lines().find(|row| row.contains("3/3"))?;
        row.split_whitespace().next().map(str::to_owned)
    });
    place.kubectl(&[
        "wait",
        "-n",
        "sidecars",
        "--for=condition=complete",
        "job/work",
        "--timeout=60s",
    ]);
    let diary = place.kubectl(&["logs", "-n", "sidecars", &pod, "-c", "helper"]);
    let lines: Vec<&str> = diary.lines().collect();
    // The second helper counts as started as soon as it runs, side by side with what comes after it.
    let at = |text: &str| {
        let found = lines.iter().position(|line| *line == text);
        found.unwrap_or_else(|| panic!("{text} is missing:\n{diary}"))
    };
    assert_eq!((at("first"), at("helper")), (0, 1), "{diary}");
    assert!(at("last") < at("main"), "{diary}");
    let end: Vec<&str> = lines[lines.len() - 3..].to_vec();
    assert_eq!(end, ["main ends", "second helper ends", "helper ends"]);
    place.kubectl(&["delete", "namespace", "sidecars", "--wait=false"]);
}

/// Bound by hand, past the scheduler: the node itself refuses what does not fit.
fn the_node_has_the_last_word() {
    let place = shared();
    load_busybox(&place);
    place.kubectl(&["create", "namespace", "refused"]);
    let node = &place.profile;
    let rows = [
        (
            "elsewhere",
            "nodeSelector: {disk: floppy},",
            "",
            "NodeAffinity",
            "Pod was rejected: Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector",
        ),
        (
            "huge",
            "",
            "resources: {requests: {cpu: 1k}}",
            "OutOfcpu",
            "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000000, used: ",
        ),
        (
            "unsafe",
            "securityContext: {sysctls: [{name: kernel.msgmax, value: \"1\"}]},",
            "",
            "SysctlForbidden",
            "Pod was rejected: forbidden sysctl: \"kernel.msgmax\" not allowlisted",
        ),
    ];
    for (name, more, inside, reason, message) in rows {
        let text = pod(name, &format!("nodeName: {node}, {more}"), inside);
        place.apply(&text.replace("namespace: words", "namespace: refused"));
        let what = ["pod", "-n", "refused", name];
        place.eventually(reason, || {
            (place.field(&what, ".status.phase") == "Failed").then_some(())
        });
        assert_eq!(place.field(&what, ".status.reason"), reason);
        let told = place.field(&what, ".status.message");
        assert!(told.starts_with(message), "{told}");
        let row = place.kubectl(&["get", "pod", "-n", "refused", name, "--no-headers"]);
        assert_eq!(row.split_whitespace().nth(2), Some(reason), "{row}");
    }
    place.kubectl(&["delete", "namespace", "refused", "--wait=false"]);
}

const RENEWED: &str = "
apiVersion: node.k8s.io/v1
kind: RuntimeClass
metadata: {name: absent}
handler: absent
---
apiVersion: v1
kind: Pod
metadata: {name: renewed, namespace: renewed}
spec:
  restartPolicy: Never
  terminationGracePeriodSeconds: 0
  securityContext: {runAsUser: 33, runAsGroup: 44, supplementalGroups: [55], supplementalGroupsPolicy: Strict}
  containers:
  - {name: a, image: 'busybox:1.36', command: [sleep, '1000']}
  - {name: b, image: 'busybox:1.36', command: [sleep, '1000']}
---
apiVersion: v1
kind: Pod
metadata: {name: foreign, namespace: renewed}
spec:
  runtimeClassName: absent
  containers: [{name: a, image: 'busybox:1.36'}]
";

/// Whatever its restart policy; a pod's generation tells such changes, and nothing else.
fn another_image_starts_a_container_anew() {
    let place = shared();
    load_busybox(&place);
    place.must(&["image", "tag", "busybox:1.36", "busybox:renewed"]);
    place.kubectl(&["create", "namespace", "renewed"]);
    place.apply(RENEWED);
    place.until_ready("renewed", &["renewed"]);
    let field = |path: &str| place.field(&["pod", "-n", "renewed", "renewed"], path);
    let generations = || {
        let path = "{.metadata.generation} {.status.observedGeneration}";
        let output = format!("jsonpath={path}");
        place.kubectl(&["get", "pod", "-n", "renewed", "renewed", "-o", &output])
    };
    assert_eq!(generations(), "1 1");
    let user = ".status.containerStatuses[0].user.linux";
    let ids = field(&format!("{user}.uid")) + " " + &field(&format!("{user}.supplementalGroups"));
    assert_eq!(ids, "33 [44,55]");
    let before = field(".status.containerStatuses[1].containerID");
    place.kubectl(&[
        "set",
        "image",
        "-n",
        "renewed",
        "pod/renewed",
        "a=busybox:renewed",
    ]);
    place.eventually("a new start", || {
        let found = field(".status.containerStatuses[0].restartCount");
        (found == "1" && generations() == "2 2").then_some(())
    });
    place.until_ready("renewed", &["renewed"]);
    let image = field(".status.containerStatuses[0].image");
    assert!(image.ends_with("busybox:renewed"), "{image}");
    assert_eq!(field(".status.containerStatuses[1].containerID"), before);
    let told = |reason: &str| {
        let selector = format!("--field-selector=reason={reason}");
        let output = "jsonpath={.items[*].message}";
        place.kubectl(&["get", "events", "-n", "renewed", &selector, "-o", output])
    };
    let expected = "Container a definition changed, will be restarted";
    assert!(told("Killing").contains(expected));
    let expected = "failed to get sandbox runtime: no runtime for \"absent\" is configured";
    place.eventually("a runtime that is not here", || {
        let events = told("FailedCreatePodSandBox");
        events.contains(expected).then_some(())
    });
    place.kubectl(&["delete", "runtimeclass", "absent"]);
    place.kubectl(&["delete", "namespace", "renewed", "--wait=false"]);
}

fn manifests_of_the_node_run_as_static_pods() {
    let place = shared();
    load_busybox(&place);
    let state = place.home.path().join("state").join(&place.profile);
    let file = state.join("manifests/fixed.yaml");
    let manifest = |word: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: fixed}}\nspec:\n  terminationGracePeriodSeconds: 0\n  \
             containers: [{{name: a, image: 'busybox:1.36', command: [sh, -c, echo {word}; sleep 1000]}}]\n"
        )
    };
    let name = format!("fixed-{}", place.profile);
    let says = |word: &str| {
        place.eventually(word, || {
            let output = place.kubectl_command(&["logs", &name]).output().unwrap();
            (output.stdout == format!("{word}\n").as_bytes()).then_some(())
        });
    };
    std::fs::write(&file, manifest("one")).unwrap();
    says("one");
    let source = ".metadata.annotations.kubernetes\\.io/config\\.source";
    assert_eq!(place.field(&["pod", &name], source), "file");
    assert_eq!(
        place.field(&["pod", &name], ".metadata.ownerReferences[0].kind"),
        "Node"
    );
    // It cannot be deleted for good, follows its file, and goes with it.
    let uid = place.field(&["pod", &name], ".metadata.uid");
    place.kubectl(&["delete", "pod", &name]);
    says("one");
    assert_ne!(place.field(&["pod", &name], ".metadata.uid"), uid);
    std::fs::write(&file, manifest("two")).unwrap();
    says("two");
    std::fs::remove_file(&file).unwrap();
    let pod = format!("pod/{name}");
    place.kubectl(&["wait", "--for=delete", &pod, "--timeout=60s"]);
}
