//! Silent nodes, taints and evictions.

use super::{eviction::Eviction, lifecycle::Lifecycle, orphans::Orphans, *};
use crate::controllers::framework::{Controller, testing::Stage};
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

fn node<C: Controller>(stage: &mut Stage<C>, name: &str, taints: &Value) {
    stage.put::<Node>(
        json!({"metadata": {"name": name}, "spec": {"taints": taints}, "status": {"conditions": [
        {"type": "Ready", "status": "True", "lastHeartbeatTime": "2026-11-21T05:00:00Z"}]}}),
    );
}

fn pod<C: Controller>(stage: &mut Stage<C>, tolerations: &Value) {
    stage.put::<Pod>(json!({"metadata": {"namespace": "a", "name": "p"}, "spec": {"nodeName": "n1", "containers": [], "tolerations": tolerations},
        "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
}

fn lifecycle() -> Stage<Lifecycle> {
    let started = "2026-11-21T05:00:00Z".parse().unwrap();
    Stage::new(Lifecycle { started })
}

fn told(stage: &Stage<Lifecycle>, name: &str) -> Vec<String> {
    let node: Node = stage.get("", name);
    taints(&node)
        .iter()
        .map(|taint| format!("{}:{}", taint.key, taint.effect))
        .collect()
}

#[test]
fn a_silent_node_becomes_unknown_and_tainted_and_recovers() {
    let mut stage = lifecycle();
    node(&mut stage, "n1", &json!([]));
    node(&mut stage, "n2", &json!([]));
    stage.put::<Lease>(json!({"metadata": {"namespace": "kube-node-lease", "name": "n2"}, "spec": {"renewTime": "2026-11-21T05:01:00.000000Z"}}));
    pod(&mut stage, &json!([]));
    stage.settle();
    assert_eq!(stage.again_after.unwrap().as_secs(), 50);
    stage.advance(51);
    stage.settle();
    assert_eq!(ready_status(&stage.get("", "n1")), "Unknown");
    assert_eq!(
        told(&stage, "n1"),
        [
            "node.kubernetes.io/unreachable:NoSchedule",
            "node.kubernetes.io/unreachable:NoExecute"
        ]
    );
    assert!(told(&stage, "n2").is_empty());
    assert!(!pods::is_ready(&stage.get("a", "p")));
    stage.edit::<Node>("", "n1", |node| {
        let ready = &mut node.status.as_mut().unwrap().conditions.as_mut().unwrap()[0];
        ready.status = "True".to_owned();
        ready.last_heartbeat_time =
            Some("2026-11-21T05:00:55Z".parse::<Timestamp>().unwrap().into());
    });
    stage.settle();
    assert!(told(&stage, "n1").is_empty());
}

#[test]
fn nobody_is_evicted_when_no_node_is_ready() {
    let mut stage = lifecycle();
    node(&mut stage, "n1", &json!([]));
    stage.advance(60);
    stage.settle();
    assert_eq!(
        told(&stage, "n1"),
        ["node.kubernetes.io/unreachable:NoSchedule"]
    );
}

#[test]
fn cordons_and_pressure_are_taints() {
    let mut stage = lifecycle();
    node(
        &mut stage,
        "n1",
        &json!([{"key": "mine", "effect": "NoSchedule"}]),
    );
    stage.edit::<Node>("", "n1", |node| {
        node.spec.as_mut().unwrap().unschedulable = Some(true);
        let mut pressure = node.status.as_ref().unwrap().conditions.as_ref().unwrap()[0].clone();
        pressure.type_ = "DiskPressure".to_owned();
        node.status
            .as_mut()
            .unwrap()
            .conditions
            .as_mut()
            .unwrap()
            .push(pressure);
    });
    stage.settle();
    assert_eq!(
        told(&stage, "n1"),
        [
            "mine:NoSchedule",
            "node.kubernetes.io/disk-pressure:NoSchedule",
            "node.kubernetes.io/unschedulable:NoSchedule"
        ]
    );
}

#[test]
fn pods_leave_when_their_tolerance_ends() {
    let taint = json!([{"key": "k", "effect": "NoExecute", "timeAdded": "2026-11-21T05:00:00Z"}]);
    let cases = [
        (json!([]), Some(0)),
        (
            json!([{"operator": "Exists", "tolerationSeconds": 30}]),
            Some(30),
        ),
        (json!([{"key": "k", "operator": "Exists"}]), None),
        (json!([{"key": "other", "operator": "Exists"}]), Some(0)),
        (
            json!([{"key": "k", "operator": "Equal", "value": "x"}]),
            Some(0),
        ),
    ];
    for (tolerations, leaves_after) in cases {
        let mut stage = Stage::new(Eviction);
        node(&mut stage, "n1", &taint);
        pod(&mut stage, &tolerations);
        stage.settle();
        if let Some(seconds) = leaves_after.filter(|&seconds| seconds > 0) {
            assert!(
                stage
                    .find::<Pod>("a", "p")
                    .unwrap()
                    .metadata
                    .deletion_timestamp
                    .is_none()
            );
            assert_eq!(
                stage.again_after.unwrap().as_secs(),
                u64::try_from(seconds).unwrap()
            );
            stage.advance(seconds + 1);
            stage.settle();
        }
        let pod: Pod = stage.get("a", "p");
        assert_eq!(
            pod.metadata.deletion_timestamp.is_some(),
            leaves_after.is_some(),
            "{tolerations}"
        );
        if leaves_after.is_some() {
            assert_eq!(
                stage.events,
                ["Normal TaintManagerEviction Marking for deletion Pod a/p"]
            );
        }
    }
}

#[test]
fn pods_of_a_vanished_node_are_removed_after_a_while() {
    let mut stage = Stage::new(Orphans::default());
    pod(&mut stage, &json!([]));
    stage.settle();
    assert_eq!(stage.again_after.unwrap().as_secs(), 40);
    stage.advance(41);
    stage.pass();
    let pod: Pod = stage.get("a", "p");
    assert_eq!(pods::phase(&pod), "Failed");
    assert!(pods::condition(&pod, "DisruptionTarget").is_some());
}
