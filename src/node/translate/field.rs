//! The downward API: fields of the pod and resources of its containers as text.
//!
//! Pure. Serves environment variables and volumes alike; what only volumes may ask for is marked.

use super::Facts;
use crate::node::{qos, spec};
use k8s_openapi::api::core::v1::{Container, Pod, ResourceFieldSelector};
use std::collections::BTreeMap;

/// The value of `fieldRef.fieldPath`; `None` when the path is unknown, which the API server would have refused.
#[must_use]
pub fn field(pod: &Pod, path: &str, facts: &Facts) -> Option<String> {
    let meta = &pod.metadata;
    let pod_spec = pod.spec.as_ref();
    let of = |text: Option<&String>| text.cloned().unwrap_or_default();
    if let Some((map, key)) = subscript(path) {
        let map = match map {
            "metadata.labels" => meta.labels.as_ref(),
            "metadata.annotations" => meta.annotations.as_ref(),
            _ => return None,
        };
        return Some(of(map.and_then(|map| map.get(key))));
    }
    let text = match path {
        "metadata.name" => of(meta.name.as_ref()),
        "metadata.namespace" => of(meta.namespace.as_ref()),
        "metadata.uid" => of(meta.uid.as_ref()),
        // Whole maps: volumes only.
        "metadata.labels" => lines(meta.labels.as_ref()),
        "metadata.annotations" => lines(meta.annotations.as_ref()),
        "spec.nodeName" => of(pod_spec.and_then(|spec| spec.node_name.as_ref())),
        "spec.serviceAccountName" => {
            of(pod_spec.and_then(|spec| spec.service_account_name.as_ref()))
        }
        "spec.restartPolicy" => of(pod_spec.and_then(|spec| spec.restart_policy.as_ref())),
        "spec.schedulerName" => of(pod_spec.and_then(|spec| spec.scheduler_name.as_ref())),
        "status.hostIP" | "status.hostIPs" => facts.host_ip.to_string(),
        "status.podIP" | "status.podIPs" => facts
            .pod_ip
            .map(|address| address.to_string())
            .unwrap_or_default(),
        _ => return None,
    };
    Some(text)
}

/// `metadata.labels['key']` in its two parts.
fn subscript(path: &str) -> Option<(&str, &str)> {
    let (map, rest) = path.split_once("['")?;
    Some((map, rest.strip_suffix("']")?))
}

/// One `key="value"` a line, sorted, the value escaped as Go quotes.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines = map.into_iter().flatten();
    let lines: Vec<String> = lines
        .map(|(key, value)| format!("{key}={}", quote(value)))
        .collect();
    lines.join("\n")
}

fn quote(text: &str) -> String {
    use std::fmt::Write;
    let mut quoted = String::from('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => {
                let _ = write!(quoted, "\\x{:02x}", u32::from(c));
            }
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The value of a `resourceFieldRef`, rounded up to whole divisors. A limit that is not set is what the node offers.
#[must_use]
pub fn resource(
    pod: &Pod,
    own: Option<&Container>,
    reference: &ResourceFieldSelector,
    facts: &Facts,
) -> Option<String> {
    let spec = spec::of(pod);
    let named = reference.container_name.as_deref();
    let wanted = named.filter(|name| !name.is_empty());
    let wanted = wanted.map(|name| spec::container(&spec, name));
    let container = match &wanted {
        Some(found) => found.as_ref().map(|wanted| &*wanted.container)?,
        None => own?,
    };
    let (side, name) = reference.resource.split_once('.')?;
    let resources = container.resources.as_ref();
    let limits = resources.and_then(|all| all.limits.as_ref());
    let requests = resources.and_then(|all| all.requests.as_ref());
    let limit = qos::milli(limits, name);
    let value = match side {
        "limits" if limit == 0 => facts.allocatable_milli(name),
        "limits" => limit,
        "requests" => match qos::milli(requests, name) {
            0 => limit,
            milli => milli,
        },
        _ => return None,
    };
    let divisor = reference.divisor.as_ref();
    let divisor = divisor.and_then(|text| crate::api::quantity::Quantity::parse(&text.0).ok());
    let divisor = divisor.map_or(0, crate::api::quantity::Quantity::milli);
    let divisor = if divisor == 0 { 1000 } else { divisor };
    Some(
        (i128::from(value).div_euclid(i128::from(divisor)) + i128::from(value % divisor != 0))
            .to_string(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u",
                "labels": {"b": "2", "a": "say \"hi\"\n"}, "annotations": {"x.io/y": "z"}},
            "spec": {"nodeName": "node", "serviceAccountName": "sa", "containers": [
                {"name": "c", "resources": {"limits": {"cpu": "1500m"}, "requests": {"memory": "32Mi"}}}]},
        }))
        .unwrap()
    }

    #[test]
    fn fields() {
        let facts = Facts::for_tests();
        #[rustfmt::skip]
        let cases = [
            ("metadata.name", "p"), ("metadata.namespace", "n"), ("metadata.uid", "u"),
            ("metadata.labels['b']", "2"), ("metadata.labels['none']", ""),
            ("metadata.annotations['x.io/y']", "z"),
            ("metadata.labels", "a=\"say \\\"hi\\\"\\n\"\nb=\"2\""),
            ("spec.nodeName", "node"), ("spec.serviceAccountName", "sa"),
            ("status.podIP", "10.244.0.9"), ("status.hostIP", "10.244.0.1"), ("status.podIPs", "10.244.0.9"),
        ];
        for (path, expected) in cases {
            assert_eq!(
                field(&pod(), path, &facts).as_deref(),
                Some(expected),
                "{path}"
            );
        }
        assert_eq!(field(&pod(), "spec.containers", &facts), None);
    }

    #[test]
    fn resources() {
        let facts = Facts::for_tests();
        let pod = pod();
        let own = &pod.spec.as_ref().unwrap().containers[0];
        #[rustfmt::skip]
        let cases = [
            ("limits.cpu", "0", "2"), ("limits.cpu", "1m", "1500"), ("requests.cpu", "1m", "1500"),
            ("requests.memory", "1Mi", "32"), ("requests.memory", "0", "33554432"),
            ("limits.memory", "1Gi", "8"),
        ];
        for (name, divisor, expected) in cases {
            let reference = json!({"resource": name, "divisor": divisor});
            let reference = serde_json::from_value(reference).unwrap();
            let value = resource(&pod, Some(own), &reference, &facts);
            assert_eq!(value.as_deref(), Some(expected), "{name} / {divisor}");
        }
    }
}
