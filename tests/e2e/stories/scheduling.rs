//! Where pods go, on a cluster of three nodes: as document 003 tells it, and what happens when a node goes away.

use crate::{
    Story,
    cluster::{Place, stderr},
    images::load_busybox,
};
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

pub const STORIES: &[Story] = &[
    (
        "scheduling::selectors_and_affinity_choose_nodes",
        selectors_and_affinity_choose_nodes,
    ),
    (
        "scheduling::taints_keep_pods_away_and_send_them_off",
        taints_keep_pods_away_and_send_them_off,
    ),
    (
        "scheduling::important_pods_take_the_place_of_others",
        important_pods_take_the_place_of_others,
    ),
    ("scheduling::drains_respect_budgets", drains_respect_budgets),
    (
        "scheduling::pods_leave_a_stopped_node",
        pods_leave_a_stopped_node,
    ),
    (
        "scheduling::the_cluster_of_three_ends",
        the_cluster_of_three_ends,
    ),
];

/// One cluster of three nodes for all stories of this file; the last of them ends it.
static THREE: Mutex<Option<Place>> = Mutex::new(None);

struct Three(MutexGuard<'static, Option<Place>>);

impl std::ops::Deref for Three {
    type Target = Place;

    fn deref(&self) -> &Place {
        self.0.as_ref().unwrap()
    }
}

fn three() -> Three {
    let mut place = THREE.lock().unwrap_or_else(PoisonError::into_inner);
    if place.is_none() {
        let new = Place::new();
        new.must(&["start", "--nodes", "3"]);
        load_busybox(&new);
        *place = Some(new);
    }
    Three(place)
}

fn the_cluster_of_three_ends() {
    let place = three();
    let nodes = place.kubectl(&["get", "nodes", "-o", "wide"]);
    let rows: Vec<&str> = nodes.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{nodes}");
    for (row, index) in rows.iter().zip(0..) {
        let words: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(words[0], node(&place, index), "{nodes}");
        assert!(
            words[1].starts_with("Ready") && words[5].starts_with("10."),
            "{nodes}"
        );
    }
    drop(place);
    drop(THREE.lock().unwrap_or_else(PoisonError::into_inner).take());
}

/// The name of a node, counted from zero.
fn node(place: &Place, index: usize) -> String {
    match index {
        0 => place.profile.clone(),
        other => format!("{}-m{:02}", place.profile, other + 1),
    }
}

fn ctl(place: &Place, line: &str) -> String {
    place.kubectl(&line.split_whitespace().collect::<Vec<_>>())
}

/// A namespace of a story's own.
fn namespace(place: &Place, name: &str) {
    ctl(place, &format!("create namespace {name}"));
}

/// A pod that sleeps; `more` goes into its spec.
fn sleeper(namespace: &str, name: &str, labels: &Value, more: &Value) -> Value {
    let mut spec = json!({
        "terminationGracePeriodSeconds": 0,
        "containers": [{"name": "main", "image": "busybox:1.36", "command": ["sleep", "100000"]}],
    });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": namespace, "name": name, "labels": labels}, "spec": spec})
}

fn create(place: &Place, objects: &[Value]) {
    let documents: Vec<String> = objects.iter().map(Value::to_string).collect();
    place.apply(&documents.join("\n---\n"));
}

/// The node that a pod comes to.
fn comes_to(place: &Place, namespace: &str, pod: &str) -> String {
    place.kubectl(&[
        "wait",
        "-n",
        namespace,
        "--for=condition=PodScheduled",
        &format!("pod/{pod}"),
        "--timeout=60s",
    ]);
    place.field(&["pod", pod, "-n", namespace], ".spec.nodeName")
}

/// What is said about a pod that finds no place, in its condition and in an event.
fn refusal(place: &Place, namespace: &str, pod: &str) -> String {
    let condition = ".status.conditions[?(@.type==\"PodScheduled\")]";
    let message = place.eventually("a refusal", || {
        let text = place.field(
            &["pod", pod, "-n", namespace],
            &format!("{condition}.message"),
        );
        (!text.is_empty()).then_some(text)
    });
    let reason = place.field(
        &["pod", pod, "-n", namespace],
        &format!("{condition}.reason"),
    );
    assert_eq!(reason, "Unschedulable");
    place.eventually("the event", || {
        let described = place.kubectl(&["describe", "pod", pod, "-n", namespace]);
        (described.contains("FailedScheduling") && described.contains(&message)).then_some(())
    });
    message
}

fn required(key: &str, operator: &str, values: &Value) -> Value {
    json!({"affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
        {"matchExpressions": [{"key": key, "operator": operator, "values": values}]}]}}}})
}

fn beside(kind: &str, app: &str) -> Value {
    json!({"affinity": {kind: {"requiredDuringSchedulingIgnoredDuringExecution": [
        {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": app}}}]}}})
}

fn selectors_and_affinity_choose_nodes() {
    let place = three();
    let ns = "places";
    namespace(&place, ns);
    let (second, third) = (node(&place, 1), node(&place, 2));
    ctl(&place, &format!("label node {second} disk=ssd size=3"));
    ctl(&place, &format!("label node {third} disk=hdd size=9"));
    let none = json!({});
    let pod = |name: &str, more: &Value| sleeper(ns, name, &none, more);
    let prefer = json!({"affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
        {"weight": 100, "preference": {"matchExpressions": [{"key": "disk", "operator": "In", "values": ["hdd"]}]}}]}}});
    let labels = json!({"app": "web"});
    create(
        &place,
        &[
            pod("by-name", &json!({"nodeName": second})),
            pod("by-selector", &json!({"nodeSelector": {"disk": "ssd"}})),
            pod("by-expression", &required("size", "Gt", &json!(["5"]))),
            pod("by-preference", &prefer),
            pod("nowhere", &required("disk", "In", &json!(["tape"]))),
            pod(
                "too-much",
                &json!({"containers": [{"name": "main", "image": "busybox:1.36", "resources": {"requests": {"cpu": "1000"}}}]}),
            ),
            pod("other-scheduler", &json!({"schedulerName": "mine"})),
            sleeper(
                ns,
                "web",
                &labels,
                &json!({"nodeSelector": {"disk": "ssd"}}),
            ),
        ],
    );
    for (name, expected) in [
        ("by-name", &second),
        ("by-selector", &second),
        ("by-expression", &third),
        ("by-preference", &third),
        ("web", &second),
    ] {
        assert_eq!(comes_to(&place, ns, name), *expected, "{name}");
    }
    let useless =
        "preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling.";
    assert_eq!(
        refusal(&place, ns, "nowhere"),
        format!(
            "0/3 nodes are available: 3 node(s) didn't match Pod's node affinity/selector. {useless}"
        )
    );
    assert_eq!(
        refusal(&place, ns, "too-much"),
        format!("0/3 nodes are available: 3 Insufficient cpu. {useless}")
    );
    assert_eq!(
        place.field(&["pod", "other-scheduler", "-n", ns], ".spec.nodeName"),
        ""
    );

    create(
        &place,
        &[
            pod("near-web", &beside("podAffinity", "web")),
            pod("far-from-web", &beside("podAntiAffinity", "web")),
            pod("near-nobody", &beside("podAffinity", "absent")),
        ],
    );
    assert_eq!(comes_to(&place, ns, "near-web"), second);
    assert_ne!(comes_to(&place, ns, "far-from-web"), second);
    assert_eq!(
        refusal(&place, ns, "near-nobody"),
        format!("0/3 nodes are available: 3 node(s) didn't match pod affinity rules. {useless}")
    );

    // A label is all it takes: the pod that waited goes at once.
    ctl(&place, &format!("label node {third} disk=tape --overwrite"));
    assert_eq!(comes_to(&place, ns, "nowhere"), third);

    spread_and_gates(&place, ns);
    ctl(&place, "label nodes --all disk- size-");
    ctl(&place, &format!("delete namespace {ns} --wait=false"));
}

fn spread_and_gates(place: &Place, ns: &str) {
    let constraint = json!({"topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "DoNotSchedule", "labelSelector": {"matchLabels": {"app": "spread"}}}]});
    let template = sleeper(ns, "x", &json!({"app": "spread"}), &constraint);
    create(
        place,
        &[
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": ns, "name": "spread"},
        "spec": {"replicas": 6, "selector": {"matchLabels": {"app": "spread"}},
            "template": {"metadata": {"labels": {"app": "spread"}}, "spec": template["spec"]}}}),
        ],
    );
    ctl(
        place,
        &format!("rollout status deployment/spread -n {ns} --timeout=60s"),
    );
    let nodes = ctl(
        place,
        &format!("get pods -n {ns} -l app=spread -o jsonpath={{.items[*].spec.nodeName}}"),
    );
    for index in 0..3 {
        let name = node(place, index);
        let count = nodes.split_whitespace().filter(|one| *one == name).count();
        assert_eq!(count, 2, "{name}: {nodes}");
    }
    create(
        place,
        &[sleeper(
            ns,
            "gated",
            &json!({}),
            &json!({"schedulingGates": [{"name": "example.com/wait"}]}),
        )],
    );
    place.eventually("the gate", || {
        let row = ctl(place, &format!("get pod gated -n {ns} --no-headers"));
        row.contains("SchedulingGated").then_some(())
    });
    place.kubectl(&[
        "patch",
        "pod",
        "gated",
        "-n",
        ns,
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/schedulingGates"}]"#,
    ]);
    assert_ne!(comes_to(place, ns, "gated"), "");
}

fn taints_keep_pods_away_and_send_them_off() {
    let place = three();
    let ns = "taints";
    namespace(&place, ns);
    let (first, second, third) = (node(&place, 0), node(&place, 1), node(&place, 2));
    ctl(
        &place,
        &format!("taint nodes {first} {second} role=infra:NoSchedule"),
    );
    ctl(
        &place,
        &format!("taint nodes {third} soft=yes:PreferNoSchedule"),
    );
    let tolerates = |effect: &str| json!({"tolerations": [{"key": "role", "operator": "Equal", "value": "infra", "effect": effect}]});
    let pod = |name: &str, more: &Value| sleeper(ns, name, &json!({}), more);
    let mut picky = tolerates("NoSchedule");
    picky["nodeSelector"] = json!({"kubernetes.io/hostname": second});
    create(&place, &[pod("plain", &json!({})), pod("tolerant", &picky)]);
    // Soft is better than forbidden.
    assert_eq!(comes_to(&place, ns, "plain"), third);
    assert_eq!(comes_to(&place, ns, "tolerant"), second);
    ctl(
        &place,
        &format!("taint nodes {third} soft=yes:NoSchedule --overwrite"),
    );
    ctl(
        &place,
        &format!("taint nodes {third} soft:PreferNoSchedule-"),
    );
    create(&place, &[pod("nowhere", &json!({}))]);
    assert_eq!(
        refusal(&place, ns, "nowhere"),
        "0/3 nodes are available: 3 node(s) had untolerated taint(s). \
         preemption: 0/3 nodes are available: 3 Preemption is not helpful for scheduling."
    );
    ctl(&place, &format!("taint nodes {third} soft-"));
    assert_eq!(comes_to(&place, ns, "nowhere"), third);

    // NoExecute sends off who is there already, later those who tolerate it for a time, never those who tolerate it.
    let stays = |seconds: Option<u32>| {
        let mut one = json!({"key": "broken", "operator": "Exists", "effect": "NoExecute"});
        if let Some(seconds) = seconds {
            one["tolerationSeconds"] = seconds.into();
        }
        json!({"tolerations": [one]})
    };
    create(
        &place,
        &[
            pod("for-ever", &stays(None)),
            pod("for-a-while", &stays(Some(2))),
        ],
    );
    for name in ["for-ever", "for-a-while"] {
        assert_eq!(comes_to(&place, ns, name), third, "{name}");
    }
    ctl(&place, &format!("taint nodes {third} broken=yes:NoExecute"));
    for name in ["plain", "for-a-while"] {
        ctl(
            &place,
            &format!("wait -n {ns} --for=delete pod/{name} --timeout=30s"),
        );
    }
    assert_eq!(
        place.field(
            &["pod", "for-ever", "-n", ns],
            ".metadata.deletionTimestamp"
        ),
        ""
    );
    let events = place.eventually("the eviction's event", || {
        let events = ctl(&place, &format!("get events -n {ns}"));
        events.contains("TaintManagerEviction").then_some(events)
    });
    assert!(
        events.contains("Marking for deletion Pod taints/plain"),
        "{events}"
    );
    ctl(&place, &format!("taint nodes {third} broken-"));
    ctl(&place, &format!("taint nodes {first} {second} role-"));
    ctl(&place, &format!("delete namespace {ns} --wait=false"));
}

fn important_pods_take_the_place_of_others() {
    let place = three();
    let ns = "priorities";
    namespace(&place, ns);
    let third = node(&place, 2);
    // What no machine has; the node must keep it.
    place.kubectl(&[
        "patch",
        "node",
        &third,
        "--subresource=status",
        "--type=json",
        "-p",
        r#"[{"op":"add","path":"/status/capacity/example.com~1seat","value":"2"}]"#,
    ]);
    let class = |name: &str, value: i32, policy: &str| {
        json!({"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass",
        "metadata": {"name": name}, "value": value, "preemptionPolicy": policy})
    };
    let seat = |name: &str, class: &str| {
        sleeper(
            ns,
            name,
            &json!({}),
            &json!({"priorityClassName": class, "containers": [
        {"name": "main", "image": "busybox:1.36", "command": ["sleep", "100000"],
         "resources": {"limits": {"example.com/seat": "1"}}}]}),
        )
    };
    create(
        &place,
        &[
            class("low", 10, "PreemptLowerPriority"),
            class("high", 1000, "PreemptLowerPriority"),
            class("polite", 1000, "Never"),
        ],
    );
    create(&place, &[seat("low-1", "low"), seat("low-2", "low")]);
    for name in ["low-1", "low-2"] {
        assert_eq!(comes_to(&place, ns, name), third);
    }
    create(&place, &[seat("polite", "polite")]);
    assert_eq!(
        refusal(&place, ns, "polite"),
        "0/3 nodes are available: 3 Insufficient example.com/seat. preemption: not eligible due to preemptionPolicy=Never."
    );
    create(&place, &[seat("low-3", "low")]);
    assert_eq!(
        refusal(&place, ns, "low-3"),
        "0/3 nodes are available: 3 Insufficient example.com/seat. preemption: 0/3 nodes are available: \
         1 No preemption victims found for incoming pod, 2 Preemption is not helpful for scheduling."
    );
    ctl(&place, &format!("delete pod polite low-3 -n {ns}"));
    create(&place, &[seat("high", "high")]);
    assert_eq!(comes_to(&place, ns, "high"), third);
    let left = ctl(
        &place,
        &format!("get pods -n {ns} --no-headers -o custom-columns=:metadata.name"),
    );
    assert!(
        left.contains("high") && left.lines().filter(|line| line.starts_with("low")).count() == 1,
        "{left}"
    );
    let events = place.eventually("the victim's event", || {
        let events = ctl(&place, &format!("get events -n {ns}"));
        events.contains("Preempted").then_some(events)
    });
    assert!(events.contains("Preempted by pod "), "{events}");
    place.kubectl(&[
        "patch",
        "node",
        &third,
        "--subresource=status",
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/status/capacity/example.com~1seat"}]"#,
    ]);
    ctl(&place, "delete priorityclass low high polite");
    ctl(&place, &format!("delete namespace {ns} --wait=false"));
}

fn deployment(ns: &str, name: &str, replicas: u32, more: &Value) -> Value {
    let labels = json!({"app": name});
    let template = sleeper(ns, "x", &labels, more);
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"namespace": ns, "name": name},
        "spec": {"replicas": replicas, "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": template["spec"]}}})
}

fn drains_respect_budgets() {
    let place = three();
    let ns = "drains";
    namespace(&place, ns);
    let third = node(&place, 2);
    let here = json!({"nodeSelector": {"kubernetes.io/hostname": third}});
    create(
        &place,
        &[
            deployment(ns, "web", 2, &here),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": ns, "name": "web"},
            "spec": {"minAvailable": 2, "selector": {"matchLabels": {"app": "web"}}}}),
        ],
    );
    ctl(
        &place,
        &format!("rollout status deployment/web -n {ns} --timeout=60s"),
    );
    // Pods that nobody controls have no number to take a part of.
    let labels = json!({"app": "alone"});
    create(
        &place,
        &[
            sleeper(ns, "alone", &labels, &json!({})),
            json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"namespace": ns, "name": "alone"},
            "spec": {"minAvailable": "50%", "selector": {"matchLabels": labels}}}),
        ],
    );
    place.eventually("a warning", || {
        let path = "{.items[*].message}";
        let selector = "--field-selector=involvedObject.name=alone,reason=UnmanagedPods";
        let output = format!("jsonpath={path}");
        let text = place.kubectl(&["get", "events", "-n", ns, selector, "-o", &output]);
        text.starts_with("Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: alone,}")
            .then_some(())
    });
    ctl(&place, &format!("cordon {third}"));
    let row = ctl(&place, &format!("get node {third} --no-headers"));
    assert!(row.contains("Ready,SchedulingDisabled"), "{row}");
    place.eventually("the budget's status", || {
        let allowed = place.field(&["pdb", "web", "-n", ns], ".status.expectedPods");
        (allowed == "2").then_some(())
    });
    let refused = place
        .kubectl_command(&[
            "drain",
            &third,
            "--ignore-daemonsets",
            "--timeout=2s",
            "--pod-selector=app=web",
        ])
        .output()
        .unwrap();
    let text = stderr(&refused);
    assert!(!refused.status.success(), "{text}");
    assert!(
        text.contains("Cannot evict pod as it would violate the pod's disruption budget."),
        "{text}"
    );
    lets_go_within_the_budget(&place, ns, &third);
    ctl(&place, &format!("delete namespace {ns} --wait=false"));
}

fn lets_go_within_the_budget(place: &Place, ns: &str, third: &str) {
    // A budget with room lets them go, one at a time, wherever they are.
    place.kubectl(&[
        "patch",
        "pdb",
        "web",
        "-n",
        ns,
        "-p",
        r#"{"spec":{"minAvailable":1}}"#,
    ]);
    place.kubectl(&[
        "patch",
        "deployment",
        "web",
        "-n",
        ns,
        "--type=json",
        "-p",
        r#"[{"op":"remove","path":"/spec/template/spec/nodeSelector"}]"#,
    ]);
    ctl(
        place,
        &format!("rollout status deployment/web -n {ns} --timeout=60s"),
    );
    ctl(place, &format!("uncordon {third}"));
    let drained = ctl(
        place,
        &format!(
            "drain {} --ignore-daemonsets --force --timeout=60s --pod-selector=app=web",
            node(place, 1)
        ),
    );
    assert!(drained.contains("drained"), "{drained}");
    let pods = ctl(place, &format!("get pods -n {ns} -o wide"));
    assert!(
        pods.lines()
            .skip(1)
            .filter(|line| !line.contains("Terminating"))
            .all(|line| !line.contains(&node(place, 1))),
        "{pods}"
    );
    ctl(place, &format!("uncordon {}", node(place, 1)));
}

fn pods_leave_a_stopped_node() {
    let place = three();
    let ns = "stopped";
    namespace(&place, ns);
    let third = node(&place, 2);
    let listed = place.must(&["node", "list"]);
    assert!(
        listed.lines().count() == 3 && listed.contains(&format!("{third}\t10.")),
        "{listed}"
    );
    let soon = |key: &str| json!({"key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 1});
    let more = json!({"tolerations": [soon("node.kubernetes.io/not-ready"), soon("node.kubernetes.io/unreachable")],
        "affinity": {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [{"weight": 100,
            "preference": {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [third]}]}}]}}});
    create(&place, &[deployment(ns, "web", 1, &more)]);
    ctl(
        &place,
        &format!("rollout status deployment/web -n {ns} --timeout=60s"),
    );
    let pods = |path: &str| {
        let output = format!("jsonpath={path}");
        place.kubectl(&["get", "pods", "-n", ns, "-l", "app=web", "-o", &output])
    };
    assert_eq!(pods("{.items[*].spec.nodeName}"), third);
    let pod = pods("{.items[0].metadata.name}");
    place.kubectl(&["exec", "-n", ns, &pod, "--", "true"]);

    place.must(&["node", "stop", &third]);
    place.kubectl_fails(&["exec", "-n", ns, &pod, "--", "true"]);
    place.eventually("the node to be seen as not ready", || {
        let row = ctl(&place, &format!("get node {third} --no-headers"));
        row.contains("NotReady").then_some(())
    });
    let unknown = place.field(
        &["node", &third],
        ".status.conditions[?(@.type==\"Ready\")].message",
    );
    assert_eq!(unknown, "node is shutting down");
    place.eventually("a pod on another node", || {
        let ready = pods("{range .items[*]}{.spec.nodeName}={.status.phase}{\"\\n\"}{end}");
        ready
            .lines()
            .any(|line| !line.starts_with(&third) && line.ends_with("=Running"))
            .then_some(())
    });
    // What was stopped stays stopped when the cluster starts again, also after a crash.
    nix::sys::signal::kill(
        nix::unistd::Pid::from_raw(place.daemon_pid()),
        nix::sys::signal::Signal::SIGKILL,
    )
    .unwrap();
    place.must(&["start"]);
    assert!(place.must(&["node", "list"]).contains("stopped"));
    let row = ctl(&place, &format!("get node {third} --no-headers"));
    assert!(row.contains("NotReady"), "{row}");
    place.must(&["node", "start", &third]);
    assert!(!place.must(&["node", "list"]).contains("stopped"));
    ctl(
        &place,
        &format!("wait --for=condition=Ready node/{third} --timeout=60s"),
    );
    // The node that is back lets go of what was deleted meanwhile.
    place.eventually("one pod", || {
        (pods("{.items[*].metadata.name}").split_whitespace().count() == 1).then_some(())
    });
    let refused = place.kubik(&["node", "stop", "nobody"]).output().unwrap();
    assert!(
        stderr(&refused).contains("has no node \"nobody\""),
        "{}",
        stderr(&refused)
    );
    ctl(&place, &format!("delete namespace {ns} --wait=false"));
}
