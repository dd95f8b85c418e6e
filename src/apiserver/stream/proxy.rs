//! The `proxy` subresource: plain HTTP to a pod, to a pod behind a service, or to a node's own pages.
//!
//! The connection is made in the pod's network by its node. The client's credentials go no further.

use super::{Connect, target};
use crate::{
    api::{
        ApiError,
        name::{Gvr, Key},
        stream::{Duplex, NodeApi},
    },
    apiserver::listen::answer::{self, Answer, Body},
};
use futures_util::StreamExt as _;
use http::{HeaderName, HeaderValue, Method, Uri, header};
use http_body_util::{BodyStream, StreamBody, combinators::UnsyncBoxBody};
use hyper::{Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::sync::Arc;

/// Meant for the connection, not for the other end (RFC 9110, 7.6.1).
const HOP_HEADERS: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::AUTHORIZATION,
];
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
        return Err(ApiError::bad_request(format!(
            "invalid proxy target {text:?}"
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
    if place.is_tls {
        return Err(ApiError::not_implemented("a proxy to HTTPS"));
    }
    let (pod, port) = match connect.path.resource.resource.as_ref() {
        "services" => behind_service(connect, &place).await?,
        _ => named_pod(connect, &place).await?,
    };
    let pipe = match pod.node.port_forward(pod.key, port).await {
        Ok(pipe) => pipe,
        Err(failure) => return Err(unreachable(&failure.message)),
    };
    let mut answer = exchange(connect, pipe, request, &rest).await?;
    rewrite_location(connect, &mut answer);
    Ok(answer)
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

/// A pod and where to reach it.
struct Reached {
    key: Key,
    node: Arc<dyn NodeApi>,
}

async fn named_pod(connect: &Connect<'_>, place: &Place<'_>) -> Result<(Reached, u16), ApiError> {
    let namespace = connect.key().namespace;
    let pod = target::read(connect, PODS, &namespace, place.name).await?;
    let port = match place.port {
        "" => first_port(&pod).unwrap_or(80),
        text => number(text)?,
    };
    let reached = reached(connect, &pod)?;
    Ok((reached, port))
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

fn reached(connect: &Connect<'_>, pod: &Value) -> Result<Reached, ApiError> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let name = text(&pod["metadata"]["name"]);
    let node = text(&pod["spec"]["nodeName"]);
    if node.is_empty() {
        return Err(ApiError::bad_request(format!(
            "pod {name} does not have a host assigned"
        )));
    }
    Ok(Reached {
        key: Key::new(text(&pod["metadata"]["namespace"]), name),
        node: target::agent(connect, &node)?,
    })
}

/// A ready endpoint of the service's port, at random.
async fn behind_service(
    connect: &Connect<'_>,
    place: &Place<'_>,
) -> Result<(Reached, u16), ApiError> {
    let namespace = connect.key().namespace;
    let service = target::read(connect, SERVICES, &namespace, place.name).await?;
    let name = place.name;
    let Some(port_name) = service_port(&service, place.port) else {
        let why = format!(
            "no service port {:?} found for service {name:?}",
            place.port
        );
        return Err(ApiError::new(503, "ServiceUnavailable", why));
    };
    let slices = target::slices(connect, SLICES, &namespace, name).await?;
    let mut all: Vec<(String, u16)> = Vec::new();
    for slice in &slices {
        all.extend(endpoints(slice, &port_name));
    }
    if all.is_empty() {
        let why = format!("no endpoints available for service {name:?}");
        return Err(ApiError::new(503, "ServiceUnavailable", why));
    }
    let mut byte = [0u8; 1];
    let _ = getrandom::fill(&mut byte);
    let (pod, port) = all.swap_remove(usize::from(byte[0]) % all.len());
    let pod = target::read(connect, PODS, &namespace, &pod).await?;
    Ok((reached(connect, &pod)?, port))
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

/// Names of ready pods in a slice, each with the port of that name.
fn endpoints(slice: &Value, port_name: &str) -> Vec<(String, u16)> {
    let ports = slice["ports"].as_array().into_iter().flatten();
    let mut named = ports.filter(|port| port["name"].as_str().unwrap_or_default() == port_name);
    let port = named.find_map(|port| u16::try_from(port["port"].as_u64()?).ok());
    let Some(port) = port else {
        return Vec::new();
    };
    let all = slice["endpoints"].as_array().into_iter().flatten();
    let ready = all.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let pods = ready.filter(|endpoint| endpoint["targetRef"]["kind"] == "Pod");
    pods.filter_map(|endpoint| Some((endpoint["targetRef"]["name"].as_str()?.to_owned(), port)))
        .collect()
}

/// The node's own pages, answered by its agent.
async fn node(connect: &Connect<'_>, place: &Place<'_>, rest: &str) -> Result<Answer, ApiError> {
    let node = target::agent(connect, place.name)?;
    let page = node.page(rest).await?;
    Ok(answer::bytes(200, page.content_type, page.text))
}

fn unreachable(why: &str) -> ApiError {
    ApiError::new(
        503,
        "ServiceUnavailable",
        format!("error trying to reach service: {why}"),
    )
}

async fn exchange(
    connect: &Connect<'_>,
    pipe: Box<dyn Duplex>,
    mut request: Request<Incoming>,
    rest: &str,
) -> Result<Answer, ApiError> {
    let path = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    *request.uri_mut() =
        Uri::try_from(path).map_err(|why| ApiError::bad_request(why.to_string()))?;
    *request.version_mut() = http::Version::HTTP_11;
    let headers = request.headers_mut();
    for name in HOP_HEADERS {
        headers.remove(name);
    }
    headers
        .entry(header::HOST)
        .or_insert(HeaderValue::from_static("localhost"));
    let failed = |why: hyper::Error| unreachable(&why.to_string());
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(pipe)).await;
    let (mut sender, connection) = handshake.map_err(failed)?;
    connect
        .peer
        .tasks
        .spawn(format!("proxy to {}", connect.key()), async move {
            let _ = connection.await;
        });
    let response = sender.send_request(request).await.map_err(failed)?;
    Ok(passed_on(response))
}

fn passed_on(response: Response<Incoming>) -> Answer {
    let (mut parts, body) = response.into_parts();
    for name in HOP_HEADERS {
        parts.headers.remove(name);
    }
    // A broken body ends early; its length, if it was told, shows the client that something is missing.
    let frames = BodyStream::new(body);
    let frames = frames.take_while(|frame| std::future::ready(frame.is_ok()));
    let frames = frames.filter_map(|frame| std::future::ready(frame.ok().map(Ok)));
    let body: Body = UnsyncBoxBody::new(StreamBody::new(frames));
    Response::from_parts(parts, body)
}

/// Redirects stay below the proxy's own path.
fn rewrite_location(connect: &Connect<'_>, answer: &mut Answer) {
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|value| value.to_str().ok());
    let Some(path) = location.filter(|location| location.starts_with('/')) else {
        return;
    };
    let key = connect.key();
    let resource = &connect.path.resource.resource;
    let prefix = match key.namespace.as_str() {
        "" => format!("/api/v1/{resource}/{}/proxy", key.name),
        namespace => format!(
            "/api/v1/namespaces/{namespace}/{resource}/{}/proxy",
            key.name
        ),
    };
    if let Ok(value) = HeaderValue::from_str(&format!("{prefix}{path}")) {
        answer.headers_mut().insert(header::LOCATION, value);
    }
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
            "ports": [{"name": "http", "port": 8080}],
            "endpoints": [
                {"conditions": {"ready": true}, "targetRef": {"kind": "Pod", "name": "a"}},
                {"conditions": {"ready": false}, "targetRef": {"kind": "Pod", "name": "b"}},
                {"conditions": {"ready": true}},
            ],
        });
        assert_eq!(endpoints(&slice, "http"), [("a".to_owned(), 8080)]);
        assert!(endpoints(&slice, "admin").is_empty());
    }
}
