//! What pods really use: seen by `kubectl top`, by the node's own pages, and by an autoscaler that acts on it.

use super::workloads::Corner;
use crate::{Story, cluster::shared};

pub const STORIES: &[Story] = &[(
    "autoscaling::load_is_measured_and_answered_with_replicas",
    load_is_measured_and_answered_with_replicas,
)];

/// Burns the tenth of a core it is allowed, twice of what it asks for.
const BURN: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: burn}
spec:
  selector: {matchLabels: {app: burn}}
  template:
    metadata: {labels: {app: burn}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: main
        image: 'busybox:1.36'
        command: [sh, -c, 'while :; do :; done']
        resources: {requests: {cpu: 50m, memory: 8Mi}, limits: {cpu: 100m, memory: 32Mi}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: vague}
spec:
  selector: {matchLabels: {app: vague}}
  template:
    metadata: {labels: {app: vague}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: main, image: 'busybox:1.36', command: [sleep, '100000']}]
";

fn load_is_measured_and_answered_with_replicas() {
    let place = shared();
    let corner = Corner::new(&place, "wl-load");
    corner.apply(BURN);
    corner.k("wait --for=condition=Available deployment --all --timeout=60s");
    corner.k("autoscale deployment burn --cpu=50% --min=1 --max=3");
    corner.k("autoscale deployment vague --cpu=50% --min=1 --max=3");

    measured(&corner);

    // Four times of what is wanted: at once to the most that is allowed.
    corner.until("hpa burn", ".status.desiredReplicas", "3");
    corner.until("deployment burn", ".status.readyReplicas", "3");
    corner.has_event("burn", "SuccessfulRescale New size: 3; reason: cpu resource utilization (percentage of request) above target");
    let condition = |name: &str, type_: &str| {
        corner.field(
            &format!("hpa {name}"),
            &format!(".status.conditions[?(@.type==\"{type_}\")].reason"),
        )
    };
    assert_eq!(condition("burn", "ScalingActive"), "ValidMetricFound");
    let row = corner.k("get hpa burn --no-headers");
    assert!(
        row.contains("Deployment/burn") && row.contains("%/50%"),
        "{row}"
    );
    let v1 = place.kubectl(&[
        "get",
        "--raw",
        "/apis/autoscaling/v1/namespaces/wl-load/horizontalpodautoscalers/burn",
    ]);
    assert!(v1.contains("\"targetCPUUtilizationPercentage\":50"), "{v1}");

    // Without requests there is no utilization.
    assert_eq!(
        condition("vague", "ScalingActive"),
        "FailedGetResourceMetric"
    );
    let why = corner.k("describe hpa vague");
    assert!(
        why.contains(
            "failed to get cpu utilization: missing request for cpu in container main of Pod vague-"
        ),
        "{why}"
    );
    corner.end();
}

fn measured(corner: &Corner<'_>) {
    let place = corner.place;
    let service = place.field(
        &["apiservice", "v1beta1.metrics.k8s.io"],
        ".status.conditions[0].type",
    );
    assert_eq!(service, "Available");
    let top = corner.place.eventually("a busy pod", || {
        let text = corner.k("top pods -l app=burn --no-headers");
        let cells: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        let milli: u32 = cells[1].trim_end_matches('m').parse().unwrap();
        (milli >= 40).then_some(text)
    });
    assert!(top.contains("Mi"), "{top}");
    let containers = corner.k("top pods --containers --no-headers");
    assert!(
        containers
            .lines()
            .all(|line| line.split_whitespace().nth(1) == Some("main")),
        "{containers}"
    );
    let nodes = place.kubectl(&["top", "nodes"]);
    assert!(
        nodes.starts_with("NAME") && nodes.contains("CPU(cores)") && nodes.contains('%'),
        "{nodes}"
    );
    let node = place.field(&["nodes"], ".items[0].metadata.name");
    let page = |path: &str| {
        place.kubectl(&[
            "get",
            "--raw",
            &format!("/api/v1/nodes/{node}/proxy/{path}"),
        ])
    };
    assert!(
        page("metrics/resource")
            .contains("pod_cpu_usage_seconds_total{namespace=\"wl-load\",pod=\"burn-")
    );
    assert!(page("stats/summary").contains("\"usageNanoCores\""));

    let metrics = place.kubectl(&["get", "--raw", "/metrics"]);
    for name in [
        "apiserver_request_total{",
        "apiserver_request_duration_seconds_bucket{",
        "apiserver_current_inflight_requests{request_kind=\"readOnly\"} ",
        "apiserver_storage_objects{resource=\"deployments.apps\"} ",
        "workqueue_adds_total{name=\"deployment\"} ",
        "scheduler_schedule_attempts_total{profile=\"default-scheduler\",result=\"scheduled\"} ",
    ] {
        assert!(
            metrics.lines().any(|line| line.starts_with(name)),
            "{name}\n{metrics}"
        );
    }
}
