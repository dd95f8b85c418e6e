//! Sets from the first pod to the last.

use super::*;
use crate::controllers::framework::testing::Stage;
use serde_json::{Value, json};

fn stage(more: &Value) -> Stage<Sets> {
    let mut spec = json!({"replicas": 3, "serviceName": "db", "selector": {"matchLabels": {"app": "db"}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {"accessModes": ["ReadWriteOnce"]}}],
        "template": {"metadata": {"labels": {"app": "db"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}});
    more.as_object()
        .unwrap()
        .iter()
        .for_each(|(name, value)| spec[name] = value.clone());
    let mut stage = Stage::new(Sets);
    stage.put::<StatefulSet>(
        json!({"metadata": {"namespace": "a", "name": "db", "uid": "set"}, "spec": spec}),
    );
    stage.settle();
    stage
}

fn grow(stage: &mut Stage<Sets>, rounds: usize) {
    for _ in 0..rounds {
        stage.run_pods();
        stage.settle();
    }
}

fn edit(stage: &mut Stage<Sets>, change: impl FnOnce(&mut StatefulSetSpec)) {
    stage.edit::<StatefulSet>("a", "db", |set| change(set.spec.as_mut().unwrap()));
    stage.settle();
}

fn set_image(stage: &mut Stage<Sets>) {
    edit(stage, |spec| {
        spec.template.spec.as_mut().unwrap().containers[0].image = Some("v2".to_owned());
    });
}

/// Pods as `name image`, those being deleted with a minus.
fn pods(stage: &Stage<Sets>) -> Vec<String> {
    let show = |pod: &Pod| {
        let image = pod.spec.as_ref().unwrap().containers[0]
            .image
            .clone()
            .unwrap();
        format!(
            "{}{} {image}",
            if pod.is_deleting() { "-" } else { "" },
            pod.key().name
        )
    };
    stage.all::<Pod>().iter().map(show).collect()
}

#[test]
fn pods_come_and_go_in_order_and_claims_stay() {
    let mut stage = stage(&json!({}));
    assert_eq!(pods(&stage), ["db-0 v1"]);
    grow(&mut stage, 1);
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v1"]);
    grow(&mut stage, 2);
    let set: StatefulSet = stage.get("a", "db");
    let status = set.status.unwrap();
    assert_eq!(
        (
            status.replicas,
            status.ready_replicas,
            status.updated_replicas
        ),
        (3, Some(3), Some(3))
    );
    assert_eq!(status.current_revision, status.update_revision);
    let pod: Pod = stage.get("a", "db-1");
    let spec = pod.spec.unwrap();
    assert_eq!(
        (spec.hostname.as_deref(), spec.subdomain.as_deref()),
        (Some("db-1"), Some("db"))
    );
    assert_eq!(
        pod.metadata.labels.unwrap()["apps.kubernetes.io/pod-index"],
        "1"
    );
    edit(&mut stage, |spec| spec.replicas = Some(1));
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v1", "-db-2 v1"]);
    grow(&mut stage, 3);
    assert_eq!(pods(&stage), ["db-0 v1"]);
    assert_eq!(stage.all::<PersistentVolumeClaim>().len(), 3);
    assert!(
        stage.events.contains(
            &"Normal SuccessfulCreate create Claim data-db-0 Pod db-0 in StatefulSet db success"
                .to_owned()
        )
    );
    assert!(stage.events.contains(
        &"Normal SuccessfulCreate create Pod db-0 in StatefulSet db successful".to_owned()
    ));
}

#[test]
fn updates_start_at_the_highest_number_and_stop_at_the_partition() {
    let mut stage = stage(
        &json!({"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}),
    );
    grow(&mut stage, 3);
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v1", "-db-2 v1"]);
    grow(&mut stage, 1);
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v1", "db-2 v2"]);
    grow(&mut stage, 3);
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v2", "db-2 v2"]);
    stage.remove::<Pod>("a", "db-0");
    stage.settle();
    assert_eq!(pods(&stage)[0], "db-0 v1");
    edit(&mut stage, |spec| spec.update_strategy = None);
    grow(&mut stage, 4);
    let status = stage.get::<StatefulSet>("a", "db").status.unwrap();
    assert_eq!(status.current_revision, status.update_revision);
    assert_eq!(stage.all::<ControllerRevision>().len(), 2);
}

#[test]
fn parallel_sets_do_not_wait() {
    let mut stage = stage(&json!({"podManagementPolicy": "Parallel"}));
    assert_eq!(stage.all::<Pod>().len(), 3);
    edit(&mut stage, |spec| spec.replicas = Some(0));
    grow(&mut stage, 1);
    assert_eq!(pods(&stage), Vec::<String>::new());
}

#[test]
fn ended_pods_are_replaced_under_their_names() {
    let mut stage = stage(&json!({"replicas": 1}));
    grow(&mut stage, 1);
    let uid = stage.get::<Pod>("a", "db-0").metadata.uid;
    stage.set_pod("db-0", "a", "Failed", false);
    stage.settle();
    grow(&mut stage, 1);
    assert_ne!(stage.get::<Pod>("a", "db-0").metadata.uid, uid);
}

#[test]
fn on_delete_waits_for_people() {
    let mut stage = stage(&json!({"replicas": 1, "updateStrategy": {"type": "OnDelete"}}));
    grow(&mut stage, 1);
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["db-0 v1"]);
    stage.remove::<Pod>("a", "db-0");
    stage.settle();
    assert_eq!(pods(&stage), ["db-0 v2"]);
}

#[test]
fn a_number_waits_for_its_claim_to_go_and_gets_another() {
    let mut stage = stage(&json!({"replicas": 1}));
    grow(&mut stage, 1);
    let claim = |stage: &Stage<Sets>| stage.find::<PersistentVolumeClaim>("a", "data-db-0");
    let old = claim(&stage).unwrap().metadata.uid;
    stage.edit::<PersistentVolumeClaim>("a", "data-db-0", |claim| {
        claim.metadata.deletion_timestamp = claim.metadata.creation_timestamp.clone();
    });
    stage.remove::<Pod>("a", "db-0");
    stage.settle();
    assert_eq!(pods(&stage), Vec::<String>::new());
    stage.remove::<PersistentVolumeClaim>("a", "data-db-0");
    stage.settle();
    assert_eq!(pods(&stage), ["db-0 v1"]);
    assert_ne!(claim(&stage).unwrap().metadata.uid, old);
    // One that is lost before the pod could start is made again.
    stage.set_pod("db-0", "a", "Pending", false);
    stage.remove::<PersistentVolumeClaim>("a", "data-db-0");
    stage.settle();
    assert!(claim(&stage).is_some());
    let set: StatefulSet = stage.get("a", "db");
    assert!(claim::is_of(&set, &claim(&stage).unwrap()));
}

#[test]
fn claims_follow_the_policy_that_holds_now() {
    let mut stage = stage(&json!({"podManagementPolicy": "Parallel"}));
    grow(&mut stage, 1);
    let owners = |stage: &Stage<Sets>| -> Vec<String> {
        let kind = |claim: &PersistentVolumeClaim| {
            let mut owners = claim.metadata.owner_references.iter().flatten();
            owners
                .next()
                .map_or(String::new(), |owner| owner.kind.clone())
        };
        stage
            .all::<PersistentVolumeClaim>()
            .iter()
            .map(kind)
            .collect()
    };
    assert_eq!(owners(&stage), ["", "", ""]);
    for (deleted, scaled, replicas, expected) in [
        (
            "Delete",
            "Retain",
            3,
            ["StatefulSet", "StatefulSet", "StatefulSet"],
        ),
        ("Retain", "Delete", 3, ["", "", ""]),
        ("Delete", "Delete", 2, ["StatefulSet", "StatefulSet", "Pod"]),
        ("Retain", "Retain", 2, ["", "", ""]),
    ] {
        edit(&mut stage, |spec| {
            let policy = json!({"whenDeleted": deleted, "whenScaled": scaled});
            spec.persistent_volume_claim_retention_policy = serde_json::from_value(policy).unwrap();
            spec.replicas = Some(replicas);
        });
        assert_eq!(owners(&stage), expected, "{deleted} {scaled}");
    }
}

#[test]
fn as_many_as_may_be_unavailable_are_updated_at_once() {
    let mut stage = stage(&json!({"podManagementPolicy": "Parallel", "replicas": 4,
        "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1, "maxUnavailable": "50%"}}}));
    grow(&mut stage, 1);
    set_image(&mut stage);
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v1", "-db-2 v1", "-db-3 v1"]);
    grow(&mut stage, 3);
    assert_eq!(pods(&stage), ["db-0 v1", "db-1 v2", "db-2 v2", "db-3 v2"]);
}

#[test]
fn labels_that_a_pod_is_found_by_are_restored() {
    let mut stage = stage(&json!({"replicas": 1}));
    grow(&mut stage, 1);
    stage.edit::<Pod>("a", "db-0", |pod| {
        pod.metadata
            .labels
            .as_mut()
            .unwrap()
            .remove("statefulset.kubernetes.io/pod-name");
    });
    stage.settle();
    let pod: Pod = stage.get("a", "db-0");
    assert_eq!(
        pod.metadata.labels.unwrap()["statefulset.kubernetes.io/pod-name"],
        "db-0"
    );
    assert_eq!(
        stage.events.last().unwrap(),
        "Normal SuccessfulUpdate update Pod db-0 in StatefulSet db successful"
    );
}
