//! `metrics.k8s.io`: measured by the nodes' agents when asked, not stored.

use super::Request;
use crate::api::{
    ApiError,
    call::{List, Outcome, Reply, Verb},
    name::Gvr,
    selector::{FieldSelector, LabelSelector},
    usage::{API_VERSION, NodeUsage},
};
use futures_util::future::join_all;
use serde_json::Value;
use std::collections::BTreeMap;
use tracing::debug;

pub async fn read(request: &mut Request<'_>) -> Result<Reply, ApiError> {
    let labels = selector(
        request.options.label_selector.as_deref(),
        LabelSelector::parse,
    )?;
    let fields = selector(
        request.options.field_selector.as_deref(),
        FieldSelector::parse,
    )?;
    let mut documents = match request.kind.name {
        "NodeMetrics" => nodes(request).await,
        _ => pods(request).await,
    };
    if request.verb == Verb::Get {
        let found = documents
            .into_iter()
            .find(|document| document["metadata"]["name"] == request.name);
        let bytes = found.ok_or_else(|| not_found(request))?.to_string().into();
        return Ok(Outcome::Object {
            bytes,
            created: false,
        }
        .into());
    }
    documents.retain(|document| {
        let own: BTreeMap<String, String> =
            serde_json::from_value(document["metadata"]["labels"].clone()).unwrap_or_default();
        labels.as_ref().is_none_or(|labels| labels.matches(&own))
            && fields
                .as_ref()
                .is_none_or(|fields| fields.matches_document(document))
    });
    documents.sort_by_cached_key(|document| {
        let text = |field: &str| document["metadata"][field].as_str().map(str::to_owned);
        (text("namespace"), text("name"))
    });
    let items = documents.iter().map(|document| document.to_string().into());
    Ok(Outcome::List(List {
        api_version: API_VERSION.to_owned(),
        kind: format!("{}List", request.kind.name),
        revision: request.registry.store.revision(),
        items: items.collect(),
        ..List::default()
    })
    .into())
}

fn selector<T>(
    text: Option<&str>,
    parse: impl Fn(&str) -> Result<T, String>,
) -> Result<Option<T>, ApiError> {
    let parsed = text.filter(|text| !text.is_empty()).map(parse);
    parsed.transpose().map_err(ApiError::bad_request)
}

/// Upstream's add-on names the kind where a resource is meant.
fn not_found(request: &Request<'_>) -> ApiError {
    let resource = match request.kind.name {
        "NodeMetrics" => "nodemetrics",
        _ => "podmetrics",
    };
    let name = match request.namespace.as_str() {
        "" => request.name.clone(),
        namespace => format!("{namespace}/{}", request.name),
    };
    ApiError::not_found(&Gvr::new("metrics.k8s.io", "v1beta1", resource), &name)
}

async fn nodes(request: &Request<'_>) -> Vec<Value> {
    let mut documents = Vec::new();
    for (name, usage) in measure(request).await {
        let stored = request
            .registry
            .read("nodes", "", &name)
            .unwrap_or_default();
        let labels = serde_json::from_value(stored["metadata"]["labels"].clone());
        documents.push(usage.node_document(&name, &labels.unwrap_or_default()));
    }
    documents
}

async fn pods(request: &Request<'_>) -> Vec<Value> {
    let measured = measure(request).await;
    let all = measured
        .iter()
        .flat_map(|(_, usage)| usage.pods.iter().map(move |pod| (usage, pod)));
    let wanted =
        all.filter(|(_, pod)| request.namespace.is_empty() || pod.namespace == request.namespace);
    wanted.map(|(usage, pod)| usage.pod_document(pod)).collect()
}

/// A node that does not answer is left out, as upstream's add-on leaves it out.
async fn measure(request: &Request<'_>) -> Vec<(String, NodeUsage)> {
    let all = request.registry.nodes.all().into_iter();
    let asked = all.map(|(name, node)| async move { (name, node.usage().await) });
    let answers = join_all(asked).await.into_iter();
    let measured = answers.filter_map(|(name, answer)| match answer {
        Ok(usage) => Some((name, usage)),
        Err(failure) => {
            debug!(node = name, %failure, "a node does not tell what it uses");
            None
        }
    });
    measured.collect()
}
