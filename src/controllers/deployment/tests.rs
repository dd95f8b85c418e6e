//! Rollouts, step by step, with sets whose status a test writes as the replica set controller would.

use super::{sets::REVISION, *};
use crate::controllers::framework::testing::Stage;
use k8s_openapi::api::apps::v1::{DeploymentCondition, DeploymentStatus, ReplicaSetStatus};
use serde_json::{Value, json};

fn deployment(replicas: i32, strategy: &Value) -> Value {
    json!({"metadata": {"namespace": "a", "name": "web", "uid": "dep"}, "spec": {
        "replicas": replicas, "selector": {"matchLabels": {"app": "web"}}, "strategy": strategy,
        "progressDeadlineSeconds": 600, "revisionHistoryLimit": 2,
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c", "image": "v1"}]}}}})
}

fn rolling(surge: &Value, unavailable: &Value) -> Value {
    json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
}

fn stage(replicas: i32, strategy: &Value) -> Stage<Deployments> {
    let mut stage = Stage::new(Deployments);
    stage.put::<Deployment>(deployment(replicas, strategy));
    stage.settle();
    stage
}

fn set_image(stage: &mut Stage<Deployments>, image: &str) {
    stage.edit::<Deployment>("a", "web", |deployment| {
        let template = &mut deployment.spec.as_mut().unwrap().template;
        template.spec.as_mut().unwrap().containers[0].image = Some(image.to_owned());
    });
}

/// Sets of the deployment: image, wanted replicas, oldest first.
fn sizes(stage: &Stage<Deployments>) -> Vec<(String, i32)> {
    let mut sets = stage.all::<ReplicaSet>();
    sets.sort_by_key(|set| set.uid()[4..].parse::<u64>().unwrap());
    sets.iter()
        .map(|set| (image(set), sets::replicas(set)))
        .collect()
}

fn image(set: &ReplicaSet) -> String {
    let template = set.spec.as_ref().unwrap().template.as_ref().unwrap();
    template.spec.as_ref().unwrap().containers[0]
        .image
        .clone()
        .unwrap()
}

/// Every set reports what it was asked for; at most `available` of each image listed are available.
fn report(stage: &mut Stage<Deployments>, limits: &[(&str, i32)]) {
    for set in stage.all::<ReplicaSet>() {
        let wanted = sets::replicas(&set);
        let limit = limits
            .iter()
            .find(|(name, _)| *name == image(&set))
            .map_or(wanted, |one| one.1);
        let available = wanted.min(limit);
        let key = set.key();
        stage.edit::<ReplicaSet>(&key.namespace, &key.name, |set| {
            set.status = Some(ReplicaSetStatus {
                replicas: wanted,
                ready_replicas: Some(available),
                available_replicas: Some(available),
                observed_generation: set.metadata.generation,
                ..ReplicaSetStatus::default()
            });
        });
    }
    stage.settle();
}

fn status(stage: &Stage<Deployments>) -> DeploymentStatus {
    stage.get::<Deployment>("a", "web").status.unwrap()
}

fn condition(stage: &Stage<Deployments>, type_: &str) -> DeploymentCondition {
    let conditions = status(stage).conditions.unwrap();
    conditions
        .into_iter()
        .find(|one| one.type_ == type_)
        .unwrap()
}

fn reason(stage: &Stage<Deployments>) -> String {
    condition(stage, "Progressing").reason.unwrap()
}

#[test]
fn a_new_deployment_makes_one_set_and_reports_when_it_is_done() {
    let mut stage = stage(3, &rolling(&json!("25%"), &json!("25%")));
    let set = &stage.all::<ReplicaSet>()[0];
    let labels = set.metadata.labels.as_ref().unwrap();
    assert_eq!(
        set.key().name,
        format!("web-{}", labels["pod-template-hash"])
    );
    let annotations = set.metadata.annotations.as_ref().unwrap();
    let text = |name: &str| annotations[&format!("deployment.kubernetes.io/{name}")].clone();
    assert_eq!(
        [
            text("revision"),
            text("desired-replicas"),
            text("max-replicas")
        ],
        ["1", "3", "4"]
    );
    assert_eq!(reason(&stage), "NewReplicaSetCreated");
    assert_eq!(
        stage.events,
        [format!(
            "Normal ScalingReplicaSet Scaled up replica set {} from 0 to 3",
            set.key().name
        )]
    );
    report(&mut stage, &[]);
    assert_eq!(reason(&stage), "NewReplicaSetAvailable");
    assert_eq!(
        condition(&stage, "Available").reason.unwrap(),
        "MinimumReplicasAvailable"
    );
    let status = status(&stage);
    assert_eq!(
        (
            status.replicas,
            status.updated_replicas,
            status.unavailable_replicas
        ),
        (Some(3), Some(3), None)
    );
    let annotations = stage
        .get::<Deployment>("a", "web")
        .metadata
        .annotations
        .unwrap();
    assert_eq!(annotations[REVISION], "1");
    assert_eq!(stage.again_after, None);
}

#[test]
fn a_rolling_update_never_goes_below_or_above_its_margins() {
    let mut stage = stage(4, &rolling(&json!(1), &json!(1)));
    report(&mut stage, &[]);
    set_image(&mut stage, "v2");
    stage.settle();
    // One surge, one unavailable: five in all, three available.
    assert_eq!(sizes(&stage), [("v1".into(), 3), ("v2".into(), 2)]);
    report(&mut stage, &[("v2", 0)]);
    assert_eq!(sizes(&stage), [("v1".into(), 3), ("v2".into(), 2)]);
    report(&mut stage, &[("v2", 1)]);
    assert_eq!(sizes(&stage), [("v1".into(), 2), ("v2".into(), 3)]);
    report(&mut stage, &[]);
    report(&mut stage, &[]);
    assert_eq!(sizes(&stage), [("v1".into(), 0), ("v2".into(), 4)]);
    report(&mut stage, &[]);
    assert_eq!(reason(&stage), "NewReplicaSetAvailable");
    let annotations = stage
        .get::<Deployment>("a", "web")
        .metadata
        .annotations
        .unwrap();
    assert_eq!(annotations[REVISION], "2");
}

#[test]
fn undo_reuses_the_old_set_and_remembers_its_revision() {
    let mut stage = stage(1, &rolling(&json!(1), &json!(0)));
    report(&mut stage, &[]);
    set_image(&mut stage, "v2");
    for _ in 0..3 {
        report(&mut stage, &[]);
    }
    set_image(&mut stage, "v1");
    for _ in 0..3 {
        report(&mut stage, &[]);
    }
    assert_eq!(sizes(&stage), [("v1".into(), 1), ("v2".into(), 0)]);
    let first = stage
        .all::<ReplicaSet>()
        .into_iter()
        .find(|set| image(set) == "v1")
        .unwrap();
    let annotations = first.metadata.annotations.unwrap();
    assert_eq!(annotations[REVISION], "3");
    assert_eq!(
        annotations["deployment.kubernetes.io/revision-history"],
        "1"
    );
}

#[test]
fn recreate_waits_for_the_last_old_pod() {
    let mut stage = stage(2, &json!({"type": "Recreate"}));
    report(&mut stage, &[]);
    let set = stage.all::<ReplicaSet>()[0].clone();
    let pod = json!({"metadata": {"namespace": "a", "name": "p", "deletionTimestamp": "2026-11-21T05:00:00Z",
        "ownerReferences": [framework::controller_ref(&set)]}, "spec": {"containers": []}});
    stage.put::<Pod>(pod);
    set_image(&mut stage, "v2");
    report(&mut stage, &[]);
    report(&mut stage, &[]);
    assert_eq!(sizes(&stage), [("v1".into(), 0)]);
    stage.remove::<Pod>("a", "p");
    stage.settle();
    assert_eq!(sizes(&stage), [("v1".into(), 0), ("v2".into(), 2)]);
}

#[test]
fn scaling_in_mid_rollout_is_proportional() {
    let mut stage = stage(10, &rolling(&json!(3), &json!(2)));
    report(&mut stage, &[]);
    set_image(&mut stage, "v2");
    stage.settle();
    assert_eq!(sizes(&stage), [("v1".into(), 8), ("v2".into(), 5)]);
    report(&mut stage, &[("v2", 0)]);
    stage.edit::<Deployment>("a", "web", |one| {
        one.spec.as_mut().unwrap().replicas = Some(15);
    });
    stage.settle();
    // The documented example: 18 in all, shared 8:5.
    assert_eq!(sizes(&stage), [("v1".into(), 11), ("v2".into(), 7)]);
}

#[test]
fn a_paused_deployment_scales_but_does_not_roll() {
    let mut stage = stage(2, &rolling(&json!(1), &json!(0)));
    report(&mut stage, &[]);
    stage.edit::<Deployment>("a", "web", |one| {
        one.spec.as_mut().unwrap().paused = Some(true);
    });
    set_image(&mut stage, "v2");
    stage.edit::<Deployment>("a", "web", |one| {
        one.spec.as_mut().unwrap().replicas = Some(5);
    });
    stage.settle();
    assert_eq!(sizes(&stage), [("v1".into(), 5)]);
    assert_eq!(reason(&stage), "DeploymentPaused");
    stage.edit::<Deployment>("a", "web", |one| one.spec.as_mut().unwrap().paused = None);
    stage.settle();
    assert_eq!(sizes(&stage).len(), 2);
}

#[test]
fn a_stuck_rollout_is_reported_at_its_deadline() {
    let mut stage = stage(1, &rolling(&json!(1), &json!(0)));
    report(&mut stage, &[]);
    set_image(&mut stage, "v2");
    stage.settle();
    report(&mut stage, &[("v2", 0)]);
    assert_eq!(reason(&stage), "ReplicaSetUpdated");
    assert_eq!(stage.again_after.unwrap().as_secs(), 600);
    stage.advance(601);
    stage.settle();
    let progressing = condition(&stage, "Progressing");
    assert_eq!(
        (progressing.status.as_str(), progressing.reason.as_deref()),
        ("False", Some("ProgressDeadlineExceeded"))
    );
    assert!(
        progressing
            .message
            .unwrap()
            .ends_with("has timed out progressing.")
    );
    report(&mut stage, &[]);
    report(&mut stage, &[]);
    assert_eq!(reason(&stage), "NewReplicaSetAvailable");
}

#[test]
fn old_sets_beyond_the_limit_are_removed() {
    let mut stage = stage(1, &rolling(&json!(1), &json!(0)));
    for image in ["v2", "v3", "v4", "v5"] {
        set_image(&mut stage, image);
        for _ in 0..3 {
            report(&mut stage, &[]);
        }
    }
    assert_eq!(
        sizes(&stage),
        [("v3".into(), 0), ("v4".into(), 0), ("v5".into(), 1)]
    );
}

#[test]
fn a_taken_name_moves_the_hash() {
    let mut stage = Stage::new(Deployments);
    let typed: Deployment = stage.put(deployment(1, &rolling(&json!(1), &json!(0))));
    let taken = super::sets::Rollout::new(&typed, typed.spec.as_ref().unwrap(), &[]).make_new();
    stage.put::<ReplicaSet>(
        json!({"metadata": {"namespace": "a", "name": taken.key().name, "labels": {"app": "other"}},
        "spec": {"selector": {}}}),
    );
    stage.settle();
    assert_eq!(status(&stage).collision_count, Some(1));
    assert_eq!(stage.all::<ReplicaSet>().len(), 2);
}

#[test]
fn a_refused_set_is_a_condition() {
    let mut stage = Stage::new(Deployments);
    stage.refuse = Some(("replicasets", "exceeded quota".into()));
    stage.put::<Deployment>(deployment(1, &rolling(&json!(1), &json!(0))));
    stage.pass();
    stage.pass();
    assert_eq!(reason(&stage), "ReplicaSetCreateError");
    stage.refuse = None;
    stage.pass();
    stage.settle();
    assert_eq!(stage.all::<ReplicaSet>().len(), 1);
}
