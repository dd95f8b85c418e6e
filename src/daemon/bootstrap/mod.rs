//! The objects of the daemon's own parts (cluster DNS), created through the API like anybody's. What every API server
//! begins with, it makes itself.
//!
//! Done at each start: what is missing is made, what people changed stays, except for the endpoints, which follow the
//! address that this start listens on.

mod documents;

use crate::{
    api::{
        call::{Body, Call, Document, Outcome, Verb},
        name::{Gvr, split_api_version},
    },
    client::Client,
    kinds,
};
use anyhow::{Context, Result, anyhow};
use futures_util::future::try_join_all;
use serde_json::Value;
use std::net::Ipv4Addr;

pub use documents::Addresses;

/// All at once: the store commits them together. Without the ingress proxy its class is left out.
pub async fn objects(client: &Client, addresses: &Addresses, has_ingress: bool) -> Result<()> {
    let made = documents::all(addresses)?
        .into_iter()
        .filter(|document| has_ingress || !is_ingress_class(document))
        .map(|document| ensure(client, document));
    try_join_all(made).await.map(drop)
}

/// What makes the ingress proxy serve.
pub async fn ingress_class(client: &Client) -> Result<()> {
    let nowhere = Addresses {
        dns_service_ip: Ipv4Addr::UNSPECIFIED,
        dns_port: 0,
        node_ip: Ipv4Addr::UNSPECIFIED,
    };
    for document in documents::all(&nowhere)?
        .into_iter()
        .filter(is_ingress_class)
    {
        ensure(client, document).await?;
    }
    Ok(())
}

fn is_ingress_class(document: &Value) -> bool {
    document["kind"] == "IngressClass"
}

/// Creates an object, or brings one of ours up to date.
async fn ensure(client: &Client, document: Value) -> Result<()> {
    let what = format!("{} {}", document["kind"], document["metadata"]["name"]);
    let call = call(Verb::Create, &document)?;
    match client.call(call).await {
        Ok(_) => Ok(()),
        Err(error) if error.is_already_exists() && is_ours_to_update(&document) => {
            update(client, document)
                .await
                .with_context(|| format!("update {what}"))
        }
        Err(error) if error.is_already_exists() => Ok(()),
        Err(error) => Err(error).with_context(|| format!("create {what}")),
    }
}

/// Endpoints hold addresses of this start.
fn is_ours_to_update(document: &Value) -> bool {
    matches!(
        document["kind"].as_str(),
        Some("EndpointSlice" | "Endpoints")
    )
}

async fn update(client: &Client, document: Value) -> Result<()> {
    let mut get = call(Verb::Get, &document)?;
    get.body = Body::None;
    let Outcome::Object { bytes, .. } = client.call(get).await?.outcome else {
        return Err(anyhow!("no object was answered"));
    };
    let mut stored: Value = serde_json::from_slice(&bytes)?;
    for field in ["endpoints", "ports", "subsets"] {
        if let Some(value) = document.get(field) {
            stored[field] = value.clone();
        }
    }
    let update = call(Verb::Update, &stored)?;
    match client.call(update).await {
        // Somebody else was faster; controllers look at it again.
        Err(error) if !error.is_conflict() => Err(error.into()),
        _ => Ok(()),
    }
}

fn call(verb: Verb, document: &Value) -> Result<Call> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let api_version = text(&document["apiVersion"]);
    let (group, version) = split_api_version(&api_version);
    let kind = kinds::find_kind(group, version, &text(&document["kind"]))
        .with_context(|| format!("{} is no kind", document["kind"]))?;
    let resource = Gvr::new(kind.group, kind.version, kind.plural);
    let meta = &document["metadata"];
    let name = if verb == Verb::Create {
        String::new()
    } else {
        text(&meta["name"])
    };
    let mut call = Call::new(verb, resource).named(&text(&meta["namespace"]), &name);
    call.body = Body::Document(Document {
        value: document.clone(),
        duplicates: Vec::new(),
    });
    Ok(call)
}
