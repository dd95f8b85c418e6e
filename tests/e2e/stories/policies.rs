//! NetworkPolicies as people write them, against real pods.

use super::services::{client, fetch_in, load_echo, ready};
use crate::{
    Story,
    cluster::{Place, run, shared},
};
use std::process::{Child, Stdio};

pub const STORIES: &[Story] = &[
    (
        "policies::pods_are_isolated_and_opened_by_rules",
        pods_are_isolated_and_opened_by_rules,
    ),
    (
        "policies::what_goes_out_and_what_goes_on",
        what_goes_out_and_what_goes_on,
    ),
];

fn reaches(place: &Place, from: (&str, &str), url: &str) -> bool {
    match fetch_in(place, from.0, from.1, url).as_str() {
        "" => false,
        "db" => true,
        other => panic!("{url} was answered by {other}"),
    }
}

/// Until two clients are let through or not, as expected.
fn expect(place: &Place, what: &str, url: &str, expected: [bool; 2]) {
    place.eventually(what, || {
        let friend = reaches(place, ("np", "friend"), url);
        let stranger = reaches(place, ("np-other", "stranger"), url);
        ([friend, stranger] == expected).then_some(())
    });
}

fn policy(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: np}}\nspec: {spec}\n"
    )
}

fn has_fences() -> bool {
    run("nft", &["list", "ruleset"]).contains("fence")
}

fn pods_are_isolated_and_opened_by_rules() {
    let place = shared();
    load_echo(&place);
    assert!(!has_fences(), "without a policy there is no rule");
    for namespace in ["np", "np-other"] {
        place.kubectl(&["create", "namespace", namespace]);
    }
    let db = client("np", "db", "").replace(
        "image: 'echo:test'",
        "image: 'echo:test', ports: [{name: web, containerPort: 8080}], readinessProbe: {httpGet: {port: web, path: /}, periodSeconds: 1}",
    );
    place.apply(&format!(
        "{db}---{}---{}---
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: np}}
spec: {{selector: {{app: db}}, ports: [{{port: 80, targetPort: web}}]}}
",
        client("np", "friend", ""),
        client("np-other", "stranger", "")
    ));
    for (namespace, pod) in [("np", "db"), ("np", "friend"), ("np-other", "stranger")] {
        ready(&place, namespace, pod);
    }
    let url = "http://db.np";
    expect(&place, "no policy", url, [true, true]);

    place.apply(&policy("deny", "{podSelector: {}, policyTypes: [Ingress]}"));
    expect(&place, "deny all", url, [false, false]);
    assert!(has_fences());
    // Probes of the node and the host itself pass; so do answers to what the pod asks itself.
    let address = place.field(&["service", "db", "-n", "np"], ".spec.clusterIP");
    assert_eq!(
        run("curl", &["-sS", "-m", "5", &format!("http://{address}")]).trim(),
        "db"
    );
    place.eventually("itself, by its Service and DNS", || {
        (fetch_in(&place, "np", "db", "http://db.np") == "db").then_some(())
    });

    place.apply(&policy("allow", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: web}]}]}"));
    expect(&place, "a friend at a named port", url, [true, false]);
    place.apply(&policy("allow", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: friend}}}], ports: [{port: 80, endPort: 90}]}]}"));
    expect(
        &place,
        "the pod's port counts, not the Service's",
        url,
        [false, false],
    );
    place.apply(&policy("allow", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: np-other}}, podSelector: {matchExpressions: [{key: app, operator: In, values: [stranger]}]}}], ports: [{port: 8000, endPort: 8100}]}]}"));
    expect(
        &place,
        "pods of a namespace and a range of ports",
        url,
        [false, true],
    );
    place.apply(&policy(
        "more",
        "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {}}]}]}",
    ));
    expect(&place, "policies add up", url, [true, true]);
    place.kubectl(&["delete", "networkpolicy", "allow", "more", "-n", "np"]);
    let friend = place.field(&["pod", "friend", "-n", "np"], ".status.podIP");
    let (range, _) = friend.rsplit_once('.').unwrap();
    place.apply(&policy("block", &format!("{{podSelector: {{}}, ingress: [{{from: [{{ipBlock: {{cidr: {range}.0/24, except: [{friend}/32]}}}}]}}]}}")));
    expect(&place, "a block with an exception", url, [false, true]);
    // Labels that change count at once.
    place.kubectl(&["label", "pod", "db", "-n", "np", "app=cache", "--overwrite"]);
    place.kubectl(&["label", "pod", "db", "-n", "np", "app=db", "--overwrite"]);
    let described = place.kubectl(&["describe", "networkpolicy", "block", "-n", "np"]);
    assert!(
        described.contains(&format!("Except: {friend}/32")),
        "{described}"
    );

    never_open(&place, &address);
    place.kubectl(&["delete", "networkpolicy", "--all", "-n", "np"]);
    expect(&place, "all policies gone", url, [true, true]);
    place.eventually("no fences", || (!has_fences()).then_some(()));
    place.kubectl(&["delete", "namespace", "np", "np-other", "--wait=false"]);
}

/// A pod that comes under a policy is fenced from its first moment on.
fn never_open(place: &Place, address: &str) {
    let late = client("np", "late", "").replace("echo:test'", "echo:test', command: [sh, -c, 'while ! curl -sS -m 1 http://ADDRESS; do :; done; exit 1']").replace("ADDRESS", address);
    place.apply(&policy(
        "shut",
        "{podSelector: {matchLabels: {app: late}}, policyTypes: [Egress]}",
    ));
    place.apply(&late);
    ready(place, "np", "late");
    place.eventually("attempts in vain", || {
        let told = place.kubectl(&["logs", "late", "-n", "np"]);
        (told.matches("curl: (28)").count() >= 2).then_some(())
    });
    let restarts = place.field(
        &["pod", "late", "-n", "np"],
        ".status.containerStatuses[0].restartCount",
    );
    assert_eq!(restarts, "0", "it got through");
}

/// A download without end, slow enough to be watched.
fn stream(place: &Place, url: &str) -> Child {
    place
        .kubectl_command(&[
            "exec", "-n", "out", "client", "--", "curl", "-sS", "-N", url,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ticking() -> String {
    let ticker = client("out", "ticker", "").replace(
        "image: 'echo:test'",
        "image: 'echo:test', command: [sh, -c, 'mkdir -p /www/cgi-bin; printf \"#!/bin/sh\\necho; while echo tick; do sleep 0.1; done\\n\" > /www/cgi-bin/t; chmod +x /www/cgi-bin/t; hostname > /www/index.html; exec httpd -f -p 8080 -h /www']",
    );
    format!(
        "{ticker}---{}---
apiVersion: v1
kind: Service
metadata: {{name: db, namespace: out}}
spec: {{selector: {{app: ticker}}, ports: [{{port: 80, targetPort: 8080}}]}}
",
        client("out", "client", "")
    )
}

fn what_goes_out_and_what_goes_on() {
    let place = shared();
    load_echo(&place);
    place.kubectl(&["create", "namespace", "out"]);
    place.apply(&ticking());
    ready(&place, "out", "ticker");
    ready(&place, "out", "client");
    let out = |name: &str, spec: &str| {
        place.apply(&policy(name, spec).replace("namespace: np", "namespace: out"));
    };
    let answers = |url: &str| fetch_in(&place, "out", "client", url) == "ticker";
    let address = place.field(&["service", "db", "-n", "out"], ".spec.clusterIP");
    place.eventually("no policy", || answers("http://db").then_some(()));

    use std::io::{BufRead, BufReader};
    let mut running = stream(&place, "http://db/cgi-bin/t");
    let mut lines = BufReader::new(running.stdout.take().unwrap()).lines();
    assert_eq!(lines.next().unwrap().unwrap(), "tick");
    out(
        "closed",
        "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress]}",
    );
    place.eventually("nothing goes out", || {
        (!answers(&format!("http://{address}"))).then_some(())
    });
    // What flowed flows no more: what was on its way is read, then there is silence.
    let (told, ticks) = std::sync::mpsc::channel();
    std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|_| told.send(())));
    place.eventually("silence", || {
        ticks
            .recv_timeout(std::time::Duration::from_millis(600))
            .is_err()
            .then_some(())
    });
    let dns = "{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{protocol: UDP, port: 53}, {protocol: TCP, port: 53}]}";
    let resolves = || {
        let output = place
            .kubectl_command(&[
                "exec",
                "-n",
                "out",
                "client",
                "--",
                "timeout",
                "2",
                "nslookup",
                "db.out.svc.cluster.local",
            ])
            .output()
            .unwrap();
        output.status.success()
    };
    assert!(!resolves(), "names are asked over the network too");
    out(
        "dns",
        &format!("{{podSelector: {{}}, policyTypes: [Egress], egress: [{dns}]}}"),
    );
    place.eventually("DNS is open", || resolves().then_some(()));
    assert!(!answers(&format!("http://{address}")));
    out(
        "web",
        "{podSelector: {matchLabels: {app: client}}, policyTypes: [Egress], egress: [{to: [{podSelector: {matchLabels: {app: ticker}}}], ports: [{port: 8080}]}]}",
    );
    place.eventually("the one peer", || answers("http://db").then_some(()));
    assert!(
        ticks
            .recv_timeout(std::time::Duration::from_secs(30))
            .is_ok(),
        "it goes on where it stopped"
    );
    let _ = running.kill();
    let _ = running.wait();
    place.kubectl(&["delete", "networkpolicy", "--all", "-n", "out"]);
    place.kubectl(&["delete", "namespace", "out", "--wait=false"]);
}
