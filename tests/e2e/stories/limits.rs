//! What a namespace allows: limits, quotas, pod security, and webhooks that people run themselves.

use super::security::{ctl, fails};
use crate::{
    Story,
    cluster::{Place, run, shared, stderr},
    images::{load, load_busybox, nginx},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{fs, process::Stdio};

pub const STORIES: &[Story] = &[
    (
        "limits::limit_ranges_default_and_bound",
        limit_ranges_default_and_bound,
    ),
    (
        "limits::quotas_hold_under_concurrency",
        quotas_hold_under_concurrency,
    ),
    (
        "limits::pod_security_refuses_and_warns",
        pod_security_refuses_and_warns,
    ),
    (
        "limits::webhooks_in_the_cluster_judge_writes",
        webhooks_in_the_cluster_judge_writes,
    ),
];

/// What kubectl says on both streams when it applies the manifest.
fn tried(place: &Place, manifest: &str) -> String {
    let path = place.home.path().join("tried.yaml");
    fs::write(&path, manifest).unwrap();
    let words = ["create", "-f", path.to_str().unwrap()];
    let output = place.kubectl_command(&words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
}

fn pod(namespace: &str, name: &str, more: &str) -> String {
    format!(
        "apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: c
    image: busybox:1.36
    command: [sleep, '1000']
{more}
"
    )
}

fn with_resources(namespace: &str, name: &str, requests: &str, limits: &str) -> String {
    let resources = format!("    resources: {{requests: {{{requests}}}, limits: {{{limits}}}}}");
    pod(namespace, name, &resources)
}

fn claim(namespace: &str, name: &str, storage: &str) -> String {
    format!(
        "apiVersion: v1
kind: PersistentVolumeClaim
metadata: {{name: {name}, namespace: {namespace}}}
spec: {{accessModes: [ReadWriteOnce], resources: {{requests: {{storage: {storage}}}}}}}
"
    )
}

const LIMITS: &str = "
apiVersion: v1
kind: LimitRange
metadata: {name: limits, namespace: limits}
spec:
  limits:
  - type: Container
    default: {cpu: 200m, memory: 64Mi}
    defaultRequest: {cpu: 100m}
    min: {cpu: 50m}
    max: {cpu: 500m}
    maxLimitRequestRatio: {cpu: '4'}
  - {type: Pod, max: {memory: 256Mi}}
  - {type: PersistentVolumeClaim, min: {storage: 1Gi}, max: {storage: 2Gi}}
";

fn limit_ranges_default_and_bound() {
    let place = shared();
    load_busybox(&place);
    ctl(&place, "create namespace limits");
    place.apply(LIMITS);
    let told = ctl(&place, "describe limits limits -n limits");
    assert!(
        told.contains("maxLimitRequestRatio") || told.contains("Max Limit/Request Ratio"),
        "{told}"
    );
    place.apply(&pod("limits", "plain", ""));
    let resources = place.field(
        &["pod", "plain", "-n", "limits"],
        ".spec.containers[0].resources",
    );
    assert_eq!(
        resources,
        "{\"limits\":{\"cpu\":\"200m\",\"memory\":\"64Mi\"},\"requests\":{\"cpu\":\"100m\",\"memory\":\"64Mi\"}}"
    );
    let note = place.field(
        &["pod", "plain", "-n", "limits"],
        ".metadata.annotations.kubernetes\\.io/limit-ranger",
    );
    assert_eq!(
        note,
        "LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c"
    );
    ctl(
        &place,
        "wait -n limits --for=condition=Ready pod/plain --timeout=60s",
    );
    let memory = place.field(&["pod", "plain", "-n", "limits"], ".status.qosClass");
    assert_eq!(memory, "Burstable");
    limits_are_refused_in_words(&place);
    ctl(&place, "delete namespace limits --wait=false");
}

fn limits_are_refused_in_words(place: &Place) {
    for (requests, limits, expected) in [
        (
            "cpu: 10m",
            "cpu: 20m",
            "minimum cpu usage per Container is 50m, but request is 10m",
        ),
        (
            "cpu: 400m",
            "cpu: 600m",
            "maximum cpu usage per Container is 500m, but limit is 600m",
        ),
        (
            "cpu: 100m",
            "cpu: 500m",
            "cpu max limit to request ratio per Container is 4, but provided ratio is 5.000000",
        ),
        (
            "",
            "memory: 1Gi",
            "maximum memory usage per Pod is 256Mi, but limit is 1Gi",
        ),
    ] {
        let said = tried(place, &with_resources("limits", "bad", requests, limits));
        let expected = format!("pods \"bad\" is forbidden: {expected}");
        assert!(said.contains(&expected), "{said}");
    }
    let both = tried(
        place,
        &with_resources("limits", "bad", "cpu: 10m", "cpu: 600m"),
    );
    assert!(both.contains("is forbidden: [minimum cpu usage per Container is 50m, but request is 10m, maximum cpu usage"), "{both}");
    for (storage, expected) in [
        (
            "500Mi",
            "minimum storage usage per PersistentVolumeClaim is 1Gi, but request is 500Mi",
        ),
        (
            "3Gi",
            "maximum storage usage per PersistentVolumeClaim is 2Gi, but request is 3Gi",
        ),
    ] {
        let said = tried(place, &claim("limits", "bad", storage));
        assert!(said.contains(expected), "{said}");
    }
    let wrong = tried(
        place,
        "{apiVersion: v1, kind: LimitRange, metadata: {name: w, namespace: limits}, spec: {limits: [{type: Container, min: {cpu: '2'}, max: {cpu: '1'}}]}}",
    );
    assert!(
        wrong.contains("min value 2 is greater than max value 1"),
        "{wrong}"
    );
}

const QUOTAS: &str = "
apiVersion: v1
kind: ResourceQuota
metadata: {name: compute, namespace: quotas}
spec:
  hard: {pods: '2', requests.cpu: 300m, limits.memory: 200Mi}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: objects, namespace: quotas}
spec:
  hard:
    configmaps: '5'
    count/deployments.apps: '1'
    services.nodeports: '1'
    services.loadbalancers: '0'
    persistentvolumeclaims: '2'
    requests.storage: 3Gi
    standard.storageclass.storage.k8s.io/requests.storage: 2Gi
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: best-effort, namespace: scopes}
spec: {hard: {pods: '0'}, scopes: [BestEffort]}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: important, namespace: scopes}
spec:
  hard: {pods: '0'}
  scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In, values: [system-node-critical]}]}
";

fn quotas_hold_under_concurrency() {
    let place = shared();
    load_busybox(&place);
    for namespace in ["quotas", "scopes"] {
        ctl(&place, &format!("create namespace {namespace}"));
        ctl(
            &place,
            &format!("wait --for=create configmap/kube-root-ca.crt -n {namespace} --timeout=30s"),
        );
    }
    place.apply(QUOTAS);
    compute_quota(&place);
    object_quota(&place);
    // Ten at once for four places: the root certificate has the fifth.
    let made: Vec<_> = (0..10)
        .map(|index| {
            let name = format!("c{index}");
            place
                .kubectl_command(&[
                    "create",
                    "configmap",
                    &name,
                    "-n",
                    "quotas",
                    "--from-literal=a=b",
                ])
                .stdout(Stdio::null())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .map(|child| child.wait_with_output().unwrap())
        .collect();
    let refused: Vec<String> = made
        .iter()
        .filter(|one| !one.status.success())
        .map(stderr)
        .collect();
    assert_eq!(refused.len(), 6, "{refused:?}");
    let expected = "exceeded quota: objects, requested: configmaps=1, used: configmaps=5, limited: configmaps=5";
    assert!(
        refused.iter().all(|text| text.contains(expected)),
        "{refused:?}"
    );

    let said = tried(&place, &pod("scopes", "plain", ""));
    assert!(
        said.contains(
            "exceeded quota: best-effort, requested: pods=1, used: pods=0, limited: pods=0"
        ),
        "{said}"
    );
    let said = tried(&place, &with_resources("scopes", "fine", "cpu: 1m", ""));
    assert!(said.contains("created"), "{said}");
    let critical = format!(
        "{}  priorityClassName: system-node-critical\n",
        with_resources("scopes", "high", "cpu: 1m", "")
    );
    let said = tried(&place, &critical);
    assert!(said.contains("exceeded quota: important"), "{said}");
    ctl(&place, "delete namespace quotas scopes --wait=false");
}

fn compute_quota(place: &Place) {
    let said = tried(place, &pod("quotas", "plain", ""));
    assert!(
        said.contains(
            "pods \"plain\" is forbidden: failed quota: compute: must specify limits.memory for: c; requests.cpu for: c"
        ),
        "{said}"
    );
    let sized = |name: &str, cpu: &str| {
        with_resources("quotas", name, &format!("cpu: {cpu}"), "memory: 50Mi")
    };
    place.apply(&sized("one", "200m"));
    let said = tried(place, &sized("two", "200m"));
    assert!(
        said.contains(
            "pods \"two\" is forbidden: exceeded quota: compute, requested: requests.cpu=200m, used: requests.cpu=200m, limited: requests.cpu=300m"
        ),
        "{said}"
    );
    place.apply(&sized("two", "100m"));
    let said = tried(place, &sized("three", "1m"));
    assert!(
        said.contains("requested: pods=1,requests.cpu=1m, used: pods=2,requests.cpu=300m, limited: pods=2,requests.cpu=300m"),
        "{said}"
    );
    let table = ctl(place, "describe quota compute -n quotas");
    for row in [
        "limits.memory  100Mi  200Mi",
        "pods           2      2",
        "requests.cpu   300m   300m",
    ] {
        assert!(table.contains(row), "{table}");
    }
    ctl(place, "delete pod one -n quotas --force --grace-period=0");
    place.eventually("what a deleted pod used", || {
        let used = place.field(&["quota", "compute", "-n", "quotas"], ".status.used.pods");
        (used == "1").then_some(())
    });
}

fn object_quota(place: &Place) {
    // The Deployment exists; its pods do not fit, and the ReplicaSet says so.
    ctl(
        place,
        "create deployment web -n quotas --image=busybox:1.36",
    );
    place.eventually("the event of the refused pod", || {
        let events = ctl(
            place,
            "get events -n quotas --field-selector=reason=FailedCreate",
        );
        events
            .contains("must specify limits.memory for: busybox")
            .then_some(())
    });
    for (line, expected) in [
        (
            "create deployment more -n quotas --image=busybox:1.36",
            "requested: count/deployments.apps=1, used: count/deployments.apps=1, limited: count/deployments.apps=1",
        ),
        (
            "create service loadbalancer lb -n quotas --tcp=80:80",
            "services.loadbalancers=1, used: services.loadbalancers=0, limited: services.loadbalancers=0",
        ),
        (
            "create service nodeport np -n quotas --tcp=80:80 --tcp=81:81",
            "requested: services.nodeports=2, used: services.nodeports=0, limited: services.nodeports=1",
        ),
    ] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let refused = place.kubectl_fails(&words);
        assert!(refused.contains(expected), "{refused}");
    }
    let said = tried(place, &claim("quotas", "big", "2500Mi"));
    let name = "standard.storageclass.storage.k8s.io/requests.storage";
    assert!(
        said.contains(&format!(
            "requested: {name}=2500Mi, used: {name}=0, limited: {name}=2Gi"
        )),
        "{said}"
    );
}

fn pod_security_refuses_and_warns() {
    let place = shared();
    load_busybox(&place);
    ctl(&place, "create namespace standards");
    place.apply(&pod(
        "standards",
        "early",
        "    securityContext: {privileged: true}",
    ));
    let output = place
        .kubectl_command(&[
            "label",
            "namespace",
            "standards",
            "pod-security.kubernetes.io/enforce=baseline",
        ])
        .output()
        .unwrap();
    let said = stderr(&output);
    assert!(
        said.contains("Warning: existing pods in namespace \"standards\" violate the new PodSecurity enforce level \"baseline:latest\"")
            && said.contains("Warning: early: privileged"),
        "{said}"
    );
    let said = tried(
        &place,
        &pod(
            "standards",
            "bad",
            "    securityContext: {privileged: true}\n  hostNetwork: true",
        ),
    );
    assert!(
        said.contains(
            "pods \"bad\" is forbidden: violates PodSecurity \"baseline:latest\": host namespaces (hostNetwork=true), \
             privileged (container \"c\" must not set securityContext.privileged=true)"
        ),
        "{said}"
    );
    ctl(
        &place,
        "label namespace standards pod-security.kubernetes.io/warn=restricted",
    );
    let restricted = "would violate PodSecurity \"restricted:latest\": allowPrivilegeEscalation != false \
        (container \"c\" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities \
        (container \"c\" must set securityContext.capabilities.drop=[\"ALL\"]), runAsNonRoot != true \
        (pod or container \"c\" must set securityContext.runAsNonRoot=true), seccompProfile (pod or container \"c\" \
        must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\")";
    let said = tried(&place, &pod("standards", "plain", ""));
    assert!(
        said.contains(restricted) && said.contains("pod/plain created"),
        "{said}"
    );
    let template = place.kubectl_command(&[
        "create",
        "deployment",
        "web",
        "-n",
        "standards",
        "--image=busybox:1.36",
        "--replicas=0",
    ]);
    let mut template = template;
    let said = stderr(&template.output().unwrap());
    assert!(
        said.contains("Warning: would violate PodSecurity \"restricted:latest\""),
        "{said}"
    );
    let wrong = fails(
        &place,
        "label namespace standards --overwrite pod-security.kubernetes.io/enforce=strict",
    );
    assert!(
        wrong.contains("must be one of privileged, baseline, restricted"),
        "{wrong}"
    );
    node_restriction(&place);
    ctl(&place, "delete namespace standards --wait=false");
}

/// A node's certificate is good for its own node only, and not for every label.
fn node_restriction(place: &Place) {
    let node = place.field(&["nodes"], ".items[0].metadata.name");
    let labels = |as_node: &str, label: &str| {
        let user = format!("--as=system:node:{as_node}");
        let words = [
            "label",
            "node",
            &node,
            label,
            "--dry-run=server",
            &user,
            "--as-group=system:nodes",
        ];
        stderr(&place.kubectl_command(&words).output().unwrap())
    };
    assert_eq!(labels(&node, "example.com/x=y"), "");
    let refused = labels(&node, "node-restriction.kubernetes.io/x=y");
    assert!(
        refused.contains("is not allowed to modify labels: node-restriction.kubernetes.io/x"),
        "{refused}"
    );
    let refused = labels("other", "example.com/x=y");
    assert!(
        refused.contains(&format!(
            "node \"other\" is not allowed to modify node \"{node}\""
        )),
        "{refused}"
    );
}

/// nginx ends TLS, busybox's web server runs the scripts that judge.
const HOOK: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: hook, namespace: hooks}
data:
  nginx.conf: |
    daemon off;
    user www-data;
    error_log stderr;
    pid /run/nginx.pid;
    events { worker_connections 64; }
    http {
      access_log off;
      server {
        listen 443 ssl;
        ssl_certificate /etc/nginx/tls/tls.crt;
        ssl_certificate_key /etc/nginx/tls/tls.key;
        location / { proxy_pass http://127.0.0.1:8080; }
      }
    }
  label: |
    #!/bin/sh
    uid=$(sed -n 's/.*\"uid\":\"\\([^\"]*\\)\".*/\\1/p')
    patch=$(printf '[{\"op\":\"add\",\"path\":\"/metadata/labels\",\"value\":{\"seen\":\"yes\"}}]' | base64 -w0)
    printf 'Content-Type: application/json\\r\\n\\r\\n'
    printf '{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"response\":{\"uid\":\"%s\",\"allowed\":true,\"patchType\":\"JSONPatch\",\"patch\":\"%s\"}}' \"$uid\" \"$patch\"
  judge: |
    #!/bin/sh
    body=$(cat)
    uid=$(printf '%s' \"$body\" | sed -n 's/.*\"uid\":\"\\([^\"]*\\)\".*/\\1/p')
    allowed=true
    case \"$body\" in *'\"color\":\"green\"'*) allowed=false;; esac
    printf 'Content-Type: application/json\\r\\n\\r\\n'
    printf '{\"apiVersion\":\"admission.k8s.io/v1\",\"kind\":\"AdmissionReview\",\"response\":{\"uid\":\"%s\",\"allowed\":%s,\"status\":{\"message\":\"green is not a color here\"}}}' \"$uid\" \"$allowed\"
---
apiVersion: v1
kind: Pod
metadata: {name: hook, namespace: hooks, labels: {app: hook}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
  - name: hook
    image: nginx:1.17
    command: [sh, -c, 'httpd -p 127.0.0.1:8080 -h /www && exec nginx -c /etc/nginx/nginx.conf']
    readinessProbe: {tcpSocket: {port: 443}, periodSeconds: 1}
    volumeMounts:
    - {name: tls, mountPath: /etc/nginx/tls}
    - {name: conf, mountPath: /etc/nginx/nginx.conf, subPath: nginx.conf}
    - {name: conf, mountPath: /www/cgi-bin}
  volumes:
  - {name: tls, secret: {secretName: hook}}
  - {name: conf, configMap: {name: hook, defaultMode: 493}}
---
apiVersion: v1
kind: Service
metadata: {name: hook, namespace: hooks}
spec: {selector: {app: hook}, ports: [{port: 443}]}
";

fn configuration(kind: &str, script: &str, more: &str, authority: &str) -> String {
    format!(
        "apiVersion: admissionregistration.k8s.io/v1
kind: {kind}
metadata: {{name: {script}-hooks}}
webhooks:
- name: {script}.example.com
  clientConfig: {{caBundle: {authority}, service: {{name: hook, namespace: hooks, path: /cgi-bin/{script}}}}}
  rules: [{{operations: [CREATE, UPDATE], apiGroups: [''], apiVersions: [v1], resources: [configmaps]}}]
  namespaceSelector: {{matchLabels: {{judged: 'yes'}}}}
  admissionReviewVersions: [v1]
  sideEffects: None
{more}
"
    )
}

/// What kubectl says on both streams.
fn make(place: &Place, namespace: &str, name: &str, color: &str) -> String {
    let words = format!("create configmap {name} -n {namespace} --from-literal=color={color}");
    let words: Vec<&str> = words.split(' ').collect();
    let output = place.kubectl_command(&words).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned() + &stderr(&output)
}

fn webhooks_in_the_cluster_judge_writes() {
    let place = shared();
    let home = place.home.path();
    load(&place, &nginx("nginx:1.17"), "nginx-1.17");
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout hook.key -out hook.crt \
        -subj /CN=hook -addext subjectAltName=DNS:hook.hooks.svc";
    run("sh", &["-ec", &format!("cd {}; {script}", home.display())]);
    ctl(&place, "create namespace hooks");
    ctl(&place, "create namespace judged");
    ctl(&place, "label namespace judged judged=yes");
    let (key, certificate) = (home.join("hook.key"), home.join("hook.crt"));
    ctl(
        &place,
        &format!(
            "create secret tls hook -n hooks --key={} --cert={}",
            key.display(),
            certificate.display()
        ),
    );
    place.apply(HOOK);
    ctl(
        &place,
        "wait -n hooks --for=condition=Ready pod/hook --timeout=60s",
    );
    let authority = BASE64_STANDARD.encode(fs::read(&certificate).unwrap());
    place.apply(&configuration(
        "MutatingWebhookConfiguration",
        "label",
        "",
        &authority,
    ));
    place.apply(&configuration(
        "ValidatingWebhookConfiguration",
        "judge",
        "",
        &authority,
    ));
    assert_eq!(
        make(&place, "judged", "blue", "blue"),
        "configmap/blue created\n"
    );
    assert_eq!(
        place.field(
            &["configmap", "blue", "-n", "judged"],
            ".metadata.labels.seen"
        ),
        "yes"
    );
    let refused = make(&place, "judged", "green", "green");
    assert!(
        refused.contains(
            "admission webhook \"judge.example.com\" denied the request: green is not a color here"
        ),
        "{refused}"
    );
    assert_eq!(
        make(&place, "hooks", "green", "green"),
        "configmap/green created\n"
    );

    failures_count_by_policy(&place, &authority);
    ctl(&place, "delete namespace hooks judged --wait=false");
}

fn failures_count_by_policy(place: &Place, authority: &str) {
    // Without the server the policy of the configuration counts.
    ctl(place, "delete service hook -n hooks");
    let refused = make(place, "judged", "red", "red");
    assert!(
        refused.contains(
            "failed calling webhook \"label.example.com\": failed to call webhook: Post \
             \"https://hook.hooks.svc:443/cgi-bin/label?timeout=10s\": service \"hook\" not found"
        ),
        "{refused}"
    );
    let lax = "  failurePolicy: Ignore";
    place.apply(&configuration(
        "MutatingWebhookConfiguration",
        "label",
        lax,
        authority,
    ));
    place.apply(&configuration(
        "ValidatingWebhookConfiguration",
        "judge",
        lax,
        authority,
    ));
    assert_eq!(
        make(place, "judged", "red", "red"),
        "configmap/red created\n"
    );
    ctl(
        place,
        "delete mutatingwebhookconfiguration/label-hooks validatingwebhookconfiguration/judge-hooks",
    );
}
