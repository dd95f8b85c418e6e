//! What follows a decision: claims, the binding, conditions, victims. Thin acts and the patches they send.

use super::{Caches, plugins::VolumePlan, pod::PodInfo, preempt::Preemption};
use crate::{
    api::{ApiError, call::PatchKind, name::Key, object::Object, time},
    client::{Client, EventKind, Recorder, Snapshot, reference},
};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::{PersistentVolume, PersistentVolumeClaim, Pod};
use serde_json::{Value, json};
use std::time::Duration;
use tracing::{debug, info};

/// How long claims may take to be bound.
const VOLUMES_TIMEOUT: Duration = Duration::from_secs(600);

const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error("running PreBind plugin \"VolumeBinding\": binding volumes: {0}")]
    Volumes(String),
    #[error("running Bind plugin \"DefaultBinder\": {0}")]
    Refused(#[from] ApiError),
}

/// Prepares the pod's claims, waits for them, binds the pod.
pub async fn bind(
    client: &Client,
    caches: &Caches,
    pod: &PodInfo,
    node: &str,
    plan: &VolumePlan,
) -> Result<(), BindError> {
    if !plan.is_empty() {
        let prepared = prepare_claims(client, caches, node, plan).await;
        prepared.map_err(|failure| BindError::Volumes(failure.to_string()))?;
        await_claims(caches, node, plan).await?;
    }
    let body = json!({
        "apiVersion": "v1", "kind": "Binding",
        "metadata": {"namespace": pod.key.namespace, "name": pod.key.name, "uid": pod.uid()},
        "target": {"kind": "Node", "name": node},
    });
    client
        .create_sub(Pod::gvr(), &pod.key, "binding", body)
        .await?;
    info!(pod = %pod.key, node, "bound");
    Ok(())
}

async fn prepare_claims(
    client: &Client,
    caches: &Caches,
    node: &str,
    plan: &VolumePlan,
) -> Result<(), ApiError> {
    for (key, volume) in &plan.bind {
        let uid = caches.claims.get(key).map(|claim| claim.uid().to_owned());
        let claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim",
            "namespace": key.namespace, "name": key.name, "uid": uid});
        let patch = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"claimRef": claim},
        });
        let volume = Key::new("", &**volume);
        client
            .patch::<PersistentVolume>(&volume, None, PatchKind::Merge, &patch)
            .await?;
    }
    for key in &plan.provision {
        let patch = json!({"metadata": {"annotations": {SELECTED_NODE: node}}});
        let claim = client
            .patch::<PersistentVolumeClaim>(key, None, PatchKind::Merge, &patch)
            .await?;
        caches.claims.seen(claim.revision()).await;
    }
    Ok(())
}

async fn await_claims(caches: &Caches, node: &str, plan: &VolumePlan) -> Result<(), BindError> {
    let mut outcome = None;
    let settled = caches.claims.until(|claims| {
        outcome = settled(claims, node, plan);
        outcome.is_some()
    });
    let waited = tokio::time::timeout(VOLUMES_TIMEOUT, settled).await;
    match (waited, outcome) {
        (Err(_), _) => Err(BindError::Volumes("context deadline exceeded".to_owned())),
        (Ok(()), Some(Err(why))) => Err(BindError::Volumes(why)),
        (Ok(()), _) => Ok(()),
    }
}

/// `None` while claims are still being bound.
fn settled(
    claims: &Snapshot<PersistentVolumeClaim>,
    node: &str,
    plan: &VolumePlan,
) -> Option<Result<(), String>> {
    for key in plan.bind.keys().chain(&plan.provision) {
        let Some(claim) = claims.get(key) else {
            return Some(Err(format!(
                "persistentvolumeclaim \"{}\" not found",
                key.name
            )));
        };
        let status = claim.status.as_ref();
        if status.and_then(|status| status.phase.as_deref()) == Some("Bound") {
            continue;
        }
        // A provisioner that cannot serve this node takes the annotation away.
        let annotations = claim.metadata.annotations.as_ref();
        let selected = annotations.and_then(|all| all.get(SELECTED_NODE));
        if plan.provision.contains(key) && selected.is_none_or(|selected| selected != node) {
            return Some(Err(
                "selectedNode annotation value \"\" not set to scheduled node".to_owned(),
            ));
        }
        return None;
    }
    Some(Ok(()))
}

/// Says in the pod's status why it has no node, and which one is kept for it (an empty name: none any more); says
/// nothing twice.
pub async fn report(
    client: &Client,
    pod: &PodInfo,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
    now: Timestamp,
) {
    let Some(patch) = condition_patch(&pod.pod, reason, message, nominated, now) else {
        return;
    };
    let patched = client
        .patch::<Pod>(&pod.key, Some("status"), PatchKind::Strategic, &patch)
        .await;
    if let Err(failure) = patched {
        debug!(pod = %pod.key, %failure, "write PodScheduled");
    }
}

/// `None` when the status says it already.
fn condition_patch(
    pod: &Pod,
    reason: &str,
    message: &str,
    nominated: Option<&str>,
    now: Timestamp,
) -> Option<Value> {
    let status = pod.status.as_ref();
    let mut conditions = status
        .and_then(|status| status.conditions.as_ref())
        .into_iter()
        .flatten();
    let old = conditions.find(|condition| condition.type_ == "PodScheduled");
    let was_false = old.is_some_and(|old| old.status == "False");
    let same_text = old.is_some_and(|old| {
        old.reason.as_deref() == Some(reason) && old.message.as_deref() == Some(message)
    });
    let told = status.and_then(|status| status.nominated_node_name.as_deref());
    let same_node = nominated.is_none_or(|node| told.unwrap_or_default() == node);
    if was_false && same_text && same_node {
        return None;
    }
    let since = old.filter(|_| was_false);
    let since = since.and_then(|old| old.last_transition_time.as_ref());
    let since = since.map_or(now, |time| time.0);
    let mut patch = json!({
        "metadata": {"uid": pod.metadata.uid},
        "status": {"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": reason, "message": message,
            "lastProbeTime": null, "lastTransitionTime": time::format(since),
            "observedGeneration": pod.metadata.generation,
        }]},
    });
    if let Some(node) = nominated {
        patch["status"]["nominatedNodeName"] = match node {
            "" => Value::Null,
            node => node.into(),
        };
    }
    Some(patch)
}

/// Marks and deletes the victims. What fails is seen again in the preemptor's next cycle.
pub async fn evict(
    client: &Client,
    recorder: &Recorder,
    pod: &PodInfo,
    preemption: &Preemption,
    now: Timestamp,
) {
    for victim in &preemption.victims {
        if victim.pod.is_deleting() {
            continue;
        }
        let message = format!(
            "{}: preempting to accommodate a higher priority pod",
            super::NAME
        );
        let patch = json!({"status": {"conditions": [{
            "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler",
            "message": message, "lastProbeTime": null, "lastTransitionTime": time::format(now),
        }]}});
        let marked = client
            .patch::<Pod>(&victim.key, Some("status"), PatchKind::Strategic, &patch)
            .await;
        let deleted = match marked {
            Err(failure) if !failure.is_not_found() => Err(failure),
            _ => client.delete::<Pod>(&victim.key, victim.uid()).await,
        };
        match deleted {
            Err(failure) if !failure.is_not_found() => {
                info!(victim = %victim.key, %failure, "preempt");
            }
            _ => {
                info!(pod = %pod.key, victim = %victim.key, node = preemption.node, "preempted");
                let message = format!("Preempted by pod {} on node {}", pod.uid(), preemption.node);
                let about = reference(victim.pod.as_ref());
                recorder.event(about, EventKind::Normal, "Preempted", &message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_said_twice() {
        let now: Timestamp = "2026-11-21T10:00:00Z".parse().unwrap();
        let pod = |status: Value| -> Pod {
            let pod = json!({"metadata": {"name": "p", "uid": "u"}, "status": status});
            serde_json::from_value(pod).unwrap()
        };
        let condition = json!({"type": "PodScheduled", "status": "False", "reason": "Unschedulable",
            "message": "no", "lastTransitionTime": "2026-11-21T09:00:00Z"});
        let fresh = condition_patch(&pod(json!({})), "Unschedulable", "no", None, now).unwrap();
        let since = |patch: &Value| patch["status"]["conditions"][0]["lastTransitionTime"].clone();
        assert_eq!(since(&fresh), "2026-11-21T10:00:00Z");
        let known = pod(json!({"conditions": [condition]}));
        assert_eq!(
            condition_patch(&known, "Unschedulable", "no", None, now),
            None
        );
        let other = condition_patch(&known, "Unschedulable", "other", None, now).unwrap();
        assert_eq!(since(&other), "2026-11-21T09:00:00Z");
        let nominated = condition_patch(&known, "Unschedulable", "no", Some("n"), now).unwrap();
        assert_eq!(nominated["status"]["nominatedNodeName"], "n");
        let mut kept = known.clone();
        kept.status.as_mut().unwrap().nominated_node_name = Some("n".to_owned());
        let withdrawn = condition_patch(&kept, "Unschedulable", "no", Some(""), now).unwrap();
        assert!(withdrawn["status"]["nominatedNodeName"].is_null());
        assert_eq!(
            condition_patch(&known, "Unschedulable", "no", Some(""), now),
            None
        );
    }
}
