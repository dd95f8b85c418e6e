//! Addresses and node ports of Services: each belongs to one Service at most, under any concurrency.
//!
//! What is in use is an index of the stored Services. A write first reserves what it adds; the reservation ends when
//! the write failed, and becomes use when the stored Service is observed. What a Service no longer names is free again.

use super::{
    Registry, Request,
    finding::invalid,
    metadata::{strings, text},
};
use crate::api::{ApiError, error::Cause};
use ipnet::Ipv4Net;
use serde_json::{Value, json};
use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
    net::Ipv4Addr,
    sync::{Arc, Mutex},
};

const PORT_FIRST: u16 = 30000;
const PORT_LAST: u16 = 32767;
/// The lower part of a range is left to people who choose themselves.
const PORTS_CHOSEN: u32 = 86;

/// Who uses an address or a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    owner: Arc<str>,
    /// The write that reserved it; `None` when the stored Service names it.
    ticket: Option<u64>,
}

#[derive(Debug)]
pub struct Pool {
    range: Ipv4Net,
    /// Of the ServiceCIDRs that people have added, by the object's key.
    more: BTreeMap<String, Vec<Ipv4Net>>,
    addresses: HashMap<Ipv4Addr, Use>,
    ports: HashMap<u16, Use>,
    last_ticket: u64,
}

/// Reserved for a write under way. Dropping it gives back what the write did not make its own.
pub struct Reservation<'a> {
    pool: &'a Mutex<Pool>,
    ticket: u64,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut pool = self.pool.lock().expect("no panic while locked");
        let ours = Some(self.ticket);
        pool.addresses.retain(|_, used| used.ticket != ours);
        pool.ports.retain(|_, used| used.ticket != ours);
    }
}

impl Registry {
    /// Completes a valid Service with what it needs. Hold the answer until the write is done.
    pub(super) fn reserve(
        &self,
        request: &Request<'_>,
        service: &mut Value,
    ) -> Result<Reservation<'_>, ApiError> {
        let mut pool = self.services.lock().expect("no panic while locked");
        pool.last_ticket += 1;
        let ticket = pool.last_ticket;
        let reservation = Reservation {
            pool: &self.services,
            ticket,
        };
        let used = Use {
            owner: request.key().into(),
            ticket: Some(ticket),
        };
        let found = pool.complete(service, &used);
        drop(pool);
        if found.is_empty() {
            return Ok(reservation);
        }
        Err(ApiError::invalid("", "Service", &request.name, found))
    }
}

impl Pool {
    pub fn new(range: Ipv4Net) -> Pool {
        Pool {
            range,
            more: BTreeMap::new(),
            addresses: HashMap::new(),
            ports: HashMap::new(),
            last_ticket: 0,
        }
    }

    /// Makes exactly what the stored Service names its own; `None`: it is gone.
    pub fn observe(&mut self, owner: &str, service: Option<&Value>) {
        let is_theirs = |used: &Use| &*used.owner == owner && used.ticket.is_none();
        self.addresses.retain(|_, used| !is_theirs(used));
        self.ports.retain(|_, used| !is_theirs(used));
        let Some(service) = service else { return };
        let used = Use {
            owner: owner.into(),
            ticket: None,
        };
        for address in strings(&service["spec"]["clusterIPs"]) {
            if let Ok(address) = address.parse() {
                self.addresses.insert(address, used.clone());
            }
        }
        let ports = service["spec"]["ports"].as_array().into_iter().flatten();
        let ports = ports.map(|port| &port["nodePort"]);
        for port in ports.chain([&service["spec"]["healthCheckNodePort"]]) {
            if let Some(port) = port.as_u64().and_then(|port| u16::try_from(port).ok()) {
                self.ports.insert(port, used.clone());
            }
        }
    }

    /// Takes over the ranges of a stored ServiceCIDR; `None`: it is gone. One that is to go gives no addresses any more.
    pub fn observe_ranges(&mut self, key: &str, object: Option<&Value>) {
        let object = object.filter(|object| object["metadata"]["deletionTimestamp"].is_null());
        let ranges: Vec<Ipv4Net> = object
            .map(|object| strings(&object["spec"]["cidrs"]))
            .into_iter()
            .flatten()
            .filter_map(|text| text.parse().ok())
            .filter(|range| *range != self.range)
            .collect();
        match ranges.is_empty() {
            true => drop(self.more.remove(key)),
            false => drop(self.more.insert(key.to_owned(), ranges)),
        }
    }

    fn ranges(&self) -> impl Iterator<Item = Ipv4Net> {
        let more = self.more.values().flatten().copied();
        [self.range].into_iter().chain(more)
    }

    fn complete(&mut self, service: &mut Value, used: &Use) -> Vec<Cause> {
        let spec = &mut service["spec"];
        let mut found = Vec::new();
        if !needs_address(spec) {
            return found;
        }
        complete_families(spec, &mut found);
        if found.is_empty() {
            self.complete_address(spec, used, &mut found);
        }
        if found.is_empty() && needs_ports(spec) {
            self.complete_ports(spec, used, &mut found);
        }
        found
    }

    fn complete_address(&mut self, spec: &mut Value, used: &Use, found: &mut Vec<Cause>) {
        let mut wanted = text(spec, "clusterIP").to_owned();
        if wanted.is_empty() {
            wanted = strings(&spec["clusterIPs"])
                .first()
                .map_or("", |first| first)
                .to_owned();
        }
        if wanted == "None" {
            spec["clusterIP"] = "None".into();
            spec["clusterIPs"] = json!(["None"]);
            return;
        }
        let address = if wanted.is_empty() {
            let Some(address) = self.free_address() else {
                let why = "failed to allocate a serviceIP: range is full";
                found.push(invalid("spec.clusterIPs", &json!([]), why));
                return;
            };
            address
        } else {
            // Anything that is no IPv4 address is the validation's to refuse.
            let Ok(address) = wanted.parse() else { return };
            if let Err(why) = self.check_address(address, used) {
                let why = format!("failed to allocate IP {address}: {why}");
                found.push(invalid("spec.clusterIPs", &json!([wanted]), &why));
                return;
            }
            address
        };
        take(&mut self.addresses, address, used);
        spec["clusterIP"] = address.to_string().into();
        spec["clusterIPs"] = json!([address.to_string()]);
    }

    fn check_address(&self, address: Ipv4Addr, used: &Use) -> Result<(), String> {
        let is_inside = |range: Ipv4Net| {
            range.contains(&address) && address != range.network() && address != range.broadcast()
        };
        if !self.ranges().any(is_inside) {
            let ranges: Vec<String> = self.ranges().map(|range| range.to_string()).collect();
            let ranges = ranges.join(",");
            return Err(format!(
                "the provided IP ({address}) is not in the valid range. The range of valid IPs is {ranges}"
            ));
        }
        match self.addresses.get(&address) {
            Some(other) if other.owner != used.owner => {
                Err("provided IP is already allocated".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn free_address(&self) -> Option<Ipv4Addr> {
        self.ranges().find_map(|range| self.free_address_in(range))
    }

    fn free_address_in(&self, range: Ipv4Net) -> Option<Ipv4Addr> {
        let first = u32::from(range.network()).saturating_add(1);
        let size = u32::from(range.broadcast()).saturating_sub(first);
        let chosen = (size / 16).clamp(16, 256).min(size);
        let free = |offset: u32| {
            let address = Ipv4Addr::from(first + offset);
            (!self.addresses.contains_key(&address)).then_some(address)
        };
        scattered(chosen, size).find_map(free)
    }

    fn complete_ports(&mut self, spec: &mut Value, used: &Use, found: &mut Vec<Cause>) {
        let is_local_balancer =
            text(spec, "type") == "LoadBalancer" && text(spec, "externalTrafficPolicy") == "Local";
        // Two protocols of one port share a node port.
        let mut by_port: HashMap<i64, u16> = HashMap::new();
        let ports = spec["ports"].as_array_mut().into_iter().flatten();
        for (at, port) in ports.enumerate() {
            let wanted = port["nodePort"].as_i64().unwrap_or(0);
            let number = port["port"].as_i64().unwrap_or(0);
            let field = format!("spec.ports[{at}].nodePort");
            let shared = by_port.get(&number).copied().filter(|_| wanted == 0);
            let Some(chosen) = shared.or_else(|| self.port(&field, wanted, used, found)) else {
                continue;
            };
            by_port.insert(number, chosen);
            port["nodePort"] = chosen.into();
        }
        if is_local_balancer {
            let wanted = spec["healthCheckNodePort"].as_i64().unwrap_or(0);
            let port = self.port("spec.healthCheckNodePort", wanted, used, found);
            if let Some(port) = port {
                spec["healthCheckNodePort"] = port.into();
            }
        }
    }

    fn port(
        &mut self,
        field: &str,
        wanted: i64,
        used: &Use,
        found: &mut Vec<Cause>,
    ) -> Option<u16> {
        let size = u32::from(PORT_LAST - PORT_FIRST) + 1;
        if wanted == 0 {
            let free = |offset: u32| {
                let port = PORT_FIRST + u16::try_from(offset).ok()?;
                (!self.ports.contains_key(&port)).then_some(port)
            };
            let Some(port) = scattered(PORTS_CHOSEN, size).find_map(free) else {
                let why = "failed to allocate a nodePort: range is full";
                found.push(invalid(field, &0.into(), why));
                return None;
            };
            take(&mut self.ports, port, used);
            return Some(port);
        }
        let port = u16::try_from(wanted)
            .ok()
            .filter(|port| (PORT_FIRST..=PORT_LAST).contains(port));
        let Some(port) = port else {
            let why = format!(
                "provided port is not in the valid range. The range of valid ports is {PORT_FIRST}-{PORT_LAST}"
            );
            found.push(invalid(field, &wanted.into(), &why));
            return None;
        };
        if self
            .ports
            .get(&port)
            .is_some_and(|other| other.owner != used.owner)
        {
            found.push(invalid(
                field,
                &wanted.into(),
                "provided port is already allocated",
            ));
            return None;
        }
        take(&mut self.ports, port, used);
        Some(port)
    }
}

/// Reserves unless the Service has it already.
fn take<K: Hash + Eq>(taken: &mut HashMap<K, Use>, key: K, used: &Use) {
    taken.entry(key).or_insert_with(|| used.clone());
}

/// All numbers below `size`: first those from `reserved` on, beginning anywhere, then the reserved ones.
fn scattered(reserved: u32, size: u32) -> impl Iterator<Item = u32> {
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    let rest = (size - reserved).max(1);
    let start = u32::from_le_bytes(bytes) % rest;
    (0..size - reserved)
        .map(move |step| reserved + (start + step) % rest)
        .chain(0..reserved)
}

fn needs_address(spec: &Value) -> bool {
    matches!(
        text(spec, "type"),
        "" | "ClusterIP" | "NodePort" | "LoadBalancer"
    )
}

fn needs_ports(spec: &Value) -> bool {
    match text(spec, "type") {
        "NodePort" => true,
        "LoadBalancer" => spec["allocateLoadBalancerNodePorts"] != false,
        _ => false,
    }
}

/// One family: this cluster speaks IPv4.
fn complete_families(spec: &mut Value, found: &mut Vec<Cause>) {
    if text(spec, "ipFamilyPolicy") == "RequireDualStack" {
        found.push(invalid(
            "spec.ipFamilyPolicy",
            &"RequireDualStack".into(),
            "this cluster is not configured for dual-stack services",
        ));
    }
    for (at, family) in strings(&spec["ipFamilies"]).into_iter().enumerate() {
        if family == "IPv6" {
            let field = format!("spec.ipFamilies[{at}]");
            found.push(invalid(
                &field,
                &family.into(),
                "not configured on this cluster",
            ));
        }
    }
    if spec["ipFamilyPolicy"].is_null() {
        spec["ipFamilyPolicy"] = "SingleStack".into();
    }
    if strings(&spec["ipFamilies"]).is_empty() {
        spec["ipFamilies"] = json!(["IPv4"]);
    }
}

/// What a Service says in two fields, it says alike; to be done before validation.
pub(super) fn prepare(service: &mut Value, old: Option<&Value>) {
    let spec = &mut service["spec"];
    if !spec.is_object() {
        return;
    }
    let first = text(spec, "clusterIP").to_owned();
    let has_list = !strings(&spec["clusterIPs"]).is_empty();
    match old.map(|old| &old["spec"]) {
        None if !has_list && !first.is_empty() => spec["clusterIPs"] = json!([first]),
        None => {}
        Some(old) => {
            // Older clients change the single field and send the list back as it was.
            let is_stale =
                first != text(old, "clusterIP") && spec["clusterIPs"] == old["clusterIPs"];
            if !first.is_empty() && (is_stale || !has_list) {
                spec["clusterIPs"] = json!([first]);
            } else if is_stale
                && first.is_empty()
                && has_list
                && text(spec, "type") == "ExternalName"
            {
                spec["clusterIPs"] = Value::Null;
            }
        }
    }
    if let Some(old) = old {
        carry_over(service, old);
    } else if let Some(spec) = service["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
}

/// A client that does not repeat what the server chose means to keep it; what the new type does not need goes.
fn carry_over(service: &mut Value, old: &Value) {
    let old = &old["spec"];
    let spec = &mut service["spec"];
    let (had_address, had_ports) = (needs_address(old), needs_ports(old));
    if had_address && needs_address(spec) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            if spec[field].is_null() && !old[field].is_null() {
                spec[field] = old[field].clone();
            }
        }
    } else if had_address {
        drop_same(
            spec,
            old,
            &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"],
        );
    }
    let keeps_ports = needs_ports(spec);
    let known = old["ports"].as_array().cloned().unwrap_or_default();
    for port in spec["ports"].as_array_mut().into_iter().flatten() {
        let twin = known
            .iter()
            .find(|other| other["port"] == port["port"] && other["protocol"] == port["protocol"]);
        let Some(twin) = twin.filter(|_| had_ports) else {
            continue;
        };
        if keeps_ports && port["nodePort"].as_i64().unwrap_or(0) == 0 {
            port["nodePort"] = twin["nodePort"].clone();
        } else if !keeps_ports {
            drop_same(port, twin, &["nodePort"]);
        }
    }
    if had_ports && keeps_ports && spec["healthCheckNodePort"].is_null() {
        spec["healthCheckNodePort"] = old["healthCheckNodePort"].clone();
    }
    for (needs, fields) in TYPE_FIELDS {
        if needs(old) && !needs(spec) {
            drop_same(spec, old, fields);
        }
    }
    if let Some(spec) = spec.as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
}

/// Fields that only some types have; a client that changes the type need not take them away itself.
type TypeField = (fn(&Value) -> bool, &'static [&'static str]);

const TYPE_FIELDS: &[TypeField] = &[
    (
        is_balanced,
        &["allocateLoadBalancerNodePorts", "loadBalancerClass"],
    ),
    (is_outside, &["externalTrafficPolicy"]),
    (needs_health_check, &["healthCheckNodePort"]),
];

fn is_balanced(spec: &Value) -> bool {
    text(spec, "type") == "LoadBalancer"
}

fn is_outside(spec: &Value) -> bool {
    is_balanced(spec)
        || text(spec, "type") == "NodePort"
        || !strings(&spec["externalIPs"]).is_empty()
}

fn needs_health_check(spec: &Value) -> bool {
    is_balanced(spec) && text(spec, "externalTrafficPolicy") == "Local"
}

fn drop_same(new: &mut Value, old: &Value, fields: &[&str]) {
    if let Some(new) = new.as_object_mut() {
        for field in fields {
            if new.get(*field) == old.get(*field) {
                new.remove(*field);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool() -> Pool {
        Pool::new("10.96.0.0/24".parse().unwrap())
    }

    fn by(owner: &str) -> Use {
        Use {
            owner: owner.into(),
            ticket: Some(1),
        }
    }

    fn texts(found: &[Cause]) -> Vec<String> {
        found
            .iter()
            .map(|cause| format!("{}: {}", cause.field, cause.message))
            .collect()
    }

    #[test]
    fn services_get_what_their_type_needs() {
        let mut pool = pool();
        let mut service = json!({"spec": {"type": "NodePort", "ports": [
            {"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"},
        ]}});
        assert!(pool.complete(&mut service, &by("a")).is_empty());
        let spec = &service["spec"];
        assert_eq!(spec["clusterIPs"], json!([spec["clusterIP"]]));
        assert_eq!(spec["ipFamilies"], json!(["IPv4"]));
        assert_eq!(spec["ports"][0]["nodePort"], spec["ports"][1]["nodePort"]);
        assert_eq!((pool.addresses.len(), pool.ports.len()), (1, 1));
        let mut headless = json!({"spec": {"clusterIP": "None"}});
        assert!(pool.complete(&mut headless, &by("b")).is_empty());
        assert_eq!(headless["spec"]["clusterIPs"], json!(["None"]));
    }

    #[test]
    fn what_is_taken_is_refused() {
        let mut pool = pool();
        let mut first = json!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.10", "ports": [{"port": 1, "nodePort": 30001}],
        }});
        assert!(pool.complete(&mut first, &by("a")).is_empty());
        assert!(pool.complete(&mut first.clone(), &by("a")).is_empty());
        assert_eq!(
            texts(&pool.complete(&mut first, &by("b"))),
            [
                "spec.clusterIPs: Invalid value: [\"10.96.0.10\"]: failed to allocate IP 10.96.0.10: provided IP is already allocated"
            ]
        );
        let mut port = json!({"spec": {"type": "NodePort", "ports": [
            {"port": 1, "nodePort": 30001}, {"port": 2, "nodePort": 80},
        ]}});
        assert_eq!(
            texts(&pool.complete(&mut port, &by("b"))),
            [
                "spec.ports[0].nodePort: Invalid value: 30001: provided port is already allocated",
                "spec.ports[1].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
            ]
        );
    }

    #[test]
    fn a_full_range_is_used_to_the_last_address() {
        let mut pool = Pool::new("10.96.0.0/28".parse().unwrap());
        for n in 0..14 {
            let mut service = json!({"spec": {}});
            let found = pool.complete(&mut service, &by(&n.to_string()));
            assert!(found.is_empty(), "{n}: {found:?}");
        }
        assert!(!pool.complete(&mut json!({"spec": {}}), &by("x")).is_empty());
    }

    #[test]
    fn people_add_ranges() {
        let mut pool = Pool::new("10.96.0.0/28".parse().unwrap());
        let wanted = json!({"spec": {"clusterIP": "203.0.113.10"}});
        let object =
            json!({"metadata": {}, "spec": {"cidrs": ["203.0.113.0/24", "2001:db8::/64"]}});
        assert!(!pool.complete(&mut wanted.clone(), &by("a")).is_empty());
        pool.observe_ranges("x", Some(&object));
        assert!(pool.complete(&mut wanted.clone(), &by("a")).is_empty());
        for n in 0..15 {
            let mut service = json!({"spec": {}});
            let found = pool.complete(&mut service, &by(&n.to_string()));
            assert!(found.is_empty(), "the first range is full: {found:?}");
        }
        let going = json!({"metadata": {"deletionTimestamp": "2026-11-21T05:00:00Z"}, "spec": object["spec"]});
        pool.observe_ranges("x", Some(&going));
        assert!(!pool.complete(&mut json!({"spec": {}}), &by("y")).is_empty());
    }

    #[test]
    fn updates_keep_and_types_drop() {
        let old = json!({"spec": {
            "type": "NodePort", "clusterIP": "10.96.0.9", "clusterIPs": ["10.96.0.9"],
            "ports": [{"port": 1, "protocol": "TCP", "nodePort": 30001}],
        }});
        let mut same =
            json!({"spec": {"type": "NodePort", "ports": [{"port": 1, "protocol": "TCP"}]}});
        carry_over(&mut same, &old);
        assert_eq!(same, old);
        let mut plain = old.clone();
        plain["spec"]["type"] = "ClusterIP".into();
        carry_over(&mut plain, &old);
        assert!(
            plain["spec"]["ports"][0].get("nodePort").is_none(),
            "{plain}"
        );
        let mut name = old.clone();
        name["spec"]["type"] = "ExternalName".into();
        carry_over(&mut name, &old);
        assert!(name["spec"].get("clusterIP").is_none(), "{name}");
        let balanced = json!({"spec": {"type": "LoadBalancer", "allocateLoadBalancerNodePorts": true,
            "externalTrafficPolicy": "Local", "healthCheckNodePort": 30002}});
        let mut plain = balanced.clone();
        plain["spec"]["type"] = "ClusterIP".into();
        carry_over(&mut plain, &balanced);
        assert_eq!(plain, json!({"spec": {"type": "ClusterIP"}}));
    }

    #[test]
    fn the_stored_service_decides_who_owns() {
        let mut pool = pool();
        let mut service = json!({"spec": {"type": "NodePort", "ports": [{"port": 1}]}});
        pool.complete(&mut service, &by("/services/ns/a"));
        pool.observe("/services/ns/a", Some(&service));
        assert!(pool.addresses.values().all(|used| used.ticket.is_none()));
        pool.observe("/services/ns/a", None);
        assert!(pool.addresses.is_empty() && pool.ports.is_empty());
    }
}
