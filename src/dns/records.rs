//! What a Service and its EndpointSlices contribute to the zone. Pure.

use super::zone::{Endpoint, Entry, Kind, Port};
use k8s_openapi::api::{core::v1::Service, discovery::v1::EndpointSlice};
use std::{net::Ipv4Addr, sync::Arc};

/// Answers of more records would not fit a message.
const ENDPOINTS_MAX: usize = 2000;

/// `None` while the Service has no address yet.
pub fn entry<'a>(
    service: &Service,
    slices: impl Iterator<Item = &'a Arc<EndpointSlice>>,
) -> Option<Entry> {
    let spec = service.spec.as_ref()?;
    let kind = match (spec.type_.as_deref(), spec.cluster_ip.as_deref()) {
        (Some("ExternalName"), _) => Kind::External(spec.external_name.clone()?),
        (_, Some("None")) => Kind::Headless,
        (_, Some(address)) => Kind::Cluster(address.parse().ok()?),
        (_, None) => return None,
    };
    let ports = spec.ports.iter().flatten().filter_map(|port| {
        let name = port.name.as_deref().unwrap_or_default();
        self::port(name, port.protocol.as_deref(), Some(port.port))
    });
    let mut endpoints: Vec<Endpoint> = slices
        .filter(|slice| slice.address_type == "IPv4")
        .flat_map(|slice| self::endpoints(slice))
        .take(ENDPOINTS_MAX)
        .collect();
    endpoints.sort_by(|a, b| (a.address, &a.label).cmp(&(b.address, &b.label)));
    endpoints.dedup_by(|a, b| a.address == b.address && a.label == b.label);
    Some(Entry {
        kind,
        ports: ports.collect(),
        endpoints,
    })
}

fn endpoints(slice: &EndpointSlice) -> impl Iterator<Item = Endpoint> {
    let ports: Vec<Port> = slice
        .ports
        .iter()
        .flatten()
        .filter_map(|port| {
            let name = port.name.as_deref().unwrap_or_default();
            self::port(name, port.protocol.as_deref(), port.port)
        })
        .collect();
    let all = slice.endpoints.iter().flatten();
    let ready = all.filter(|endpoint| {
        let conditions = endpoint.conditions.as_ref();
        conditions.and_then(|all| all.ready).unwrap_or(true)
    });
    ready.flat_map(move |endpoint| {
        let ports = ports.clone();
        let addresses = endpoint.addresses.iter();
        let addresses = addresses.filter_map(|address| address.parse::<Ipv4Addr>().ok());
        addresses.map(move |address| Endpoint {
            label: match endpoint.hostname.as_deref() {
                Some(hostname) if !hostname.is_empty() => hostname.to_ascii_lowercase(),
                _ => address.to_string().replace('.', "-"),
            },
            address,
            ports: ports.clone(),
        })
    })
}

fn port(name: &str, protocol: Option<&str>, number: Option<i32>) -> Option<Port> {
    Some(Port {
        name: name.to_ascii_lowercase(),
        protocol: match protocol {
            Some("UDP") => "udp",
            Some("SCTP") => "sctp",
            _ => "tcp",
        },
        number: u16::try_from(number?).ok()?,
    })
}
