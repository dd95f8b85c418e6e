//! What load balancers ask a node: whether a Service with `externalTrafficPolicy: Local` has endpoints there. Decided
//! from the caches (pure), and served on each such Service's `healthCheckNodePort`.
//!
//! All nodes share this host, so one listener serves them all: the address that was asked says which node is meant. At
//! every other address of the host it is all of them together, as for connections. No port is open that no Service asks for.

use super::services::{SERVICE_NAME, seat};
use crate::{
    client::Snapshot,
    task::{Tasks, backoff::Backoff},
};
use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use k8s_openapi::api::{
    core::v1::{Node, Service},
    discovery::v1::EndpointSlice,
};
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    time::{sleep, timeout},
};
use tracing::{debug, info};

const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Between attempts to get a port that another program has.
const RETRY: Backoff = Backoff {
    first: Duration::from_millis(50),
    cap: Duration::from_secs(30),
};

/// Checks by their port.
pub type Checks = BTreeMap<u16, Check>;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Check {
    namespace: String,
    name: String,
    /// Ready endpoints by the address of their node, of every node.
    endpoints: BTreeMap<Ipv4Addr, usize>,
}

/// What is to be answered for these Services.
pub fn checks(
    services: &Snapshot<Service>,
    slices: &Snapshot<EndpointSlice>,
    nodes: &Snapshot<Node>,
) -> Checks {
    let mut checks = Checks::new();
    let mut wanted: HashMap<(&str, &str), u16> = HashMap::new();
    let nodes: BTreeMap<&str, Ipv4Addr> = nodes
        .iter()
        .filter_map(|(key, node)| Some((key.name.as_str(), seat(node)?.address)))
        .collect();
    for (key, service) in services.iter() {
        let Some(port) = port(service) else { continue };
        let check = Check {
            namespace: key.namespace.clone(),
            name: key.name.clone(),
            endpoints: nodes.values().map(|address| (*address, 0)).collect(),
        };
        checks.insert(port, check);
        wanted.insert((&key.namespace, &key.name), port);
    }
    if wanted.is_empty() {
        return checks;
    }
    let mut seen: BTreeSet<(u16, &str)> = BTreeSet::new();
    for (key, slice) in slices.iter() {
        let labels = slice.metadata.labels.as_ref();
        let service = labels.and_then(|labels| labels.get(SERVICE_NAME));
        let port = service.and_then(|service| wanted.get(&(key.namespace.as_str(), service)));
        let Some(check) = port.and_then(|port| checks.get_mut(port)) else {
            continue;
        };
        for endpoint in slice.endpoints.iter().flatten() {
            let conditions = endpoint.conditions.as_ref();
            let is_ready = conditions.and_then(|all| all.ready).unwrap_or(true);
            let node = endpoint.node_name.as_deref();
            let count = node
                .and_then(|node| nodes.get(node))
                .and_then(|address| check.endpoints.get_mut(address));
            if let (true, Some(count), Some(port), Some(address)) =
                (is_ready, count, port, endpoint.addresses.first())
            {
                // One endpoint may stand in several slices.
                *count += usize::from(seen.insert((*port, address)));
            }
        }
    }
    checks
}

fn port(service: &Service) -> Option<u16> {
    let spec = service.spec.as_ref()?;
    let is_local = spec.type_.as_deref() == Some("LoadBalancer")
        && spec.external_traffic_policy.as_deref() == Some("Local");
    let port = spec.health_check_node_port.filter(|_| is_local)?;
    u16::try_from(port).ok().filter(|port| *port > 0)
}

impl Check {
    /// At the address that was asked.
    fn count(&self, asked: IpAddr) -> usize {
        let node = match asked {
            IpAddr::V4(asked) => self.endpoints.get(&asked),
            IpAddr::V6(_) => None,
        };
        node.map_or_else(|| self.endpoints.values().sum(), |count| *count)
    }

    fn answer(&self, asked: IpAddr) -> Response<Full<Bytes>> {
        let count = self.count(asked);
        let text = format!(
            "{{\n\t\"service\": {{\n\t\t\"namespace\": \"{}\",\n\t\t\"name\": \"{}\"\n\t}},\n\t\"localEndpoints\": {count},\n\t\"serviceProxyHealthy\": true\n}}",
            self.namespace, self.name
        );
        let mut response = Response::new(Full::new(Bytes::from(text)));
        if count == 0 {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        }
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        headers.insert(
            header::X_CONTENT_TYPE_OPTIONS,
            HeaderValue::from_static("nosniff"),
        );
        headers.insert("x-load-balancing-endpoint-weight", count.into());
        response
    }
}

/// The listeners, one for every port of the newest checks.
pub struct Listeners {
    checks: watch::Sender<Arc<Checks>>,
    tasks: Tasks,
}

impl Listeners {
    /// They end with `tasks`.
    pub fn new(tasks: Tasks) -> Listeners {
        Listeners {
            checks: watch::Sender::default(),
            tasks,
        }
    }

    pub fn set(&self, checks: Checks) {
        let before = Arc::clone(&self.checks.borrow());
        if *before == checks {
            return;
        }
        let added: Vec<u16> = checks
            .keys()
            .filter(|port| !before.contains_key(port))
            .copied()
            .collect();
        self.checks.send_replace(Arc::new(checks));
        for port in added {
            let (checks, tasks) = (self.checks.subscribe(), self.tasks.clone());
            let mut stop = tasks.stop_signal();
            let name = format!("service health check {port}");
            self.tasks.spawn(name, async move {
                tokio::select! {
                    () = listen(port, checks, &tasks) => {}
                    () = stop.stopped() => {}
                }
            });
        }
    }
}

/// Until no Service asks for the port any more. A Service that comes back may find its old listener about to close:
/// then it waits for the port like for that of any other program.
async fn listen(port: u16, mut checks: watch::Receiver<Arc<Checks>>, tasks: &Tasks) {
    let mut failures = 0;
    let listener = loop {
        if !checks.borrow_and_update().contains_key(&port) {
            return;
        }
        match TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await {
            Ok(listener) => break listener,
            Err(error) => {
                failures += 1;
                info!(port, %error, "open the port of a service's health check");
                sleep(RETRY.jittered(failures)).await;
            }
        }
    };
    loop {
        // Both branches are cancel-safe: a connection not yet accepted stays in the kernel's queue.
        let accepted = tokio::select! {
            changed = checks.changed() => match changed {
                Ok(()) if checks.borrow().contains_key(&port) => continue,
                _ => return,
            },
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let (checks, mut stop) = (checks.clone(), tasks.stop_signal());
                tasks.spawn("service health check", async move {
                    tokio::select! {
                        () = serve(stream, port, checks) => {}
                        () = stop.stopped() => {}
                    }
                });
            }
            // Out of descriptors: waiting for one to come free beats spinning.
            Err(_) => sleep(RETRY.first).await,
        }
    }
}

async fn serve(stream: TcpStream, port: u16, checks: watch::Receiver<Arc<Checks>>) {
    let Ok(asked) = stream.local_addr().map(|address: SocketAddr| address.ip()) else {
        return;
    };
    let service = service_fn(move |_| {
        let checks = Arc::clone(&checks.borrow());
        async move {
            let none = Check::default();
            Ok::<_, Infallible>(checks.get(&port).unwrap_or(&none).answer(asked))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_TIMEOUT)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    if !matches!(timeout(REQUEST_TIMEOUT, connection).await, Ok(Ok(()))) {
        debug!(port, "a health check was broken off");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::object::Object;
    use serde_json::{Value, json};

    fn snapshot<T: Object>(items: impl IntoIterator<Item = Value>) -> Snapshot<T> {
        let items = items.into_iter();
        items
            .map(|item| serde_json::from_value(item).unwrap())
            .collect()
    }

    fn node(name: &str, address: &str) -> Value {
        json!({"metadata": {"name": name, "resourceVersion": "1"},
            "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
    }

    fn service(name: &str, spec: Value) -> Value {
        let mut spec = spec;
        spec["type"] = "LoadBalancer".into();
        json!({"metadata": {"namespace": "ns", "name": name, "resourceVersion": "1"}, "spec": spec})
    }

    #[test]
    fn ready_endpoints_are_counted_by_node() {
        let services = snapshot(vec![
            service(
                "a",
                json!({"externalTrafficPolicy": "Local", "healthCheckNodePort": 30001}),
            ),
            service(
                "b",
                json!({"externalTrafficPolicy": "Cluster", "healthCheckNodePort": 30002}),
            ),
        ]);
        let endpoint = |address: &str, node: &str, is_ready: bool| json!({"addresses": [address], "nodeName": node, "conditions": {"ready": is_ready}});
        let slice = |name: &str| {
            json!({"addressType": "IPv4", "metadata": {"namespace": "ns", "name": name, "resourceVersion": "1", "labels": {SERVICE_NAME: "a"}},
            "endpoints": [endpoint("10.244.0.5", "n1", true), endpoint("10.244.0.6", "n1", true), endpoint("10.244.1.5", "n2", false)]})
        };
        let slices = snapshot(vec![slice("x"), slice("y")]);
        let nodes = snapshot(vec![node("n1", "192.0.2.1"), node("n2", "192.0.2.2")]);
        let checks = checks(&services, &slices, &nodes);
        assert_eq!(checks.keys().collect::<Vec<_>>(), [&30001]);
        let answer = |address: &str| {
            let answer = checks[&30001].answer(address.parse().unwrap());
            let weight = answer.headers()["x-load-balancing-endpoint-weight"]
                .to_str()
                .unwrap()
                .to_owned();
            (answer.status().as_u16(), weight)
        };
        assert_eq!(answer("192.0.2.1"), (200, "2".to_owned()));
        assert_eq!(answer("192.0.2.2"), (503, "0".to_owned()));
        assert_eq!(answer("127.0.0.1"), (200, "2".to_owned()));
    }
}
