//! The `proxy` subresource: HTTP and HTTPS to a pod, to an endpoint of a service, or to a node's own pages.
//!
//! Here it is decided where a request goes; `exchange` speaks with the other end. The client's credentials go no further.

mod exchange;
mod page;

use super::{Connect, target};
use crate::{
    api::{ApiError, name::Gvr},
    apiserver::listen::answer::{self, Answer},
};
use http::{HeaderValue, Method, header};
use hyper::{Request, body::Incoming};
use serde_json::Value;
use std::net::{Ipv4Addr, SocketAddr};

const SERVICES: Gvr = Gvr::new("", "v1", "services");
const PODS: Gvr = Gvr::new("", "v1", "pods");
const SLICES: Gvr = Gvr::new("discovery.k8s.io", "v1", "endpointslices");

/// `[scheme:]name[:port]`.
#[derive(Debug, PartialEq, Eq)]
struct Place<'a> {
    is_tls: bool,
    name: &'a str,
    port: &'a str,
}

impl Place<'_> {
    fn parse(text: &str) -> Option<Place<'_>> {
        let parts: Vec<&str> = text.split(':').collect();
        let (scheme, name, port) = match parts.as_slice() {
            [name] => ("", *name, ""),
            [name, port] => ("", *name, *port),
            [scheme, name, port] => (*scheme, *name, *port),
            _ => return None,
        };
        matches!(scheme, "" | "http" | "https").then_some(Place {
            is_tls: scheme == "https",
            name,
            port,
        })
    }
}

pub(super) async fn serve(
    connect: &Connect<'_>,
    request: Request<Incoming>,
) -> Result<Answer, ApiError> {
    let text = connect.path.name.clone().unwrap_or_default();
    let Some(place) = Place::parse(&text) else {
        let kind = match connect.path.resource.resource.as_ref() {
            "services" => "service",
            "nodes" => "node",
            _ => "pod",
        };
        return Err(ApiError::bad_request(format!(
            "invalid {kind} request {text:?}"
        )));
    };
    let rest = match &connect.path.rest {
        Some(rest) => rest.clone(),
        // Relative links only work below a slash.
        None if matches!(*request.method(), Method::GET | Method::HEAD) => {
            return to_directory(&request);
        }
        None => "/".to_owned(),
    };
    if connect.path.resource.resource == "nodes" {
        return node(connect, &place, &rest).await;
    }
    let address = match connect.path.resource.resource.as_ref() {
        "services" => behind_service(connect, &place, &text).await?,
        _ => named_pod(connect, &place).await?,
    };
    exchange::run(connect, address, place.is_tls, request, &rest).await
}

fn to_directory(request: &Request<Incoming>) -> Result<Answer, ApiError> {
    let query = request
        .uri()
        .query()
        .map_or_else(String::new, |query| format!("?{query}"));
    let location = format!("{}/{query}", request.uri().path());
    let mut answer = answer::empty(301);
    let location = HeaderValue::from_str(&location).map_err(ApiError::internal)?;
    answer.headers_mut().insert(header::LOCATION, location);
    Ok(answer)
}

async fn named_pod(connect: &Connect<'_>, place: &Place<'_>) -> Result<SocketAddr, ApiError> {
    let namespace = connect.key().namespace;
    let pod = target::read(connect, PODS, &namespace, place.name).await?;
    let port = match place.port {
        "" => first_port(&pod).unwrap_or(80),
        text => number(text)?,
    };
    let address = pod["status"]["podIP"].as_str().unwrap_or_default();
    Ok(SocketAddr::from((proxied(address)?, port)))
}

/// Nobody gets at what listens for this machine alone.
fn proxied(address: &str) -> Result<Ipv4Addr, ApiError> {
    let address: Option<Ipv4Addr> = address.parse().ok();
    let address = address.filter(|address| {
        !(address.is_loopback()
            || address.is_unspecified()
            || address.is_link_local()
            || address.is_multicast())
    });
    address.ok_or_else(|| ApiError::bad_request("address not allowed"))
}

fn number(text: &str) -> Result<u16, ApiError> {
    let parsed: Option<u16> = text.parse().ok();
    parsed.ok_or_else(|| ApiError::bad_request(format!("invalid port {text:?}")))
}

fn first_port(pod: &Value) -> Option<u16> {
    let containers = pod["spec"]["containers"].as_array()?;
    let port = containers
        .iter()
        .find_map(|container| container["ports"][0]["containerPort"].as_u64())?;
    u16::try_from(port).ok()
}

/// A ready endpoint of the service's port, at random.
async fn behind_service(
    connect: &Connect<'_>,
    place: &Place<'_>,
    id: &str,
) -> Result<SocketAddr, ApiError> {
    let namespace = connect.key().namespace;
    let service = target::read(connect, SERVICES, &namespace, place.name).await?;
    let name = place.name;
    let unavailable = |why: String| ApiError::new(503, "ServiceUnavailable", why);
    let Some(port_name) = service_port(&service, place.port) else {
        return Err(unavailable(match place.port.parse::<u16>() {
            Ok(number) => format!("no service port {number} found for service {name:?}"),
            Err(_) => format!("no endpoints available for service {id:?}"),
        }));
    };
    let slices = target::slices(connect, SLICES, &namespace, name).await?;
    let mut all: Vec<(String, u16)> = Vec::new();
    for slice in &slices {
        all.extend(endpoints(slice, &port_name));
    }
    if all.is_empty() {
        let why = format!("no endpoints available for service {id:?}");
        return Err(unavailable(why));
    }
    let mut bytes = [0u8; 4];
    getrandom::fill(&mut bytes).expect("the kernel has random bytes");
    let turn = usize::try_from(u32::from_le_bytes(bytes)).unwrap_or_default() % all.len();
    let (address, port) = all.swap_remove(turn);
    Ok(SocketAddr::from((proxied(&address)?, port)))
}

/// The name of the port wanted by name or number; without a wish, of the only one.
fn service_port(service: &Value, wanted: &str) -> Option<String> {
    let ports = service["spec"]["ports"].as_array()?;
    let name = |port: &Value| port["name"].as_str().unwrap_or_default().to_owned();
    let number: Option<u64> = wanted.parse().ok();
    match (wanted, ports.as_slice()) {
        ("", [only]) => Some(name(only)),
        ("", _) => None,
        _ => ports
            .iter()
            .find(|port| name(port) == wanted || port["port"].as_u64() == number)
            .map(name),
    }
}

/// Addresses of ready endpoints in a slice, each with the port of that name.
fn endpoints(slice: &Value, port_name: &str) -> Vec<(String, u16)> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut named = ports.filter(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let port = named.find_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    let Some(port) = port.filter(|_| slice["addressType"] == "IPv4") else {
        return Vec::new();
    };
    let all = slice["endpoints"].as_array().into_iter().flatten();
    let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    ready
        .filter_map(|endpoint| Some((endpoint["addresses"][0].as_str()?.to_owned(), port)))
        .collect()
}

/// The node's own pages, answered by its agent.
async fn node(connect: &Connect<'_>, place: &Place<'_>, rest: &str) -> Result<Answer, ApiError> {
    let node = target::agent(connect, place.name)?;
    let page = node.page(rest).await?;
    Ok(answer::bytes(200, page.content_type, page.text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn places_have_three_parts() {
        let place = |is_tls, name, port| Some(Place { is_tls, name, port });
        assert_eq!(Place::parse("web"), place(false, "web", ""));
        assert_eq!(Place::parse("web:80"), place(false, "web", "80"));
        assert_eq!(Place::parse("https:web:443"), place(true, "web", "443"));
        assert_eq!(Place::parse("ftp:web:1"), None);
        assert_eq!(Place::parse("a:b:c:d"), None);
    }

    #[test]
    fn services_lead_to_ready_pods() {
        let service = json!({"spec": {"ports": [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]}});
        assert_eq!(service_port(&service, "80").as_deref(), Some("http"));
        assert_eq!(service_port(&service, "admin").as_deref(), Some("admin"));
        assert_eq!(service_port(&service, ""), None);
        assert_eq!(service_port(&service, "99"), None);
        let slice = json!({
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"conditions": {"ready": true}, "addresses": ["10.0.0.1"], "targetRef": {"kind": "Pod", "name": "a"}},
                {"conditions": {"ready": false}, "addresses": ["10.0.0.2"]},
                {"addresses": ["192.0.2.1"]},
            ],
        });
        let all = [
            ("10.0.0.1".to_owned(), 8080),
            ("192.0.2.1".to_owned(), 8080),
        ];
        assert_eq!(endpoints(&slice, "http"), all);
        assert!(endpoints(&slice, "admin").is_empty());
    }

    #[test]
    fn what_is_for_this_machine_alone_is_refused() {
        for address in [
            "",
            "127.0.0.1",
            "169.254.169.254",
            "0.0.0.0",
            "224.0.0.1",
            "::1",
        ] {
            let refusal = proxied(address).unwrap_err();
            assert_eq!(
                (refusal.code, refusal.message.as_str()),
                (400, "address not allowed"),
                "{address}"
            );
        }
        assert!(proxied("10.244.0.7").is_ok());
    }
}
