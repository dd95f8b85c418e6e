//! Claims and volumes.

use super::{claims::Claims, volumes::Volumes};
use crate::controllers::framework::{Controller, testing::Stage};
use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, Pod},
    storage::v1::StorageClass,
};
use serde_json::{Value, json};

fn claims() -> Stage<Claims> {
    Stage::new(Claims {
        root: "/volumes".into(),
    })
}

fn claim<C: Controller>(stage: &mut Stage<C>, more: &Value) {
    let mut spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": ""});
    more.as_object()
        .unwrap()
        .iter()
        .for_each(|(name, value)| spec[name] = value.clone());
    stage.put::<PersistentVolumeClaim>(
        json!({"metadata": {"namespace": "a", "name": "data", "uid": "c1"}, "spec": spec}),
    );
}

fn volume<C: Controller>(stage: &mut Stage<C>, name: &str, size: &str, more: &Value) {
    let mut spec = json!({"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size}, "hostPath": {"path": "/srv/data/x"},
        "persistentVolumeReclaimPolicy": "Retain"});
    more.as_object()
        .unwrap()
        .iter()
        .for_each(|(name, value)| spec[name] = value.clone());
    stage.put::<PersistentVolume>(
        json!({"metadata": {"name": name}, "spec": spec, "status": {"phase": "Available"}}),
    );
}

fn class<C: Controller>(stage: &mut Stage<C>, mode: &str) {
    stage.put::<StorageClass>(json!({"metadata": {"name": "standard", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubik.io/hostpath", "reclaimPolicy": "Delete", "volumeBindingMode": mode, "allowVolumeExpansion": true}));
}

fn bound(stage: &Stage<Claims>) -> (String, String) {
    let claim: PersistentVolumeClaim = stage.get("a", "data");
    (
        claim.spec.unwrap().volume_name.unwrap_or_default(),
        claim.status.unwrap().phase.unwrap(),
    )
}

#[test]
fn the_smallest_volume_that_suits_is_bound() {
    let mut stage = claims();
    claim(&mut stage, &json!({}));
    volume(&mut stage, "big", "10Gi", &json!({}));
    volume(&mut stage, "fit", "2Gi", &json!({}));
    volume(&mut stage, "small", "500Mi", &json!({}));
    volume(
        &mut stage,
        "classy",
        "1Gi",
        &json!({"storageClassName": "fast"}),
    );
    volume(
        &mut stage,
        "taken",
        "1Gi",
        &json!({"claimRef": {"namespace": "b", "name": "x"}}),
    );
    stage.settle();
    assert_eq!(bound(&stage), ("fit".into(), "Bound".into()));
    let spec = stage.get::<PersistentVolume>("", "fit").spec.unwrap();
    assert_eq!(spec.claim_ref.unwrap().uid.as_deref(), Some("c1"));
    let capacity = stage
        .get::<PersistentVolumeClaim>("a", "data")
        .status
        .unwrap()
        .capacity
        .unwrap();
    assert_eq!(capacity["storage"].0, "2Gi");
}

#[test]
fn a_reserved_volume_goes_to_its_claim() {
    let mut stage = claims();
    claim(&mut stage, &json!({}));
    volume(&mut stage, "fit", "1Gi", &json!({}));
    volume(
        &mut stage,
        "mine",
        "50Gi",
        &json!({"claimRef": {"namespace": "a", "name": "data"}}),
    );
    stage.settle();
    assert_eq!(bound(&stage).0, "mine");
}

#[test]
fn a_claim_without_class_waits_and_says_so() {
    let mut stage = claims();
    claim(&mut stage, &json!({}));
    stage.settle();
    assert_eq!(bound(&stage).1, "Pending");
    assert_eq!(
        stage.events[0],
        "Normal FailedBinding no persistent volumes available for this claim and no storage class is set"
    );
}

#[test]
fn the_default_class_provisions_and_grows() {
    let mut stage = claims();
    class(&mut stage, "Immediate");
    claim(&mut stage, &json!({"storageClassName": null}));
    stage.settle();
    assert_eq!(bound(&stage), ("pvc-c1".into(), "Bound".into()));
    assert_eq!(stage.disk, ["make /volumes/pvc-c1"]);
    assert!(stage.events.contains(
        &"Normal ProvisioningSucceeded Successfully provisioned volume pvc-c1".to_owned()
    ));
    stage.edit::<PersistentVolumeClaim>("a", "data", |claim| {
        let requests = claim
            .spec
            .as_mut()
            .unwrap()
            .resources
            .as_mut()
            .unwrap()
            .requests
            .as_mut()
            .unwrap();
        requests.get_mut("storage").unwrap().0 = "3Gi".to_owned();
    });
    stage.settle();
    let status = stage
        .get::<PersistentVolumeClaim>("a", "data")
        .status
        .unwrap();
    assert_eq!(status.capacity.unwrap()["storage"].0, "3Gi");
    assert_eq!(status.conditions.unwrap_or_default(), []);
    for text in [
        "Normal Resizing External resizer is resizing volume pvc-c1",
        "Normal VolumeResizeSuccessful Resize volume succeeded",
    ] {
        assert!(
            stage.events.contains(&text.to_owned()),
            "{:?}",
            stage.events
        );
    }
}

#[test]
fn what_a_directory_cannot_be_is_not_provisioned() {
    let source = json!({"kind": "PersistentVolumeClaim", "name": "other"});
    let cases = [
        (json!({"volumeMode": "Block"}), "block volume provisioning"),
        (
            json!({"dataSource": source}),
            "volumes made from a data source",
        ),
    ];
    for (more, what) in cases {
        let mut stage = claims();
        class(&mut stage, "Immediate");
        let mut more = more;
        more["storageClassName"] = "standard".into();
        claim(&mut stage, &more);
        stage.settle();
        assert_eq!(bound(&stage), (String::new(), "Pending".into()));
        let text = format!("Warning ProvisioningFailed kubik.io/hostpath does not support {what}");
        assert!(stage.events.contains(&text), "{:?}", stage.events);
        assert!(stage.disk.is_empty());
    }
}

#[test]
fn a_claim_without_class_gets_the_default_that_comes_later() {
    let mut stage = claims();
    claim(&mut stage, &json!({"storageClassName": null}));
    stage.settle();
    assert_eq!(bound(&stage).1, "Pending");
    class(&mut stage, "Immediate");
    stage.settle();
    assert_eq!(bound(&stage), ("pvc-c1".into(), "Bound".into()));
}

#[test]
fn a_waiting_class_binds_when_a_node_is_chosen() {
    let mut stage = claims();
    class(&mut stage, "WaitForFirstConsumer");
    claim(&mut stage, &json!({"storageClassName": "standard"}));
    stage.settle();
    assert_eq!(bound(&stage).1, "Pending");
    assert_eq!(
        stage.events[0],
        "Normal WaitForFirstConsumer waiting for first consumer to be created before binding"
    );
    stage.edit::<PersistentVolumeClaim>("a", "data", |claim| {
        let annotations = claim.metadata.annotations.get_or_insert_default();
        annotations.insert(
            "volume.kubernetes.io/selected-node".to_owned(),
            "n1".to_owned(),
        );
    });
    stage.settle();
    assert_eq!(bound(&stage).1, "Bound");
}

#[test]
fn a_lost_volume_is_reported() {
    let mut stage = claims();
    class(&mut stage, "Immediate");
    claim(&mut stage, &json!({"storageClassName": "standard"}));
    stage.settle();
    stage.remove::<PersistentVolume>("", "pvc-c1");
    stage.settle();
    assert_eq!(bound(&stage).1, "Lost");
}

#[test]
fn volumes_are_kept_recycled_or_removed() {
    let phase = |stage: &Stage<Volumes>, name: &str| {
        stage
            .get::<PersistentVolume>("", name)
            .status
            .unwrap()
            .phase
            .unwrap()
    };
    let mut stage = Stage::new(Volumes {
        root: "/volumes".into(),
    });
    let gone = json!({"namespace": "a", "name": "data", "uid": "gone"});
    volume(&mut stage, "kept", "1Gi", &json!({"claimRef": gone}));
    volume(
        &mut stage,
        "recycled",
        "1Gi",
        &json!({"claimRef": gone, "persistentVolumeReclaimPolicy": "Recycle"}),
    );
    volume(
        &mut stage,
        "foreign",
        "1Gi",
        &json!({"claimRef": gone, "persistentVolumeReclaimPolicy": "Delete"}),
    );
    volume(
        &mut stage,
        "ours",
        "1Gi",
        &json!({"claimRef": gone, "persistentVolumeReclaimPolicy": "Delete"}),
    );
    stage.edit::<PersistentVolume>("", "ours", |volume| {
        let annotations = volume.metadata.annotations.get_or_insert_default();
        annotations.insert(
            super::PROVISIONED_BY.to_owned(),
            super::PROVISIONER.to_owned(),
        );
    });
    stage.settle();
    assert_eq!(
        [
            phase(&stage, "kept"),
            phase(&stage, "recycled"),
            phase(&stage, "foreign")
        ],
        ["Released", "Released", "Failed"]
    );
    assert!(stage.find::<PersistentVolume>("", "ours").is_none());
    assert_eq!(stage.disk, ["remove /volumes/ours"]);
    let pod: Pod = stage.get("default", "recycler-for-recycled");
    assert_eq!(pod.spec.unwrap().active_deadline_seconds, Some(60));
    stage.set_pod("recycler-for-recycled", "default", "Succeeded", false);
    stage.settle();
    assert_eq!(phase(&stage, "recycled"), "Available");
    let pod = stage.find::<Pod>("default", "recycler-for-recycled");
    assert!(pod.is_none_or(|pod| pod.metadata.deletion_timestamp.is_some()));
    assert!(
        stage
            .events
            .contains(&"Normal VolumeRecycled Volume recycled".to_owned())
    );
    assert!(stage.events.contains(
        &"Warning VolumeFailedDelete host_path deleter only supports /tmp/.+ but received provided /srv/data/x".to_owned()
    ));
}

#[test]
fn a_deleted_volume_takes_its_data_along() {
    let mut stage = Stage::new(Volumes {
        root: "/volumes".into(),
    });
    let gone = json!({"namespace": "a", "name": "data", "uid": "gone"});
    let more = json!({"claimRef": gone, "persistentVolumeReclaimPolicy": "Delete"});
    volume(&mut stage, "ours", "1Gi", &more);
    stage.edit::<PersistentVolume>("", "ours", |volume| {
        let meta = &mut volume.metadata;
        meta.finalizers = Some(vec!["kubernetes.io/pv-protection".to_owned()]);
        meta.annotations.get_or_insert_default().insert(
            super::PROVISIONED_BY.to_owned(),
            super::PROVISIONER.to_owned(),
        );
    });
    stage.delete::<PersistentVolume>("", "ours");
    stage.settle();
    assert_eq!(stage.disk, ["remove /volumes/ours"]);
    let volume: PersistentVolume = stage.get("", "ours");
    assert_eq!(volume.status.unwrap().phase.unwrap(), "Released");
}

#[test]
fn a_volume_asked_for_by_name_must_suit() {
    let mut stage = claims();
    claim(&mut stage, &json!({"volumeName": "small"}));
    volume(&mut stage, "small", "1Mi", &json!({}));
    stage.settle();
    assert_eq!(bound(&stage).1, "Pending");
    assert_eq!(
        stage.events[0],
        "Warning VolumeMismatch Cannot bind to requested volume \"small\": requested PV is too small"
    );
    stage.edit::<PersistentVolume>("", "small", |volume| {
        let capacity = volume.spec.as_mut().unwrap().capacity.as_mut().unwrap();
        capacity.get_mut("storage").unwrap().0 = "1Gi".to_owned();
    });
    stage.settle();
    assert_eq!(bound(&stage), ("small".into(), "Bound".into()));
}

#[test]
fn claims_in_use_are_kept() {
    let mut stage = Stage::new(super::protection::Claims);
    claim(&mut stage, &json!({}));
    stage.settle();
    stage.put::<Pod>(json!({"metadata": {"namespace": "a", "name": "p"}, "spec": {"nodeName": "n", "containers": [],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "data"}}]}}));
    stage.delete::<PersistentVolumeClaim>("a", "data");
    stage.settle();
    assert!(stage.find::<PersistentVolumeClaim>("a", "data").is_some());
    stage.remove::<Pod>("a", "p");
    stage.settle();
    assert!(stage.find::<PersistentVolumeClaim>("a", "data").is_none());
}
