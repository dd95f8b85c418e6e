//! Services.

use super::{
    finding::{Field, Findings, same},
    format, labels,
    pod::port,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::{Value, json};
use std::{collections::HashSet, net::IpAddr};

const TYPES: &[&str] = &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"];
const FAMILIES: &[&str] = &["IPv4", "IPv6"];
const FAMILY_POLICIES: &[&str] = &["PreferDualStack", "RequireDualStack", "SingleStack"];
const DISTRIBUTIONS: &[&str] = &["PreferClose", "PreferSameNode", "PreferSameZone"];
const LOAD_BALANCER_ONLY: &str = "may only be used when `type` is 'LoadBalancer'";

pub fn service(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let kind = spec.child("type").text();
    let ports = spec.child("ports");
    let headless = is_headless(&spec);
    if ports.is_empty() && !headless && kind != "ExternalName" {
        found.required(&ports.path, "");
    }
    by_type(&spec, kind, headless, &mut found);
    all_ports(&ports, kind, &mut found);
    labels::labels(&spec.child("selector"), &mut found);
    affinity(&spec, &mut found);
    if kind != "ExternalName" {
        cluster_ips(&spec, headless, &mut found);
    }
    for address in spec.child("externalIPs").items() {
        let wrong = format::ip(address.text());
        match wrong.is_empty() {
            true => {
                let wrong = format::special_ip(address.text());
                found.invalid_each(&address.path, address.text(), wrong);
            }
            false => found.invalid_each(&address.path, address.text(), wrong),
        }
    }
    found.one_of(&spec.child("type"), TYPES);
    load_balancer(&spec, kind, &mut found);
    traffic(&spec, kind, &mut found);
    found.into_causes()
}

pub fn is_headless(spec: &Field<'_>) -> bool {
    let mut addresses = spec.child("clusterIPs").items();
    addresses.len() == 1
        && addresses
            .next()
            .is_some_and(|address| address.text() == "None")
}

fn by_type(spec: &Field<'_>, kind: &str, headless: bool, found: &mut Findings) {
    match kind {
        "LoadBalancer" | "NodePort" if headless => {
            let about = format!("may not be set to 'None' for {kind} services");
            found.invalid("spec.clusterIPs[0]", "None", &about);
        }
        "ExternalName" => {
            for name in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                let field = spec.child(name);
                if !field.is_empty() {
                    let about = "may not be set for ExternalName services";
                    found.forbidden(&field.path, about);
                }
            }
            let name = spec.child("externalName");
            let text = name.text().strip_suffix('.').unwrap_or(name.text());
            match text {
                "" => found.required(&name.path, ""),
                text => found.invalid_each(&name.path, text, format::dns_subdomain(text)),
            }
        }
        _ => {}
    }
}

fn all_ports(ports: &Field<'_>, kind: &str, found: &mut Findings) {
    let mut names = HashSet::new();
    let needs_name = ports.items().len() > 1;
    for item in ports.items() {
        let name = item.child("name");
        if needs_name && name.is_empty() {
            found.required(&name.path, "");
        } else if !name.is_empty() {
            found.invalid_each(&name.path, name.text(), format::dns_label(name.text()));
            if !names.insert(name.text()) {
                found.duplicate(&name.path, name.text());
            }
        }
        let number = item.child("port");
        let value = number.int().unwrap_or(0);
        found.invalid_each(&number.path, &value, format::port_number(value));
        found.one_of(&item.child("protocol"), &["SCTP", "TCP", "UDP"]);
        port(&item.child("targetPort"), found);
        let protocol = item.child("appProtocol");
        if protocol.is_set() {
            let wrong = format::qualified_name(protocol.text());
            found.invalid_each(&protocol.path, protocol.text(), wrong);
        }
    }
    let (mut node_ports, mut numbers) = (HashSet::new(), HashSet::new());
    for item in ports.items() {
        let node_port = item.child("nodePort");
        if let Some(number) = node_port.int().filter(|number| *number != 0) {
            if kind == "ClusterIP" {
                let about = "may not be used when `type` is 'ClusterIP'";
                found.forbidden(&node_port.path, about);
            }
            if !node_ports.insert((item.child("protocol").text(), number)) {
                found.duplicate(&node_port.path, &number);
            }
        }
        let (protocol, number) = (item.child("protocol").text(), item.child("port").int());
        if !numbers.insert((protocol, number)) {
            let shown = json!({
                "Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number,
                "TargetPort": 0, "NodePort": 0,
            });
            found.duplicate(&item.path, &shown);
        }
    }
}

fn affinity(spec: &Field<'_>, found: &mut Findings) {
    let affinity = spec.child("sessionAffinity");
    found.one_of(&affinity, &["ClientIP", "None"]);
    let config = spec.child("sessionAffinityConfig");
    match affinity.text() {
        "ClientIP" => {
            let timeout = config.at(&["clientIP", "timeoutSeconds"]);
            let about = "when session affinity type is ClientIP";
            for part in [&config, &config.child("clientIP"), &timeout] {
                if !part.is_set() {
                    return found.required(&part.path, about);
                }
            }
            let seconds = timeout.int().unwrap_or(0);
            if !(1..=86400).contains(&seconds) {
                let about = "must be greater than 0 and less than 86400";
                found.invalid(&timeout.path, &seconds, about);
            }
        }
        "None" if config.is_set() => {
            found.forbidden(
                &config.path,
                "must not be set when session affinity is None",
            );
        }
        _ => {}
    }
}

fn cluster_ips(spec: &Field<'_>, headless: bool, found: &mut Findings) {
    let (one, all) = (spec.child("clusterIP"), spec.child("clusterIPs"));
    let addresses: Vec<&str> = all
        .items()
        .map(|address| address.value.and_then(Value::as_str).unwrap_or(""))
        .collect();
    match (one.text(), addresses.first()) {
        ("", None) => {}
        ("", Some(_)) => {
            let about = "must be empty when `clusterIP` is not specified";
            found.invalid(&all.path, &all.json(), about);
        }
        (_, None) => found.required(&all.path, ""),
        (one, Some(first)) if one != *first => {
            found.invalid(&all.path, &all.json(), "first value must match `clusterIP`");
        }
        _ => {}
    }
    let mut seen = HashSet::new();
    for family in spec.child("ipFamilies").items() {
        if !FAMILIES.contains(&family.text()) {
            found.not_supported(&family.path, family.text(), FAMILIES);
        }
        if !seen.insert(family.text()) {
            found.duplicate(&family.path, family.text());
        }
    }
    found.one_of_if_set(&spec.child("ipFamilyPolicy"), FAMILY_POLICIES);
    let before = found.len();
    for (index, address) in all.items().enumerate() {
        if index == 0 && address.text() == "None" {
            if addresses.len() > 1 {
                let about = "'None' must be the first and only value";
                found.invalid(&all.path, &all.json(), about);
            }
            continue;
        }
        found.invalid_each(&address.path, address.text(), format::ip(address.text()));
    }
    if addresses.len() > 2 {
        found.invalid(&all.path, &all.json(), "may only hold up to 2 values");
    }
    if found.len() > before || headless {
        return;
    }
    let is_v6 = |text: &str| {
        text.parse::<IpAddr>()
            .is_ok_and(|address| address.is_ipv6())
    };
    if addresses.len() > 1 && is_v6(addresses[0]) == is_v6(addresses[1]) {
        let about = "may specify no more than one IP for each IP family";
        found.invalid(&all.path, &all.json(), about);
    }
    for (index, (family, address)) in spec
        .child("ipFamilies")
        .items()
        .zip(all.items())
        .enumerate()
    {
        if is_v6(address.text()) != (family.text() == "IPv6") {
            let about = format!(
                "expected an {} value as indicated by `ipFamilies[{index}]`",
                family.text()
            );
            found.invalid(&address.path, address.text(), &about);
        }
    }
}

fn load_balancer(spec: &Field<'_>, kind: &str, found: &mut Findings) {
    let is_balancer = kind == "LoadBalancer";
    let ranges = spec.child_called("loadBalancerSourceRanges", "LoadBalancerSourceRanges");
    if !ranges.is_empty() {
        if !is_balancer {
            found.forbidden(&ranges.path, LOAD_BALANCER_ONLY);
        }
        for range in ranges.items() {
            let text = range.text().trim();
            found.invalid_each(&range.path, text, format::cidr(text));
        }
    }
    let allocate = spec.child("allocateLoadBalancerNodePorts");
    if allocate.is_set() && !is_balancer {
        found.forbidden(&allocate.path, LOAD_BALANCER_ONLY);
    }
    if !allocate.is_set() && is_balancer {
        found.required("allocateLoadBalancerNodePorts", "");
    }
    let class = spec.child("loadBalancerClass");
    if class.is_set() {
        if !is_balancer {
            found.forbidden(&class.path, LOAD_BALANCER_ONLY);
        }
        let wrong = format::qualified_name(class.text());
        found.invalid_each(&class.path, class.text(), wrong);
    }
}

fn traffic(spec: &Field<'_>, kind: &str, found: &mut Findings) {
    let external = spec.child("externalTrafficPolicy");
    let is_outside = ["NodePort", "LoadBalancer"].contains(&kind)
        || (kind == "ClusterIP" && !spec.child("externalIPs").is_empty());
    if is_outside {
        found.one_of(&external, &["Cluster", "Local"]);
    } else if !external.is_empty() {
        let about = "may only be set for externally-accessible services";
        found.invalid(&external.path, external.text(), about);
    }
    let check = spec.child("healthCheckNodePort");
    let needs_check = kind == "LoadBalancer" && external.text() == "Local";
    match check.int().unwrap_or(0) {
        // The registry chooses it before this is called, unless it could not.
        0 => {}
        number if needs_check => {
            found.invalid_each(&check.path, &number, format::port_number(number));
        }
        number => {
            let about = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
            found.invalid(&check.path, &number, about);
        }
    }
    let internal = spec.child("internalTrafficPolicy");
    if !internal.is_set() && ["NodePort", "LoadBalancer", "ClusterIP"].contains(&kind) {
        found.required(&internal.path, "");
    }
    found.one_of_if_set(&internal, &["Cluster", "Local"]);
    found.one_of_if_set(&spec.child("trafficDistribution"), DISTRIBUTIONS);
}

pub fn service_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    if context.subresource == Some("status") {
        return found.into_causes();
    }
    let (new, old) = (
        Field::root(object).child("spec"),
        Field::root(context.old).child("spec"),
    );
    let kinds = (new.child("type").text(), old.child("type").text());
    if kinds.0 == "ExternalName" || kinds.1 == "ExternalName" {
        return found.into_causes();
    }
    if !(is_headless(&new) && is_headless(&old)) {
        primary(
            &new,
            &old,
            "clusterIPs",
            "primary clusterIP can not be unset",
            &mut found,
        );
    }
    if is_headless(&new) == is_headless(&old) && !is_headless(&new) {
        primary(
            &new,
            &old,
            "ipFamilies",
            "primary ipFamily can not be unset",
            &mut found,
        );
    }
    let class = new.child("loadBalancerClass");
    if kinds == ("LoadBalancer", "LoadBalancer")
        && !same(class.value, old.child("loadBalancerClass").value)
    {
        found.invalid(&class.path, &class.json(), "may not change once set");
    }
    let check = |spec: &Field<'_>| {
        let needs = spec.child("type").text() == "LoadBalancer"
            && spec.child("externalTrafficPolicy").text() == "Local";
        needs.then(|| spec.child("healthCheckNodePort").int().unwrap_or(0))
    };
    if let (Some(now), Some(before)) = (check(&new), check(&old))
        && now != before
    {
        found.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
    found.into_causes()
}

/// The first of a list of addresses or families stays; the second may come and go.
fn primary(new: &Field<'_>, old: &Field<'_>, list: &str, unset: &str, found: &mut Findings) {
    let (now, before) = (new.child(list), old.child(list));
    let values = |field: &Field<'_>| field.items().map(|item| item.json()).collect::<Vec<_>>();
    let (now_values, before_values) = (values(&now), values(&before));
    let changed = |index: usize, found: &mut Findings| {
        let path = format!("{}[{index}]", now.path);
        found.invalid(&path, &now.json(), "may not change once set");
    };
    match now_values.len().cmp(&before_values.len()) {
        std::cmp::Ordering::Equal => {
            for index in 0..now_values.len() {
                if now_values[index] != before_values[index] {
                    changed(index, found);
                }
            }
        }
        std::cmp::Ordering::Less if now_values.is_empty() => {
            found.invalid(&format!("{}[0]", now.path), &now.json(), unset);
        }
        _ => {
            if before_values
                .first()
                .is_some_and(|first| Some(first) != now_values.first())
            {
                changed(0, found);
            }
            let policy = new.child("ipFamilyPolicy");
            if now_values.len() < before_values.len() && policy.text() != "SingleStack" {
                let what = match list {
                    "clusterIPs" => "clusterIP",
                    _ => "ipFamily",
                };
                let about =
                    format!("must be set to 'SingleStack' when releasing the secondary {what}");
                found.invalid(&policy.path, policy.text(), &about);
            }
        }
    }
}
