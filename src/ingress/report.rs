//! What people see of it in the API: addresses in the status of Ingresses, and events.

use super::compile::Finding;
use crate::{
    api::{call::PatchKind, name::Key, object::Object},
    client::{Client, EventKind, Recorder, reference},
};
use k8s_openapi::api::networking::v1::{
    Ingress, IngressLoadBalancerIngress, IngressLoadBalancerStatus, IngressStatus,
};
use serde_json::json;
use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};
use tracing::debug;

pub struct Reporter {
    client: Client,
    recorder: Recorder,
    /// Per Ingress: the uid and generation that were announced, and what was said about it.
    told: HashMap<Key, Told>,
}

#[derive(Default)]
struct Told {
    uid: String,
    generation: i64,
    messages: HashSet<String>,
}

impl Reporter {
    pub fn new(client: Client, recorder: Recorder) -> Reporter {
        Reporter {
            client,
            recorder,
            told: HashMap::new(),
        }
    }

    /// Announces what is new since the last call; the same is said once.
    pub fn announce(&mut self, served: &[Arc<Ingress>], findings: &[Finding]) {
        let mut before = std::mem::take(&mut self.told);
        for ingress in served {
            let key = ingress.key();
            let generation = ingress.metadata.generation.unwrap_or_default();
            let mut told = before
                .remove(&key)
                .filter(|told| told.uid == ingress.uid())
                .unwrap_or_default();
            let about = reference(ingress.as_ref());
            if told.uid.is_empty() || told.generation != generation {
                self.recorder.event(
                    about.clone(),
                    EventKind::Normal,
                    "Sync",
                    "Scheduled for sync",
                );
            }
            let mut messages = HashSet::new();
            for finding in findings.iter().filter(|finding| finding.ingress == key) {
                if !told.messages.contains(&finding.message) {
                    self.recorder.event(
                        about.clone(),
                        EventKind::Warning,
                        "Rejected",
                        &finding.message,
                    );
                }
                messages.insert(finding.message.clone());
            }
            told = Told {
                uid: ingress.uid().to_owned(),
                generation,
                messages,
            };
            self.told.insert(key, told);
        }
    }

    /// Writes the addresses into every status that shows others.
    pub async fn publish(&self, served: &[Arc<Ingress>], addresses: &[IpAddr]) {
        let wanted: Vec<IngressLoadBalancerIngress> = addresses
            .iter()
            .map(|address| IngressLoadBalancerIngress {
                ip: Some(address.to_string()),
                ..IngressLoadBalancerIngress::default()
            })
            .collect();
        for ingress in served.iter().filter(|ingress| shown(ingress) != wanted) {
            let status = IngressStatus {
                load_balancer: Some(IngressLoadBalancerStatus {
                    ingress: Some(wanted.clone()),
                }),
            };
            let key = ingress.key();
            let patch = json!({"status": status});
            let patched = self
                .client
                .patch::<Ingress>(&key, Some("status"), PatchKind::Merge, &patch)
                .await;
            // A change of the Ingress, or the next one of anything, comes here again.
            if let Err(failure) = patched {
                debug!(ingress = %key, %failure, "write the status");
            }
        }
    }
}

fn shown(ingress: &Ingress) -> &[IngressLoadBalancerIngress] {
    let status = ingress
        .status
        .as_ref()
        .and_then(|status| status.load_balancer.as_ref());
    status
        .and_then(|balancer| balancer.ingress.as_deref())
        .unwrap_or_default()
}
