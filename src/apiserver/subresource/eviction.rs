//! `pods/eviction`: a deletion that respects disruption budgets.

use super::binding::{created, set_condition};
use crate::{
    api::{
        ApiError,
        call::{DeleteOptions, Propagation, Reply},
        name::Gvr,
        selector::LabelSelector,
        time,
    },
    apiserver::registry::{Request, metadata::text, place},
    kinds,
    kinds::Kind,
    task::clock,
};
use serde::Deserialize;
use serde_json::{Value, json};

const REFUSED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";
const MANY_BUDGETS: &str = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";
/// Evictions that the disruption controller has not confirmed yet.
const UNCONFIRMED_MAX: usize = 2000;
const STALE_RETRY_SECONDS: u32 = 10;

const BUDGETS: &str = "poddisruptionbudgets.policy";

pub async fn create(request: &Request<'_>, eviction: &Value) -> Result<Reply, ApiError> {
    let named = text(&eviction["metadata"], "name");
    if !named.is_empty() && named != request.name {
        return Err(ApiError::bad_request(
            "name in URL does not match name in Eviction object",
        ));
    }
    let registry = request.registry;
    let kind = request.kind;
    let pod = registry.read(kind.storage, &request.namespace, &request.name);
    let pod = pod.ok_or_else(|| request.not_found())?;
    let mut options = delete_options(&eviction["deleteOptions"]);
    let is_dry = request.options.dry_run;
    if !ignores_budgets(&pod) {
        let budgets: Vec<Value> = registry
            .read_all(BUDGETS, &request.namespace)
            .into_iter()
            .filter(|budget| covers(budget, &pod))
            .collect();
        match budgets.as_slice() {
            [] => {}
            [_, _, ..] => return Err(ApiError::internal(MANY_BUDGETS)),
            [budget] if may_go_unhealthy(budget, &pod) => {}
            [budget] => spend(request, budget, is_dry).await?,
        }
    }
    if !is_dry {
        mark(request, kind, &pod).await?;
    }
    // What was judged is what goes, not another pod of the same name.
    options
        .uid
        .get_or_insert_with(|| text(&pod["metadata"], "uid").to_owned());
    request.delete_again(options).await?;
    Ok(created())
}

fn delete_options(options: &Value) -> DeleteOptions {
    let condition = &options["preconditions"];
    let owned = |value: &Value| value.as_str().map(str::to_owned);
    DeleteOptions {
        grace_period_seconds: options["gracePeriodSeconds"].as_i64(),
        propagation: match text(options, "propagationPolicy") {
            "Orphan" => Some(Propagation::Orphan),
            "Background" => Some(Propagation::Background),
            "Foreground" => Some(Propagation::Foreground),
            _ => None,
        },
        uid: owned(&condition["uid"]),
        resource_version: owned(&condition["resourceVersion"]),
        orphan_dependents: options["orphanDependents"].as_bool(),
    }
}

/// Nobody relies on a pod that is over, dying or has not begun.
fn ignores_budgets(pod: &Value) -> bool {
    let phase = text(&pod["status"], "phase");
    matches!(phase, "Succeeded" | "Failed" | "Pending")
        || !pod["metadata"]["deletionTimestamp"].is_null()
}

fn covers(budget: &Value, pod: &Value) -> bool {
    let selector = Option::deserialize(&budget["spec"]["selector"]).unwrap_or_default();
    let selector = LabelSelector::from_spec(selector.as_ref());
    let labels = pod["metadata"]["labels"].as_object();
    selector.is_ok_and(|selector| selector.matches(&labels))
}

/// A pod that is not ready does not count for the budget.
fn may_go_unhealthy(budget: &Value, pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    let is_ready = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition["type"] == "Ready" && condition["status"] == "True");
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let has_enough =
        count("currentHealthy") >= count("desiredHealthy") && count("desiredHealthy") > 0;
    let always = budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow";
    !is_ready && (always || has_enough)
}

/// Takes one disruption from the budget.
async fn spend(request: &Request<'_>, budget: &Value, is_dry: bool) -> Result<(), ApiError> {
    let kind =
        kinds::find("policy", "v1", "poddisruptionbudgets").expect("budgets are a built-in kind");
    let name = text(&budget["metadata"], "name");
    let key = place::key(kind, &request.namespace, name);
    let missing = ApiError::not_found(&Gvr::new("policy", "v1", "poddisruptionbudgets"), name);
    let now = time::format(clock::now());
    if is_dry {
        return take_one(&mut budget.clone(), &request.name, &now);
    }
    let taken = |budget: &mut Value| take_one(budget, &request.name, &now);
    request
        .registry
        .edit(kind, &key, missing, taken)
        .await
        .map(drop)
}

fn take_one(budget: &mut Value, pod: &str, now: &str) -> Result<(), ApiError> {
    let name = text(&budget["metadata"], "name").to_owned();
    let resource = Gvr::new("policy", "v1", "poddisruptionbudgets");
    let count = |field: &str| budget["status"][field].as_i64().unwrap_or(0);
    let generation = budget["metadata"]["generation"].as_i64().unwrap_or(0);
    if count("observedGeneration") < generation {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        let error = ApiError::too_many_requests(REFUSED, STALE_RETRY_SECONDS);
        return Err(error.with_cause("DisruptionBudget", &why, ""));
    }
    let allowed = count("disruptionsAllowed");
    if allowed < 0 {
        return Err(ApiError::forbidden(
            &resource,
            &name,
            "pdb disruptions allowed is negative",
        ));
    }
    let unconfirmed = budget["status"]["disruptedPods"]
        .as_object()
        .map_or(0, serde_json::Map::len);
    if unconfirmed > UNCONFIRMED_MAX {
        let why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller";
        return Err(ApiError::forbidden(&resource, &name, why));
    }
    if allowed == 0 {
        let why = format!(
            "The disruption budget {name} needs {} healthy pods and has {} currently",
            count("desiredHealthy"),
            count("currentHealthy")
        );
        let error = ApiError::too_many_requests(REFUSED, 0);
        return Err(error.with_cause("DisruptionBudget", &why, ""));
    }
    budget["status"]["disruptionsAllowed"] = (allowed - 1).into();
    budget["status"]["disruptedPods"][pod] = now.into();
    Ok(())
}

/// Says in the pod's status why it goes.
async fn mark(request: &Request<'_>, kind: &Kind, pod: &Value) -> Result<(), ApiError> {
    let uid = text(&pod["metadata"], "uid").to_owned();
    let now = time::format(clock::now());
    let marked = |pod: &mut Value| {
        if text(&pod["metadata"], "uid") == uid {
            let generation = pod["metadata"]["generation"].clone();
            let condition = json!({
                "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
                "message": "Eviction API: evicting", "lastProbeTime": null,
                "lastTransitionTime": now, "observedGeneration": generation,
            });
            set_condition(&mut pod["status"], condition);
        }
        Ok(())
    };
    let key = request.key();
    request
        .registry
        .edit(kind, &key, request.not_found(), marked)
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(allowed: i64, observed: i64) -> Value {
        json!({
            "metadata": {"name": "pdb", "generation": 1},
            "spec": {"selector": {"matchLabels": {"app": "web"}}},
            "status": {
                "observedGeneration": observed, "disruptionsAllowed": allowed,
                "desiredHealthy": 2, "currentHealthy": 2,
            },
        })
    }

    #[test]
    fn a_budget_is_spent_down_to_zero() {
        let mut one = budget(1, 1);
        take_one(&mut one, "p", "now").unwrap();
        assert_eq!(one["status"]["disruptionsAllowed"], 0);
        assert_eq!(one["status"]["disruptedPods"], json!({"p": "now"}));
        let error = take_one(&mut one, "q", "now").unwrap_err();
        assert_eq!((error.code, error.message.as_str()), (429, REFUSED));
        let cause = &error.details.unwrap().causes[0];
        assert_eq!(
            cause.message,
            "The disruption budget pdb needs 2 healthy pods and has 2 currently"
        );
        let error = take_one(&mut budget(1, 0), "q", "now").unwrap_err();
        assert_eq!(error.details.unwrap().retry_after_seconds, 10);
    }

    #[test]
    fn budgets_cover_by_selector() {
        let pod = |app: &str| json!({"metadata": {"labels": {"app": app}}, "status": {}});
        assert!(covers(&budget(1, 1), &pod("web")));
        assert!(!covers(&budget(1, 1), &pod("db")));
        assert!(may_go_unhealthy(&budget(0, 1), &pod("web")));
    }
}
