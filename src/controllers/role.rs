//! Fills the rules of ClusterRoles that aggregate others by labels.

use super::{
    ControllerContext,
    framework::{self, Controller, Decision, Watches, World, Write, matches},
};
use crate::api::{name::Key, object::Object};
use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use serde_json::json;

pub fn start(ctx: &ControllerContext) {
    let identity = "clusterrole-aggregation-controller";
    framework::start(ctx, identity, identity, Aggregation);
}

struct Aggregation;

impl Controller for Aggregation {
    type Primary = ClusterRole;

    fn watches(watches: &mut Watches) {
        watches.on::<ClusterRole>(|_, caches| {
            let all = caches.all::<ClusterRole>();
            let gathering = all.values().filter(|role| role.aggregation_rule.is_some());
            gathering.map(|role| role.key()).collect::<Vec<Key>>()
        });
    }

    fn reconcile(&self, role: &ClusterRole, world: &World) -> Decision {
        let mut decision = Decision::default();
        let Some(aggregation) = &role.aggregation_rule else {
            return decision;
        };
        let selectors = aggregation
            .cluster_role_selectors
            .as_deref()
            .unwrap_or_default();
        let mut rules: Vec<PolicyRule> = Vec::new();
        for selector in selectors {
            let selected = world.all::<ClusterRole>().values().filter(|other| {
                other.uid() != role.uid() && matches(selector, other.metadata.labels.as_ref())
            });
            for rule in selected.flat_map(|other| other.rules.iter().flatten()) {
                if !rules.contains(rule) {
                    rules.push(rule.clone());
                }
            }
        }
        if role.rules.as_deref().unwrap_or_default() != rules {
            decision.push(Write::patch::<ClusterRole>(
                role.key(),
                json!({"rules": rules}),
            ));
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;

    #[test]
    fn rules_are_gathered_once_each() {
        let mut stage = Stage::new(Aggregation);
        let rule =
            |resource: &str| json!({"apiGroups": [""], "resources": [resource], "verbs": ["get"]});
        stage.put::<ClusterRole>(json!({"metadata": {"name": "view"}, "aggregationRule": {"clusterRoleSelectors": [{"matchLabels": {"to-view": "true"}}]}}));
        for (name, rules) in [
            ("a", json!([rule("pods")])),
            ("b", json!([rule("pods"), rule("nodes")])),
        ] {
            stage.put::<ClusterRole>(
                json!({"metadata": {"name": name, "labels": {"to-view": "true"}}, "rules": rules}),
            );
        }
        stage.put::<ClusterRole>(json!({"metadata": {"name": "c"}, "rules": [rule("secrets")]}));
        stage.settle();
        assert_eq!(stage.get::<ClusterRole>("", "view").rules.unwrap().len(), 2);
        stage.remove::<ClusterRole>("", "b");
        stage.settle();
        assert_eq!(stage.get::<ClusterRole>("", "view").rules.unwrap().len(), 1);
    }
}
