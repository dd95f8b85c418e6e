//! Endpoints and EndpointSlices.

use super::{
    finding::{Field, Findings},
    format, labels,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::Value;
use std::{collections::HashSet, net::IpAddr};

const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

pub fn endpoints(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    for subset in Field::root(object).child("subsets").items() {
        let lists = ["addresses", "notReadyAddresses"].map(|name| subset.child(name));
        if lists.iter().all(Field::is_empty) {
            let about = "must specify `addresses` or `notReadyAddresses`";
            found.required(&subset.path, about);
        }
        for address in lists.iter().flat_map(Field::items) {
            endpoint_address(&address, &mut found);
        }
        let ports = subset.child("ports");
        for port in ports.items() {
            let name = port.child("name");
            if name.is_empty() && ports.items().len() > 1 {
                found.required(&name.path, "");
            } else if !name.is_empty() {
                found.invalid_each(&name.path, name.text(), format::dns_label(name.text()));
            }
            let number = port.child("port");
            let value = number.int().unwrap_or(0);
            found.invalid_each(&number.path, &value, format::port_number(value));
            found.one_of(&port.child("protocol"), PROTOCOLS);
            app_protocol(&port, &mut found);
        }
    }
    found.into_causes()
}

fn app_protocol(port: &Field<'_>, found: &mut Findings) {
    let protocol = port.child("appProtocol");
    if protocol.is_set() {
        let wrong = format::qualified_name(protocol.text());
        found.invalid_each(&protocol.path, protocol.text(), wrong);
    }
}

fn endpoint_address(address: &Field<'_>, found: &mut Findings) {
    let ip = address.child("ip");
    found.invalid_each(&ip.path, ip.text(), format::ip(ip.text()));
    let (host, node) = (address.child("hostname"), address.child("nodeName"));
    if !host.is_empty() {
        found.invalid_each(&host.path, host.text(), format::dns_label(host.text()));
    }
    if node.is_set() {
        found.invalid_each(&node.path, node.text(), format::dns_subdomain(node.text()));
    }
    found.invalid_each(&ip.path, ip.text(), format::special_ip(ip.text()));
}

pub fn slice(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let kind = root.child("addressType");
    match kind.text() {
        "" => found.required(&kind.path, ""),
        "IPv4" | "IPv6" | "FQDN" => {}
        other => found.not_supported(&kind.path, other, &["FQDN", "IPv4", "IPv6"]),
    }
    let endpoints = root.child("endpoints");
    if endpoints.items().len() > 1000 {
        found.too_many(&endpoints.path, endpoints.items().len(), 1000);
        return found.into_causes();
    }
    for endpoint in endpoints.items() {
        slice_endpoint(&endpoint, kind.text(), &mut found);
    }
    slice_ports(&root.child("ports"), &mut found);
    found.into_causes()
}

fn slice_endpoint(endpoint: &Field<'_>, kind: &str, found: &mut Findings) {
    let addresses = endpoint.child("addresses");
    match addresses.items().len() {
        0 => found.required(&addresses.path, "must contain at least 1 address"),
        1..=100 => {}
        many => found.too_many(&addresses.path, many, 100),
    }
    for address in addresses.items() {
        let text = address.text();
        let family = text.parse::<IpAddr>();
        match (kind, family) {
            ("IPv4", Ok(IpAddr::V4(_))) | ("IPv6", Ok(IpAddr::V6(_))) => {
                found.invalid_each(&address.path, text, format::special_ip(text));
            }
            ("IPv4", _) => found.invalid(&address.path, text, "must be an IPv4 address"),
            ("IPv6", _) => found.invalid(&address.path, text, "must be an IPv6 address"),
            ("FQDN", _) => {
                found.invalid_each(&address.path, text, format::dns_subdomain(text));
            }
            _ => {}
        }
    }
    let (node, host) = (endpoint.child("nodeName"), endpoint.child("hostname"));
    if node.is_set() {
        found.invalid_each(&node.path, node.text(), format::dns_subdomain(node.text()));
    }
    if host.is_set() {
        found.invalid_each(&host.path, host.text(), format::dns_label(host.text()));
    }
    labels::labels(&endpoint.child("deprecatedTopology"), found);
    let zones = endpoint.at(&["hints", "forZones"]);
    if zones.items().len() > 8 {
        found.too_many(&zones.path, zones.items().len(), 8);
        return;
    }
    let mut seen = HashSet::new();
    for zone in zones.items() {
        let name = zone.child("name");
        if !seen.insert(name.text()) {
            found.duplicate(&name.path, name.text());
        }
        found.invalid_each(&name.path, name.text(), format::label_value(name.text()));
    }
}

fn slice_ports(ports: &Field<'_>, found: &mut Findings) {
    if ports.items().len() > 20_000 {
        return found.too_many(&ports.path, ports.items().len(), 20_000);
    }
    let mut names = HashSet::new();
    for port in ports.items() {
        let name = port.child("name");
        if !name.is_empty() {
            found.invalid_each(&name.path, name.text(), format::dns_label(name.text()));
        }
        if !names.insert(name.text()) {
            found.duplicate(&name.path, name.text());
        }
        let protocol = port.child("protocol");
        if !PROTOCOLS.contains(&protocol.text()) {
            found.not_supported(&protocol.path, protocol.text(), PROTOCOLS);
        }
        app_protocol(&port, found);
    }
}

pub fn slice_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    found.immutable(&new.child("addressType"), &old.child("addressType"));
    found.into_causes()
}
