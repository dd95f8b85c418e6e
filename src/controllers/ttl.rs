//! Removes finished jobs when their `ttlSecondsAfterFinished` has passed.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, Write},
    job,
};
use crate::api::{call::Propagation, object::Object};
use jiff::SignedDuration;
use k8s_openapi::api::batch::v1::Job;

pub fn start(ctx: &ControllerContext) {
    let identity = "ttl-after-finished-controller";
    framework::start(ctx, identity, identity, Ttl);
}

struct Ttl;

impl Controller for Ttl {
    type Primary = Job;

    fn watches(_: &mut Watches) {}

    fn reconcile(&self, job: &Job, world: &World) -> Decision {
        let mut decision = Decision::default();
        let ttl = job
            .spec
            .as_ref()
            .and_then(|spec| spec.ttl_seconds_after_finished);
        let ended = job::finished(job).and_then(|one| one.last_transition_time.as_ref());
        let (Some(ttl), Some(ended), false) = (ttl, ended, job.is_deleting()) else {
            return decision;
        };
        match world.until(ended.0, SignedDuration::from_secs(i64::from(ttl))) {
            Some(left) => decision.again(left),
            None => decision.push(Write::delete(job).propagating(Propagation::Foreground)),
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::json;

    #[test]
    fn a_finished_job_goes_after_its_time() {
        let mut stage = Stage::new(Ttl);
        let spec = json!({"ttlSecondsAfterFinished": 30, "template": {}});
        stage.put::<Job>(json!({"metadata": {"namespace": "a", "name": "open"}, "spec": spec}));
        stage.put::<Job>(json!({"metadata": {"namespace": "a", "name": "done"}, "spec": spec, "status": {"conditions": [
            {"type": "Complete", "status": "True", "lastTransitionTime": "2026-11-21T05:00:00Z"}]}}));
        stage.settle();
        assert_eq!(stage.again_after.unwrap().as_secs(), 30);
        stage.advance(31);
        stage.settle();
        assert!(stage.find::<Job>("a", "done").is_none());
        assert!(stage.find::<Job>("a", "open").is_some());
    }
}
