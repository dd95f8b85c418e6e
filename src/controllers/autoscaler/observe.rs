//! The facts of one look: the target's scale, its pods, and what they use.

use super::behavior::Memory;
use crate::{
    api::{
        ApiError,
        call::{Body, Call, Document, Outcome, Verb},
        duration,
        name::{Gvr, Key, split_api_version},
        object::Object,
        quantity::Quantity,
        selector::LabelSelector,
    },
    client::{Cache, Client},
    kinds,
};
use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::{
    api::{autoscaling::v2::HorizontalPodAutoscaler, core::v1::Pod},
    apimachinery::pkg::apis::meta::v1::Time,
};
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

pub struct Observed {
    /// Why there is none is told as it was answered.
    pub scale: Result<Scale, String>,
    /// Those the scale selects.
    pub pods: Vec<Arc<Pod>>,
    /// What they use, by pod name.
    pub usage: Result<BTreeMap<String, PodUse>, String>,
}

pub struct Scale {
    pub resource: Gvr,
    pub key: Key,
    pub document: Value,
    pub replicas: i32,
    /// As text; empty when the target has none.
    pub selector: String,
}

pub struct PodUse {
    pub at: Timestamp,
    pub window: SignedDuration,
    /// Container, resource and thousandths.
    pub containers: BTreeMap<String, BTreeMap<String, i64>>,
}

impl Observed {
    pub fn selector(&self) -> Option<LabelSelector> {
        let text = self
            .scale
            .as_ref()
            .ok()
            .map(|scale| scale.selector.as_str());
        LabelSelector::parse(text.filter(|text| !text.is_empty())?).ok()
    }
}

pub async fn observe(
    client: &Client,
    pods: &Cache<Pod>,
    autoscaler: &HorizontalPodAutoscaler,
) -> Observed {
    let mut observed = Observed {
        scale: scale(client, autoscaler).await,
        pods: Vec::new(),
        usage: Ok(BTreeMap::new()),
    };
    if let Some(selector) = observed.selector() {
        let namespace = autoscaler.key().namespace;
        // First the usage: pods that came meanwhile are known then, and not taken for missing.
        let used = usage(client, &namespace, &selector).await;
        observed.usage = used.map_err(|failure| {
            format!("unable to fetch metrics from resource metrics API: {failure}")
        });
        let all = pods.snapshot();
        let empty = BTreeMap::new();
        let selected = all
            .in_namespace(&namespace)
            .filter(|pod| selector.matches(pod.metadata.labels.as_ref().unwrap_or(&empty)));
        observed.pods = selected.cloned().collect();
    }
    observed
}

/// Other autoscalers that look at one of the same pods.
pub fn rivals(memories: &HashMap<Key, Memory>, key: &Key, observed: &Observed) -> Vec<Key> {
    let selects = |memory: &Memory| {
        let mut labels = observed
            .pods
            .iter()
            .filter_map(|pod| pod.metadata.labels.as_ref());
        let selector = memory.selector.as_ref();
        selector.is_some_and(|selector| labels.any(|labels| selector.matches(labels)))
    };
    let others = memories.iter().filter(|(other, memory)| {
        *other != key && other.namespace == key.namespace && selects(memory)
    });
    let mut keys: Vec<Key> = others.map(|(other, _)| other.clone()).collect();
    keys.sort();
    keys
}

async fn scale(client: &Client, autoscaler: &HorizontalPodAutoscaler) -> Result<Scale, String> {
    let target = &autoscaler.spec.scale_target_ref;
    let (group, version) = split_api_version(target.api_version.as_deref().unwrap_or_default());
    let of_group = |kind: &&&kinds::Kind| kind.group == group && kind.name == target.kind;
    let mut kinds: Vec<_> = kinds::all().iter().filter(of_group).collect();
    kinds.sort_by_key(|kind| kind.version != version);
    let Some(kind) = kinds.first() else {
        let kind = &target.kind;
        return Err(format!("no matches for kind {kind:?} in group {group:?}"));
    };
    let key = Key::new(autoscaler.key().namespace, target.name.clone());
    let document = get(client, kind.gvr(), &key).await;
    let document = document.map_err(|failure| failure.message)?;
    let replicas = document["spec"]["replicas"].as_i64().unwrap_or(0);
    Ok(Scale {
        resource: kind.gvr(),
        key,
        replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
        selector: document["status"]["selector"]
            .as_str()
            .unwrap_or_default()
            .to_owned(),
        document,
    })
}

async fn get(client: &Client, resource: Gvr, key: &Key) -> Result<Value, ApiError> {
    let mut call = Call::new(Verb::Get, resource).named(&key.namespace, &key.name);
    call.subresource = Some("scale".to_owned());
    match client.call(call).await?.outcome {
        Outcome::Object { bytes, .. } => serde_json::from_slice(&bytes).map_err(ApiError::internal),
        other => Err(ApiError::internal(format!("unexpected answer: {other:?}"))),
    }
}

/// Refused when the target has changed since it was looked at.
pub async fn rescale(client: &Client, scale: &Scale, replicas: i32) -> Result<(), ApiError> {
    let mut value = scale.document.clone();
    value["spec"]["replicas"] = replicas.into();
    let key = &scale.key;
    let mut call = Call::new(Verb::Update, scale.resource.clone()).named(&key.namespace, &key.name);
    call.subresource = Some("scale".to_owned());
    call.body = Body::Document(Document {
        value,
        duplicates: Vec::new(),
    });
    client.call(call).await.map(drop)
}

#[derive(Deserialize)]
struct PodMetrics {
    metadata: Meta,
    timestamp: Time,
    window: String,
    containers: Vec<ContainerMetrics>,
}

#[derive(Deserialize)]
struct Meta {
    name: String,
}

#[derive(Deserialize)]
struct ContainerMetrics {
    name: String,
    usage: BTreeMap<String, String>,
}

async fn usage(
    client: &Client,
    namespace: &str,
    selector: &LabelSelector,
) -> Result<BTreeMap<String, PodUse>, ApiError> {
    let pods = Gvr::new("metrics.k8s.io", "v1beta1", "pods");
    let mut call = Call::new(Verb::List, pods).named(namespace, "");
    call.name = None;
    call.options.label_selector = Some(selector.to_string());
    let Outcome::List(list) = client.call(call).await?.outcome else {
        return Err(ApiError::internal("unexpected answer"));
    };
    list.items.iter().map(read).collect()
}

fn read(bytes: &Bytes) -> Result<(String, PodUse), ApiError> {
    let pod: PodMetrics = serde_json::from_slice(bytes).map_err(ApiError::internal)?;
    let containers = pod.containers.into_iter().map(|container| {
        let amounts = container
            .usage
            .into_iter()
            .filter_map(|(resource, text)| Some((resource, Quantity::parse(&text).ok()?.milli())));
        (container.name, amounts.collect())
    });
    let used = PodUse {
        at: pod.timestamp.0,
        window: duration::parse_go(&pod.window).unwrap_or(SignedDuration::ZERO),
        containers: containers.collect(),
    };
    Ok((pod.metadata.name, used))
}
