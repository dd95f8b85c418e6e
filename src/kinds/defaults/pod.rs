//! Pods and pod templates.

use super::{items, part, put, text};
use serde_json::{Map, Value, json};

const FILE_MODE: i64 = 0o644;

pub fn pod(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    template_spec(spec);
    put(spec, "enableServiceLinks", true);
    let host_network = spec["hostNetwork"] == true;
    for list in ["containers", "initContainers"] {
        for container in items(spec, list) {
            requests_from_limits(container);
            for port in items(container, "ports").filter(|_| host_network) {
                let number = port["containerPort"].clone();
                put(port, "hostPort", number);
            }
        }
    }
}

/// A new pod waits; its quality of service follows from its resources. Scheduling gates are told of at once.
pub fn new_pod(object: &mut Value) {
    let class = quality_of_service(&object["spec"]);
    object["status"] = json!({"phase": "Pending", "qosClass": class});
    let gates = object["spec"]
        .get("schedulingGates")
        .and_then(Value::as_array);
    if gates.is_some_and(|gates| !gates.is_empty()) {
        object["status"]["conditions"] = json!([{
            "type": "PodScheduled", "status": "False", "lastProbeTime": null, "lastTransitionTime": null,
            "reason": "SchedulingGated", "message": "Scheduling is blocked due to non-empty scheduling gates",
        }]);
    }
}

pub fn pod_template(object: &mut Value) {
    if let Some(template) = part(object, "template") {
        self::template(template);
    }
}

/// A PodTemplateSpec.
pub fn template(template: &mut Value) {
    if template["spec"].is_null() {
        return;
    }
    template_spec(&mut template["spec"]);
}

/// What holds for the spec of a pod and of a template.
fn template_spec(spec: &mut Value) {
    put(spec, "restartPolicy", "Always");
    put(spec, "dnsPolicy", "ClusterFirst");
    put(spec, "schedulerName", "default-scheduler");
    put(spec, "terminationGracePeriodSeconds", 30);
    put(spec, "securityContext", json!({}));
    // The old name of the field is kept equal.
    let account = match text(spec, "serviceAccountName") {
        "" => text(spec, "serviceAccount").to_owned(),
        name => name.to_owned(),
    };
    if !account.is_empty() {
        spec["serviceAccountName"] = account.as_str().into();
        spec["serviceAccount"] = account.into();
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        for item in items(spec, list) {
            container(item);
        }
    }
    for item in items(spec, "volumes") {
        volume(item);
    }
}

fn container(container: &mut Value) {
    let policy = pull_policy(text(container, "image"));
    put(container, "imagePullPolicy", policy);
    put(container, "terminationMessagePath", "/dev/termination-log");
    put(container, "terminationMessagePolicy", "File");
    put(container, "resources", json!({}));
    for port in items(container, "ports") {
        put(port, "protocol", "TCP");
    }
    for variable in items(container, "env") {
        if let Some(from) = part(variable, "valueFrom") {
            field_reference(from);
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        if let Some(probe) = part(container, name) {
            self::probe(probe);
        }
    }
    if let Some(hooks) = part(container, "lifecycle") {
        for name in ["postStart", "preStop"] {
            if let Some(hook) = part(hooks, name) {
                http_get(hook);
            }
        }
    }
}

fn field_reference(holder: &mut Value) {
    if let Some(reference) = part(holder, "fieldRef") {
        put(reference, "apiVersion", "v1");
    }
}

/// An image without a tag, or with `latest`, may change under its name.
fn pull_policy(image: &str) -> &'static str {
    let (name, digest) = match image.split_once('@') {
        Some((name, _)) => (name, true),
        None => (image, false),
    };
    let last = name.rsplit('/').next().unwrap_or_default();
    match last.split_once(':') {
        Some((_, "latest")) => "Always",
        Some(_) => "IfNotPresent",
        None if digest => "IfNotPresent",
        None => "Always",
    }
}

fn probe(probe: &mut Value) {
    for (name, number) in [
        ("timeoutSeconds", 1),
        ("periodSeconds", 10),
        ("successThreshold", 1),
        ("failureThreshold", 3),
    ] {
        // Upstream takes zero for unset.
        if probe[name] == 0 {
            probe[name] = Value::Null;
        }
        put(probe, name, number);
    }
    http_get(probe);
    if let Some(call) = part(probe, "grpc") {
        put(call, "service", "");
    }
}

fn http_get(holder: &mut Value) {
    if let Some(action) = part(holder, "httpGet") {
        if action["path"] == "" {
            action["path"] = Value::Null;
        }
        put(action, "path", "/");
        put(action, "scheme", "HTTP");
    }
}

fn volume(volume: &mut Value) {
    let has_source = volume.as_object().is_some_and(|map| {
        map.iter()
            .any(|(name, value)| name != "name" && !value.is_null())
    });
    if !has_source {
        put(volume, "emptyDir", json!({}));
    }
    for source in ["secret", "configMap", "downwardAPI", "projected"] {
        if let Some(source) = part(volume, source) {
            put(source, "defaultMode", FILE_MODE);
        }
    }
    if let Some(path) = part(volume, "hostPath") {
        put(path, "type", "");
    }
    if let Some(downward) = part(volume, "downwardAPI") {
        items(downward, "items").for_each(field_reference);
    }
    if let Some(projected) = part(volume, "projected") {
        for source in items(projected, "sources") {
            if let Some(token) = part(source, "serviceAccountToken") {
                put(token, "expirationSeconds", 3600);
            }
            if let Some(downward) = part(source, "downwardAPI") {
                items(downward, "items").for_each(field_reference);
            }
        }
    }
    let claim = part(volume, "ephemeral")
        .and_then(|source| part(source, "volumeClaimTemplate"))
        .and_then(|claim| part(claim, "spec"));
    if let Some(spec) = claim {
        put(spec, "volumeMode", "Filesystem");
    }
    if let Some(image) = part(volume, "image") {
        let policy = pull_policy(text(image, "reference"));
        put(image, "pullPolicy", policy);
    }
    if let Some(disk) = part(volume, "iscsi") {
        put(disk, "iscsiInterface", "default");
    }
    if let Some(disk) = part(volume, "rbd") {
        put(disk, "pool", "rbd");
        put(disk, "user", "admin");
        put(disk, "keyring", "/etc/ceph/keyring");
    }
}

/// Who sets a limit and no request asks for all of it.
fn requests_from_limits(container: &mut Value) {
    let Some(limits) = container["resources"]["limits"].as_object().cloned() else {
        return;
    };
    for (name, limit) in limits {
        let requests = &mut container["resources"]["requests"];
        if requests.is_null() {
            *requests = json!({});
        }
        put(requests, &name, limit);
    }
}

/// Guaranteed, Burstable or BestEffort, by the CPU and memory of all containers.
pub fn quality_of_service(spec: &Value) -> &'static str {
    let lists = ["containers", "initContainers"];
    let containers = lists
        .iter()
        .filter_map(|list| spec[*list].as_array())
        .flatten();
    let (mut any, mut all) = (false, true);
    let mut judge = |resources: &Value| {
        let get = |list: &str, name: &str| {
            let quantity = resources[list].get(name).map(quantity_text);
            quantity.filter(|text| {
                crate::api::quantity::Quantity::parse(text).is_ok_and(|value| !value.is_zero())
            })
        };
        for name in ["cpu", "memory"] {
            let (limit, request) = (get("limits", name), get("requests", name));
            any |= limit.is_some() || request.is_some();
            let parse = |text: &Option<String>| {
                text.as_ref()
                    .and_then(|text| crate::api::quantity::Quantity::parse(text).ok())
            };
            all &= limit.is_some() && (request.is_none() || parse(&limit) == parse(&request));
        }
    };
    let empty = Value::Object(Map::new());
    let of_pod = &spec["resources"];
    let sets = |list: &str| of_pod[list].as_object().is_some_and(|map| !map.is_empty());
    if sets("requests") || sets("limits") {
        judge(of_pod);
    } else {
        for container in containers {
            judge(container.get("resources").unwrap_or(&empty));
        }
    }
    match (any, all) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn quantity_text(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
