//! LimitRanges: defaults for what containers need, and bounds for it.

use super::Attempt;
use crate::{
    api::{ApiError, quantity::Quantity},
    apiserver::registry::metadata::text,
};
use serde_json::{Value, json};
use std::collections::BTreeMap;

const NOTE: &str = "kubernetes.io/limit-ranger";

type Amounts = BTreeMap<String, Quantity>;

fn ranges(attempt: &Attempt<'_>) -> Vec<Value> {
    let request = attempt.request;
    let is_resize = attempt.kind().storage == "pods" && attempt.subresource() == "resize";
    if !attempt.is_creation() && !is_resize {
        return Vec::new();
    }
    request.registry.read_all("limitranges", &request.namespace)
}

fn items<'a>(ranges: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    let limits = ranges
        .iter()
        .filter_map(|range| range["spec"]["limits"].as_array());
    limits.flatten().filter(move |limit| limit["type"] == kind)
}

/// Fills in what containers do not say.
pub fn complete(attempt: &Attempt<'_>, pod: &mut Value) -> Result<(), ApiError> {
    if attempt.kind().storage == "pods" && attempt.is_creation() {
        for range in ranges(attempt) {
            fill(pod, &range);
        }
    }
    Ok(())
}

fn fill(pod: &mut Value, range: &Value) {
    let range = std::slice::from_ref(range);
    let mut notes = Vec::new();
    for (group, what) in [
        ("containers", "container"),
        ("initContainers", "init container"),
    ] {
        let containers = pod["spec"][group].as_array_mut();
        for container in containers.into_iter().flatten() {
            let name = text(container, "name").to_owned();
            for (defaults, field, word) in [
                ("defaultRequest", "requests", "request"),
                ("default", "limits", "limit"),
            ] {
                let mut set: Vec<&str> = Vec::new();
                for limit in items(range, "Container") {
                    for (resource, amount) in limit[defaults].as_object().into_iter().flatten() {
                        if container["resources"][field][resource].is_null() {
                            container["resources"][field][resource] = amount.clone();
                            set.push(resource);
                        }
                    }
                }
                if !set.is_empty() {
                    notes.push(format!("{} {word} for {what} {name}", set.join(", ")));
                }
            }
        }
    }
    if !notes.is_empty() {
        let note = format!("LimitRanger plugin set: {}", notes.join("; "));
        pod["metadata"]["annotations"][NOTE] = note.into();
    }
}

/// Refuses what lies outside the bounds.
pub fn check(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    let ranges = ranges(attempt);
    if ranges.is_empty() {
        return Ok(());
    }
    let findings = match attempt.kind().storage {
        "pods" => pod_findings(&ranges, object),
        _ => claim_findings(&ranges, object),
    };
    match findings.as_slice() {
        [] => Ok(()),
        [one] => Err(attempt.forbidden(one)),
        many => Err(attempt.forbidden(&format!("[{}]", many.join(", ")))),
    }
}

fn amounts(resources: &Value) -> Amounts {
    let entries = resources.as_object().into_iter().flatten();
    entries
        .filter_map(|(name, amount)| Some((name.clone(), Quantity::parse(amount.as_str()?).ok()?)))
        .collect()
}

fn containers<'a>(pod: &'a Value, group: &str) -> &'a [Value] {
    pod["spec"][group]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
}

fn pod_findings(ranges: &[Value], pod: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for limit in items(ranges, "Container") {
        for container in containers(pod, "containers")
            .iter()
            .chain(containers(pod, "initContainers"))
        {
            let resources = &container["resources"];
            let (requests, limits) = (
                amounts(&resources["requests"]),
                amounts(&resources["limits"]),
            );
            bound_findings("Container", limit, &requests, &limits, &mut found);
        }
    }
    for limit in items(ranges, "Pod") {
        let (requests, limits) = (total(pod, "requests"), total(pod, "limits"));
        bound_findings("Pod", limit, &requests, &limits, &mut found);
    }
    found
}

/// What the pod needs at once: its containers together, or its hungriest init container.
pub fn total(pod: &Value, field: &str) -> Amounts {
    let mut sum = Amounts::new();
    let add = |sum: &mut Amounts, container: &Value| {
        for (name, amount) in amounts(&container["resources"][field]) {
            let all = sum.get(&name).map_or(amount, |all| *all + amount);
            sum.insert(name, all);
        }
    };
    for container in containers(pod, "containers") {
        add(&mut sum, container);
    }
    let (sidecars, steps): (Vec<&Value>, Vec<&Value>) = containers(pod, "initContainers")
        .iter()
        .partition(|container| container["restartPolicy"] == "Always");
    for sidecar in sidecars {
        add(&mut sum, sidecar);
    }
    for step in steps {
        for (name, amount) in amounts(&step["resources"][field]) {
            let most = sum.get(&name).map_or(amount, |all| (*all).max(amount));
            sum.insert(name, most);
        }
    }
    for (name, amount) in amounts(&pod["spec"]["overhead"]) {
        if let Some(all) = sum.get_mut(&name) {
            *all = *all + amount;
        } else if field == "requests" {
            sum.insert(name, amount);
        }
    }
    sum
}

fn bound_findings(
    kind: &str,
    limit: &Value,
    requests: &Amounts,
    limits: &Amounts,
    found: &mut Vec<String>,
) {
    for (name, least) in amounts(&limit["min"]) {
        let head = format!("minimum {name} usage per {kind} is {least}");
        match (requests.get(&name), limits.get(&name)) {
            (None, _) => found.push(format!("{head}.  No request is specified")),
            (Some(request), _) if *request < least => {
                found.push(format!("{head}, but request is {request}"));
            }
            (_, Some(limit)) if *limit < least => {
                found.push(format!("{head}, but limit is {limit}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(&limit["max"]) {
        let head = format!("maximum {name} usage per {kind} is {most}");
        match (requests.get(&name), limits.get(&name)) {
            (_, None) => found.push(format!("{head}.  No limit is specified")),
            (_, Some(limit)) if *limit > most => {
                found.push(format!("{head}, but limit is {limit}"));
            }
            (Some(request), _) if *request > most => {
                found.push(format!("{head}, but request is {request}"));
            }
            _ => {}
        }
    }
    for (name, most) in amounts(&limit["maxLimitRequestRatio"]) {
        let head = format!("{name} max limit to request ratio per {kind} is {most}, but");
        let known = |amounts: &Amounts| amounts.get(&name).copied().filter(|one| !one.is_zero());
        match (known(requests), known(limits)) {
            (None, _) => found.push(format!("{head} no request is specified or request is 0")),
            (_, None) => found.push(format!("{head} no limit is specified or limit is 0")),
            (Some(request), Some(limit)) => {
                let ratio = limit.as_f64() / request.as_f64();
                if ratio > most.as_f64() {
                    found.push(format!("{head} provided ratio is {ratio:.6}"));
                }
            }
        }
    }
}

fn claim_findings(ranges: &[Value], claim: &Value) -> Vec<String> {
    let kind = "PersistentVolumeClaim";
    let requests = amounts(&claim["spec"]["resources"]["requests"]);
    let mut found = Vec::new();
    for limit in items(ranges, kind) {
        // Claims have no limits of their own: the request is bounded on both sides.
        let bounds = json!({"min": limit["min"], "max": limit["max"]});
        let mut both = Vec::new();
        bound_findings(kind, &bounds, &requests, &requests, &mut both);
        found.extend(
            both.into_iter()
                .map(|text| text.replace("but limit is", "but request is")),
        );
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(limit: &Value) -> Value {
        json!({"spec": {"limits": [limit]}})
    }

    fn pod(requests: &Value, limits: &Value) -> Value {
        json!({"metadata": {}, "spec": {"containers": [
            {"name": "c", "resources": {"requests": requests, "limits": limits}},
        ]}})
    }

    #[test]
    fn defaults_fill_gaps_only() {
        let range = range(&json!({
            "type": "Container",
            "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1", "memory": "1Gi"},
        }));
        let mut one = pod(&json!({"memory": "5Gi"}), &json!({}));
        fill(&mut one, &range);
        let resources = &one["spec"]["containers"][0]["resources"];
        assert_eq!(resources["requests"], json!({"cpu": "1", "memory": "5Gi"}));
        assert_eq!(resources["limits"], json!({"cpu": "2"}));
        assert_eq!(
            one["metadata"]["annotations"][NOTE],
            "LimitRanger plugin set: cpu request for container c; cpu limit for container c"
        );
    }

    #[test]
    fn bounds_are_told_as_upstream_tells_them() {
        let cases = [
            (
                json!({"type": "Container", "min": {"cpu": "100m"}}),
                pod(&json!({"cpu": "50m"}), &json!({})),
                "minimum cpu usage per Container is 100m, but request is 50m",
            ),
            (
                json!({"type": "Pod", "max": {"memory": "1Gi"}}),
                pod(&json!({}), &json!({"memory": "2Gi"})),
                "maximum memory usage per Pod is 1Gi, but limit is 2Gi",
            ),
            (
                json!({"type": "Container", "maxLimitRequestRatio": {"cpu": "2"}}),
                pod(&json!({"cpu": "1"}), &json!({"cpu": "4"})),
                "cpu max limit to request ratio per Container is 2, but provided ratio is 4.000000",
            ),
        ];
        for (limit, pod, expected) in cases {
            assert_eq!(pod_findings(&[range(&limit)], &pod), [expected]);
        }
    }
}
