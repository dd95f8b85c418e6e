//! Ingresses as people use them: the notes' two manifests, TLS, annotations, everything from the host's own curl.

use crate::{
    Story,
    cluster::{Place, project, run, shared},
    images::{load, nginx},
};
use std::process::Command;

pub const STORIES: &[Story] = &[
    (
        "ingress::the_notes_route_by_path_and_host",
        the_notes_route_by_path_and_host,
    ),
    (
        "ingress::tls_annotations_and_failures",
        tls_annotations_and_failures,
    ),
];

/// An nginx that says who it is and what it was asked. `NAME` stands for its name.
const SERVER: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: NAME, labels: {project: snackbar}}
data:
  default.conf: |
    server {
      listen 8090;
      client_max_body_size 0;
      location / {
        return 200 \"NAME $request_uri host=$http_host for=$http_x_forwarded_for proto=$http_x_forwarded_proto\\n\";
      }
      # Takes the whole body in before it answers.
      location /api/upload {
        proxy_method GET;
        proxy_pass_request_body off;
        proxy_set_header Content-Length \"\";
        proxy_pass http://127.0.0.1:80/;
      }
    }
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: NAME, labels: {project: snackbar}}
spec:
  replicas: 1
  selector: {matchLabels: {app: NAME}}
  template:
    metadata: {labels: {app: NAME, project: snackbar}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: main
        image: nginx:echo
        command: [/usr/sbin/nginx]
        ports: [{name: http, containerPort: 8090}]
        readinessProbe: {tcpSocket: {port: 8090}, periodSeconds: 1}
        volumeMounts: [{name: conf, mountPath: /etc/nginx/conf.d}]
      volumes:
      - {name: conf, configMap: {name: NAME}}
---
apiVersion: v1
kind: Service
metadata: {name: NAME, labels: {project: snackbar}}
spec:
  selector: {app: NAME}
  ports: [{name: web, port: 80, targetPort: http}]
";

fn serve(place: &Place, namespace: &str, names: &[&str]) {
    load(place, &nginx("nginx:echo"), "nginx-echo");
    place.kubectl(&["create", "namespace", namespace]);
    let path = place.home.path().join("servers.yaml");
    let manifest: Vec<String> = names
        .iter()
        .map(|name| SERVER.replace("NAME", name))
        .collect();
    std::fs::write(&path, manifest.join("---\n")).unwrap();
    place.kubectl(&["apply", "-n", namespace, "-f", path.to_str().unwrap()]);
    for name in names {
        place.kubectl(&[
            "rollout",
            "status",
            "-n",
            namespace,
            &format!("deployment/{name}"),
            "--timeout=60s",
        ]);
    }
}

/// What curl prints, body and `-w` alike; it may fail.
fn curl(arguments: &[&str]) -> String {
    let output = Command::new("curl")
        .args(["-s", "--max-time", "20"])
        .args(arguments)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn code(arguments: &[&str]) -> String {
    let mut all = vec!["-o", "/dev/null", "-w", "%{http_code}"];
    all.extend(arguments);
    curl(&all)
}

fn until(place: &Place, expected: &str, arguments: &[&str]) {
    place.eventually(&format!("{expected} from {arguments:?}"), || {
        curl(arguments).contains(expected).then_some(())
    });
}

/// As the notes have it: the address from the status.
fn address(place: &Place, namespace: &str, name: &str) -> String {
    place.eventually("an address", || {
        let address = place.field(
            &["ingress", name, "-n", namespace],
            ".status.loadBalancer.ingress[0].ip",
        );
        (!address.is_empty()).then_some(address)
    })
}

fn manifest(name: &str) -> String {
    let path = project().join("tests/e2e/seeds").join(name);
    path.to_str().unwrap().to_owned()
}

/// Documents 000 and 002, Ingress.
fn the_notes_route_by_path_and_host() {
    let place = shared();
    let ns = "snackbar";
    serve(&place, ns, &["home", "order"]);
    place.kubectl(&["apply", "-f", &manifest("ingress-single-host.yaml")]);
    let ip = address(&place, ns, "snackbar");
    let url = |path: &str| format!("http://{ip}{path}");
    until(
        &place,
        "order /order/menu?day=1 host=",
        &[&url("/order/menu?day=1")],
    );
    assert!(
        curl(&[&url("/")]).starts_with("home / "),
        "the default backend"
    );
    assert!(
        curl(&[&url("/orders")]).starts_with("home "),
        "a path element is whole"
    );
    assert!(
        curl(&["http://127.0.0.1/order"]).starts_with("order "),
        "loopback"
    );
    let table = place.kubectl(&["get", "ingress", "snackbar", "-n", ns]);
    let row: Vec<&str> = table.lines().nth(1).unwrap().split_whitespace().collect();
    assert_eq!(
        row[..5],
        ["snackbar", "nginx", "*", ip.as_str(), "80"],
        "{table}"
    );

    place.kubectl(&["apply", "-f", &manifest("ingress-multiple-host.yaml")]);
    place.kubectl(&["delete", "ingress", "snackbar", "-n", ns]);
    let host = "Host: order.fast-snackbar.com";
    until(
        &place,
        "order /x host=order.fast-snackbar.com",
        &["-H", host, "--request", "GET", &url("/x")],
    );
    until(&place, "home /order ", &[&url("/order")]);
    let described = place.kubectl(&["describe", "ingress", "snackbar-hosts", "-n", ns]);
    for words in [
        "Ingress Class:    nginx",
        "Default backend:  home:80 (",
        "order.fast-snackbar.com",
        "order:80 (",
        "Sync",
        "Scheduled for sync",
    ] {
        assert!(described.contains(words), "{words}: {described}");
    }
    // Endpoints are followed: no pods, no answer; then pods again.
    place.kubectl(&["scale", "-n", ns, "deployment/order", "--replicas=0"]);
    until(
        &place,
        "503 Service Temporarily Unavailable",
        &["-H", host, &url("/")],
    );
    place.kubectl(&["scale", "-n", ns, "deployment/order", "--replicas=2"]);
    until(&place, "order ", &["-H", host, &url("/")]);
    place.kubectl(&["delete", "namespace", ns, "--wait=false"]);
}

fn tls_annotations_and_failures() {
    let place = shared();
    let ns = "ingress-tls";
    serve(&place, ns, &["web"]);
    let class = place.kubectl(&[
        "get",
        "ingressclass",
        "nginx",
        "-o",
        "jsonpath={.spec.controller} {.metadata.annotations}",
    ]);
    assert!(
        class.starts_with("k8s.io/ingress-nginx ") && class.contains("is-default-class\":\"true\""),
        "{class}"
    );
    place.kubectl(&[
        "create",
        "ingress",
        "web",
        "-n",
        ns,
        "--rule=shop.example/*=web:web,tls=shop-tls",
        "--rule=shop.example/exact=web:80",
        "--rule=plain.example/api*=web:80",
        "--annotation=nginx.ingress.kubernetes.io/proxy-body-size=64m",
        "--annotation=nginx.ingress.kubernetes.io/server-snippet=return 200;",
    ]);
    let ip = address(&place, ns, "web");
    certificate(&place, ns, "first");
    let resolve = |host: &str| format!("{host}:443:{ip}");
    let shop = resolve("shop.example");
    let secure = |path: &str| format!("https://shop.example{path}");
    until(
        &place,
        "subject: CN=first",
        &["-kv", "--stderr", "-", "--resolve", &shop, &secure("/")],
    );
    let answer = curl(&["-k", "--resolve", &shop, &secure("/a?b=c")]);
    assert!(
        answer.starts_with("web /a?b=c host=shop.example for="),
        "{answer}"
    );
    assert!(answer.contains("proto=https"), "{answer}");
    let version = curl(&[
        "-k",
        "-o",
        "/dev/null",
        "-w",
        "%{http_version}",
        "--resolve",
        &shop,
        &secure("/"),
    ]);
    assert_eq!(version, "2");
    // A renewed Secret is served without any restart.
    certificate(&place, ns, "second");
    until(
        &place,
        "subject: CN=second",
        &["-kv", "--stderr", "-", "--resolve", &shop, &secure("/")],
    );
    let plain = format!("shop.example:80:{ip}");
    let moved = curl(&[
        "-o",
        "/dev/null",
        "-w",
        "%{http_code} %{redirect_url}",
        "--resolve",
        &plain,
        "http://shop.example/x?y",
    ]);
    assert_eq!(moved, "308 https://shop.example/x?y");
    let unknown = format!("http://{ip}/");
    // Until the default backend of the story before is gone.
    place.eventually("404", || (code(&[&unknown]) == "404").then_some(()));
    assert_eq!(code(&["-H", "Host: plain.example", &unknown]), "404");
    let events = place.eventually("the event about the snippet", || {
        let events = place.kubectl(&["get", "events", "-n", ns]);
        events
            .contains("server-snippet is not supported")
            .then_some(events)
    });
    assert!(events.contains("Sync"), "{events}");

    uploads(&place, &ip);
    annotations(&place, ns, &ip);
    place.kubectl(&["delete", "namespace", ns, "--wait=false"]);
    // With the last Ingress the ports close.
    place.eventually("closed ports", || {
        (code(&[&unknown]) == "000").then_some(())
    });
}

/// A certificate for the shop whose subject is `name`.
fn certificate(place: &Place, namespace: &str, name: &str) {
    let home = place.home.path();
    let (key, cert) = (home.join("shop.key"), home.join("shop.crt"));
    let (key, cert) = (key.to_str().unwrap(), cert.to_str().unwrap());
    run(
        "openssl",
        &[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            "-keyout",
            key,
            "-out",
            cert,
            "-subj",
            &format!("/CN={name}"),
            "-addext",
            "subjectAltName=DNS:shop.example",
        ],
    );
    let secret = place.kubectl(&[
        "create",
        "secret",
        "tls",
        "shop-tls",
        "-n",
        namespace,
        &format!("--cert={cert}"),
        &format!("--key={key}"),
        "--dry-run=client",
        "-o",
        "yaml",
    ]);
    place.apply(&secret);
}

/// 64 MB are allowed here, one byte more is not; neither is gathered first.
fn uploads(place: &Place, ip: &str) {
    let path = place.home.path().join("upload");
    let file = std::fs::File::create(&path).unwrap();
    let body = format!("@{}", path.display());
    let url = format!("http://{ip}/api/upload");
    let send = |more: &[&str]| {
        let mut all = vec![
            "-H",
            "Host: plain.example",
            "-H",
            "Expect:",
            "-X",
            "POST",
            "--data-binary",
            &body,
            &url,
        ];
        all.extend(more);
        code(&all)
    };
    file.set_len(64 << 20).unwrap();
    assert_eq!(send(&[]), "200");
    assert_eq!(send(&["-H", "Transfer-Encoding: chunked"]), "200");
    file.set_len((64 << 20) + 1).unwrap();
    assert_eq!(send(&[]), "413");
}

fn annotations(place: &Place, ns: &str, ip: &str) {
    let set = |annotations: &[&str]| {
        let mut all = vec!["annotate", "ingress", "web", "-n", ns, "--overwrite"];
        let prefixed: Vec<String> = annotations
            .iter()
            .map(|annotation| format!("nginx.ingress.kubernetes.io/{annotation}"))
            .collect();
        all.extend(prefixed.iter().map(String::as_str));
        place.kubectl(&all);
    };
    let url = format!("http://{ip}/api/deep?x=1");
    let host = "Host: plain.example";
    let until_code = |expected: &str, more: &[&str]| {
        let mut all = vec!["-H", host, &url];
        all.extend(more);
        place.eventually(expected, || (code(&all) == expected).then_some(()));
    };
    set(&["whitelist-source-range=192.0.2.0/24"]);
    until_code("403", &[]);
    set(&["whitelist-source-range-"]);
    until_code("200", &[]);
    // As `htpasswd -c auth jane` writes it.
    let line = run(
        "openssl",
        &["passwd", "-apr1", "-salt", "abcdefgh", "secret"],
    );
    place.kubectl(&[
        "create",
        "secret",
        "generic",
        "people",
        "-n",
        ns,
        &format!("--from-literal=auth=jane:{line}"),
    ]);
    set(&[
        "auth-type=basic",
        "auth-secret=people",
        "auth-realm=Who are you",
    ]);
    until_code("401", &[]);
    until_code("200", &["-u", "jane:secret"]);
    set(&["auth-type-", "auth-secret-", "auth-realm-"]);
    until_code("200", &[]);
    set(&["rewrite-target=/new"]);
    until(
        place,
        "web /new?x=1 host=plain.example",
        &["-H", host, &url],
    );
    set(&[
        "rewrite-target-",
        "permanent-redirect=https://elsewhere.example",
    ]);
    until_code("301", &[]);
    set(&[
        "permanent-redirect-",
        "affinity=cookie",
        "enable-cors=true",
        "upstream-vhost=inner.example",
    ]);
    place.eventually("cookie, headers and host", || {
        let answer = curl(&["-i", "-H", host, "-H", "Origin: https://page.example", &url]);
        let has = |words: &str| answer.to_lowercase().contains(words);
        let all = has("set-cookie: ingresscookie=")
            && has("access-control-allow-origin: *")
            && has("host=inner.example");
        all.then_some(())
    });
}
