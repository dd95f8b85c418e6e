//! Answers to questions about the zone. Pure; names as in the DNS specification of Kubernetes, version 1.1.0.

use super::zone::{Endpoint, Entry, Kind, Zone};
use hickory_proto::{
    op::{Query, ResponseCode},
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{A, CNAME, NS, PTR, SOA, SRV, TXT},
    },
};
use std::net::Ipv4Addr;

const SPECIFICATION: &str = "1.1.0";

/// A ClusterIP stays as long as its Service.
const TTL_STABLE: u32 = 30;
/// Endpoints move, and what is not there may come.
const TTL_SHORT: u32 = 5;

#[derive(Clone, Debug, PartialEq)]
pub struct Reply {
    pub code: ResponseCode,
    pub answers: Vec<Record>,
    /// The zone's SOA in negative answers.
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
    /// An alias that leads out of the zone: the caller adds what others say of this name.
    pub chase: Option<Name>,
}

/// What a name inside the zone stands for.
enum Found<'a> {
    Nothing,
    /// Exists, with records only below it.
    Empty,
    Zone,
    Version,
    Server,
    Address(Ipv4Addr),
    Service(&'a Entry),
    Endpoints(Vec<&'a Endpoint>),
    /// Of one named port and protocol.
    Port(&'a Entry, String, String),
}

/// `None`: not ours to answer.
#[must_use]
pub fn answer(zone: &Zone, query: &Query) -> Option<Reply> {
    if query.query_class() != DNSClass::IN {
        return None;
    }
    let labels = labels(query.name())?;
    if let Some(address) = reverse_address(&labels) {
        return pointer(zone, query, address);
    }
    let inside = labels.len().checked_sub(zone.domain.len())?;
    if labels[inside..] != zone.domain {
        return None;
    }
    if !zone.is_complete {
        return Some(Reply::new(ResponseCode::ServFail));
    }
    let name: Vec<&str> = labels[..inside].iter().map(String::as_str).collect();
    Some(reply(zone, query, &name))
}

fn reply(zone: &Zone, query: &Query, name: &[&str]) -> Reply {
    let found = find(zone, name);
    let mut reply = Reply::new(ResponseCode::NoError);
    let wanted = query.query_type();
    let wants = |kind| wanted == kind || wanted == RecordType::ANY;
    match &found {
        Found::Nothing => reply.code = ResponseCode::NXDomain,
        Found::Empty => {}
        Found::Zone => {
            if wants(RecordType::SOA) {
                reply.answers.push(soa(zone));
            }
            if wants(RecordType::NS) {
                let server = NS(absolute(zone, &["ns", "dns"]));
                reply.push(query, TTL_STABLE, RData::NS(server));
            }
        }
        Found::Version if wants(RecordType::TXT) => {
            let text = TXT::new(vec![SPECIFICATION.to_owned()]);
            reply.push(query, TTL_STABLE, RData::TXT(text));
        }
        Found::Server if wants(RecordType::A) => {
            reply.push(query, TTL_STABLE, RData::A(A(zone.server)));
        }
        Found::Address(address) if wants(RecordType::A) => {
            reply.push(query, TTL_SHORT, RData::A(A(*address)));
        }
        Found::Service(entry) => reply.add_service(zone, query, name, entry),
        Found::Endpoints(endpoints) if wants(RecordType::A) => {
            for endpoint in endpoints {
                reply.push(query, TTL_SHORT, RData::A(A(endpoint.address)));
            }
        }
        Found::Endpoints(endpoints) if wants(RecordType::SRV) => {
            for endpoint in endpoints {
                reply.add_endpoint_ports(zone, query, &name[1..], endpoint, |_, _| true);
            }
        }
        Found::Port(entry, port, protocol) if wants(RecordType::SRV) => {
            let is_wanted = |name: &str, of: &str| name == port && of == protocol;
            reply.add_ports(zone, query, &name[2..], entry, is_wanted);
        }
        _ => {}
    }
    if reply.answers.is_empty() {
        reply.authorities.push(soa(zone));
    }
    reply
}

fn find<'a>(zone: &'a Zone, name: &[&str]) -> Found<'a> {
    match name {
        [] => Found::Zone,
        ["svc" | "pod" | "dns"] => Found::Empty,
        ["dns-version"] => Found::Version,
        ["ns", "dns"] => Found::Server,
        [namespace, "svc" | "pod"] if zone.has_namespace(namespace) => Found::Empty,
        [address, _, "pod"] => dashed(address).map_or(Found::Nothing, Found::Address),
        [service, namespace, "svc"] => match zone.service(namespace, service) {
            Some(entry) if entry.is_silent() => Found::Nothing,
            Some(entry) => Found::Service(entry),
            None => Found::Nothing,
        },
        [label, service, namespace, "svc"] => {
            let entry = zone.service(namespace, service);
            let all = entry.into_iter().flat_map(|entry| &entry.endpoints);
            let endpoints: Vec<&Endpoint> = all.filter(|one| one.label == *label).collect();
            if endpoints.is_empty() {
                Found::Nothing
            } else {
                Found::Endpoints(endpoints)
            }
        }
        [port, protocol, service, namespace, "svc"] => {
            let entry = zone.service(namespace, service);
            let port = port.strip_prefix('_').filter(|port| !port.is_empty());
            match (entry, port, protocol.strip_prefix('_')) {
                (Some(entry), Some(port), Some(protocol)) if entry.has_port(port, protocol) => {
                    Found::Port(entry, port.to_owned(), protocol.to_owned())
                }
                _ => Found::Nothing,
            }
        }
        _ => Found::Nothing,
    }
}

impl Entry {
    /// A headless Service without endpoints does not exist for clients.
    fn is_silent(&self) -> bool {
        self.kind == Kind::Headless && self.endpoints.is_empty()
    }

    fn has_port(&self, name: &str, protocol: &str) -> bool {
        let endpoints = self.endpoints.iter().flat_map(|endpoint| &endpoint.ports);
        let mut ports: Box<dyn Iterator<Item = _>> = match self.kind {
            Kind::Cluster(_) => Box::new(self.ports.iter()),
            Kind::Headless => Box::new(endpoints),
            Kind::External(_) => return false,
        };
        ports.any(|port| port.name == name && port.protocol == protocol)
    }
}

impl Reply {
    fn new(code: ResponseCode) -> Reply {
        Reply {
            code,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            chase: None,
        }
    }

    /// Under the name that was asked for, in its spelling.
    fn push(&mut self, query: &Query, ttl: u32, data: RData) {
        let record = Record::from_rdata(query.name().clone(), ttl, data);
        self.answers.push(record);
    }

    fn add_service(&mut self, zone: &Zone, query: &Query, name: &[&str], entry: &Entry) {
        let wanted = query.query_type();
        let wants = |kind| wanted == kind || wanted == RecordType::ANY;
        match &entry.kind {
            Kind::External(target) => self.add_alias(query, target),
            Kind::Cluster(address) if wants(RecordType::A) => {
                self.push(query, TTL_STABLE, RData::A(A(*address)));
            }
            Kind::Headless if wants(RecordType::A) => {
                let mut addresses: Vec<Ipv4Addr> =
                    entry.endpoints.iter().map(|one| one.address).collect();
                addresses.dedup();
                for address in addresses {
                    self.push(query, TTL_SHORT, RData::A(A(address)));
                }
            }
            _ if wants(RecordType::SRV) => self.add_ports(zone, query, name, entry, |_, _| true),
            _ => {}
        }
    }

    fn add_alias(&mut self, query: &Query, target: &str) {
        if let Ok(address) = target.parse() {
            if query.query_type() == RecordType::A {
                self.push(query, TTL_SHORT, RData::A(A(address)));
            }
            return;
        }
        // A name that is no name was let through by nobody's validation; it leads nowhere.
        if let Ok(mut target) = Name::from_ascii(target) {
            target.set_fqdn(true);
            self.push(query, TTL_SHORT, RData::CNAME(CNAME(target.clone())));
            if query.query_type() != RecordType::CNAME {
                self.chase = Some(target);
            }
        }
    }

    /// `service` is the Service's name inside the zone.
    fn add_ports(
        &mut self,
        zone: &Zone,
        query: &Query,
        service: &[&str],
        entry: &Entry,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) {
        match entry.kind {
            Kind::External(_) => {}
            Kind::Headless => {
                for endpoint in &entry.endpoints {
                    self.add_endpoint_ports(zone, query, service, endpoint, &is_wanted);
                }
            }
            Kind::Cluster(address) => {
                let target = absolute(zone, service);
                let ports = entry.ports.iter();
                for port in ports.filter(|port| is_wanted(&port.name, port.protocol)) {
                    let data = SRV::new(0, 100, port.number, target.clone());
                    self.push(query, TTL_STABLE, RData::SRV(data));
                }
                let address = RData::A(A(address));
                let record = Record::from_rdata(target, TTL_STABLE, address);
                self.additionals.push(record);
            }
        }
    }

    fn add_endpoint_ports(
        &mut self,
        zone: &Zone,
        query: &Query,
        service: &[&str],
        endpoint: &Endpoint,
        is_wanted: impl Fn(&str, &str) -> bool,
    ) {
        let target = absolute(zone, &[&[endpoint.label.as_str()], service].concat());
        let ports = endpoint.ports.iter();
        for port in ports.filter(|port| is_wanted(&port.name, port.protocol)) {
            let data = SRV::new(0, 100, port.number, target.clone());
            self.push(query, TTL_SHORT, RData::SRV(data));
        }
        let address = RData::A(A(endpoint.address));
        let record = Record::from_rdata(target, TTL_SHORT, address);
        self.additionals.push(record);
    }
}

/// An address that is not the cluster's is somebody else's question.
fn pointer(zone: &Zone, query: &Query, address: Ipv4Addr) -> Option<Reply> {
    let mut reply = Reply::new(ResponseCode::NoError);
    let mut names = zone.names(address).peekable();
    names.peek()?;
    if matches!(query.query_type(), RecordType::PTR | RecordType::ANY) {
        for name in names {
            let labels: Vec<&str> = name.iter().map(String::as_str).collect();
            let data = RData::PTR(PTR(absolute(zone, &labels)));
            reply.push(query, TTL_SHORT, data);
        }
    } else {
        reply.authorities.push(soa(zone));
    }
    Some(reply)
}

fn soa(zone: &Zone) -> Record {
    let data = SOA::new(
        absolute(zone, &["ns", "dns"]),
        absolute(zone, &["hostmaster"]),
        1,
        7200,
        1800,
        86_400,
        TTL_SHORT,
    );
    Record::from_rdata(absolute(zone, &[]), TTL_SHORT, RData::SOA(data))
}

/// The full name of something in the zone. Labels come from validated objects or from the question itself.
fn absolute(zone: &Zone, labels: &[&str]) -> Name {
    let domain = zone.domain.iter().map(String::as_str);
    let all = labels.iter().copied().chain(domain).map(str::as_bytes);
    let mut name = Name::from_labels(all).unwrap_or_else(|_| Name::root());
    name.set_fqdn(true);
    name
}

/// Lower-case labels; `None` when they are not plain ASCII: then they are not ours.
pub(super) fn labels(name: &Name) -> Option<Vec<String>> {
    let label = |label: &[u8]| {
        let text = std::str::from_utf8(label).ok()?;
        Some(text.to_ascii_lowercase())
    };
    name.iter().map(label).collect()
}

/// `4.3.2.1.in-addr.arpa`.
fn reverse_address(labels: &[String]) -> Option<Ipv4Addr> {
    let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
    match labels.as_slice() {
        [d, c, b, a, "in-addr", "arpa"] => format!("{a}.{b}.{c}.{d}").parse().ok(),
        _ => None,
    }
}

/// `1-2-3-4`.
fn dashed(label: &str) -> Option<Ipv4Addr> {
    label.replace('-', ".").parse().ok()
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
