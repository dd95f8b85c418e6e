//! Policies, pods and namespaces as tables: who may reach whom.

use super::*;
use serde_json::{Value, json};

/// `team/name labels…`: a pod of the namespace with these labels; port `http` is 8080, for `b` 9090.
fn pod(text: &str) -> Value {
    let (key, labels) = text.split_once(' ').unwrap_or((text, ""));
    let (namespace, name) = key.split_once('/').unwrap();
    let labels: BTreeMap<&str, &str> = labels
        .split(' ')
        .filter_map(|label| label.split_once('='))
        .collect();
    let port = if name == "b" { 9090 } else { 8080 };
    json!({"metadata": {"namespace": namespace, "name": name, "uid": key, "resourceVersion": "1", "labels": labels},
        "spec": {"hostNetwork": name == "host", "containers": [{"name": "c", "ports": [{"name": "http", "containerPort": port, "protocol": "TCP"}]}]}})
}

fn snapshot<T: crate::api::object::Object>(items: Vec<Value>) -> Snapshot<T> {
    let items = items.into_iter();
    items
        .map(|item| serde_json::from_value(item).unwrap())
        .collect()
}

fn world(policies: &[Value]) -> Option<Fences> {
    let policies = policies.iter().enumerate().map(|(at, spec)| {
        json!({"metadata": {"namespace": "x", "name": format!("p{at}"), "resourceVersion": "1"}, "spec": spec})
    });
    let pods = [
        "x/a app=a",
        "x/b app=b tier=db",
        "x/host app=a",
        "y/a app=a",
        "kube-system/c app=c",
    ];
    let namespaces = ["x", "y", "kube-system"].map(|name| {
        json!({"metadata": {"name": name, "resourceVersion": "1", "labels": {"kubernetes.io/metadata.name": name}}})
    });
    let dns = json!({"metadata": {"namespace": "kube-system", "name": "kube-dns", "resourceVersion": "1", "labels": {"kubernetes.io/service-name": "kube-dns"}},
        "addressType": "IPv4", "endpoints": [{"addresses": ["10.244.0.1"]}],
        "ports": [{"name": "dns", "port": 1053, "protocol": "UDP"}, {"name": "dns-tcp", "port": 1053, "protocol": "TCP"}]});
    fences(
        &snapshot(policies.collect()),
        &snapshot(pods.map(pod).to_vec()),
        &snapshot(namespaces.to_vec()),
        &snapshot(vec![dns]),
    )
}

/// What one pod is open to: `open`, or one line per gate.
fn shown(policies: &[Value], pod: &str, way: Way) -> Vec<String> {
    let fences = world(policies).unwrap();
    let member = fences.members.get(pod).unwrap();
    let group = match way {
        Way::In => member.ingress,
        Way::Out => member.egress,
    };
    let Some(group) = group else {
        return vec!["open".to_owned()];
    };
    let gates = fences.groups[&(way, group)].iter();
    let mut lines: Vec<String> = gates
        .map(|gate| {
            let sandboxes = gate.peers.sandboxes.iter().map(|one| one.to_string());
            let ranges = gate.peers.ranges.iter().map(|range| {
                let [first, last] =
                    [range.start(), range.end()].map(|&address| std::net::Ipv4Addr::from(address));
                format!("{first}-{last}")
            });
            let ports = gate.ports.iter().map(|port| {
                let protocol = format!("{:?}", port.protocol).to_lowercase();
                match (*port.ports.start(), *port.ports.end()) {
                    (first, last) if first == last => format!("{protocol}:{first}"),
                    (first, last) => format!("{protocol}:{first}-{last}"),
                }
            });
            let peers: Vec<String> = sandboxes.chain(ranges).collect();
            let ports: Vec<String> = ports.collect();
            format!("{} | {}", peers.join(" "), ports.join(" "))
        })
        .collect();
    lines.sort();
    lines
}

const DNS: [&str; 2] = [
    "10.244.0.1-10.244.0.1 | tcp:1053",
    "10.244.0.1-10.244.0.1 | udp:1053",
];

#[test]
fn no_policy_no_fences() {
    assert!(world(&[]).is_none());
}

#[test]
fn a_policy_isolates_whom_it_selects_and_nobody_else() {
    let deny = json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"]});
    let deny = [deny];
    assert_eq!(shown(&deny, "x/a", Way::In), Vec::<String>::new());
    for (pod, way) in [("x/a", Way::Out), ("x/b", Way::In), ("y/a", Way::In)] {
        assert_eq!(shown(&deny, pod, way), ["open"], "{pod}");
    }
    let everybody = [json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})];
    for (pod, way) in [("x/a", Way::Out), ("x/b", Way::In)] {
        assert_eq!(shown(&everybody, pod, way), Vec::<String>::new());
    }
    let fences = world(&everybody).unwrap();
    assert!(!fences.members.contains_key("x/host"));
    assert_eq!(fences.groups.len(), 2, "alike pods share a group");
}

#[test]
fn peers_are_chosen_by_pod_namespace_and_block() {
    type Case = (&'static str, Value, Vec<&'static str>);
    let cases: Vec<Case> = vec![
        (
            "everybody",
            json!({}),
            vec!["kube-system/c x/a x/b y/a 0.0.0.0-255.255.255.255 | "],
        ),
        (
            "pods of the same namespace",
            json!({"from": [{"podSelector": {}}]}),
            vec!["x/a x/b | "],
        ),
        (
            "by labels",
            json!({"from": [{"podSelector": {"matchLabels": {"app": "a"}}}]}),
            vec!["x/a | "],
        ),
        (
            "by an expression",
            json!({"from": [{"podSelector": {"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}}]}),
            vec!["x/a | "],
        ),
        (
            "a namespace",
            json!({"from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}]}),
            vec!["y/a | "],
        ),
        (
            "pods of a namespace",
            json!({"from": [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "a"}}}]}),
            vec!["x/a y/a | "],
        ),
        (
            "one or the other",
            json!({"from": [{"podSelector": {"matchLabels": {"app": "b"}}}, {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "y"}}}]}),
            vec!["x/b y/a | "],
        ),
        (
            "a block",
            json!({"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/25", "192.0.2.192/28"]}}]}),
            vec!["192.0.2.128-192.0.2.191 192.0.2.208-192.0.2.255 | "],
        ),
        (
            "nothing of a block is left",
            json!({"from": [{"ipBlock": {"cidr": "192.0.2.0/24", "except": ["192.0.2.0/24"]}}]}),
            vec![" | "],
        ),
    ];
    for (name, rule, mut expected) in cases {
        if name == "everybody" {
            expected.extend(DNS);
        }
        expected.sort_unstable();
        let policy = json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [rule]});
        assert_eq!(shown(&[policy], "x/a", Way::In), expected, "{name}");
    }
}

#[test]
fn ports_have_numbers_names_and_ends() {
    let policy = |ports: Value| json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "a"}}}], "ports": ports}]});
    let numbers = policy(
        json!([{"port": 80}, {"protocol": "UDP", "port": 1000, "endPort": 2000}, {"protocol": "SCTP"}]),
    );
    assert_eq!(
        shown(&[numbers], "x/a", Way::In),
        ["x/a | tcp:80 udp:1000-2000 sctp:0-65535"]
    );
    let named = [policy(json!([{"port": "http"}]))];
    assert_eq!(shown(&named, "x/a", Way::In), ["x/a | tcp:8080"]);
    assert_eq!(
        shown(&named, "x/b", Way::In),
        ["x/a | tcp:9090"],
        "its own number"
    );
    let unknown = [policy(json!([{"port": "grpc"}]))];
    assert_eq!(
        shown(&unknown, "x/a", Way::In),
        Vec::<String>::new(),
        "not every port"
    );
}

#[test]
fn what_goes_out_means_the_ports_of_the_peers() {
    let policy = |rule: Value| {
        [
            json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"], "egress": [rule]}),
        ]
    };
    let named = policy(
        json!({"to": [{"podSelector": {}}, {"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [{"port": "http"}, {"port": 443}]}),
    );
    assert_eq!(
        shown(&named, "x/a", Way::Out),
        [
            "x/a x/b 192.0.2.0-192.0.2.255 | tcp:443",
            "x/a | tcp:8080",
            "x/b | tcp:9090"
        ]
    );
    assert_eq!(shown(&named, "x/a", Way::In), ["open"]);
}

#[test]
fn the_usual_rules_for_dns_mean_ours() {
    let selectors = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}}, "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}}});
    let egress =
        |rule: Value| [json!({"podSelector": {}, "policyTypes": ["Egress"], "egress": [rule]})];
    let udp = egress(json!({"to": [selectors], "ports": [{"protocol": "UDP", "port": 53}]}));
    assert_eq!(
        shown(&udp, "x/a", Way::Out),
        [" | udp:53", DNS[1]].map(str::to_owned)
    );
    let all = egress(json!({"to": [selectors]}));
    assert_eq!(
        shown(&all, "x/a", Way::Out),
        [" | ", DNS[0], DNS[1]].map(str::to_owned)
    );
    let anywhere = egress(json!({"ports": [{"protocol": "TCP", "port": 53}]}));
    assert!(shown(&anywhere, "x/a", Way::Out).contains(&DNS[0].to_owned()));
    let web = egress(json!({"to": [selectors], "ports": [{"port": 8443}]}));
    assert_eq!(
        shown(&web, "x/a", Way::Out),
        [" | tcp:8443"],
        "nothing else of the host"
    );
}

#[test]
fn policies_add_up() {
    let of = |app: &str| json!({"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": app}}}]}]});
    let deny = json!({"podSelector": {}, "policyTypes": ["Ingress"]});
    assert_eq!(
        shown(&[deny, of("a"), of("b")], "x/a", Way::In),
        ["x/a | ", "x/b | "]
    );
}
