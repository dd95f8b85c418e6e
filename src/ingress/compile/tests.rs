//! Objects to routes, case by case.

use super::*;
use crate::ingress::table::Found;
use serde_json::{Value, json};

/// Objects as their manifests say, read from JSON by kind.
fn objects(documents: &[Value]) -> (Vec<Arc<Ingress>>, Objects) {
    fn of<T: Object>(documents: &[Value]) -> Snapshot<T> {
        let of_kind = documents.iter().filter(|one| one["kind"] == T::KIND);
        of_kind
            .map(|one| serde_json::from_value(one.clone()).unwrap())
            .collect()
    }
    let class = json!({"kind": "IngressClass", "apiVersion": "networking.k8s.io/v1", "metadata": {"name": "nginx"},
        "spec": {"controller": class::CONTROLLER}});
    let served = served(&of(documents), &of(&[class]));
    let objects = Objects {
        services: of(documents),
        slices: of(documents),
        secrets: of(documents),
    };
    (served, objects)
}

fn compiled(documents: &[Value]) -> Compiled {
    let (served, objects) = objects(documents);
    compile(&served, &objects)
}

/// The `age`-th oldest Ingress of namespace `ns`.
#[expect(clippy::needless_pass_by_value, reason = "cases read better")]
fn ingress(name: &str, age: u8, annotations: Value, spec: Value) -> Value {
    let mut prefixed = serde_json::Map::new();
    for (key, value) in annotations.as_object().unwrap() {
        prefixed.insert(format!("{}{key}", option::PREFIX), value.clone());
    }
    let mut spec = spec;
    spec["ingressClassName"] = "nginx".into();
    json!({"kind": "Ingress", "apiVersion": "networking.k8s.io/v1", "spec": spec, "metadata": {
        "name": name, "namespace": "ns", "annotations": prefixed,
        "creationTimestamp": format!("2026-01-{age:02}T00:00:00Z")}})
}

fn backend(service: &str) -> Value {
    json!({"service": {"name": service, "port": {"number": 80}}})
}

fn rule(host: &str, paths: &[(&str, &str, &str)]) -> Value {
    let paths: Vec<Value> = paths
        .iter()
        .map(|(kind, path, service)| json!({"pathType": kind, "path": path, "backend": backend(service)}))
        .collect();
    let mut rule = json!({"http": {"paths": paths}});
    if !host.is_empty() {
        rule["host"] = host.into();
    }
    rule
}

/// Which Service a request comes to: `-` for none.
fn goes_to(compiled: &Compiled, host: &str, path: &str) -> String {
    match compiled.table.find(host, path) {
        Found::Route(route) => route.backend.name.replace("ns/", "").replace(":80", ""),
        Found::Moved(to) => format!("-> {to}"),
        Found::Nothing => "-".to_owned(),
    }
}

fn check(compiled: &Compiled, cases: &[(&str, &str, &str)]) {
    for (host, path, expected) in cases {
        assert_eq!(goes_to(compiled, host, path), *expected, "{host}{path}");
    }
}

#[test]
fn paths_are_compared_as_kubernetes_says() {
    let paths = [
        ("Exact", "/exact", "exact"),
        ("Prefix", "/foo", "foo"),
        ("Prefix", "/foo/bar/", "bar"),
        ("Exact", "/foo/bar", "exact-bar"),
        ("ImplementationSpecific", "/imp", "imp"),
        ("Prefix", "/", "root"),
    ];
    let all = compiled(&[ingress(
        "a",
        1,
        json!({}),
        json!({"rules": [rule("", &paths)]}),
    )]);
    check(
        &all,
        &[
            ("x", "/exact", "exact"),
            ("x", "/exact/", "root"),
            ("x", "/Exact", "root"),
            ("x", "/foo", "foo"),
            ("x", "/foo/", "foo"),
            ("x", "/foobar", "root"),
            ("x", "/foo/bar", "exact-bar"),
            ("x", "/foo/bar/", "bar"),
            ("x", "/foo/bar/baz", "bar"),
            ("x", "/foo/barbaz", "foo"),
            ("x", "/imp", "imp"),
            ("x", "/impressive", "imp"),
            ("x", "/", "root"),
        ],
    );
}

#[test]
fn the_most_exact_host_decides_alone() {
    let spec = json!({"rules": [
        rule("a.example", &[("Prefix", "/a", "exact")]),
        rule("*.example", &[("Prefix", "/", "wild")]),
        rule("", &[("Prefix", "/", "any")]),
    ]});
    let all = compiled(&[ingress("a", 1, json!({}), spec)]);
    check(
        &all,
        &[
            ("a.example", "/a", "exact"),
            ("a.example", "/b", "-"),
            ("b.example", "/b", "wild"),
            ("c.b.example", "/b", "any"),
            ("example", "/", "any"),
            ("other", "/", "any"),
        ],
    );
}

#[test]
fn default_backends_answer_what_nothing_matches() {
    // The notes' two Ingresses.
    let paths = json!({"defaultBackend": backend("home"), "rules": [rule("", &[("Prefix", "/order", "order")])]});
    let all = compiled(&[ingress("paths", 1, json!({}), paths)]);
    check(
        &all,
        &[
            ("x", "/order/menu", "order"),
            ("x", "/", "home"),
            ("y", "/orders", "home"),
        ],
    );
    let hosts = json!({"defaultBackend": backend("home"), "rules": [rule("order.example", &[("Prefix", "/", "order")])]});
    let all = compiled(&[ingress("hosts", 1, json!({}), hosts)]);
    check(
        &all,
        &[("order.example", "/", "order"), ("10.244.0.1", "/", "home")],
    );
    // The one without rules before older ones with rules, and a host's own before both.
    let all = compiled(&[
        ingress(
            "old",
            1,
            json!({}),
            json!({"defaultBackend": backend("own"), "rules": [rule("a.example", &[("Exact", "/x", "x")])]}),
        ),
        ingress(
            "bare",
            2,
            json!({}),
            json!({"defaultBackend": backend("bare")}),
        ),
    ]);
    check(
        &all,
        &[("a.example", "/y", "own"), ("b.example", "/y", "bare")],
    );
}

#[test]
fn the_oldest_ingress_keeps_its_place() {
    let spec = |service: &str| json!({"rules": [rule("a.example", &[("Prefix", "/x", service)])]});
    let more = json!({"rules": [rule("a.example", &[("Prefix", "/y", "third")])]});
    let all = compiled(&[
        ingress("younger", 2, json!({}), spec("second")),
        ingress("older", 1, json!({}), spec("first")),
        ingress("merged", 3, json!({}), more),
    ]);
    check(
        &all,
        &[("a.example", "/x", "first"), ("a.example", "/y", "third")],
    );
    assert_eq!(
        all.findings,
        [Finding {
            ingress: Key::new("ns", "younger"),
            message: "host \"a.example\" and path \"/x\" are already served by an older Ingress"
                .into()
        }]
    );
}

#[test]
fn expressions_rewrite_and_the_longest_wins() {
    let paths = [
        ("ImplementationSpecific", "/something(/|$)(.*)", "a"),
        ("Prefix", "/plain", "b"),
        ("ImplementationSpecific", "/something/else(/|$)(.*)", "c"),
    ];
    let spec = json!({"rules": [rule("", &paths)]});
    let all = compiled(&[ingress("a", 1, json!({"rewrite-target": "/$2"}), spec)]);
    check(
        &all,
        &[
            ("x", "/something/new", "a"),
            ("x", "/SOMETHING", "a"),
            ("x", "/plainer", "-"),
            ("x", "/something/else", "c"),
        ],
    );
    let Found::Route(route) = all.table.find("x", "/something/new") else {
        panic!("no route")
    };
    assert_eq!(
        route
            .rewrite
            .as_ref()
            .unwrap()
            .apply("/something/new", Some("q")),
        "/new?q"
    );

    let bad = json!({"rules": [rule("", &[("ImplementationSpecific", "/(", "a"), ("ImplementationSpecific", "/b+", "b")])]});
    let all = compiled(&[ingress("a", 1, json!({"use-regex": "true"}), bad)]);
    check(&all, &[("x", "/bbb", "b"), ("x", "/(", "-")]);
    assert_eq!(all.findings.len(), 1);
}

#[test]
fn canaries_stand_beside_their_route() {
    let spec = |service: &str| json!({"rules": [rule("a.example", &[("Prefix", "/", service)])]});
    let all = compiled(&[
        ingress(
            "canary",
            1,
            json!({"canary": "true", "canary-weight": "30"}),
            spec("new"),
        ),
        ingress("main", 2, json!({}), spec("old")),
    ]);
    check(&all, &[("a.example", "/", "old")]);
    let Found::Route(route) = all.table.find("a.example", "/") else {
        panic!("no route")
    };
    let (options, backend) = route.canary.as_ref().unwrap();
    assert_eq!(
        (options.canary.weight, backend.name.as_str()),
        (30, "ns/new:80")
    );
}

#[test]
fn aliases_and_www_are_other_names_of_a_host() {
    let annotations =
        json!({"server-alias": "b.example, C.example", "from-to-www-redirect": "true"});
    let spec = json!({"rules": [rule("a.example", &[("Prefix", "/", "web")])]});
    let all = compiled(&[ingress("a", 1, annotations, spec)]);
    check(
        &all,
        &[
            ("b.example", "/", "web"),
            ("c.example", "/", "web"),
            ("www.a.example", "/", "-> a.example"),
            ("d.example", "/", "-"),
        ],
    );
}

fn service(name: &str, spec: &Value) -> Value {
    json!({"kind": "Service", "apiVersion": "v1", "metadata": {"name": name, "namespace": "ns"}, "spec": spec})
}

#[test]
fn backends_are_ready_endpoints_of_the_named_port() {
    let ports =
        json!([{"name": "http", "port": 80, "targetPort": 8080}, {"name": "admin", "port": 81}]);
    let slice = json!({"kind": "EndpointSlice", "apiVersion": "discovery.k8s.io/v1", "addressType": "IPv4",
    "metadata": {"name": "web-1", "namespace": "ns", "labels": {"kubernetes.io/service-name": "web"}},
    "ports": [{"name": "http", "port": 8080}, {"name": "admin", "port": 9000}],
    "endpoints": [
        {"addresses": ["10.0.0.2"], "conditions": {"ready": true}},
        {"addresses": ["10.0.0.3"], "conditions": {"ready": false}},
        {"addresses": ["10.0.0.4"], "conditions": {"ready": false, "serving": true, "terminating": true}},
    ]});
    let path = |port: Value| json!({"pathType": "Prefix", "path": "/", "backend": {"service": {"name": "web", "port": port}}});
    let endpoints = |port: Value, annotations: Value, slice: &Value| {
        let spec = json!({"rules": [{"http": {"paths": [path(port)]}}]});
        let documents = [
            ingress("a", 1, annotations, spec),
            service("web", &json!({"clusterIP": "10.96.0.7", "ports": ports})),
            slice.clone(),
        ];
        let all = compiled(&documents);
        let Found::Route(route) = all.table.find("x", "/") else {
            panic!("no route")
        };
        let texts: Vec<String> = route
            .backend
            .endpoints
            .iter()
            .map(ToString::to_string)
            .collect();
        texts
    };
    assert_eq!(
        endpoints(json!({"number": 80}), json!({}), &slice),
        ["10.0.0.2:8080"]
    );
    assert_eq!(
        endpoints(json!({"name": "admin"}), json!({}), &slice),
        ["10.0.0.2:9000"]
    );
    assert_eq!(endpoints(json!({"number": 82}), json!({}), &slice), [""; 0]);
    assert_eq!(
        endpoints(
            json!({"number": 80}),
            json!({"service-upstream": "true"}),
            &slice
        ),
        ["10.96.0.7:80"]
    );
    // Whoever is leaving answers when nobody else does.
    let mut leaving = slice.clone();
    leaving["endpoints"][0]["conditions"]["ready"] = false.into();
    assert_eq!(
        endpoints(json!({"number": 80}), json!({}), &leaving),
        ["10.0.0.4:8080"]
    );
}

#[test]
fn authentication_that_cannot_be_kept_closes_the_route() {
    let secret = json!({"kind": "Secret", "apiVersion": "v1", "metadata": {"name": "people", "namespace": "ns"},
        "data": {"auth": "amFuZTp7UExBSU59c2VjcmV0Cg=="}});
    let refused = |secret_name: &str| {
        let annotations = json!({"auth-type": "basic", "auth-secret": secret_name});
        let spec = json!({"rules": [rule("", &[("Prefix", "/", "web")])]});
        let all = compiled(&[ingress("a", 1, annotations, spec), secret.clone()]);
        let Found::Route(route) = all.table.find("x", "/") else {
            panic!("no route")
        };
        assert_eq!(route.users.is_none(), route.options.refused.is_some());
        route.options.refused.clone()
    };
    assert_eq!(refused("people"), None);
    assert_eq!(refused("ns/people"), None);
    assert!(
        refused("other/people")
            .unwrap()
            .contains("in another namespace")
    );
    assert!(refused("absent").unwrap().contains("was not found"));
}

#[test]
fn hosts_with_a_certificate_are_known() {
    let spec = json!({"tls": [{"hosts": ["a.example", "*.b.example"], "secretName": "s"}], "rules": [
        rule("a.example", &[("Prefix", "/", "web")]),
        rule("x.b.example", &[("Prefix", "/", "web")]),
        rule("c.example", &[("Prefix", "/", "web")]),
    ]});
    let all = compiled(&[ingress("a", 1, json!({}), spec)]);
    for (host, expected) in [
        ("a.example", true),
        ("x.b.example", true),
        ("c.example", false),
    ] {
        let Found::Route(route) = all.table.find(host, "/") else {
            panic!("no route")
        };
        assert_eq!(route.has_tls, expected, "{host}");
    }
}
