//! PodDisruptionBudgets: how many pods may be evicted now.

mod scale;
mod stale;

use super::{
    ControllerContext,
    framework::{
        self, Caches, Controller, Decision, Notice, Watches, World, Write, go_text, matches,
    },
    pods,
};
use crate::api::{name::Key, object::Object};
use jiff::SignedDuration;
use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet, StatefulSet},
        core::v1::{Pod, ReplicationController},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetSpec, PodDisruptionBudgetStatus},
    },
    apimachinery::pkg::apis::meta::v1::{Condition, Time},
};
use std::{collections::BTreeMap, sync::Arc};

/// An eviction that was allowed counts until its pod shows it, at most that long.
const EVICTION_TIMEOUT: SignedDuration = SignedDuration::from_secs(120);

pub fn start(ctx: &ControllerContext) {
    framework::start(ctx, "disruption-controller", "controllermanager", Budgets);
    stale::start(ctx);
}

struct Budgets;

impl Controller for Budgets {
    type Primary = PodDisruptionBudget;

    fn watches(watches: &mut Watches) {
        watches
            .on::<Pod>(selecting)
            .on::<Deployment>(|one, caches| in_namespace(&one.key().namespace, caches))
            .on::<ReplicaSet>(|one, caches| in_namespace(&one.key().namespace, caches))
            .on::<StatefulSet>(|one, caches| in_namespace(&one.key().namespace, caches))
            .on::<ReplicationController>(|one, caches| in_namespace(&one.key().namespace, caches));
    }

    fn reconcile(&self, budget: &PodDisruptionBudget, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(spec) = &budget.spec else {
            return decision;
        };
        let namespace = budget.key().namespace;
        let all = world.all::<Pod>().in_namespace(&namespace);
        let pods: Vec<&Arc<Pod>> = all
            .filter(|pod| selects(spec, pod) && !pods::is_terminal(pod))
            .collect();
        let old = budget.status.clone().unwrap_or_default();
        let disrupted = still_expected(&old, &pods, world, &mut decision);
        let goals = match scale::goals(spec, &pods, world) {
            Ok(goals) => goals,
            Err(why) => {
                let mut status = old.clone();
                status.disruptions_allowed = Some(0);
                let told = ("False", "SyncFailed", why.as_str());
                status.conditions = Some(conditions(&old, budget, told, world));
                let text = format!("Failed to calculate the number of expected pods: {why}");
                let reason = "CalculateExpectedPodCountFailed";
                let notices = vec![Notice::warning(budget, reason, text)];
                return report(budget, &old, status, notices, decision);
            }
        };
        let (expected, wanted) = (goals.expected, goals.healthy);
        let is_healthy = |pod: &&&Arc<Pod>| {
            pods::is_ready(pod) && !pod.is_deleting() && !disrupted.contains_key(&pod.key().name)
        };
        let healthy = count(pods.iter().filter(is_healthy).count());
        let allowed = if expected > 0 {
            (healthy - wanted).max(0)
        } else {
            0
        };
        let told = if allowed > 0 {
            ("True", "SufficientPods", "")
        } else {
            ("False", "InsufficientPods", "")
        };
        let status = PodDisruptionBudgetStatus {
            conditions: Some(conditions(&old, budget, told, world)),
            current_healthy: Some(healthy),
            desired_healthy: Some(wanted),
            disrupted_pods: (!disrupted.is_empty()).then_some(disrupted),
            disruptions_allowed: Some(allowed),
            expected_pods: Some(expected),
            observed_generation: budget.metadata.generation,
        };
        let mut notices = Vec::new();
        if pods.is_empty() {
            notices.push(Notice::normal(budget, "NoPods", "No matching pods found"));
        }
        if goals.has_unmanaged {
            let text = unmanaged(spec);
            notices.push(Notice::warning(budget, "UnmanagedPods", text));
        }
        report(budget, &old, status, notices, decision)
    }
}

fn unmanaged(spec: &PodDisruptionBudgetSpec) -> String {
    let selector = go_text(spec.selector.as_ref());
    format!(
        "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the \
         status of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these \
         pods please set \".spec.minAvailable\" field of the PDB to an integer value."
    )
}

/// What is to be said is said along with a change, not whenever somebody looks.
fn report(
    budget: &PodDisruptionBudget,
    old: &PodDisruptionBudgetStatus,
    status: PodDisruptionBudgetStatus,
    notices: Vec<Notice>,
    mut decision: Decision,
) -> Decision {
    if status != *old {
        notices.into_iter().for_each(|notice| decision.push(notice));
        let status = Some(status);
        decision.push(Write::update_status(&PodDisruptionBudget {
            status,
            ..budget.clone()
        }));
    }
    decision
}

/// Evictions that were granted and do not show yet.
fn still_expected(
    old: &PodDisruptionBudgetStatus,
    pods: &[&Arc<Pod>],
    world: &World,
    decision: &mut Decision,
) -> BTreeMap<String, Time> {
    let mut left = BTreeMap::new();
    for (name, since) in old.disrupted_pods.iter().flatten() {
        let is_there = pods
            .iter()
            .any(|pod| pod.key().name == *name && !pod.is_deleting());
        match world.until(since.0, EVICTION_TIMEOUT) {
            Some(time) if is_there => {
                decision.again(time);
                left.insert(name.clone(), since.clone());
            }
            _ => {}
        }
    }
    left
}

/// `told` is status, reason and message.
fn conditions(
    old: &PodDisruptionBudgetStatus,
    budget: &PodDisruptionBudget,
    told: (&str, &str, &str),
    world: &World,
) -> Vec<Condition> {
    const TYPE: &str = "DisruptionAllowed";
    let mut all = old.conditions.clone().unwrap_or_default();
    let same = all
        .iter()
        .find(|one| one.type_ == TYPE && one.status == told.0);
    let since = same.map_or_else(|| world.stamp(), |one| one.last_transition_time.clone());
    all.retain(|one| one.type_ != TYPE);
    all.push(Condition {
        type_: TYPE.to_owned(),
        status: told.0.to_owned(),
        reason: told.1.to_owned(),
        message: told.2.to_owned(),
        last_transition_time: since,
        observed_generation: budget.metadata.generation,
    });
    all
}

fn selects(spec: &PodDisruptionBudgetSpec, pod: &Pod) -> bool {
    let selector = spec.selector.as_ref();
    selector.is_some_and(|selector| matches(selector, pod.metadata.labels.as_ref()))
}

fn selecting(pod: &Pod, caches: &Caches) -> Vec<Key> {
    let budgets = caches.all::<PodDisruptionBudget>();
    let namespace = pod.key().namespace;
    let all = budgets.in_namespace(&namespace);
    let selecting =
        all.filter(|budget| budget.spec.as_ref().is_some_and(|spec| selects(spec, pod)));
    selecting.map(|budget| budget.key()).collect()
}

fn in_namespace(namespace: &str, caches: &Caches) -> Vec<Key> {
    let budgets = caches.all::<PodDisruptionBudget>();
    budgets
        .in_namespace(namespace)
        .map(|budget| budget.key())
        .collect()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::{Value, json};

    fn status(spec: &Value) -> PodDisruptionBudgetStatus {
        let mut stage = Stage::new(Budgets);
        stage.put::<ReplicaSet>(json!({"metadata": {"namespace": "a", "name": "web", "uid": "set"}, "spec": {"replicas": 4, "selector": {}}}));
        for n in 0..3 {
            let ready = if n < 2 { "True" } else { "False" };
            stage.put::<Pod>(json!({"metadata": {"namespace": "a", "name": format!("p{n}"), "labels": {"app": "web"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web", "uid": "set", "controller": true}]},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]}}));
        }
        let mut spec = spec.clone();
        spec["selector"] = json!({"matchLabels": {"app": "web"}});
        stage.put::<PodDisruptionBudget>(
            json!({"metadata": {"namespace": "a", "name": "web"}, "spec": spec}),
        );
        stage.settle();
        stage.get::<PodDisruptionBudget>("a", "web").status.unwrap()
    }

    #[test]
    fn budgets_count_from_pods_or_from_their_controllers() {
        let cases = [
            (json!({"minAvailable": 1}), (3, 2, 1, 1)),
            (json!({"minAvailable": 2}), (3, 2, 2, 0)),
            (json!({"minAvailable": "25%"}), (4, 2, 1, 1)),
            (json!({"maxUnavailable": 3}), (4, 2, 1, 1)),
            (json!({"maxUnavailable": "50%"}), (4, 2, 2, 0)),
        ];
        for (spec, expected) in cases {
            let status = status(&spec);
            let seen = (
                status.expected_pods,
                status.current_healthy,
                status.desired_healthy,
                status.disruptions_allowed,
            );
            let (pods, healthy, wanted, allowed) = expected;
            assert_eq!(
                seen,
                (Some(pods), Some(healthy), Some(wanted), Some(allowed)),
                "{spec}"
            );
        }
    }

    #[test]
    fn what_cannot_be_counted_is_told() {
        let owner = |kind: &str| json!([{"apiVersion": "batch/v1", "kind": kind, "name": "x", "uid": "x", "controller": true}]);
        #[rustfmt::skip]
        let cases = [
            (json!([]), "InsufficientPods", "", "Warning UnmanagedPods Pods selected by this PodDisruptionBudget (selector: &LabelSelector{MatchLabels:map[string]string{app: web,},MatchExpressions:[]LabelSelectorRequirement{},}) were found to be unmanaged."),
            (owner("Job"), "SyncFailed", "jobs.batch does not implement the scale subresource", "Warning CalculateExpectedPodCountFailed Failed to calculate the number of expected pods: jobs.batch does not implement the scale subresource"),
            (owner("Custom"), "SyncFailed", "found no controllers for pod \"p\"", "Warning CalculateExpectedPodCountFailed Failed to calculate the number of expected pods: found no controllers for pod \"p\""),
        ];
        for (owners, reason, message, event) in cases {
            let mut stage = Stage::new(Budgets);
            stage.put::<Pod>(json!({"metadata": {"namespace": "a", "name": "p", "labels": {"app": "web"}, "ownerReferences": owners},
                "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}}));
            stage.put::<PodDisruptionBudget>(json!({"metadata": {"namespace": "a", "name": "web"},
                "spec": {"maxUnavailable": 1, "selector": {"matchLabels": {"app": "web"}}}}));
            stage.settle();
            let status = stage.get::<PodDisruptionBudget>("a", "web").status.unwrap();
            assert_eq!(status.disruptions_allowed, Some(0));
            let condition = &status.conditions.unwrap()[0];
            assert_eq!(
                (condition.reason.as_str(), condition.message.as_str()),
                (reason, message)
            );
            assert!(stage.events[0].starts_with(event), "{:?}", stage.events);
            assert_eq!(stage.events.len(), 1);
        }
    }
}
