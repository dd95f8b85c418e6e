//! Takes back what was announced and did not happen: a pod marked as a target of a disruption that still lives minutes
//! later is not one.

use crate::controllers::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, Write},
    pods,
};
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Pod;

const TYPE: &str = "DisruptionTarget";
const PATIENCE: SignedDuration = SignedDuration::from_secs(120);

pub fn start(ctx: &ControllerContext) {
    framework::start(ctx, "disruption-controller", "controllermanager", Stale);
}

struct Stale;

impl Controller for Stale {
    type Primary = Pod;

    fn watches(_: &mut Watches) {}

    fn reconcile(&self, pod: &Pod, world: &World) -> Decision {
        let mut decision = Decision::default();
        // A node takes its time with what it announced itself.
        let marked = pods::condition(pod, TYPE).filter(|one| {
            one.status == "True" && one.reason.as_deref() != Some("TerminationByKubelet")
        });
        let Some(marked) = marked.filter(|_| pods::is_active(pod)) else {
            return decision;
        };
        let since = marked.last_transition_time.as_ref().map(|time| time.0);
        if let Some(left) = world.until(since.unwrap_or(world.now), PATIENCE) {
            decision.again(left);
            return decision;
        }
        let mut cleared = pod.clone();
        let conditions = cleared.status.iter_mut();
        for one in conditions.flat_map(|status| status.conditions.iter_mut().flatten()) {
            if one.type_ == TYPE {
                "False".clone_into(&mut one.status);
                one.reason = None;
                one.message = None;
                one.last_transition_time = Some(world.stamp());
            }
        }
        decision.push(Write::update_status(&cleared));
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::json;

    #[test]
    fn a_pod_that_lives_on_is_no_target() {
        let mut stage = Stage::new(Stale);
        stage.put::<Pod>(json!({"metadata": {"namespace": "a", "name": "pod"}, "status": {"phase": "Running", "conditions": [
            {"type": TYPE, "status": "True", "reason": "EvictionByEvictionAPI", "lastTransitionTime": "2026-11-21T05:00:00Z"}]}}));
        let mark = |stage: &Stage<Stale>| {
            let pod = stage.get::<Pod>("a", "pod");
            pods::condition(&pod, TYPE).unwrap().status.clone()
        };
        stage.advance(119);
        stage.settle();
        assert_eq!(mark(&stage), "True");
        assert_eq!(stage.again_after.unwrap().as_secs(), 1);
        stage.advance(1);
        stage.settle();
        assert_eq!(mark(&stage), "False");
    }
}
