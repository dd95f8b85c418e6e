//! A node's own pages, which the API server shows below `nodes/NAME/proxy`.

use super::{
    metrics::{self, Metric},
    reading::{self, Samples},
    stats,
};
use crate::{
    api::{ApiError, stream::Page},
    node::{host::Host, manifest},
};
use k8s_openapi::{Resource as _, api::core::v1::Pod};
use serde_json::{Value, json};

const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

pub async fn page(host: &Host, samples: &Samples, path: &str) -> Result<Page, ApiError> {
    let page = |content_type, text| Page { content_type, text };
    let page = match path.trim_end_matches('/') {
        "/healthz" => page(TEXT, "ok".to_owned()),
        "/stats/summary" => {
            let measured = samples.measure(host).await?;
            page(JSON, stats::summary(host, &measured).to_string())
        }
        "/metrics" => counters(host, metrics::OWN).await?,
        "/metrics/cadvisor" => counters(host, metrics::CADVISOR).await?,
        "/metrics/resource" => counters(host, metrics::RESOURCE).await?,
        "/pods" => page(JSON, pods(host, |_| true).to_string()),
        "/runningpods" => page(JSON, pods(host, is_running).to_string()),
        "/configz" => page(
            JSON,
            json!({"kubeletconfig": configuration(host)}).to_string(),
        ),
        _ => return Err(ApiError::new(404, "NotFound", "404 page not found")),
    };
    Ok(page)
}

async fn counters(host: &Host, metrics: &[Metric]) -> Result<Page, ApiError> {
    let reading = reading::read(host).await?;
    Ok(Page {
        content_type: PROMETHEUS,
        text: metrics::text(metrics, &reading, host.name()),
    })
}

/// What of a kubelet's configuration has a meaning here, with its present values; what nobody has set and upstream
/// counts otherwise is left out.
fn configuration(host: &Host) -> Value {
    let set = &host.cluster.kubelet;
    let mut all = json!({
        "kind": "KubeletConfiguration", "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "staticPodPath": manifest::directory(host), "maxPods": host.pods_max(), "podPidsLimit": -1,
        "clusterDomain": host.cluster.cluster_domain, "clusterDNS": [host.cluster.dns_service_ip()],
        "podCIDR": host.config.pod_cidr.to_string(), "cgroupDriver": "cgroupfs", "cpuCFSQuota": true,
        "cpuManagerPolicy": "none", "memorySwap": {}, "failSwapOn": false, "serializeImagePulls": false,
        "imagePullCredentialsVerificationPolicy": "NeverVerifyPreloadedImages",
        "containerLogMaxSize": "10Mi", "containerLogMaxFiles": 5, "resolvConf": "/etc/resolv.conf",
        "nodeLeaseDurationSeconds": 40, "nodeStatusReportFrequency": "5m0s",
    });
    if let Some(hard) = &set.eviction_hard {
        all["evictionHard"] = json!(hard);
    }
    for (name, percent) in [
        (
            "imageGCHighThresholdPercent",
            set.image_gc_high_threshold_percent,
        ),
        (
            "imageGCLowThresholdPercent",
            set.image_gc_low_threshold_percent,
        ),
    ] {
        if let Some(percent) = percent {
            all[name] = percent.into();
        }
    }
    all
}

fn is_running(pod: &Pod) -> bool {
    let phase = pod
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    phase == Some("Running")
}

/// Pods bound to this node, as the API has them.
fn pods(host: &Host, shows: impl Fn(&Pod) -> bool) -> Value {
    let all = host.caches.pods.snapshot();
    let own = all.values().filter(|pod| host.owns(pod) && shows(pod));
    let items: Vec<Value> = own
        .map(|pod| serde_json::to_value(pod.as_ref()).expect("our own types have string keys only"))
        .collect();
    json!({"kind": format!("{}List", Pod::KIND), "apiVersion": "v1", "metadata": {}, "items": items})
}
