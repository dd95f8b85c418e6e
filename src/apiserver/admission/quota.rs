//! ResourceQuotas: what a namespace may use in all.
//!
//! Usage is computed from what is stored, never counted along. Writes into a namespace with quotas take turns, so
//! that two of them cannot both use the last piece; after each, the quotas' statuses are brought up to date.

use super::{Attempt, Operation, limit_range::total};
use crate::{
    api::{ApiError, quantity::Quantity},
    apiserver::registry::{
        Registry,
        metadata::{strings, text},
    },
    kinds,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::sync::MutexGuard;

type Usage = BTreeMap<String, Quantity>;

const QUOTAS: &str = "resourcequotas";

impl Registry {
    fn has_quotas(&self, namespace: &str) -> bool {
        let prefix = format!("/{QUOTAS}/{namespace}/");
        !namespace.is_empty() && self.store.snapshot().range(&prefix, None).next().is_some()
    }

    /// To be held while a write is judged and stored. `None` in namespaces without quotas.
    pub(in crate::apiserver) async fn quota_turn(
        &self,
        namespace: &str,
    ) -> Option<MutexGuard<'_, ()>> {
        if !self.has_quotas(namespace) {
            return None;
        }
        Some(self.quota_lock.lock().await)
    }

    /// Brings the statuses of a namespace's quotas up to date.
    pub(in crate::apiserver) async fn settle_quotas(&self, namespace: &str) {
        if !self.has_quotas(namespace) {
            return;
        }
        let kind = kinds::find("", "v1", QUOTAS).expect("quotas are a built-in kind");
        for quota in self.read_all(QUOTAS, namespace) {
            let name = text(&quota["metadata"], "name");
            let key = format!("/{QUOTAS}/{namespace}/{name}");
            let gone = ApiError::no_such_resource();
            let settled = self.edit(kind, &key, gone, |quota| {
                let used = self.used(quota, namespace);
                let used: BTreeMap<&String, String> = used
                    .iter()
                    .map(|(name, amount)| (name, amount.to_string()))
                    .collect();
                quota["status"] = json!({"hard": quota["spec"]["hard"], "used": used});
                Ok(())
            });
            // A quota that is gone needs no status; a store that fails is told to the next writer.
            let _ = settled.await;
        }
    }

    /// What of the quota's resources the namespace uses.
    fn used(&self, quota: &Value, namespace: &str) -> Usage {
        let hard = hard(quota);
        let mut used: Usage = hard
            .keys()
            .map(|name| (name.clone(), Quantity::from_units(0)))
            .collect();
        for storage in storages(&hard) {
            for object in self.read_all(&storage, namespace) {
                if !is_in_scope(quota, &storage, &object) {
                    continue;
                }
                for (name, amount) in usage(&storage, &object) {
                    if let Some(all) = used.get_mut(&name) {
                        *all = *all + amount;
                    }
                }
            }
        }
        used
    }
}

/// Kinds whose objects count for one of the resources.
fn storages(hard: &Usage) -> Vec<String> {
    let mut storages: Vec<String> = Vec::new();
    for name in hard.keys() {
        let storage = match name.as_str() {
            "services.nodeports" | "services.loadbalancers" => "services",
            "requests.storage" => "persistentvolumeclaims",
            name if name.contains(".storageclass.storage.k8s.io/") => "persistentvolumeclaims",
            "cpu" | "memory" | "ephemeral-storage" => "pods",
            name if name.starts_with("requests.") || name.starts_with("limits.") => "pods",
            name if name.starts_with("hugepages-") => "pods",
            name => name.strip_prefix("count/").unwrap_or(name),
        };
        if !storages.iter().any(|known| known == storage) {
            storages.push(storage.to_owned());
        }
    }
    storages
}

pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    let request = attempt.request;
    let kind = attempt.kind();
    let is_update = attempt.is(Operation::Update)
        && matches!(kind.storage, "services" | "persistentvolumeclaims" | "pods")
        && matches!(attempt.subresource(), "" | "resize");
    if !kind.is_namespaced() || !(attempt.is_creation() || is_update) {
        return Ok(());
    }
    let registry = request.registry;
    if !registry.has_quotas(&request.namespace) {
        return Ok(());
    }
    let mut refusals = Vec::new();
    for quota in registry.read_all(QUOTAS, &request.namespace) {
        if !is_in_scope(&quota, kind.storage, object) {
            continue;
        }
        let name = text(&quota["metadata"], "name");
        let hard = hard(&quota);
        if kind.storage == "pods" {
            let lacking = unspecified(&hard, object);
            if !lacking.is_empty() {
                let why = format!("failed quota: {name}: must specify {}", lacking.join("; "));
                return Err(attempt.forbidden(&why));
            }
        }
        let mut added = usage(kind.storage, object);
        if let Some(old) = attempt.old {
            for (name, amount) in usage(kind.storage, old) {
                if let Some(all) = added.get_mut(&name) {
                    *all = *all - amount;
                }
            }
        }
        added.retain(|name, amount| {
            hard.contains_key(name) && !amount.is_zero() && !amount.is_negative()
        });
        if added.is_empty() {
            continue;
        }
        let used = registry.used(&quota, &request.namespace);
        refusals.extend(exceeded(name, &hard, &used, &added));
    }
    match refusals.as_slice() {
        [] => Ok(()),
        many => Err(attempt.forbidden(&many.join(", "))),
    }
}

fn hard(quota: &Value) -> Usage {
    let entries = quota["spec"]["hard"].as_object().into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?)))
        .collect()
}

fn exceeded(quota: &str, hard: &Usage, used: &Usage, added: &Usage) -> Option<String> {
    let zero = Quantity::from_units(0);
    let over: Vec<&String> = added
        .iter()
        .filter(|(name, amount)| used.get(*name).copied().unwrap_or(zero) + **amount > hard[*name])
        .map(|(name, _)| name)
        .collect();
    if over.is_empty() {
        return None;
    }
    let print = |usage: &Usage| {
        let amount = |name: &&String| usage.get(*name).copied().unwrap_or(zero);
        let texts: Vec<String> = over
            .iter()
            .map(|name| format!("{name}={}", amount(name)))
            .collect();
        texts.join(",")
    };
    Some(format!(
        "exceeded quota: {quota}, requested: {}, used: {}, limited: {}",
        print(added),
        print(used),
        print(hard)
    ))
}

/// What one object counts for, under every name a quota may use.
fn usage(storage: &str, object: &Value) -> Usage {
    let one = Quantity::from_units(1);
    let mut usage = Usage::new();
    if storage == "pods" && is_over(object) {
        usage.insert("count/pods".to_owned(), one);
        return usage;
    }
    usage.insert(format!("count/{storage}"), one);
    usage.insert(storage.to_owned(), one);
    match storage {
        "pods" => pod_usage(object, &mut usage),
        "services" => service_usage(object, &mut usage),
        "persistentvolumeclaims" => claim_usage(object, &mut usage),
        _ => {}
    }
    usage
}

fn is_over(pod: &Value) -> bool {
    matches!(text(&pod["status"], "phase"), "Succeeded" | "Failed")
}

fn pod_usage(pod: &Value, usage: &mut Usage) {
    for (name, amount) in total(pod, "requests") {
        if matches!(name.as_str(), "cpu" | "memory" | "ephemeral-storage")
            || name.starts_with("hugepages-")
        {
            usage.insert(name.clone(), amount);
        }
        usage.insert(format!("requests.{name}"), amount);
    }
    for (name, amount) in total(pod, "limits") {
        usage.insert(format!("limits.{name}"), amount);
    }
}

fn service_usage(service: &Value, usage: &mut Usage) {
    let spec = &service["spec"];
    let ports = spec["ports"].as_array().map_or(0, Vec::len);
    let ports = i64::try_from(ports).unwrap_or(i64::MAX);
    let kind = text(spec, "type");
    if kind == "LoadBalancer" {
        usage.insert("services.loadbalancers".to_owned(), Quantity::from_units(1));
    }
    let allocates = spec["allocateLoadBalancerNodePorts"] != false;
    if kind == "NodePort" || (kind == "LoadBalancer" && allocates) {
        usage.insert("services.nodeports".to_owned(), Quantity::from_units(ports));
    }
}

fn claim_usage(claim: &Value, usage: &mut Usage) {
    let class = text(&claim["spec"], "storageClassName");
    let amount = claim["spec"]["resources"]["requests"]["storage"].as_str();
    let amount = amount.and_then(|text| Quantity::parse(text).ok());
    let of_class = |what: &str| format!("{class}.storageclass.storage.k8s.io/{what}");
    if let Some(amount) = amount {
        usage.insert("requests.storage".to_owned(), amount);
        if !class.is_empty() {
            usage.insert(of_class("requests.storage"), amount);
        }
    }
    if !class.is_empty() {
        usage.insert(of_class("persistentvolumeclaims"), Quantity::from_units(1));
    }
}

/// Resources the quota wants every container to state, and the containers that do not.
fn unspecified(hard: &Usage, pod: &Value) -> Vec<String> {
    let mut lacking = Vec::new();
    for name in hard.keys() {
        let (field, resource) = match name.as_str() {
            "cpu" | "memory" | "ephemeral-storage" => ("requests", name.as_str()),
            name => match name.split_once('.') {
                Some(("requests", resource)) => ("requests", resource),
                Some(("limits", resource)) => ("limits", resource),
                _ => continue,
            },
        };
        if !matches!(resource, "cpu" | "memory" | "ephemeral-storage") {
            continue;
        }
        let mut containers: Vec<&str> = Vec::new();
        for group in ["containers", "initContainers"] {
            for container in pod["spec"][group].as_array().into_iter().flatten() {
                if container["resources"][field][resource].is_null() {
                    containers.push(text(container, "name"));
                }
            }
        }
        if !containers.is_empty() {
            lacking.push(format!("{name} for: {}", containers.join(",")));
        }
    }
    lacking
}

/// Whether the quota is about this object.
fn is_in_scope(quota: &Value, storage: &str, object: &Value) -> bool {
    let spec = &quota["spec"];
    let scopes = strings(&spec["scopes"]);
    let expressions = spec["scopeSelector"]["matchExpressions"].as_array();
    let expressions: Vec<&Value> = expressions.into_iter().flatten().collect();
    if scopes.is_empty() && expressions.is_empty() {
        return true;
    }
    if storage != "pods" {
        return false;
    }
    let holds = |scope: &str| match scope {
        "Terminating" => !object["spec"]["activeDeadlineSeconds"].is_null(),
        "NotTerminating" => object["spec"]["activeDeadlineSeconds"].is_null(),
        "BestEffort" => is_best_effort(object),
        "NotBestEffort" => !is_best_effort(object),
        "PriorityClass" => !text(&object["spec"], "priorityClassName").is_empty(),
        "CrossNamespacePodAffinity" => has_affinity_elsewhere(object),
        _ => false,
    };
    let matches = |expression: &&Value| {
        let scope = text(expression, "scopeName");
        let values = strings(&expression["values"]);
        let class = text(&object["spec"], "priorityClassName");
        match (scope, text(expression, "operator")) {
            ("PriorityClass", "In") => values.contains(&class),
            ("PriorityClass", "NotIn") => !values.contains(&class),
            ("PriorityClass", "DoesNotExist") => class.is_empty(),
            (scope, _) => holds(scope),
        }
    };
    scopes.into_iter().all(holds) && expressions.iter().all(matches)
}

/// Whether the pod wants to be near (or far from) pods of other namespaces.
fn has_affinity_elsewhere(pod: &Value) -> bool {
    let affinity = &pod["spec"]["affinity"];
    let of = |kind: &str| {
        let required = affinity[kind]["requiredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred =
            affinity[kind]["preferredDuringSchedulingIgnoredDuringExecution"].as_array();
        let preferred = preferred.into_iter().flatten();
        let terms = required.into_iter().flatten();
        let mut terms = terms.chain(preferred.map(|one| &one["podAffinityTerm"]));
        terms.any(|term| {
            !strings(&term["namespaces"]).is_empty() || !term["namespaceSelector"].is_null()
        })
    };
    of("podAffinity") || of("podAntiAffinity")
}

fn is_best_effort(pod: &Value) -> bool {
    let stated = |field: &str| {
        let amounts = total(pod, field);
        ["cpu", "memory"]
            .iter()
            .any(|name| amounts.get(*name).is_some_and(|one| !one.is_zero()))
    };
    !stated("requests") && !stated("limits")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amounts(value: &Value) -> Usage {
        hard(&json!({"spec": {"hard": value}}))
    }

    #[test]
    fn refusals_name_what_is_exceeded() {
        let text = exceeded(
            "q",
            &amounts(&json!({"pods": "2", "requests.cpu": "1"})),
            &amounts(&json!({"pods": "2", "requests.cpu": "100m"})),
            &amounts(&json!({"pods": "1", "requests.cpu": "100m"})),
        );
        assert_eq!(
            text.as_deref(),
            Some("exceeded quota: q, requested: pods=1, used: pods=2, limited: pods=2")
        );
    }

    #[test]
    fn objects_count_under_all_their_names() {
        let pod = json!({"spec": {"containers": [
            {"name": "a", "resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "2"}}},
            {"name": "b", "resources": {"requests": {"cpu": "500m"}}},
        ]}});
        let used = usage("pods", &pod);
        let print = |name: &str| used[name].to_string();
        assert_eq!(print("requests.cpu"), "1500m");
        assert_eq!(print("cpu"), "1500m");
        assert_eq!(print("limits.cpu"), "2");
        assert_eq!(print("pods"), "1");
        let service = json!({"spec": {"type": "NodePort", "ports": [{}, {}]}});
        assert_eq!(
            usage("services", &service)["services.nodeports"].to_string(),
            "2"
        );
        assert_eq!(
            unspecified(&amounts(&json!({"limits.cpu": "1"})), &pod),
            ["limits.cpu for: b"]
        );
    }

    #[test]
    fn scopes_choose_pods() {
        let quota = json!({"spec": {"scopes": ["BestEffort"]}});
        let best = json!({"spec": {"containers": [{"name": "a"}]}});
        assert!(is_in_scope(&quota, "pods", &best));
        assert!(!is_in_scope(&quota, "secrets", &json!({})));
        let class = json!({"spec": {"scopeSelector": {"matchExpressions": [
            {"scopeName": "PriorityClass", "operator": "In", "values": ["high"]},
        ]}}});
        assert!(!is_in_scope(&class, "pods", &best));
        let abroad = json!({"spec": {"scopes": ["CrossNamespacePodAffinity"]}});
        assert!(!is_in_scope(&abroad, "pods", &best));
        let near = json!({"spec": {"affinity": {"podAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [
                {"weight": 1, "podAffinityTerm": {"namespaces": ["other"]}},
            ],
        }}}});
        assert!(is_in_scope(&abroad, "pods", &near));
        assert!(is_in_scope(
            &class,
            "pods",
            &json!({"spec": {"priorityClassName": "high"}})
        ));
    }
}
