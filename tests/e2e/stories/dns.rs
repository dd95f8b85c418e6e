//! Names: those of the cluster, those of the host, and those that people add.

use super::services::{client, load_echo, ready};
use crate::{
    Story,
    cluster::{Place, shared},
};
use std::{net::UdpSocket, thread};

pub const STORIES: &[Story] = &[
    ("dns::every_name_of_the_cluster", every_name_of_the_cluster),
    ("dns::people_edit_the_corefile", people_edit_the_corefile),
];

/// The answers of a question in lower case, sorted, by the client's own resolver.
fn ask(place: &Place, kind: &str, name: &str) -> Vec<String> {
    let output = place
        .kubectl_command(&[
            "exec",
            "-n",
            "names",
            "client",
            "--",
            "nslookup",
            &format!("-type={kind}"),
            name,
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).to_lowercase();
    let after = text.lines().skip_while(|line| !line.trim().is_empty());
    let mut lines: Vec<String> = after
        .map(|line| line.replace(['\t', ' '], " ").trim().to_owned())
        .filter(|line| !line.is_empty())
        .collect();
    lines.sort_unstable();
    lines
}

const NAMES: &str = "
apiVersion: v1
kind: Service
metadata: {name: plain, namespace: names}
spec: {selector: {app: member}, ports: [{name: web, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: group, namespace: names}
spec: {clusterIP: None, selector: {app: member}, ports: [{name: web, port: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: alias, namespace: names}
spec: {type: ExternalName, externalName: plain.names.svc.cluster.local}
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: names}
spec:
  serviceName: group
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: member}}
  template:
    metadata: {labels: {app: member}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: c, image: 'echo:test'}]
";

fn every_name_of_the_cluster() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "names"]);
    let named = client("names", "busy", "hostname: busy-box\n  subdomain: group")
        .replace("{app: busy}", "{app: member}");
    place.apply(&format!(
        "{NAMES}---{}---{named}",
        client("names", "client", "")
    ));
    for pod in ["client", "busy", "db-0", "db-1"] {
        place.eventually(pod, || {
            let output = place
                .kubectl_command(&["get", "pod", pod, "-n", "names"])
                .output()
                .unwrap();
            output.status.success().then_some(())
        });
        ready(&place, "names", pod);
    }
    services_and_their_pods(&place);
    what_the_notes_show(&place);
    place.kubectl(&["delete", "namespace", "names", "--wait=false"]);
}

fn has(place: &Place, kind: &str, name: &str, line: &str) {
    let found = ask(place, kind, name);
    assert!(
        found.iter().any(|one| one == line),
        "{kind} {name}: {line} not in {found:#?}"
    );
}

fn services_and_their_pods(place: &Place) {
    let ip = |pod: &str| place.field(&["pod", pod, "-n", "names"], ".status.podIP");
    let (busy, first, second) = (ip("busy"), ip("db-0"), ip("db-1"));
    let cluster_ip = place.field(&["service", "plain", "-n", "names"], ".spec.clusterIP");
    let zone = "names.svc.cluster.local";
    let address = |ip: &str| format!("address: {ip}");
    place.eventually("endpoints in DNS", || {
        (ask(place, "a", &format!("group.{zone}"))
            .iter()
            .filter(|line| line.starts_with("address"))
            .count()
            == 3)
            .then_some(())
    });
    // Short names by the search path, long ones, and pods by address.
    for name in [
        "plain",
        "plain.names",
        "plain.names.svc",
        &format!("plain.{zone}"),
        &format!("plain.{zone}."),
    ] {
        let text = place.kubectl(&[
            "exec",
            "-n",
            "names",
            "client",
            "--",
            "curl",
            "-sS",
            "-m",
            "3",
            &format!("http://{}", name.trim_end_matches('.')),
        ]);
        assert!(
            text.starts_with("db-") || text.starts_with("busy"),
            "{name}: {text}"
        );
    }
    has(place, "a", &format!("plain.{zone}"), &address(&cluster_ip));
    has(place, "a", &format!("PLAIN.{zone}"), &address(&cluster_ip));
    has(place, "a", &format!("db-0.group.{zone}"), &address(&first));
    has(place, "a", &format!("db-1.group.{zone}"), &address(&second));
    has(
        place,
        "a",
        &format!("busy-box.group.{zone}"),
        &address(&busy),
    );
    has(
        place,
        "a",
        &format!("{}.names.pod.cluster.local", busy.replace('.', "-")),
        &address(&busy),
    );
    aliases_ports_and_reverse(place, &cluster_ip, &first);
}

fn aliases_ports_and_reverse(place: &Place, cluster_ip: &str, first: &str) {
    let zone = "names.svc.cluster.local";
    let address = |ip: &str| format!("address: {ip}");
    has(
        place,
        "cname",
        &format!("alias.{zone}"),
        &format!("alias.{zone} canonical name = plain.{zone}"),
    );
    has(place, "a", &format!("alias.{zone}"), &address(cluster_ip));
    has(
        place,
        "srv",
        &format!("_web._tcp.plain.{zone}"),
        &format!("_web._tcp.plain.{zone} service = 0 100 80 plain.{zone}"),
    );
    has(
        place,
        "srv",
        &format!("_web._tcp.group.{zone}"),
        &format!("_web._tcp.group.{zone} service = 0 100 8080 db-1.group.{zone}"),
    );
    let reverse = |ip: &str| {
        let mut parts: Vec<&str> = ip.split('.').collect();
        parts.reverse();
        format!("{}.in-addr.arpa", parts.join("."))
    };
    has(
        place,
        "ptr",
        &reverse(cluster_ip),
        &format!("{} name = plain.{zone}", reverse(cluster_ip)),
    );
    has(
        place,
        "ptr",
        &reverse(first),
        &format!("{} name = db-0.group.{zone}", reverse(first)),
    );
    let nothing = ask(place, "a", &format!("nobody.{zone}"));
    assert!(
        nothing.iter().any(|line| line.contains("nxdomain")),
        "{nothing:?}"
    );
}

fn what_the_notes_show(place: &Place) {
    let resolver = place.kubectl(&[
        "exec",
        "-n",
        "names",
        "client",
        "--",
        "cat",
        "/etc/resolv.conf",
    ]);
    let server = place.field(
        &["service", "kube-dns", "-n", "kube-system"],
        ".spec.clusterIP",
    );
    assert!(
        resolver.contains(&format!("nameserver {server}\n")),
        "{resolver}"
    );
    assert!(
        resolver.contains("search names.svc.cluster.local svc.cluster.local cluster.local"),
        "{resolver}"
    );
    let all = place.kubectl(&["get", "all", "-n", "kube-system"]);
    let line = all
        .lines()
        .find(|line| line.starts_with("service/kube-dns"))
        .unwrap_or_else(|| panic!("{all}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(
        words[1..5],
        ["ClusterIP", &server, "<none>", "53/UDP,53/TCP"]
    );
    let endpoints = place.kubectl(&["get", "endpoints", "kube-dns", "-n", "kube-system"]);
    assert!(endpoints.contains(":53"), "{endpoints}");
}

/// A name server on the host that answers every question for an address with 192.0.2.99. Ends with the process.
fn stub() -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut buffer) {
            // The question ends five bytes after the name's last label; what follows it is left out.
            let name = buffer[12..length]
                .iter()
                .position(|&byte| byte == 0)
                .unwrap_or(0);
            let question = &buffer[12..12 + name + 5];
            let mut answer = vec![buffer[0], buffer[1], 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
            answer.extend_from_slice(question);
            answer.extend_from_slice(&[0xc0, 0x0c, 0, 1, 0, 1, 0, 0, 0, 5, 0, 4, 192, 0, 2, 99]);
            let _ = socket.send_to(&answer, from);
        }
    });
    address
}

fn people_edit_the_corefile() {
    let place = shared();
    load_echo(&place);
    let before = place.field(
        &["configmap", "coredns", "-n", "kube-system"],
        ".data.Corefile",
    );
    assert!(
        before.contains("kubernetes cluster.local in-addr.arpa ip6.arpa"),
        "{before}"
    );
    place.apply(&client("default", "resolver", ""));
    ready(&place, "default", "resolver");
    let look = |name: &str| {
        let output = place
            .kubectl_command(&["exec", "resolver", "--", "nslookup", "-type=a", name])
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let edit = |corefile: &str| {
        let patch = serde_json::json!({"data": {"Corefile": corefile}}).to_string();
        place.kubectl(&[
            "patch",
            "configmap",
            "coredns",
            "-n",
            "kube-system",
            "--type=merge",
            "-p",
            &patch,
        ]);
    };
    let stub = stub();
    let extended = before.replace("    errors\n", "    errors\n    hosts {\n       192.0.2.5 gate.example\n       fallthrough\n    }\n    rewrite name api.example kubernetes.default.svc.cluster.local\n    whoami\n");
    edit(&format!(
        "{extended}\ncorp.example:53 {{\n    errors\n    forward . {stub}\n}}\n"
    ));
    place.eventually("a hosts entry", || {
        look("gate.example").contains("192.0.2.5").then_some(())
    });
    assert!(
        look("db.corp.example").contains("192.0.2.99"),
        "a stub domain"
    );
    let api = place.field(&["service", "kubernetes"], ".spec.clusterIP");
    assert!(look("api.example").contains(&api), "a rewritten name");
    assert!(look("kubernetes.default.svc.cluster.local").contains(&api));
    let events = || {
        place.kubectl(&[
            "get",
            "events",
            "-n",
            "kube-system",
            "--field-selector=involvedObject.name=coredns",
        ])
    };
    place.eventually("a complaint", || {
        let told = events();
        (told.contains("UnsupportedDirective") && told.contains("whoami has no effect"))
            .then_some(())
    });
    // A mistake changes nothing and is told.
    edit(".:53 {\n    forward .\n}\n");
    place.eventually("an event", || {
        events().contains("Corefile:2 - Wrong argument count or unexpected line ending after 'forward'; what was in force before stays so").then_some(())
    });
    assert!(look("gate.example").contains("192.0.2.5"));
    edit(&before);
    place.eventually("the entry is gone", || {
        (!look("gate.example").contains("192.0.2.5")).then_some(())
    });
    place.kubectl(&["delete", "pod", "resolver", "--wait=false"]);
}
