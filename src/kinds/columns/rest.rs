//! Columns of networking, storage, access, coordination and extension kinds.

use super::cell::{
    AGE, NAME, NONE, UNSET, boolean, condition, each, field, first_three, flag, has_condition,
    integer, joined, list, number, scalar, selector, string, text_or, wide,
};
use crate::kinds::Column;
use serde_json::Value;

pub const INGRESS: &[Column] = &[
    NAME,
    string("Class", |ingress, _| {
        text_or(ingress, "/spec/ingressClassName", NONE)
    }),
    string("Hosts", |ingress, _| hosts(ingress).into()),
    string("Address", |ingress, _| {
        let all = list(ingress, "/status/loadBalancer/ingress")
            .iter()
            .map(|one| match field(one, "/ip") {
                "" => field(one, "/hostname"),
                ip => ip,
            });
        joined(all.filter(|text| !text.is_empty())).into()
    }),
    string("Ports", |ingress, _| match list(ingress, "/spec/tls") {
        [] => "80".into(),
        _ => "80, 443".into(),
    }),
    AGE,
];

pub const INGRESS_CLASS: &[Column] = &[
    NAME,
    string("Controller", |class, _| {
        field(class, "/spec/controller").into()
    }),
    string("Parameters", |class, _| {
        match class.pointer("/spec/parameters") {
            None => NONE.into(),
            Some(parameters) => {
                let group = field(parameters, "/apiGroup");
                let dot = if group.is_empty() { "" } else { "." };
                format!(
                    "{}{dot}{group}/{}",
                    field(parameters, "/kind"),
                    field(parameters, "/name")
                )
                .into()
            }
        }
    }),
    AGE,
];

pub const NETWORK_POLICY: &[Column] = &[
    NAME,
    string("Pod-Selector", |policy, _| {
        selector(policy.pointer("/spec/podSelector")).into()
    }),
    AGE,
];

pub const ENDPOINT_SLICE: &[Column] = &[
    NAME,
    string("AddressType", |slice, _| {
        field(slice, "/addressType").into()
    }),
    string("Ports", |slice, _| {
        let ports = list(slice, "/ports").iter();
        let ports: Vec<String> = ports
            .map(|port| scalar(port.get("port")).unwrap_or_else(|| "*".to_owned()))
            .collect();
        first_three(&ports).into()
    }),
    string("Endpoints", |slice, _| {
        let all = list(slice, "/endpoints")
            .iter()
            .flat_map(|endpoint| list(endpoint, "/addresses"));
        let all: Vec<String> = all.filter_map(Value::as_str).map(str::to_owned).collect();
        first_three(&all).into()
    }),
    AGE,
];

pub const SERVICE_CIDR: &[Column] = &[
    NAME,
    string("CIDRs", |range, _| {
        joined(list(range, "/spec/cidrs").iter().filter_map(Value::as_str)).into()
    }),
    AGE,
];

pub const IP_ADDRESS: &[Column] = &[
    NAME,
    string("ParentRef", |address, _| {
        match address.pointer("/spec/parentRef") {
            None => NONE.into(),
            Some(parent) => {
                let parts =
                    ["/resource", "/group", "/namespace", "/name"].map(|part| field(parent, part));
                let [resource, group, namespace, name] = parts;
                let resource = if group.is_empty() {
                    resource.to_owned()
                } else {
                    format!("{resource}.{group}")
                };
                let parts = [resource.as_str(), namespace, name];
                parts
                    .into_iter()
                    .filter(|part| !part.is_empty())
                    .collect::<Vec<_>>()
                    .join("/")
                    .into()
            }
        }
    }),
];

pub const STORAGE_CLASS: &[Column] = &[
    Column {
        cell: |class, _| {
            let name = field(class, "/metadata/name");
            let marks = [
                "storageclass.kubernetes.io~1is-default-class",
                "storageclass.beta.kubernetes.io~1is-default-class",
            ];
            let is_default = marks
                .iter()
                .any(|mark| field(class, &format!("/metadata/annotations/{mark}")) == "true");
            if is_default {
                format!("{name} (default)").into()
            } else {
                name.into()
            }
        },
        ..NAME
    },
    string("Provisioner", |class, _| {
        field(class, "/provisioner").into()
    }),
    string("ReclaimPolicy", |class, _| {
        text_or(class, "/reclaimPolicy", "Delete")
    }),
    string("VolumeBindingMode", |class, _| {
        text_or(class, "/volumeBindingMode", "Immediate")
    }),
    boolean("AllowVolumeExpansion", |class, _| {
        flag(class, "/allowVolumeExpansion").into()
    }),
    AGE,
];

pub const VOLUME_ATTRIBUTES_CLASS: &[Column] = &[
    NAME,
    string("DriverName", |class, _| field(class, "/driverName").into()),
    AGE,
];

pub const VOLUME_ATTACHMENT: &[Column] = &[
    NAME,
    string("Attacher", |attachment, _| {
        field(attachment, "/spec/attacher").into()
    }),
    string("PV", |attachment, _| {
        field(attachment, "/spec/source/persistentVolumeName").into()
    }),
    string("Node", |attachment, _| {
        field(attachment, "/spec/nodeName").into()
    }),
    boolean("Attached", |attachment, _| {
        flag(attachment, "/status/attached").into()
    }),
    AGE,
];

pub const CSI_NODE: &[Column] = &[
    NAME,
    integer("Drivers", |node, _| {
        list(node, "/spec/drivers").len().into()
    }),
    AGE,
];

pub const CSI_DRIVER: &[Column] = &[
    NAME,
    boolean("AttachRequired", |driver, _| {
        driver
            .pointer("/spec/attachRequired")
            .is_none_or(|value| value == true)
            .into()
    }),
    boolean("PodInfoOnMount", |driver, _| {
        flag(driver, "/spec/podInfoOnMount").into()
    }),
    boolean("StorageCapacity", |driver, _| {
        flag(driver, "/spec/storageCapacity").into()
    }),
    string("TokenRequests", |driver, _| {
        let all = list(driver, "/spec/tokenRequests")
            .iter()
            .map(|request| field(request, "/audience"));
        or_unset(joined(all))
    }),
    boolean("RequiresRepublish", |driver, _| {
        flag(driver, "/spec/requiresRepublish").into()
    }),
    string("Modes", |driver, _| {
        or_unset(joined(
            list(driver, "/spec/volumeLifecycleModes")
                .iter()
                .filter_map(Value::as_str),
        ))
    }),
    AGE,
];

pub const CSI_STORAGE_CAPACITY: &[Column] = &[
    NAME,
    string("StorageClassName", |capacity, _| {
        field(capacity, "/storageClassName").into()
    }),
    string("Capacity", |capacity, _| {
        text_or(capacity, "/capacity", UNSET)
    }),
];

pub const RUNTIME_CLASS: &[Column] = &[
    NAME,
    string("Handler", |class, _| field(class, "/handler").into()),
    AGE,
];

pub const RESOURCE_CLAIM: &[Column] = &[
    NAME,
    string("State", |claim, _| claim_state(claim).into()),
    AGE,
];

pub const RESOURCE_SLICE: &[Column] = &[
    NAME,
    string("Node", |slice, _| field(slice, "/spec/nodeName").into()),
    string("Driver", |slice, _| field(slice, "/spec/driver").into()),
    string("Pool", |slice, _| field(slice, "/spec/pool/name").into()),
    AGE,
];

pub const LEASE: &[Column] = &[
    NAME,
    string("Holder", |lease, _| {
        field(lease, "/spec/holderIdentity").into()
    }),
    AGE,
];

pub const ROLE_BINDING: &[Column] = &[
    NAME,
    string("Role", |binding, _| {
        format!(
            "{}/{}",
            field(binding, "/roleRef/kind"),
            field(binding, "/roleRef/name")
        )
        .into()
    }),
    AGE,
    wide("Users", |binding, _| subjects(binding, "User").into()),
    wide("Groups", |binding, _| subjects(binding, "Group").into()),
    wide("ServiceAccounts", |binding, _| {
        subjects(binding, "ServiceAccount").into()
    }),
];

pub const CERTIFICATE_SIGNING_REQUEST: &[Column] = &[
    NAME,
    AGE,
    string("SignerName", |request, _| {
        text_or(request, "/spec/signerName", NONE)
    }),
    string("Requestor", |request, _| {
        field(request, "/spec/username").into()
    }),
    string("RequestedDuration", |request, _| {
        match number(request, "/spec/expirationSeconds") {
            0 => NONE.into(),
            seconds => crate::api::duration::human(jiff::SignedDuration::from_secs(seconds)).into(),
        }
    }),
    string("Condition", |request, _| request_state(request).into()),
];

pub const WEBHOOKS: &[Column] = &[
    NAME,
    integer("Webhooks", |hooks, _| list(hooks, "/webhooks").len().into()),
    AGE,
];

pub const VALIDATING_ADMISSION_POLICY: &[Column] = &[
    NAME,
    integer("Validations", |policy, _| {
        list(policy, "/spec/validations").len().into()
    }),
    string("ParamKind", |policy, _| param_kind(policy).into()),
    AGE,
];

pub const MUTATING_ADMISSION_POLICY: &[Column] = &[
    NAME,
    integer("Mutations", |policy, _| {
        list(policy, "/spec/mutations").len().into()
    }),
    string("ParamKind", |policy, _| param_kind(policy).into()),
    AGE,
];

pub const ADMISSION_POLICY_BINDING: &[Column] = &[
    NAME,
    string("PolicyName", |binding, _| {
        field(binding, "/spec/policyName").into()
    }),
    string("ParamRef", |binding, _| {
        match binding.pointer("/spec/paramRef") {
            None => UNSET.into(),
            Some(param) => match (field(param, "/namespace"), field(param, "/name")) {
                (_, "") => selector(param.get("selector")).into(),
                ("", name) => name.into(),
                (namespace, name) => format!("{namespace}/{name}").into(),
            },
        }
    }),
    AGE,
];

pub const FLOW_SCHEMA: &[Column] = &[
    NAME,
    string("PriorityLevel", |schema, _| {
        text_or(schema, "/spec/priorityLevelConfiguration/name", NONE)
    }),
    integer("MatchingPrecedence", |schema, _| {
        number(schema, "/spec/matchingPrecedence").into()
    }),
    string("DistinguisherMethod", |schema, _| {
        text_or(schema, "/spec/distinguisherMethod/type", NONE)
    }),
    AGE,
    string("MissingPL", |schema, _| {
        match condition(schema, "Dangling") {
            None => "?".into(),
            Some(dangling) => dangling["status"].clone(),
        }
    }),
];

pub const PRIORITY_LEVEL: &[Column] = &[
    NAME,
    string("Type", |level, _| field(level, "/spec/type").into()),
    string("NominalConcurrencyShares", |level, _| {
        let shares =
            |part: &str| scalar(level.pointer(&format!("/spec/{part}/nominalConcurrencyShares")));
        shares("limited")
            .or_else(|| shares("exempt"))
            .unwrap_or_else(|| NONE.to_owned())
            .into()
    }),
    string("Queues", |level, _| queuing(level, "queues")),
    string("HandSize", |level, _| queuing(level, "handSize")),
    string("QueueLengthLimit", |level, _| {
        queuing(level, "queueLengthLimit")
    }),
    AGE,
];

pub const API_SERVICE: &[Column] = &[
    NAME,
    string("Service", |service, _| {
        match service.pointer("/spec/service") {
            None | Some(Value::Null) => "Local".into(),
            Some(at) => format!("{}/{}", field(at, "/namespace"), field(at, "/name")).into(),
        }
    }),
    string("Available", |service, _| {
        match condition(service, "Available") {
            None => "Unknown".into(),
            Some(_) if has_condition(service, "Available") => "True".into(),
            Some(found) => {
                format!("{} ({})", field(found, "/status"), field(found, "/reason")).into()
            }
        }
    }),
    AGE,
];

fn or_unset(text: String) -> Value {
    if text.is_empty() {
        UNSET.into()
    } else {
        text.into()
    }
}

fn hosts(ingress: &Value) -> String {
    let mut hosts: Vec<&str> = each(list(ingress, "/spec/rules"), "host")
        .filter(|host| !host.is_empty())
        .collect();
    hosts.dedup();
    match hosts.len() {
        0 => "*".to_owned(),
        1..=3 => hosts.join(","),
        more => format!("{} + {} more...", hosts[..3].join(","), more - 3),
    }
}

fn claim_state(claim: &Value) -> String {
    let mut states = Vec::new();
    if claim.pointer("/metadata/deletionTimestamp").is_some() {
        states.push("deleted");
    }
    if claim.pointer("/status/allocation").is_none() {
        states.push("pending");
    } else {
        states.push("allocated");
        if !list(claim, "/status/reservedFor").is_empty() {
            states.push("reserved");
        }
    }
    states.join(",")
}

fn subjects(binding: &Value, kind: &str) -> String {
    let found = list(binding, "/subjects")
        .iter()
        .filter(|subject| subject["kind"] == kind);
    let names = found.map(|subject| match kind {
        "ServiceAccount" => format!(
            "{}/{}",
            field(subject, "/namespace"),
            field(subject, "/name")
        ),
        _ => field(subject, "/name").to_owned(),
    });
    names.collect::<Vec<_>>().join(", ")
}

fn request_state(request: &Value) -> String {
    let has = |kind| condition(request, kind).is_some();
    let mut state = match (has("Denied"), has("Approved")) {
        (true, _) => "Denied",
        (_, true) => "Approved",
        _ => "Pending",
    }
    .to_owned();
    if has("Failed") {
        state.push_str(",Failed");
    }
    if !field(request, "/status/certificate").is_empty() {
        state.push_str(",Issued");
    }
    state
}

fn param_kind(policy: &Value) -> String {
    match policy.pointer("/spec/paramKind") {
        None => UNSET.to_owned(),
        Some(kind) => format!("{}/{}", field(kind, "/apiVersion"), field(kind, "/kind")),
    }
}

fn queuing(level: &Value, name: &str) -> Value {
    let found = scalar(level.pointer(&format!("/spec/limited/limitResponse/queuing/{name}")));
    found.unwrap_or_else(|| NONE.to_owned()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds::columns::testing::row;
    use serde_json::json;

    #[test]
    fn the_rest() {
        let ingress =
            json!({"metadata": {"name": "i"}, "spec": {"rules": [{"host": "a.b"}], "tls": [{}]}});
        assert_eq!(row(INGRESS, &ingress), "i|<none>|a.b||80, 443|<unknown>");
        let binding = json!({
            "metadata": {"name": "b"}, "roleRef": {"kind": "ClusterRole", "name": "view"},
            "subjects": [{"kind": "User", "name": "u"}, {"kind": "ServiceAccount", "namespace": "n", "name": "s"}],
        });
        assert_eq!(
            row(ROLE_BINDING, &binding),
            "b|ClusterRole/view|<unknown>|u||n/s"
        );
        let request = json!({
            "metadata": {"name": "r"}, "spec": {"signerName": "s", "username": "u", "expirationSeconds": 86400},
            "status": {"conditions": [{"type": "Approved"}], "certificate": "x"},
        });
        assert_eq!(
            row(CERTIFICATE_SIGNING_REQUEST, &request),
            "r|<unknown>|s|u|24h|Approved,Issued"
        );
        let class = json!({
            "metadata": {"name": "c", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
            "provisioner": "p",
        });
        assert_eq!(
            row(STORAGE_CLASS, &class),
            "c (default)|p|Delete|Immediate|false|<unknown>"
        );
        let slice = json!({
            "metadata": {"name": "e"}, "addressType": "IPv4", "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["1"]}, {"addresses": ["2"]}, {"addresses": ["3"]}, {"addresses": ["4"]}],
        });
        assert_eq!(
            row(ENDPOINT_SLICE, &slice),
            "e|IPv4|80|1,2,3 + 1 more...|<unknown>"
        );
    }
}
