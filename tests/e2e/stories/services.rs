//! Services of every kind, from pods and from the host: what the notes say about them, and what upstream promises.

use crate::{
    Story,
    cluster::{Place, end_shared, run, shared},
    images::{Image, load, load_curl},
};
use std::{
    collections::BTreeSet,
    io::{BufRead, BufReader},
    net::UdpSocket,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

pub const STORIES: &[Story] = &[
    (
        "services::ways_in_from_inside_and_outside",
        ways_in_from_inside_and_outside,
    ),
    (
        "services::load_balancers_have_an_address_at_once",
        load_balancers_have_an_address_at_once,
    ),
    (
        "services::names_addresses_and_endpoints_by_hand",
        names_addresses_and_endpoints_by_hand,
    ),
    (
        "services::readiness_affinity_and_variables",
        readiness_affinity_and_variables,
    ),
    (
        "services::udp_clients_follow_the_pod",
        udp_clients_follow_the_pod,
    ),
    (
        "services::a_rolling_update_under_load_loses_nothing",
        a_rolling_update_under_load_loses_nothing,
    ),
    (
        "services::policies_of_traffic_on_two_nodes",
        policies_of_traffic_on_two_nodes,
    ),
];

/// Serves the name of its pod on port 8080, by busybox.
pub fn load_echo(place: &Place) {
    let image = Image::new("echo:test")
        .program("/usr/bin/curl")
        .text("/etc/nsswitch.conf", "hosts: files dns\n")
        .cmd(&[
            "sh",
            "-c",
            "mkdir -p /www && hostname >/www/index.html && exec httpd -f -p 8080 -h /www",
        ]);
    load(place, &image, "echo");
}

/// A deployment of echo pods, ready when their server answers.
pub fn echo(namespace: &str, name: &str, replicas: u32) -> String {
    format!(
        "
apiVersion: apps/v1
kind: Deployment
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  replicas: {replicas}
  selector: {{matchLabels: {{app: {name}}}}}
  template:
    metadata: {{labels: {{app: {name}}}}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: echo
        image: 'echo:test'
        ports: [{{name: web, containerPort: 8080}}]
        readinessProbe: {{httpGet: {{path: /, port: web}}, periodSeconds: 1}}
"
    )
}

pub fn rolled_out(place: &Place, namespace: &str, name: &str) {
    let deployment = format!("deployment/{name}");
    place.kubectl(&[
        "rollout",
        "status",
        "-n",
        namespace,
        &deployment,
        "--timeout=80s",
    ]);
}

/// What a client gets; empty when nothing.
fn fetch(url: &str) -> String {
    let output = Command::new("curl")
        .args(["-sS", "-m", "3", url])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn fetch_in(place: &Place, namespace: &str, pod: &str, url: &str) -> String {
    let arguments = [
        "exec", "-n", namespace, pod, "--", "curl", "-sS", "-m", "2", url,
    ];
    let output = place.kubectl_command(&arguments).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

pub fn ready(place: &Place, namespace: &str, pod: &str) {
    let pod = format!("pod/{pod}");
    place.kubectl(&[
        "wait",
        "-n",
        namespace,
        "--for=condition=Ready",
        &pod,
        "--timeout=80s",
    ]);
}

/// A pod that only waits to be told what to do.
pub fn client(namespace: &str, name: &str, more: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}, labels: {{app: {name}}}}}
spec:
  terminationGracePeriodSeconds: 0
  {more}
  containers: [{{name: c, image: 'echo:test'}}]
"
    )
}

fn ways_in_from_inside_and_outside() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "ways"]);
    place.apply(&format!(
        "{}---{}---{}",
        echo("ways", "web", 2),
        client("ways", "client", ""),
        client(
            "ways",
            "host-client",
            "hostNetwork: true\n  dnsPolicy: ClusterFirstWithHostNet"
        )
        .replace("8080", "18080")
        .replace(
            "containers: [{name: c,",
            "containers: [{name: c, command: [sleep, '100000'],"
        )
    ));
    rolled_out(&place, "ways", "web");
    ready(&place, "ways", "client");
    ready(&place, "ways", "host-client");
    let pods: BTreeSet<String> = place
        .field(
            &["pods", "-n", "ways", "-l", "app=web"],
            ".items[*].metadata.name",
        )
        .split(' ')
        .map(str::to_owned)
        .collect();
    assert_eq!(pods.len(), 2);

    let exposed = place.kubectl(&[
        "expose",
        "-n",
        "ways",
        "deployment",
        "web",
        "--port=80",
        "--target-port=web",
    ]);
    assert_eq!(exposed, "service/web exposed\n");
    let address = place.field(&["service", "web", "-n", "ways"], ".spec.clusterIP");
    let reached = || -> BTreeSet<String> {
        (0..12)
            .map(|_| fetch(&format!("http://{address}")))
            .collect()
    };
    place.eventually("both pods behind the ClusterIP", || {
        (reached() == pods).then_some(())
    });
    for pod in ["client", "host-client"] {
        let name = fetch_in(&place, "ways", pod, "http://web.ways");
        assert!(pods.contains(&name), "{pod}: {name}");
    }
    let described = place.kubectl(&["describe", "service", "web", "-n", "ways"]);
    for words in [
        "Endpoints:",
        ":8080,",
        "Session Affinity:         None",
        "IP:                       10.",
    ] {
        assert!(described.contains(words), "{words}: {described}");
    }

    let node = place.must(&["ip"]).trim().to_owned();
    several_ports(&place, &pods, &node);
    forwarding(&place, &pods);
    // A pod behind a Service reaches itself by it.
    place.kubectl(&["scale", "-n", "ways", "deployment/web", "--replicas=1"]);
    place.eventually("one pod", || (reached().len() == 1).then_some(()));
    let last = reached().pop_first().unwrap();
    assert_eq!(
        fetch_in(&place, "ways", &last, "http://web"),
        last,
        "hairpin"
    );
    host_port(&place, &node);
    place.kubectl(&["delete", "namespace", "ways", "--wait=false"]);
}

/// Two ports by name, one of them at a node port that somebody chose.
fn several_ports(place: &Place, pods: &BTreeSet<String>, node: &str) {
    // Several ports; a name for each is required.
    let unnamed = "
apiVersion: v1
kind: Service
metadata: {name: several, namespace: ways}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: 8080}, {port: 81, targetPort: web}]
";
    let path = place.home.path().join("several.yaml");
    std::fs::write(&path, unnamed).unwrap();
    let refused = place.kubectl_fails(&["apply", "-f", path.to_str().unwrap()]);
    assert!(
        refused.contains("spec.ports[0].name: Required value"),
        "{refused}"
    );
    place.apply(
        &unnamed
            .replace("{port: 80,", "{name: a, port: 80, nodePort: 30801,")
            .replace("{port: 81,", "{name: b, port: 81,"),
    );
    let second = place.field(
        &["service", "several", "-n", "ways"],
        ".spec.ports[1].nodePort",
    );
    let number: u16 = second.parse().unwrap();
    assert!((30000..=32767).contains(&number), "{second}");
    for url in [
        format!("http://{node}:30801"),
        "http://127.0.0.1:30801".to_owned(),
        format!("http://{node}:{second}"),
        format!("http://127.0.0.1:{second}"),
    ] {
        place.eventually(&url, || pods.contains(&fetch(&url)).then_some(()));
        assert!(pods.contains(&fetch_in(
            place,
            "ways",
            "client",
            &url.replace("127.0.0.1", node)
        )));
    }
    node_ports_that_are_refused(place);
}

fn node_ports_that_are_refused(place: &Place) {
    let path = place.home.path().join("several.yaml");
    let node_port = |port: &str| {
        let manifest = format!(
            "apiVersion: v1\nkind: Service\nmetadata: {{name: taken, namespace: ways}}\nspec: {{type: NodePort, ports: [{{port: 80, nodePort: {port}}}]}}\n"
        );
        std::fs::write(&path, manifest).unwrap();
        place.kubectl_fails(&["create", "-f", path.to_str().unwrap()])
    };
    for (port, words) in [
        (
            "30801",
            "The Service \"taken\" is invalid: spec.ports[0].nodePort: Invalid value: 30801: provided port is already allocated",
        ),
        (
            "80",
            "The Service \"taken\" is invalid: spec.ports[0].nodePort: Invalid value: 80: provided port is not in the valid range. The range of valid ports is 30000-32767",
        ),
    ] {
        assert_eq!(node_port(port).trim(), words);
    }
}

/// `port-forward` to everything that leads to a pod.
fn forwarding(place: &Place, pods: &BTreeSet<String>) {
    let set = place.field(&["replicasets", "-n", "ways"], ".items[0].metadata.name");
    let pod = format!("pod/{}", pods.first().unwrap());
    let set = format!("rs/{set}");
    for (target, port) in [
        (pod.as_str(), "8080"),
        ("service/web", "80"),
        (&set, "8080"),
        ("deployment/web", "8080"),
    ] {
        let mut forward = place
            .kubectl_command(&["port-forward", "-n", "ways", target, &format!(":{port}")])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(forward.stdout.take().unwrap()).lines();
        let line = lines.next().unwrap().unwrap();
        // Forwarding from 127.0.0.1:34567 -> 8080
        let local = line.split_whitespace().nth(2).unwrap().to_owned();
        let answer = fetch(&format!("http://{local}"));
        let _ = forward.kill();
        let _ = forward.wait();
        assert!(pods.contains(&answer), "{target}: {line}: {answer}");
    }
}

fn host_port(place: &Place, node: &str) {
    let pod = client("ways", "on-host", "").replace(
        "image: 'echo:test'",
        "image: 'echo:test', ports: [{containerPort: 8080, hostPort: 28080}]",
    );
    place.apply(&pod);
    ready(place, "ways", "on-host");
    for url in [
        format!("http://{node}:28080"),
        "http://127.0.0.1:28080".to_owned(),
    ] {
        assert_eq!(fetch(&url), "on-host", "{url}");
    }
    place.kubectl(&["delete", "pod", "on-host", "-n", "ways"]);
    place.eventually("a closed port of the host", || {
        let url = format!("http://{node}:28080");
        fetch(&url).is_empty().then_some(())
    });
}

fn load_balancers_have_an_address_at_once() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "lb"]);
    place.apply(&format!(
        "{}---{}",
        echo("lb", "web", 1),
        client("lb", "client", "")
    ));
    rolled_out(&place, "lb", "web");
    ready(&place, "lb", "client");
    place.kubectl(&[
        "expose",
        "-n",
        "lb",
        "deployment",
        "web",
        "--type=LoadBalancer",
        "--port=80",
        "--target-port=8080",
    ]);
    place.kubectl(&[
        "wait",
        "-n",
        "lb",
        "service/web",
        "--for=jsonpath={.status.loadBalancer.ingress}",
        "--timeout=5s",
    ]);
    let address = place.field(
        &["service", "web", "-n", "lb"],
        ".status.loadBalancer.ingress[0].ip",
    );
    let mode = place.field(
        &["service", "web", "-n", "lb"],
        ".status.loadBalancer.ingress[0].ipMode",
    );
    assert_eq!(mode, "VIP");
    let listed = place.kubectl(&["get", "service", "-n", "lb"]);
    assert!(
        listed
            .lines()
            .any(|line| line.contains("LoadBalancer") && line.contains(&address)),
        "{listed}"
    );
    let url = format!("http://{address}");
    let pod = place.field(
        &["pods", "-n", "lb", "-l", "app=web"],
        ".items[0].metadata.name",
    );
    place.eventually("the load balancer from the host", || {
        (fetch(&url) == pod).then_some(())
    });
    assert_eq!(fetch_in(&place, "lb", "client", &url), pod, "from a pod");
    sources_are_restricted(&place, &url, &pod);
    of_other_kinds(&place, &address, &pod);
    let check = health_check(&place);
    patch_web(
        &place,
        r#"{"spec": {"type": "ClusterIP", "loadBalancerSourceRanges": null}}"#,
    );
    place.eventually("the address is taken back", || {
        fetch(&url).is_empty().then_some(())
    });
    assert_eq!(
        place.field(&["service", "web", "-n", "lb"], ".status.loadBalancer"),
        "{}"
    );
    place.eventually("the health check is gone", || {
        fetch(&check).is_empty().then_some(())
    });
    place.kubectl(&["delete", "service", "bare", "-n", "lb", "--timeout=20s"]);
    place.kubectl(&["delete", "namespace", "lb", "--wait=false"]);
}

/// What a load balancer outside would ask; answers where.
fn health_check(place: &Place) -> String {
    patch_web(
        place,
        r#"{"spec": {"externalTrafficPolicy": "Local", "loadBalancerSourceRanges": null}}"#,
    );
    let port = place.field(&["service", "web", "-n", "lb"], ".spec.healthCheckNodePort");
    let node = place.field(
        &["nodes"],
        ".items[0].status.addresses[?(@.type==\"InternalIP\")].address",
    );
    let url = format!("http://{node}:{port}/healthz");
    let told = |replicas: &str| {
        place.kubectl(&["scale", "-n", "lb", "deployment/web", replicas]);
        place.eventually(replicas, || {
            let answer = run("curl", &["-sS", "-i", "-m", "3", &url]);
            let count = replicas.trim_start_matches("--replicas=");
            answer
                .contains(&format!("\"localEndpoints\": {count},"))
                .then_some(answer)
        })
    };
    let answer = told("--replicas=1");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(
        answer.contains("x-load-balancing-endpoint-weight: 1"),
        "{answer}"
    );
    let answer = told("--replicas=0");
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    url
}

fn patch_web(place: &Place, patch: &str) {
    place.kubectl(&["patch", "service", "web", "-n", "lb", "-p", patch]);
}

fn sources_are_restricted(place: &Place, url: &str, pod: &str) {
    // NodePort and ClusterIP are still there.
    let port = place.field(&["service", "web", "-n", "lb"], ".spec.ports[0].nodePort");
    assert_eq!(fetch(&format!("http://127.0.0.1:{port}")), pod);
    patch_web(
        place,
        r#"{"spec": {"loadBalancerSourceRanges": ["192.0.2.0/24"]}}"#,
    );
    place.eventually("a closed load balancer", || {
        fetch(url).is_empty().then_some(())
    });
    assert_eq!(
        fetch(&format!("http://127.0.0.1:{port}")),
        pod,
        "its node port is not restricted"
    );
    patch_web(
        place,
        r#"{"spec": {"loadBalancerSourceRanges": ["10.0.0.0/8"]}}"#,
    );
    place.eventually("an open load balancer", || {
        (fetch(url) == pod).then_some(())
    });
}

/// Without node ports, of somebody else's class, at an address of the outside.
fn of_other_kinds(place: &Place, address: &str, pod: &str) {
    place.apply("
apiVersion: v1
kind: Service
metadata: {name: bare, namespace: lb}
spec: {type: LoadBalancer, allocateLoadBalancerNodePorts: false, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: foreign, namespace: lb}
spec: {type: LoadBalancer, loadBalancerClass: example.com/theirs, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside, namespace: lb}
spec: {externalIPs: [198.51.100.7], selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
");
    let second = place.eventually("a second address", || {
        let ip = place.field(
            &["service", "bare", "-n", "lb"],
            ".status.loadBalancer.ingress[0].ip",
        );
        (!ip.is_empty()).then_some(ip)
    });
    assert_ne!(second, address);
    assert_eq!(
        place.field(&["service", "bare", "-n", "lb"], ".spec.ports[0].nodePort"),
        ""
    );
    let listed = place.kubectl(&["get", "service", "foreign", "-n", "lb"]);
    assert!(listed.contains("<pending>"), "{listed}");
    assert_eq!(
        fetch_in(place, "lb", "client", "http://198.51.100.7"),
        pod,
        "an external address"
    );
}

fn names_addresses_and_endpoints_by_hand() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "hand"]);
    place.apply(&format!(
        "{}---{}---{}",
        client("hand", "inside", ""),
        client("hand", "outside", ""),
        "
apiVersion: v1
kind: Service
metadata: {name: old, namespace: hand}
spec: {ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: new, namespace: hand}
spec: {ports: [{name: http, port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: elsewhere, namespace: hand}
spec: {type: ExternalName, externalName: old.hand.svc.cluster.local}
"
    ));
    ready(&place, "hand", "inside");
    ready(&place, "hand", "outside");
    let target = place.field(&["pod", "outside", "-n", "hand"], ".status.podIP");
    place.apply(&format!(
        "
apiVersion: v1
kind: Endpoints
metadata: {{name: old, namespace: hand}}
subsets: [{{addresses: [{{ip: {target}}}], ports: [{{port: 8080}}]}}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {{name: new-1, namespace: hand, labels: {{kubernetes.io/service-name: new}}}}
addressType: IPv4
ports: [{{name: http, port: 8080}}]
endpoints: [{{addresses: [{target}]}}]
"
    ));
    for name in ["old", "new", "elsewhere"] {
        let url = format!("http://{name}.hand");
        place.eventually(&url, || {
            (fetch_in(&place, "hand", "inside", &url) == "outside").then_some(())
        });
    }
    by_proxy_and_with_conditions(&place);
    let endpoints = place.kubectl(&["get", "endpoints", "old", "-n", "hand"]);
    assert!(endpoints.contains(&format!("{target}:8080")), "{endpoints}");
    // A type may change to a name and back.
    place.kubectl(&[
        "patch",
        "service",
        "old",
        "-n",
        "hand",
        "-p",
        r#"{"spec": {"type": "ExternalName", "externalName": "new.hand.svc.cluster.local"}}"#,
    ]);
    place.eventually("an alias", || {
        (fetch_in(&place, "hand", "inside", "http://old.hand") == "outside").then_some(())
    });
    let refused = place.kubectl_fails(&[
        "create",
        "service",
        "clusterip",
        "far",
        "-n",
        "hand",
        "--tcp=80",
        "--clusterip=192.0.2.1",
    ]);
    assert!(refused.contains("spec.clusterIPs: Invalid value: [\"192.0.2.1\"]: failed to allocate IP 192.0.2.1: the provided IP (192.0.2.1) is not in the valid range. The range of valid IPs is 10."), "{refused}");
    place.kubectl(&["delete", "namespace", "hand", "--wait=false"]);
}

fn by_proxy_and_with_conditions(place: &Place) {
    // Through the API server, to an endpoint that is nobody's pod.
    for place_of in ["new", "new:http", "new:80", "http:new:http"] {
        let path = format!("/api/v1/namespaces/hand/services/{place_of}/proxy/");
        assert_eq!(
            place.kubectl(&["get", "--raw", &path]).trim(),
            "outside",
            "{path}"
        );
    }
    // A condition may lack its time, which hides the Service from nobody.
    let condition = r#"{"status": {"conditions": [{"type": "Seen", "status": "True", "reason": "Told", "message": ""}]}}"#;
    let new = ["patch", "service", "new", "-n", "hand", "--type=merge"];
    place.kubectl(&[&new[..], &["--subresource=status", "-p", condition]].concat());
    let ports = r#"{"spec": {"ports": [{"name": "http", "port": 81}]}}"#;
    place.kubectl(&[&new[..], &["-p", ports]].concat());
    place.eventually("another port", || {
        (fetch_in(place, "hand", "inside", "http://new.hand:81") == "outside").then_some(())
    });
    let ports = ports.replace("81", "80");
    place.kubectl(&[&new[..], &["-p", &ports]].concat());
}

fn readiness_affinity_and_variables() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "ready"]);
    let gated = echo("ready", "web", 3).replace(
        "httpGet: {path: /, port: web}",
        "exec: {command: [sh, -c, '! test -e /tmp/busy']}",
    );
    place.apply(&format!("{gated}---
apiVersion: v1
kind: Service
metadata: {{name: payment, namespace: ready}}
spec: {{selector: {{app: web}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: sticky, namespace: ready}}
spec: {{selector: {{app: web}}, sessionAffinity: ClientIP, sessionAffinityConfig: {{clientIP: {{timeoutSeconds: 60}}}}, ports: [{{port: 80, targetPort: 8080}}]}}
---
apiVersion: v1
kind: Service
metadata: {{name: eager, namespace: ready}}
spec: {{clusterIP: None, publishNotReadyAddresses: true, selector: {{app: web}}, ports: [{{port: 8080}}]}}
"));
    rolled_out(&place, "ready", "web");
    place.apply(&client("ready", "client", ""));
    ready(&place, "ready", "client");
    let reached = |service: &str| -> BTreeSet<String> {
        let script =
            format!("for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -sS -m 2 http://{service}; done");
        let text = place.kubectl(&["exec", "-n", "ready", "client", "--", "sh", "-c", &script]);
        text.split_whitespace().map(str::to_owned).collect()
    };
    place.eventually("three pods", || {
        (reached("payment").len() == 3).then_some(())
    });
    let stuck = reached("sticky");
    assert_eq!(stuck.len(), 1, "{stuck:?}");
    let busy = stuck.first().unwrap().clone();
    place.kubectl(&["exec", "-n", "ready", &busy, "--", "touch", "/tmp/busy"]);
    place.eventually("no traffic for the busy", || {
        let rest = reached("payment");
        (rest.len() == 2 && !rest.contains(&busy)).then_some(())
    });
    let moved = reached("sticky");
    assert!(moved.len() == 1 && !moved.contains(&busy), "{moved:?}");
    let count = |name: &str| {
        let text = place.kubectl(&[
            "exec",
            "-n",
            "ready",
            "client",
            "--",
            "nslookup",
            &format!("{name}.ready.svc.cluster.local"),
        ]);
        text.matches("Address").count() - 1
    };
    assert_eq!(count("eager"), 3, "unready pods are published");

    // The variables of document 002, for Services that were there before the pod.
    let address = place.field(&["service", "payment", "-n", "ready"], ".spec.clusterIP");
    let environment = place.kubectl(&["exec", "-n", "ready", "client", "--", "env"]);
    let mut found: Vec<&str> = environment
        .lines()
        .filter(|line| line.starts_with("PAYMENT"))
        .collect();
    found.sort_unstable();
    let expected = [
        format!("PAYMENT_PORT=tcp://{address}:80"),
        format!("PAYMENT_PORT_80_TCP=tcp://{address}:80"),
        format!("PAYMENT_PORT_80_TCP_ADDR={address}"),
        "PAYMENT_PORT_80_TCP_PORT=80".to_owned(),
        "PAYMENT_PORT_80_TCP_PROTO=tcp".to_owned(),
        format!("PAYMENT_SERVICE_HOST={address}"),
        "PAYMENT_SERVICE_PORT=80".to_owned(),
    ];
    assert_eq!(found, expected);
    assert!(
        !environment.contains("EAGER_"),
        "headless Services have none"
    );
    place.kubectl(&["delete", "namespace", "ready", "--wait=false"]);
}

const UDP: &str = "
apiVersion: v1
kind: Pod
metadata: {name: NAME, namespace: udp, labels: {app: NAME}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: 'udp:test'
";

fn udp_clients_follow_the_pod() {
    let place = shared();
    let script = "use IO::Socket::INET; my $s = IO::Socket::INET->new(LocalPort => 5300, Proto => 'udp') or die; while (defined(my $from = $s->recv(my $text, 512))) { $s->send($ENV{HOSTNAME}); }";
    let image = Image::new("udp:test")
        .program("/usr/bin/perl")
        .tree("/usr/lib/x86_64-linux-gnu/perl-base")
        .cmd(&["/usr/bin/perl", "-e", script]);
    load(&place, &image, "udp");
    place.kubectl(&["create", "namespace", "udp"]);
    place.apply(&format!("{}---{}---
apiVersion: v1
kind: Service
metadata: {{name: ask, namespace: udp}}
spec: {{type: NodePort, selector: {{app: first}}, ports: [{{port: 53, protocol: UDP, targetPort: 5300}}]}}
", UDP.replace("NAME", "first"), UDP.replace("NAME", "second")));
    ready(&place, "udp", "first");
    ready(&place, "udp", "second");
    let address = place.field(&["service", "ask", "-n", "udp"], ".spec.clusterIP");
    let port = place.field(&["service", "ask", "-n", "udp"], ".spec.ports[0].nodePort");
    // One socket each: its flow is remembered until the rules say otherwise.
    let sockets: Vec<UdpSocket> = [format!("{address}:53"), format!("127.0.0.1:{port}")]
        .iter()
        .map(|to| {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            socket.connect(to).unwrap();
            socket
                .set_read_timeout(Some(Duration::from_millis(500)))
                .unwrap();
            socket
        })
        .collect();
    let ask = |socket: &UdpSocket| {
        let mut buffer = [0; 64];
        // A refusal of an earlier datagram may be reported by this one.
        let _ = socket.send(b"who");
        let length = socket.recv(&mut buffer).ok()?;
        Some(String::from_utf8_lossy(&buffer[..length]).into_owned())
    };
    let answers = |name: &str| {
        place.eventually(name, || {
            sockets
                .iter()
                .all(|socket| ask(socket).as_deref() == Some(name))
                .then_some(())
        });
    };
    answers("first");
    place.kubectl(&[
        "patch",
        "service",
        "ask",
        "-n",
        "udp",
        "-p",
        r#"{"spec": {"selector": {"app": "second"}}}"#,
    ]);
    answers("second");
    place.kubectl(&["delete", "namespace", "udp", "--wait=false"]);
}

fn a_rolling_update_under_load_loses_nothing() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "rolling"]);
    let graceful = echo("rolling", "web", 3)
        .replace(
            "terminationGracePeriodSeconds: 1",
            "terminationGracePeriodSeconds: 5",
        )
        .replace(
            "        ports:",
            "        lifecycle: {preStop: {sleep: {seconds: 1}}}\n        ports:",
        );
    place.apply(&graceful);
    rolled_out(&place, "rolling", "web");
    place.kubectl(&[
        "expose",
        "-n",
        "rolling",
        "deployment",
        "web",
        "--type=LoadBalancer",
        "--port=80",
        "--target-port=8080",
    ]);
    let address = place.eventually("an address", || {
        let ip = place.field(
            &["service", "web", "-n", "rolling"],
            ".status.loadBalancer.ingress[0].ip",
        );
        (!ip.is_empty()).then_some(ip)
    });
    place.eventually("an answer", || {
        (!fetch(&format!("http://{address}")).is_empty()).then_some(())
    });
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let load = thread::spawn(move || {
        let (mut good, mut failures, mut pods) = (0, Vec::new(), BTreeSet::new());
        while matches!(
            stopped.try_recv(),
            Err(std::sync::mpsc::TryRecvError::Empty)
        ) {
            match get(&address) {
                Ok(name) => {
                    good += 1;
                    pods.insert(name);
                }
                Err(error) => failures.push(error.to_string()),
            }
        }
        (good, failures, pods)
    });
    place.kubectl(&["rollout", "restart", "-n", "rolling", "deployment/web"]);
    rolled_out(&place, "rolling", "web");
    drop(stop);
    let (good, failures, pods) = load.join().unwrap();
    assert!(
        failures.is_empty(),
        "{} of {good} requests failed: {failures:?}",
        failures.len()
    );
    assert!(good > 100 && pods.len() >= 4, "{good} requests to {pods:?}");
    place.kubectl(&["delete", "namespace", "rolling", "--wait=false"]);
}

/// One request over a connection of its own.
fn get(address: &str) -> std::io::Result<String> {
    use std::io::{Error, Read, Write};
    let mut stream = std::net::TcpStream::connect((address, 80))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET / HTTP/1.0\r\nHost: web\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text
        .split_once("\r\n\r\n")
        .ok_or_else(|| Error::other("no answer"))?;
    match head.starts_with("HTTP/1.0 200") || head.starts_with("HTTP/1.1 200") {
        true => Ok(body.trim().to_owned()),
        false => Err(Error::other(head.to_owned())),
    }
}

const ON_TWO_NODES: &str = "
apiVersion: v1
kind: Service
metadata: {name: anywhere}
spec: {selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: local}
spec: {internalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: near}
spec: {trafficDistribution: PreferSameNode, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: entry}
spec: {type: NodePort, externalTrafficPolicy: Local, selector: {app: web}, ports: [{port: 80, targetPort: 8080, nodePort: 30090}]}
";

fn policies_of_traffic_on_two_nodes() {
    // Two clusters at once would be two default address ranges.
    end_shared();
    let place = Place::new();
    place.must(&["start", "--nodes", "2"]);
    load_echo(&place);
    load_curl(&place);
    let nodes: Vec<String> = place
        .field(&["nodes"], ".items[*].metadata.name")
        .split(' ')
        .map(str::to_owned)
        .collect();
    let at =
        |name: &str, node: usize| client("default", name, &format!("nodeName: {}", nodes[node]));
    let server =
        |name: &str, node: usize| at(name, node).replace(&format!("{{app: {name}}}"), "{app: web}");
    place.apply(&format!(
        "{}---{}---{}---{}---{ON_TWO_NODES}",
        server("one", 0),
        server("two", 1),
        at("client-one", 0),
        at("client-two", 1)
    ));
    for pod in ["one", "two", "client-one", "client-two"] {
        ready(&place, "default", pod);
    }
    let reached = |from: &str, service: &str| -> BTreeSet<String> {
        let script = format!(
            "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do curl -sS -m 1 http://{service}; done; true"
        );
        let text = place.kubectl(&["exec", from, "--", "sh", "-c", &script]);
        text.split_whitespace().map(str::to_owned).collect()
    };
    let set = |names: &[&str]| -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    };
    place.eventually("pods on both nodes", || {
        (reached("client-one", "anywhere") == set(&["one", "two"])).then_some(())
    });
    for service in ["local", "near"] {
        place.eventually(service, || {
            (reached("client-one", service) == set(&["one"])
                && reached("client-two", service) == set(&["two"]))
            .then_some(())
        });
    }
    let addresses: Vec<String> = place
        .field(
            &["nodes"],
            ".items[*].status.addresses[?(@.type==\"InternalIP\")].address",
        )
        .split(' ')
        .map(str::to_owned)
        .collect();
    for (address, name) in addresses.iter().zip(["one", "two"]) {
        assert_eq!(
            fetch(&format!("http://{address}:30090")),
            name,
            "the node's own pod"
        );
    }
    place.kubectl(&["delete", "pod", "two"]);
    place.eventually("nobody on the second node", || {
        fetch(&format!("http://{}:30090", addresses[1]))
            .is_empty()
            .then_some(())
    });
    assert_eq!(
        reached("client-two", "local"),
        set(&[]),
        "dropped, not sent elsewhere"
    );
    place.eventually("further away when nothing is near", || {
        (reached("client-two", "near") == set(&["one"])).then_some(())
    });
    assert!(run("nft", &["list", "ruleset"]).contains("near-"));
    ports_of_the_host_are_its_own(&place, &addresses[0]);
    people_take_the_domain(&place);
}

/// A program of the host that has port 80 keeps it, and Ingresses are served at the node's address all the same.
fn ports_of_the_host_are_its_own(place: &Place, node: &str) {
    let folder = place.home.path().join("www");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("index.html"), "the host's own").unwrap();
    let mut program = Command::new("busybox")
        .args(["httpd", "-f", "-p", "80", "-h"])
        .arg(&folder)
        .spawn()
        .unwrap();
    let local = "http://127.0.0.1/";
    place.eventually("the host's program", || {
        (fetch(local) == "the host's own").then_some(())
    });
    place.kubectl(&["create", "ingress", "here", "--rule=/*=anywhere:80"]);
    place.eventually("the ingress", || {
        (fetch(&format!("http://{node}/")) == "one").then_some(())
    });
    assert_eq!(fetch(local), "the host's own");
    place.kubectl(&["delete", "ingress", "here"]);
    place.eventually("only the host's program", || {
        (fetch(&format!("http://{node}/")) == "the host's own").then_some(())
    });
    program.kill().unwrap();
    program.wait().unwrap();
}

/// Whoever takes the cluster's names away is told so, and can start the cluster again all the same.
fn people_take_the_domain(place: &Place) {
    let taken = "cluster.local {\n    hosts {\n       192.0.2.5 gate.cluster.local\n    }\n}\n.:53 {\n    kubernetes cluster.local\n}\n";
    let patch = serde_json::json!({"data": {"Corefile": taken}}).to_string();
    let map = ["patch", "configmap", "coredns", "-n", "kube-system"];
    place.kubectl(&[&map[..], &["--type=merge", "-p", &patch]].concat());
    place.eventually("a complaint", || {
        let told = place.kubectl(&["get", "events", "-n", "kube-system"]);
        told.contains("names of cluster.local are not the cluster's any more")
            .then_some(())
    });
    place.must(&["stop"]);
    place.must(&["start"]);
}
