//! Daemons on nodes.

use super::*;
use crate::controllers::framework::testing::Stage;
use k8s_openapi::api::apps::v1::DaemonSetStatus;
use serde_json::{Value, json};

fn stage(strategy: &Value) -> Stage<Sets> {
    let mut stage = Stage::new(Sets::default());
    for name in ["n1", "n2", "n3"] {
        stage.put::<Node>(json!({"metadata": {"name": name, "labels": {"disk": if name == "n3" {"slow"} else {"fast"}}}, "spec": {}}));
    }
    stage.put::<DaemonSet>(json!({"metadata": {"namespace": "a", "name": "log", "uid": "set"}, "spec": {
        "selector": {"matchLabels": {"app": "log"}}, "updateStrategy": strategy,
        "template": {"metadata": {"labels": {"app": "log"}}, "spec": {"nodeSelector": {"disk": "fast"}, "containers": [{"name": "c", "image": "v1"}]}}}}));
    stage.settle();
    stage
}

/// Every pod lands where it is pinned and runs.
fn run(stage: &mut Stage<Sets>) {
    for pod in stage.all::<Pod>() {
        let node = node::target(&pod);
        stage.edit::<Pod>("a", &pod.key().name, |pod| {
            pod.spec.as_mut().unwrap().node_name = Some(node);
        });
    }
    stage.run_pods();
    stage.settle();
}

fn pods(stage: &Stage<Sets>) -> Vec<String> {
    let show = |pod: &Pod| {
        let image = pod.spec.as_ref().unwrap().containers[0]
            .image
            .clone()
            .unwrap();
        format!(
            "{}{} {image}",
            if pod.is_deleting() { "-" } else { "" },
            node::target(pod)
        )
    };
    let mut all: Vec<String> = stage.all::<Pod>().iter().map(show).collect();
    all.sort();
    all
}

fn status(stage: &Stage<Sets>) -> DaemonSetStatus {
    stage.get::<DaemonSet>("a", "log").status.unwrap()
}

fn set_image(stage: &mut Stage<Sets>) {
    stage.edit::<DaemonSet>("a", "log", |set| {
        set.spec
            .as_mut()
            .unwrap()
            .template
            .spec
            .as_mut()
            .unwrap()
            .containers[0]
            .image = Some("v2".to_owned());
    });
    stage.settle();
}

#[test]
fn nodes_that_fit_get_one_pod() {
    let mut stage = stage(&json!({"type": "RollingUpdate"}));
    assert_eq!(pods(&stage), ["n1 v1", "n2 v1"]);
    run(&mut stage);
    assert_eq!(
        (
            status(&stage).desired_number_scheduled,
            status(&stage).number_available
        ),
        (2, Some(2))
    );
    stage.edit::<Node>("", "n3", |node| {
        node.metadata.labels = Some(BTreeMap::from([("disk".to_owned(), "fast".to_owned())]));
    });
    stage.edit::<Node>("", "n1", |node| node.metadata.labels = None);
    stage.settle();
    assert_eq!(pods(&stage), ["-n1 v1", "n2 v1", "n3 v1"]);
}

#[test]
fn taints_keep_new_pods_away_and_evict_old_ones() {
    let mut stage = stage(&json!({"type": "RollingUpdate"}));
    run(&mut stage);
    let taint =
        |effect: &str| serde_json::from_value(json!([{"key": "k", "effect": effect}])).unwrap();
    stage.edit::<Node>("", "n1", |node| {
        node.spec.as_mut().unwrap().taints = taint("NoSchedule");
    });
    stage.edit::<Node>("", "n2", |node| {
        node.spec.as_mut().unwrap().taints = taint("NoExecute");
    });
    stage.settle();
    assert_eq!(pods(&stage), ["-n2 v1", "n1 v1"]);
}

#[test]
fn a_rolling_update_takes_one_node_at_a_time() {
    let mut stage =
        stage(&json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}}));
    run(&mut stage);
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["-n1 v1", "n2 v1"]);
    run(&mut stage);
    assert_eq!(pods(&stage), ["n1 v2", "n2 v1"]);
    run(&mut stage);
    run(&mut stage);
    run(&mut stage);
    assert_eq!(pods(&stage), ["n1 v2", "n2 v2"]);
    assert_eq!(status(&stage).updated_number_scheduled, Some(2));
}

#[test]
fn a_surge_starts_the_new_pod_first() {
    let mut stage = stage(
        &json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
    );
    run(&mut stage);
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["n1 v1", "n1 v2", "n2 v1"]);
    run(&mut stage);
    assert!(pods(&stage).contains(&"-n1 v1".to_owned()));
}

#[test]
fn on_delete_waits_for_people() {
    let mut stage = stage(&json!({"type": "OnDelete"}));
    run(&mut stage);
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["n1 v1", "n2 v1"]);
}

#[test]
fn a_surge_passes_over_pods_that_serve_nobody() {
    let mut stage = stage(
        &json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}),
    );
    run(&mut stage);
    for pod in stage.all::<Pod>() {
        stage.set_pod(&pod.key().name, "a", "Running", node::target(&pod) == "n1");
    }
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["n1 v1", "n1 v2", "n2 v1", "n2 v2"]);
}

#[test]
fn a_failed_daemon_is_replaced_after_a_pause_that_grows() {
    let mut stage = stage(&json!({"type": "RollingUpdate"}));
    run(&mut stage);
    let mut fail = || {
        let pods = stage.all::<Pod>();
        let found = pods.iter().find(|pod| node::target(pod) == "n1").unwrap();
        stage.set_pod(&found.key().name, "a", "Failed", false);
        stage.settle();
        let left = stage.find::<Pod>("a", &found.key().name);
        let is_gone = left.is_none_or(|pod| pod.is_deleting());
        let after = stage.again_after;
        // The old one goes, the new one comes.
        run(&mut stage);
        run(&mut stage);
        (is_gone, after.map(|after| after.as_secs()))
    };
    assert_eq!(fail(), (true, None));
    assert_eq!(fail(), (false, Some(1)));
}
