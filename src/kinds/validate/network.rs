//! Ingresses, IngressClasses, NetworkPolicies, addresses of Services and their ranges.

use super::{
    finding::{Field, Findings},
    format, labels,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use ipnet::IpNet;
use serde_json::Value;
use std::net::IpAddr;

const NOT_IN_PATHS: [&str; 5] = ["//", "/./", "/../", "%2f", "%2F"];
const NOT_AT_ENDS: [&str; 2] = ["/..", "/."];

pub fn ip_address(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let parent = Field::root(object).at(&["spec", "parentRef"]);
    if !parent.is_set() {
        found.required(&parent.path, "");
        return found.into_causes();
    }
    let group = parent.child("group");
    if !group.is_empty() {
        let wrong = format::dns_subdomain(group.text());
        found.invalid_each(&group.path, group.text(), wrong);
    }
    for field in ["resource", "name"] {
        let field = parent.child(field);
        if field.is_empty() {
            found.required(&field.path, "");
        } else {
            found.invalid_each(
                &field.path,
                field.text(),
                format::path_segment(field.text()),
            );
        }
    }
    let namespace = parent.child("namespace");
    if !namespace.is_empty() {
        let wrong = format::path_segment(namespace.text());
        found.invalid_each(&namespace.path, namespace.text(), wrong);
    }
    found.into_causes()
}

pub fn ip_address_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let place = ["spec", "parentRef"];
    found.immutable(
        &Field::root(object).at(&place),
        &Field::root(context.old).at(&place),
    );
    found.into_causes()
}

/// One range, or one of each family.
pub fn service_cidr(object: &Value) -> Vec<Cause> {
    const MOST: usize = 2;
    let mut found = Findings::default();
    let cidrs = Field::root(object).at(&["spec", "cidrs"]);
    if cidrs.is_empty() {
        found.required(&cidrs.path, "at least one CIDR required");
        return found.into_causes();
    }
    let count = cidrs.items().len();
    if count > MOST {
        found.invalid(&cidrs.path, &cidrs.json(), "may only hold up to 2 values");
    }
    let mut families = Vec::new();
    for item in cidrs.items() {
        let wrong = format::cidr(item.text());
        if wrong.is_empty() {
            families.push(item.text().contains(':'));
        }
        found.invalid_each(&item.path, item.text(), wrong);
    }
    if count == MOST && families.len() == MOST && families[0] == families[1] {
        let about = "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64";
        found.invalid(&cidrs.path, &cidrs.json(), about);
    }
    found.into_causes()
}

pub fn service_cidr_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let place = ["spec", "cidrs"];
    found.immutable(
        &Field::root(object).at(&place),
        &Field::root(context.old).at(&place),
    );
    found.into_causes()
}

pub fn ingress(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let (rules, backend) = (spec.child("rules"), spec.child("defaultBackend"));
    if rules.is_empty() && !backend.is_set() {
        let about = "either `defaultBackend` or `rules` must be specified";
        found.invalid(&spec.path, &rules.json(), about);
    }
    if backend.is_set() {
        ingress_backend(&backend, &mut found);
    }
    for rule in rules.items() {
        ingress_rule(&rule, &mut found);
    }
    for tls in spec.child("tls").items() {
        for host in tls.child("hosts").items() {
            host_name(&host, &mut found);
        }
        let secret = tls.child("secretName");
        if !secret.is_empty() {
            let wrong = format::dns_subdomain(secret.text());
            found.invalid_each(&secret.path, secret.text(), wrong);
        }
    }
    let class = spec.child("ingressClassName");
    if class.is_set() {
        found.invalid_each(
            &class.path,
            class.text(),
            format::dns_subdomain(class.text()),
        );
    }
    found.into_causes()
}

fn host_name(host: &Field<'_>, found: &mut Findings) {
    let wrong = match host.text().contains('*') {
        true => format::wildcard_subdomain(host.text()),
        false => format::dns_subdomain(host.text()),
    };
    found.invalid_each(&host.path, host.text(), wrong);
}

fn ingress_rule(rule: &Field<'_>, found: &mut Findings) {
    let host = rule.child("host");
    if !host.is_empty() {
        if host.text().parse::<IpAddr>().is_ok() {
            let about = "must be a DNS name, not an IP address";
            found.invalid(&host.path, host.text(), about);
        }
        host_name(&host, found);
    }
    let http = rule.child("http");
    if !http.is_set() {
        return;
    }
    let paths = http.child("paths");
    if paths.is_empty() {
        found.required(&paths.path, "");
    }
    for path in paths.items() {
        ingress_path(&path, found);
    }
}

fn ingress_path(item: &Field<'_>, found: &mut Findings) {
    let (kind, path) = (item.child("pathType"), item.child("path"));
    let text = path.text();
    if !kind.is_set() {
        return found.required(&kind.path, "pathType must be specified");
    }
    let is_absolute = text.starts_with('/');
    match kind.text() {
        "Exact" | "Prefix" => {
            if !is_absolute {
                found.invalid(&path.path, text, "must be an absolute path");
            }
            for part in NOT_IN_PATHS.iter().filter(|part| text.contains(**part)) {
                found.invalid(&path.path, text, &format!("must not contain '{part}'"));
            }
            for part in NOT_AT_ENDS.iter().filter(|part| text.ends_with(**part)) {
                found.invalid(&path.path, text, &format!("cannot end with '{part}'"));
            }
        }
        "ImplementationSpecific" => {
            if !text.is_empty() && !is_absolute {
                found.invalid(&path.path, text, "must be an absolute path");
            }
        }
        other => {
            let values = &["Exact", "ImplementationSpecific", "Prefix"];
            found.not_supported(&kind.path, other, values);
        }
    }
    ingress_backend(&item.child("backend"), found);
}

fn ingress_backend(backend: &Field<'_>, found: &mut Findings) {
    let (resource, service) = (backend.child("resource"), backend.child("service"));
    match (resource.is_set(), service.is_set()) {
        (true, true) => {
            let about = "cannot set both resource and service backends";
            found.invalid(&backend.path, "", about);
        }
        (true, false) => reference(&resource, found),
        (false, true) => service_backend(backend, &service, found),
        (false, false) => {
            found.invalid(&backend.path, "", "resource or service backend is required");
        }
    }
}

fn service_backend(backend: &Field<'_>, service: &Field<'_>, found: &mut Findings) {
    let name = service.child("name");
    match name.text() {
        "" => found.required(&name.path, ""),
        text => found.invalid_each(&name.path, text, format::dns_label(text)),
    }
    let (port, number) = (
        service.at(&["port", "name"]),
        service.at(&["port", "number"]),
    );
    let value = number.int().unwrap_or(0);
    match (!port.is_empty(), value != 0) {
        (true, true) => {
            let about = "cannot set both port name & port number";
            found.invalid(&backend.path, "", about);
        }
        (true, false) => {
            found.invalid_each(&port.path, port.text(), format::port_name(port.text()));
        }
        (false, true) => {
            found.invalid_each(&number.path, &value, format::port_number(value));
        }
        (false, false) => found.required(&backend.path, "port name or number is required"),
    }
}

fn reference(field: &Field<'_>, found: &mut Findings) {
    let group = field.child("apiGroup");
    if group.is_set() {
        found.invalid_each(
            &group.path,
            group.text(),
            format::dns_subdomain(group.text()),
        );
    }
    for name in ["kind", "name"] {
        let part = field.child(name);
        match part.text() {
            "" => found.required(&part.path, ""),
            text => found.invalid_each(&part.path, text, format::path_segment(text)),
        }
    }
}

pub fn ingress_class(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let controller = spec.child("controller");
    match controller.text() {
        "" => found.required(&controller.path, ""),
        text => {
            if text.len() > 250 {
                found.too_long(&controller.path, 250);
            }
            let wrong = format::domain_prefixed_path(text);
            found.invalid_each(&controller.path, text, wrong);
        }
    }
    let parameters = spec.child("parameters");
    if parameters.is_set() {
        reference(&parameters, &mut found);
        let (scope, namespace) = (parameters.child("scope"), parameters.child("namespace"));
        match scope.text() {
            "" => found.required(&scope.path, ""),
            "Namespace" if !namespace.is_set() => {
                let about = "`parameters.scope` is set to 'Namespace'";
                found.required(&namespace.path, about);
            }
            "Cluster" if namespace.is_set() => {
                let about = "`parameters.scope` is set to 'Cluster'";
                found.forbidden(&namespace.path, about);
            }
            "Cluster" | "Namespace" => {}
            other => found.not_supported(&scope.path, other, &["Cluster", "Namespace"]),
        }
    }
    found.into_causes()
}

pub fn ingress_class_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let path = ["spec", "controller"];
    let (new, old) = (
        Field::root(object).at(&path),
        Field::root(context.old).at(&path),
    );
    found.immutable(&new, &old);
    found.into_causes()
}

pub fn network_policy(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    labels::label_selector(&spec.child("podSelector"), &mut found);
    for (direction, peers) in [("ingress", "from"), ("egress", "to")] {
        for rule in spec.child(direction).items() {
            for port in rule.child("ports").items() {
                policy_port(&port, &mut found);
            }
            for peer in rule.child(peers).items() {
                policy_peer(&peer, &mut found);
            }
        }
    }
    let types = spec.child("policyTypes");
    if types.items().len() > 2 {
        let about = "may not specify more than two policyTypes";
        found.invalid(&types.path, &types.json(), about);
        return found.into_causes();
    }
    for kind in types.items() {
        if !["Ingress", "Egress"].contains(&kind.text()) {
            found.not_supported(&kind.path, kind.text(), &["Ingress", "Egress"]);
        }
    }
    found.into_causes()
}

fn policy_port(item: &Field<'_>, found: &mut Findings) {
    found.one_of_if_set(&item.child("protocol"), &["TCP", "UDP", "SCTP"]);
    let (port, end) = (item.child("port"), item.child("endPort"));
    match port.value {
        Some(Value::String(name)) => {
            if let Some(last) = end.int() {
                let about = "may not be specified when `port` is non-numeric";
                found.invalid(&end.path, &last, about);
            }
            found.invalid_each(&port.path, name, format::port_name(name));
        }
        Some(Value::Number(_)) => {
            let number = port.int().unwrap_or(0);
            found.invalid_each(&port.path, &number, format::port_number(number));
            if let Some(last) = end.int() {
                if last < number {
                    let about = "must be greater than or equal to `port`";
                    found.invalid(&end.path, &last, about);
                }
                found.invalid_each(&end.path, &last, format::port_number(last));
            }
        }
        _ => {
            if let Some(last) = end.int() {
                let about = "may not be specified when `port` is not specified";
                found.invalid(&end.path, &last, about);
            }
        }
    }
}

fn policy_peer(peer: &Field<'_>, found: &mut Findings) {
    let selectors = ["podSelector", "namespaceSelector"].map(|name| peer.child(name));
    let block = peer.child("ipBlock");
    for selector in selectors.iter().filter(|selector| selector.is_set()) {
        labels::label_selector(selector, found);
    }
    let count = selectors
        .iter()
        .filter(|selector| selector.is_set())
        .count();
    if block.is_set() {
        ip_block(&block, found);
    }
    match (count, block.is_set()) {
        (0, false) => found.required(&peer.path, "must specify a peer"),
        (1.., true) => {
            found.forbidden(&peer.path, "may not specify both ipBlock and another peer");
        }
        _ => {}
    }
}

fn ip_block(block: &Field<'_>, found: &mut Findings) {
    let cidr = block.child("cidr");
    if cidr.is_empty() {
        return found.required(&cidr.path, "");
    }
    found.invalid_each(&cidr.path, cidr.text(), format::cidr(cidr.text()));
    let Ok(whole) = cidr.text().parse::<IpNet>() else {
        return;
    };
    for except in block.child("except").items() {
        match except.text().parse::<IpNet>() {
            Err(_) => {
                let wrong = format::cidr(except.text());
                found.invalid_each(&except.path, except.text(), wrong);
            }
            Ok(part) => {
                let is_inside = whole.contains(&part.addr());
                if !is_inside || whole.prefix_len() >= part.prefix_len() {
                    let about = "must be a strict subset of `cidr`";
                    found.invalid(&except.path, except.text(), about);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn texts(found: Vec<Cause>) -> Vec<String> {
        let texts = found.into_iter();
        texts
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    #[test]
    fn addresses_and_ranges_are_whole() {
        let parent = json!({"resource": "services", "namespace": "ns", "name": "a"});
        let whole = json!({"spec": {"parentRef": parent}});
        assert!(ip_address(&whole).is_empty());
        assert_eq!(
            texts(ip_address(&json!({"spec": {}}))),
            ["spec.parentRef: Required value"]
        );
        assert_eq!(
            texts(ip_address(
                &json!({"spec": {"parentRef": {"group": "mygroup"}}})
            )),
            [
                "spec.parentRef.resource: Required value",
                "spec.parentRef.name: Required value"
            ]
        );
        let other = json!({"spec": {"parentRef": {"resource": "services", "name": "b"}}});
        let context = UpdateContext {
            old: &whole,
            subresource: None,
        };
        assert_eq!(ip_address_update(&other, context).len(), 1);
        let ranges = |cidrs: &[&str]| texts(service_cidr(&json!({"spec": {"cidrs": cidrs}})));
        assert!(ranges(&["10.1.0.0/16", "2001:db8::/64"]).is_empty());
        assert_eq!(
            ranges(&[]),
            ["spec.cidrs: Required value: at least one CIDR required"]
        );
        assert!(
            ranges(&["x"])[0]
                .starts_with("spec.cidrs[0]: Invalid value: \"x\": must be a valid CIDR value")
        );
        assert_eq!(ranges(&["10.1.0.0/16", "10.2.0.0/16"]).len(), 1);
    }
}
