//! Rules for Services as tables, and the loop against a network that only remembers.

use super::*;
use crate::{
    api::{
        ApiError,
        call::{Call, EventType, List, Outcome, Reply, User, Verb, WatchEvent},
    },
    client::{Client, Snapshot, Transport},
    net::{
        model::NetError,
        rules::{Backend, Frontend, Place, Protocol},
    },
};
use bytes::Bytes;
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream};
use serde_json::{Value, json};
use std::sync::Mutex;
use tokio::sync::watch;

fn service(name: &str, spec: &Value) -> Value {
    let mut service = json!({"metadata": {"namespace": "default", "name": name, "resourceVersion": "1"},
        "spec": {"type": "ClusterIP", "clusterIP": "10.96.0.20", "ports": [{"port": 80, "protocol": "TCP"}]}});
    for (field, value) in spec.as_object().unwrap() {
        service["spec"][field] = value.clone();
    }
    service
}

/// Endpoints as `10.244.0.2@node`, with `!` in front when not ready and `~` when leaving.
fn slice(service: &str, port: &Value, endpoints: &[&str]) -> Value {
    let endpoints: Vec<Value> = endpoints
        .iter()
        .map(|text| {
            let (ready, leaving) = (
                !text.starts_with(['!', '~']),
                text.starts_with('~'),
            );
            let text = text.trim_start_matches(['!', '~']);
            let (address, node) = text.split_once('@').unwrap_or((text, "one"));
            json!({"addresses": [address], "nodeName": node,
                "conditions": {"ready": ready, "serving": ready || leaving, "terminating": leaving}})
        })
        .collect();
    json!({"metadata": {"namespace": "default", "name": format!("{service}-x"), "resourceVersion": "1",
            "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4", "endpoints": endpoints, "ports": [port]})
}

fn node(name: &str, address: &str) -> Value {
    let range = address.replace(".1.1", ".1.0").replace(".0.1", ".0.0");
    json!({"metadata": {"name": name, "resourceVersion": "1", "labels": {"topology.kubernetes.io/zone": format!("zone-{name}")}},
        "spec": {"podCIDR": format!("{range}/24")},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]}})
}

/// One line per frontend: `tcp 10.96.0.20:80 -> 10.244.0.2:8080 10.244.0.3:8080`.
fn lines(service: Value, slice: Value) -> Vec<String> {
    let nodes = [node("one", "10.244.0.1"), node("two", "10.244.1.1")];
    let nodes: Snapshot<Node> = nodes
        .into_iter()
        .map(|node| serde_json::from_value(node).unwrap())
        .collect();
    let services: Snapshot<Service> = [serde_json::from_value(service).unwrap()]
        .into_iter()
        .collect();
    let slices: Snapshot<EndpointSlice> = [serde_json::from_value(slice).unwrap()]
        .into_iter()
        .collect();
    describe(&services::rules(&services, &slices, &nodes))
}

fn describe(rules: &RuleSet) -> Vec<String> {
    let frontend = |frontend: &crate::net::rules::Frontend| {
        let place = match frontend.place {
            Place::Address(address) => address.to_string(),
            Place::From(range, address) => format!("{range}>{address}"),
            Place::Host => "*".to_owned(),
        };
        let protocol = format!("{:?}", frontend.protocol).to_lowercase();
        format!("{protocol} {place}:{}", frontend.port)
    };
    let target = |target: &Target| match target {
        Target::Reject => "reject".to_owned(),
        Target::Drop => "drop".to_owned(),
        Target::Backends { backends, affinity } => {
            let backends = backends
                .iter()
                .map(|one| format!("{}:{}", one.address, one.port));
            let affinity = affinity.map(|time| format!("for {}s", time.as_secs()));
            backends.chain(affinity).collect::<Vec<_>>().join(" ")
        }
    };
    let frontends = rules.frontends.iter();
    frontends
        .map(|(from, to)| format!("{} -> {}", frontend(from), target(to)))
        .collect()
}

/// What the case shows, the Service's spec, its slice, the rules.
type Case = (&'static str, Value, Value, Vec<&'static str>);

fn check(cases: Vec<Case>) {
    for (name, spec, slice, mut expected) in cases {
        expected.sort_unstable();
        let mut found = lines(service("s", &spec), slice);
        found.sort();
        assert_eq!(found, expected, "{name}");
    }
}

fn port() -> Value {
    json!({"name": "", "port": 8080, "protocol": "TCP"})
}

#[test]
fn services_become_frontends() {
    check(vec![
        (
            "cluster ip",
            json!({}),
            slice(
                "s",
                &port(),
                &["10.244.0.2", "10.244.1.3@two", "!10.244.0.9"],
            ),
            vec!["tcp 10.96.0.20:80 -> 10.244.0.2:8080 10.244.1.3:8080"],
        ),
        (
            "nobody there",
            json!({}),
            slice("s", &port(), &["!10.244.0.2"]),
            vec!["tcp 10.96.0.20:80 -> reject"],
        ),
        (
            "leaving endpoints when nothing else is left",
            json!({}),
            slice("s", &port(), &["~10.244.0.2"]),
            vec!["tcp 10.96.0.20:80 -> 10.244.0.2:8080"],
        ),
        (
            "not those of another Service",
            json!({}),
            slice("other", &port(), &["10.244.0.2"]),
            vec!["tcp 10.96.0.20:80 -> reject"],
        ),
        (
            "ports are matched by name and protocol",
            json!({"ports": [{"name": "a", "port": 53, "protocol": "UDP"}, {"name": "b", "port": 53, "protocol": "TCP"}]}),
            slice(
                "s",
                &json!({"name": "a", "port": 5353, "protocol": "UDP"}),
                &["10.244.0.2"],
            ),
            vec![
                "tcp 10.96.0.20:53 -> reject",
                "udp 10.96.0.20:53 -> 10.244.0.2:5353",
            ],
        ),
        (
            "headless",
            json!({"clusterIP": "None"}),
            slice("s", &port(), &["10.244.0.2"]),
            vec![],
        ),
        (
            "external name",
            json!({"type": "ExternalName", "clusterIP": ""}),
            slice("s", &port(), &[]),
            vec![],
        ),
        (
            "affinity",
            json!({"sessionAffinity": "ClientIP", "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 60}}}),
            slice("s", &port(), &["10.244.0.2"]),
            vec!["tcp 10.96.0.20:80 -> 10.244.0.2:8080 for 60s"],
        ),
    ]);
}

#[test]
fn the_ways_in_from_outside() {
    let node_port = json!([{"port": 80, "protocol": "TCP", "nodePort": 30080}]);
    check(vec![
        (
            "node port",
            json!({"type": "NodePort", "ports": node_port}),
            slice("s", &port(), &["10.244.0.2"]),
            vec![
                "tcp 10.96.0.20:80 -> 10.244.0.2:8080",
                "tcp *:30080 -> 10.244.0.2:8080",
            ],
        ),
        (
            "node port, local policy",
            json!({"type": "NodePort", "ports": node_port, "externalTrafficPolicy": "Local"}),
            slice("s", &port(), &["10.244.0.2"]),
            vec![
                "tcp 10.96.0.20:80 -> 10.244.0.2:8080",
                "tcp 10.244.0.1:30080 -> 10.244.0.2:8080",
                "tcp 10.244.1.1:30080 -> drop",
                "tcp *:30080 -> 10.244.0.2:8080",
            ],
        ),
        (
            "internal policy",
            json!({"internalTrafficPolicy": "Local"}),
            slice("s", &port(), &["10.9.9.9@elsewhere"]),
            vec![
                "tcp 10.96.0.20:80 -> drop",
                "tcp 10.244.0.0/24>10.96.0.20:80 -> drop",
                "tcp 10.244.1.0/24>10.96.0.20:80 -> drop",
            ],
        ),
        (
            "internal policy, by the client's node",
            json!({"internalTrafficPolicy": "Local"}),
            slice("s", &port(), &["10.244.0.2", "10.244.0.3"]),
            vec![
                "tcp 10.96.0.20:80 -> 10.244.0.2:8080 10.244.0.3:8080",
                "tcp 10.244.0.0/24>10.96.0.20:80 -> 10.244.0.2:8080 10.244.0.3:8080",
                "tcp 10.244.1.0/24>10.96.0.20:80 -> drop",
            ],
        ),
        (
            "internal policy without any endpoint",
            json!({"internalTrafficPolicy": "Local"}),
            slice("s", &port(), &[]),
            vec!["tcp 10.96.0.20:80 -> reject"],
        ),
        (
            "external addresses",
            json!({"externalIPs": ["192.0.2.1", "2001:db8::1"]}),
            slice("s", &port(), &["10.244.0.2"]),
            vec![
                "tcp 10.96.0.20:80 -> 10.244.0.2:8080",
                "tcp 192.0.2.1:80 -> 10.244.0.2:8080",
            ],
        ),
        (
            "nonsense",
            json!({"ports": [{"port": 0}, {"port": 70000}]}),
            slice("s", &port(), &["x"]),
            vec![],
        ),
    ]);
}

#[test]
fn load_balancers_answer_at_their_ingress() {
    let port = json!({"name": "", "port": 8080, "protocol": "TCP"});
    let mut balanced = service("s", &json!({"type": "LoadBalancer"}));
    balanced["status"] = json!({"loadBalancer": {"ingress": [
        {"ip": "192.0.2.9", "ipMode": "VIP"}, {"ip": "192.0.2.10", "ipMode": "Proxy"}, {"hostname": "x"}]}});
    let found = lines(balanced.clone(), slice("s", &port, &["10.244.0.2"]));
    assert_eq!(
        found,
        [
            "tcp 10.96.0.20:80 -> 10.244.0.2:8080",
            "tcp 192.0.2.9:80 -> 10.244.0.2:8080"
        ]
    );
    balanced["spec"]["type"] = "ClusterIP".into();
    let found = lines(balanced, slice("s", &port, &["10.244.0.2"]));
    assert_eq!(found, ["tcp 10.96.0.20:80 -> 10.244.0.2:8080"]);
}

#[test]
fn sources_restrict_the_load_balancers_address_alone() {
    let port = json!({"name": "", "port": 8080, "protocol": "TCP"});
    let restricted = |more: Value| {
        let mut balanced = service("s", &json!({"type": "LoadBalancer"}));
        balanced["status"] = json!({"loadBalancer": {"ingress": [{"ip": "192.0.2.9"}]}});
        for (field, value) in more.as_object().unwrap() {
            balanced[field] = value.clone();
        }
        let services: Snapshot<Service> = [serde_json::from_value(balanced).unwrap()]
            .into_iter()
            .collect();
        let slices: Snapshot<EndpointSlice> =
            [serde_json::from_value(slice("s", &port, &["10.244.0.2"])).unwrap()]
                .into_iter()
                .collect();
        let rules = services::rules(&services, &slices, &Snapshot::default());
        let sources = rules.sources.iter();
        sources
            .map(|(frontend, nets)| format!("{:?} {nets:?}", frontend.place))
            .collect::<Vec<_>>()
    };
    let spec = |ranges: &[&str]| json!({"type": "LoadBalancer", "clusterIP": "10.96.0.20", "ports": [{"port": 80}], "loadBalancerSourceRanges": ranges});
    assert_eq!(restricted(json!({})), Vec::<String>::new());
    let expected = ["Address(192.0.2.9) [10.0.0.0/8, 192.0.2.0/24]"];
    let listed = json!({"spec": spec(&["10.0.0.0/8", " 192.0.2.0/24 "])});
    assert_eq!(restricted(listed), expected);
    let annotated = json!({"metadata": {"namespace": "default", "name": "s", "resourceVersion": "1",
        "annotations": {"service.beta.kubernetes.io/load-balancer-source-ranges": "10.0.0.0/8, 192.0.2.0/24"}}});
    assert_eq!(restricted(annotated), expected);
}

#[test]
fn hints_lead_pods_to_endpoints_near_them() {
    let hinted = |hints: [Value; 2]| {
        let mut slice = slice("s", &port(), &["10.244.0.2@one", "10.244.1.2@two"]);
        for (at, hint) in hints.into_iter().enumerate() {
            slice["endpoints"][at]["hints"] = hint;
        }
        lines(service("s", &json!({})), slice)
    };
    let all = "tcp 10.96.0.20:80 -> 10.244.0.2:8080 10.244.1.2:8080";
    let near = [
        all,
        "tcp 10.244.0.0/24>10.96.0.20:80 -> 10.244.0.2:8080",
        "tcp 10.244.1.0/24>10.96.0.20:80 -> 10.244.1.2:8080",
    ];
    let nodes = |name: &str| json!({"forNodes": [{"name": name}]});
    let zones = |name: &str| json!({"forZones": [{"name": format!("zone-{name}")}]});
    assert_eq!(hinted([nodes("one"), nodes("two")]), near);
    assert_eq!(hinted([zones("one"), zones("two")]), near);
    assert_eq!(
        hinted([nodes("one"), json!({})]),
        [all],
        "not for everybody"
    );
    assert_eq!(
        hinted([nodes("one"), nodes("one")]),
        [
            all,
            "tcp 10.244.0.0/24>10.96.0.20:80 -> 10.244.0.2:8080 10.244.1.2:8080"
        ]
    );
}

#[test]
fn another_proxys_services_are_left_alone() {
    let port = json!({"name": "", "port": 8080, "protocol": "TCP"});
    let mut foreign = service("s", &json!({}));
    foreign["metadata"]["labels"] = json!({"service.kubernetes.io/service-proxy-name": "other"});
    assert!(lines(foreign, slice("s", &port, &["10.244.0.2"])).is_empty());
}

/// Remembers what was applied; refuses so many times first.
struct FakeRules {
    applied: watch::Sender<Vec<RuleSet>>,
    refusals: Mutex<u32>,
}

impl PacketRules for FakeRules {
    fn apply(&self, rules: RuleSet) -> BoxFuture<'_, Result<(), NetError>> {
        let mut refusals = self.refusals.lock().unwrap();
        if *refusals > 0 {
            *refusals -= 1;
            return async { Err(NetError::Failed("busy".to_owned())) }.boxed();
        }
        self.applied.send_modify(|all| all.push(rules));
        async { Ok(()) }.boxed()
    }
}

/// Lists are fixed; slices that are sent arrive by watch.
struct FakeServer {
    slices: Mutex<Option<tokio::sync::mpsc::UnboundedReceiver<WatchEvent>>>,
}

impl Transport for FakeServer {
    fn call<'a>(&'a self, _: &'a User, call: Call) -> BoxFuture<'a, Result<Reply, ApiError>> {
        let resource = call.resource.resource.as_ref();
        let items = match resource {
            "services" => vec![service("s", &json!({}))],
            "nodes" => vec![node("one", "10.244.0.1")],
            _ => vec![],
        };
        let outcome = match (call.verb, resource) {
            (Verb::List, _) => Outcome::List(List {
                revision: 1,
                items: items
                    .iter()
                    .map(|item| Bytes::from(item.to_string()))
                    .collect(),
                ..List::default()
            }),
            (_, "endpointslices") => {
                let events = self.slices.lock().unwrap().take().unwrap();
                let events = stream::unfold(events, |mut events| async move {
                    Some((events.recv().await?, events))
                });
                Outcome::Watch(events.boxed())
            }
            _ => Outcome::Watch(stream::pending().boxed()),
        };
        async { Ok(Reply::from(outcome)) }.boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn changes_that_come_together_are_applied_together() {
    let (events, receiver) = tokio::sync::mpsc::unbounded_channel();
    let server = FakeServer {
        slices: Mutex::new(Some(receiver)),
    };
    let tasks = Tasks::new();
    let client = Client::new(Arc::new(server), User::default());
    let informers = Informers::new(client, tasks.clone());
    let network = Arc::new(FakeRules {
        applied: watch::Sender::default(),
        refusals: Mutex::new(2),
    });
    let detours = watch::Sender::new(Detours::new());
    let stands = start(&informers, network.clone(), detours.subscribe(), &tasks);
    stands.await.unwrap();
    let mut applied = network.applied.subscribe();
    applied.wait_for(|all| all.len() == 1).await.unwrap();
    for (revision, pods) in [(2, &["10.244.0.2"][..]), (3, &["10.244.0.2", "10.244.0.3"])] {
        let port = json!({"name": "", "port": 8080, "protocol": "TCP"});
        let mut slice = slice("s", &port, pods);
        slice["metadata"]["resourceVersion"] = revision.to_string().into();
        let event = WatchEvent {
            event: EventType::Modified,
            object: Bytes::from(slice.to_string()),
            revision,
        };
        events.send(event).unwrap();
    }
    applied.wait_for(|all| all.len() >= 2).await.unwrap();
    let all = applied.borrow().clone();
    assert_eq!(describe(&all[0]), ["tcp 10.96.0.20:80 -> reject"]);
    assert_eq!(
        describe(&all[1]),
        ["tcp 10.96.0.20:80 -> 10.244.0.2:8080 10.244.0.3:8080"]
    );
    let before = all.len();
    let frontend = Frontend {
        place: Place::Address([10, 244, 0, 1].into()),
        protocol: Protocol::Tcp,
        port: 80,
    };
    let backend = Backend {
        address: [10, 244, 0, 1].into(),
        port: 40_000,
    };
    detours.send_modify(|all| {
        all.insert(frontend, backend);
    });
    applied.wait_for(|all| all.len() > before).await.unwrap();
    let all = applied.borrow().clone();
    assert!(describe(&all[before]).contains(&"tcp 10.244.0.1:80 -> 10.244.0.1:40000".to_owned()));
    tasks.shutdown(Duration::from_secs(1)).await;
}
