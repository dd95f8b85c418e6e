//! ReplicaSets.

use super::Wanted;
use crate::{
    api::object::Object,
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Watches, World, Write, controller_of, matches},
    },
};
use k8s_openapi::api::{apps::v1::ReplicaSet, core::v1::Pod};
use std::sync::Arc;

pub fn start(ctx: &ControllerContext) {
    let identity = "replicaset-controller";
    framework::start(ctx, identity, identity, Sets);
}

struct Sets;

impl Controller for Sets {
    type Primary = ReplicaSet;

    fn watches(watches: &mut Watches) {
        watches
            .owned::<Pod, ReplicaSet>()
            .adopted::<Pod, ReplicaSet>(|set, pod| {
                let spec = set.spec.as_ref();
                spec.is_some_and(|spec| matches(&spec.selector, pod.metadata.labels.as_ref()))
            });
    }

    fn reconcile(&self, set: &ReplicaSet, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = &set.spec else {
            return decision;
        };
        let template = spec.template.clone().unwrap_or_default();
        let wanted = Wanted {
            owner: set,
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
            template: &template,
        };
        let old = set.status.clone().unwrap_or_default();
        let related = |_: &[Arc<Pod>]| related(set, world);
        let status = wanted.keep(&spec.selector, related, &old, world, &mut decision);
        if status != old {
            let status = Some(status);
            decision.push(Write::update_status(&ReplicaSet {
                status,
                ..set.clone()
            }));
        }
        decision
    }
}

/// The pods of all sets with the same controller (one Deployment's old and new): they are spread over nodes together.
fn related(set: &ReplicaSet, world: &World) -> Vec<Arc<Pod>> {
    let pods = world.all::<Pod>();
    let namespace = set.key().namespace;
    let Some(deployment) = controller_of(&set.metadata) else {
        return pods.controlled_by(&namespace, set.uid()).cloned().collect();
    };
    let sets = world.all::<ReplicaSet>();
    let sets = sets.controlled_by(&namespace, &deployment.uid);
    sets.flat_map(|set| pods.controlled_by(&namespace, set.uid()))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use k8s_openapi::api::apps::v1::ReplicaSetStatus;
    use serde_json::{Value, json};

    fn set(replicas: i32) -> Value {
        json!({"metadata": {"namespace": "a", "name": "web", "uid": "set"}, "spec": {
            "replicas": replicas, "selector": {"matchLabels": {"app": "web"}},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "c"}]}}}})
    }

    fn pod(name: &str) -> Value {
        json!({"metadata": {"namespace": "a", "name": name, "labels": {"app": "web"}}, "spec": {"containers": []}})
    }

    fn status(stage: &Stage<Sets>) -> ReplicaSetStatus {
        stage.get::<ReplicaSet>("a", "web").status.unwrap()
    }

    #[test]
    fn scales_up_and_down_and_reports_it() {
        let mut stage = Stage::new(Sets);
        stage.put::<ReplicaSet>(set(3));
        stage.settle();
        assert_eq!(stage.all::<Pod>().len(), 3);
        assert_eq!(
            (status(&stage).replicas, status(&stage).ready_replicas),
            (3, None)
        );
        assert!(stage.events[0].starts_with("Normal SuccessfulCreate Created pod: web-"));
        stage.run_pods();
        stage.settle();
        assert_eq!(status(&stage).available_replicas, Some(3));

        stage.edit::<ReplicaSet>("a", "web", |set| {
            set.spec.as_mut().unwrap().replicas = Some(1);
        });
        stage.settle();
        assert_eq!(
            (status(&stage).replicas, status(&stage).terminating_replicas),
            (1, Some(2))
        );
        stage.run_pods();
        stage.settle();
        assert_eq!(stage.all::<Pod>().len(), 1);
        assert_eq!(status(&stage).terminating_replicas, Some(0));
        assert_eq!(status(&stage).observed_generation, Some(2));
    }

    #[test]
    fn failed_pods_are_replaced_and_kept() {
        let mut stage = Stage::new(Sets);
        stage.put::<ReplicaSet>(set(1));
        stage.settle();
        let name = stage.all::<Pod>()[0].key().name;
        stage.set_pod(&name, "a", "Failed", false);
        stage.settle();
        assert_eq!((stage.all::<Pod>().len(), status(&stage).replicas), (2, 1));
    }

    #[test]
    fn orphans_are_adopted_and_strangers_released() {
        let mut stage = Stage::new(Sets);
        stage.put::<Pod>(pod("stray"));
        stage.put::<ReplicaSet>(set(2));
        stage.settle();
        assert_eq!(stage.all::<Pod>().len(), 2);
        let owner = |pod: &Pod| controller_of(&pod.metadata).map(|owner| owner.uid.clone());
        assert_eq!(owner(&stage.get("a", "stray")).as_deref(), Some("set"));

        stage.edit::<Pod>("a", "stray", |pod| pod.metadata.labels = None);
        stage.settle();
        assert_eq!(owner(&stage.get("a", "stray")), None);
        assert_eq!(stage.all::<Pod>().len(), 3);
    }

    #[test]
    fn what_has_ended_is_neither_adopted_nor_let_go() {
        let mut stage = Stage::new(Sets);
        stage.put::<Pod>(pod("stray"));
        stage.set_pod("stray", "a", "Succeeded", false);
        stage.put::<ReplicaSet>(set(1));
        stage.settle();
        let owner = |pod: &Pod| controller_of(&pod.metadata).is_some();
        assert!(!owner(&stage.get("a", "stray")));
        let mut all = stage.all::<Pod>().into_iter();
        let name = all.find(owner).unwrap().key().name;
        stage.set_pod(&name, "a", "Failed", false);
        stage.edit::<Pod>("a", &name, |pod| pod.metadata.labels = None);
        stage.settle();
        assert!(owner(&stage.get("a", &name)));
    }

    #[test]
    fn a_refusal_becomes_a_condition_and_goes_away() {
        let mut stage = Stage::new(Sets);
        stage.put::<ReplicaSet>(set(2));
        stage.refuse = Some(("pods", "exceeded quota".into()));
        stage.pass();
        stage.pass();
        let condition = &status(&stage).conditions.unwrap()[0];
        assert_eq!(condition.reason.as_deref(), Some("FailedCreate"));
        assert_eq!(condition.message.as_deref(), Some("exceeded quota"));
        assert_eq!(
            stage.events[0],
            "Warning FailedCreate Error creating: exceeded quota"
        );
        stage.refuse = None;
        stage.pass();
        stage.settle();
        assert_eq!(status(&stage).conditions, None);
        assert_eq!(status(&stage).replicas, 2);
    }

    #[test]
    fn pods_are_available_after_a_while() {
        let mut stage = Stage::new(Sets);
        let mut value = set(1);
        value["spec"]["minReadySeconds"] = 10.into();
        stage.put::<ReplicaSet>(value);
        stage.settle();
        stage.run_pods();
        stage.advance(4);
        stage.settle();
        assert_eq!(
            (
                status(&stage).ready_replicas,
                status(&stage).available_replicas
            ),
            (Some(1), None)
        );
        assert_eq!(stage.again_after.unwrap().as_secs(), 6);
        stage.advance(6);
        stage.settle();
        assert_eq!(status(&stage).available_replicas, Some(1));
    }
}
