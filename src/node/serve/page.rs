//! A node's own pages, which the API server shows below `nodes/NAME/proxy`.

use super::{
    metrics::{self, Metric},
    reading::{self, Samples},
    stats,
};
use crate::{
    api::{ApiError, stream::Page},
    node::host::Host,
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
        "/pods" => page(JSON, pods(host).to_string()),
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

/// The pods bound to this node, as the API has them.
fn pods(host: &Host) -> Value {
    let all = host.caches.pods.snapshot();
    let own = all.values().filter(|pod| host.owns(pod));
    let items: Vec<Value> = own
        .map(|pod| serde_json::to_value(pod.as_ref()).expect("our own types have string keys only"))
        .collect();
    json!({"kind": format!("{}List", Pod::KIND), "apiVersion": "v1", "metadata": {}, "items": items})
}
