//! ReplicationControllers: the elder form of ReplicaSets, with a plain map as selector.

use super::Wanted;
use crate::{
    api::object::typed,
    controllers::{
        ControllerContext,
        framework::{self, Controller, Decision, Watches, World, Write, matches, selector_of},
    },
};
use k8s_openapi::{
    api::core::v1::{Pod, ReplicationController, ReplicationControllerStatus},
    apimachinery::pkg::apis::meta::v1::LabelSelector,
};
use serde::{Serialize, de::DeserializeOwned};

pub fn start(ctx: &ControllerContext) {
    let identity = "replication-controller";
    framework::start(ctx, identity, identity, Elder);
}

struct Elder;

impl Controller for Elder {
    type Primary = ReplicationController;

    fn watches(watches: &mut Watches) {
        watches
            .owned::<Pod, ReplicationController>()
            .adopted::<Pod, ReplicationController>(|elder, pod| {
                let labels = pod.metadata.labels.as_ref();
                selector(elder).is_some_and(|selector| matches(&selector, labels))
            });
    }

    fn reconcile(&self, elder: &ReplicationController, world: &World) -> Decision {
        let mut decision = Decision::default();
        let (Some(spec), Some(selector)) = (&elder.spec, selector(elder)) else {
            return decision;
        };
        let template = spec.template.clone().unwrap_or_default();
        let wanted = Wanted {
            owner: elder,
            replicas: spec.replicas.unwrap_or(1),
            min_ready_seconds: spec.min_ready_seconds.unwrap_or_default(),
            template: &template,
        };
        let old = elder.status.clone().unwrap_or_default();
        let before = recast(&old);
        let status = wanted.keep(&selector, <[_]>::to_vec, &before, world, &mut decision);
        let status: ReplicationControllerStatus = recast(&status);
        if status != old {
            let status = Some(status);
            decision.push(Write::update_status(&ReplicationController {
                status,
                ..elder.clone()
            }));
        }
        decision
    }
}

/// Between the statuses of the two kinds: the elder's has no terminating replicas, and is the same otherwise.
fn recast<A: Serialize, B: DeserializeOwned>(status: &A) -> B {
    let value = serde_json::to_value(status).expect("our own types have string keys only");
    typed(&value).expect("the two have the same fields")
}

/// `None` when it selects nothing.
fn selector(elder: &ReplicationController) -> Option<LabelSelector> {
    let labels = elder.spec.as_ref()?.selector.as_ref()?;
    (!labels.is_empty()).then(|| selector_of(labels))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::json;

    #[test]
    fn keeps_its_pods() {
        let mut stage = Stage::new(Elder);
        stage.put::<ReplicationController>(
            json!({"metadata": {"namespace": "a", "name": "web"}, "spec": {
            "replicas": 2, "selector": {"app": "web"},
            "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": []}}}}),
        );
        stage.settle();
        stage.run_pods();
        stage.settle();
        let status = stage
            .get::<ReplicationController>("a", "web")
            .status
            .unwrap();
        assert_eq!((status.replicas, status.available_replicas), (2, Some(2)));
        stage.edit::<ReplicationController>("a", "web", |elder| {
            elder.spec.as_mut().unwrap().replicas = Some(0);
        });
        stage.settle();
        stage.run_pods();
        stage.settle();
        assert!(stage.all::<Pod>().is_empty());
    }
}
