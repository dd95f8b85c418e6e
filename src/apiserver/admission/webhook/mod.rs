//! Webhooks: servers outside that complete or refuse writes.
//!
//! Mutating ones are asked one after another, each seeing what those before it made; validating ones all at once. What
//! cannot be asked counts by its `failurePolicy`. The configurations themselves are never judged by webhooks: nobody
//! can lock the cluster.

mod call;
mod matching;
mod review;

pub use matching::{GROUP, is_meant};

use super::{Attempt, Operation};
use crate::{
    api::{ApiError, patch, schema},
    apiserver::registry::metadata::{strings, text},
};
use futures_util::future::join_all;
use review::Answer;
use serde_json::Value;
use tracing::warn;

const MUTATING: &str = "mutatingwebhookconfigurations.admissionregistration.k8s.io";
const VALIDATING: &str = "validatingwebhookconfigurations.admissionregistration.k8s.io";
const VERSION: &str = "v1";

/// Lets the mutating webhooks change the object; whether any did.
pub async fn mutate(attempt: &Attempt<'_>, object: &mut Value) -> Result<bool, ApiError> {
    let mut changed = false;
    let webhooks = meant(attempt, object, MUTATING);
    // Those that were asked before somebody else changed the object, and want to see that.
    let mut again: Vec<&Value> = Vec::new();
    let mut asked: Vec<&Value> = Vec::new();
    for webhook in &webhooks {
        if !is_still_meant(attempt, object, webhook) {
            continue;
        }
        if apply(attempt, object, webhook).await? {
            changed = true;
            for before in &asked {
                let wants = text(before, "reinvocationPolicy") == "IfNeeded";
                if wants && !again.contains(before) {
                    again.push(before);
                }
            }
        }
        asked.push(webhook);
    }
    for webhook in again {
        if is_still_meant(attempt, object, webhook) {
            changed |= apply(attempt, object, webhook).await?;
        }
    }
    Ok(changed)
}

/// Asks the validating webhooks; the first refusal by name counts.
pub async fn validate(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    let webhooks = meant(attempt, object, VALIDATING);
    let asked = webhooks.iter().map(|webhook| ask(attempt, object, webhook));
    for answer in join_all(asked).await {
        answer?;
    }
    Ok(())
}

fn meant(attempt: &Attempt<'_>, object: &Value, storage: &str) -> Vec<Value> {
    if attempt.kind().group == GROUP {
        return Vec::new();
    }
    let configurations = attempt.request.registry.read_all(storage, "");
    let webhooks = configurations
        .into_iter()
        .filter_map(|mut one| match one["webhooks"].take() {
            Value::Array(webhooks) => Some(webhooks),
            _ => None,
        });
    webhooks
        .flatten()
        .filter(|webhook| is_meant(attempt, object, webhook, &webhook["rules"]))
        .collect()
}

fn is_still_meant(attempt: &Attempt<'_>, object: &Value, webhook: &Value) -> bool {
    is_meant(attempt, object, webhook, &webhook["rules"])
}

/// One mutating webhook; whether it changed the object.
async fn apply(
    attempt: &Attempt<'_>,
    object: &mut Value,
    webhook: &Value,
) -> Result<bool, ApiError> {
    let Some(patch) = ask(attempt, object, webhook).await? else {
        return Ok(false);
    };
    if attempt.is(Operation::Delete) {
        let name = text(webhook, "name");
        return Err(ApiError::internal(format!(
            "admission webhook {name:?} attempted to modify the object, which is not supported for this operation"
        )));
    }
    let failed = |why: String| {
        let name = text(webhook, "name");
        ApiError::internal(format!("failed calling webhook {name:?}: {why}"))
    };
    let mut new = patch::json(object, patch.as_bytes())
        .map_err(|why| failed(format!("received undecodable patch: {why}")))?;
    let definition = attempt.kind().definition;
    if attempt.subresource().is_empty() {
        schema::check_types(&new, definition).map_err(failed)?;
        schema::prune(&mut new, definition);
        schema::normalize(&mut new, definition);
    }
    let changed = new != *object;
    *object = new;
    Ok(changed)
}

/// The patch that a webhook answers, if any. A webhook that fails and may be ignored answers nothing.
async fn ask(
    attempt: &Attempt<'_>,
    object: &Value,
    webhook: &Value,
) -> Result<Option<String>, ApiError> {
    let name = text(webhook, "name");
    let is_harmless = matches!(text(webhook, "sideEffects"), "None" | "NoneOnDryRun");
    if attempt.request.options.dry_run && !is_harmless {
        let why = format!("admission webhook {name:?} does not support dry run");
        return Err(ApiError::bad_request(why));
    }
    let outcome = match cannot_be_asked(webhook) {
        Some(why) => Err(why),
        None => asked(attempt, object, webhook).await,
    };
    match outcome {
        Ok(Answer::Allowed { patch, warnings }) => {
            for warning in warnings {
                attempt.warn(warning);
            }
            Ok(patch)
        }
        Ok(Answer::Denied { error, warnings }) => {
            for warning in warnings {
                attempt.warn(warning);
            }
            Err(error)
        }
        Err(why) if text(webhook, "failurePolicy") == "Ignore" => {
            warn!(webhook = name, why, "could not ask a webhook; going on");
            Ok(None)
        }
        Err(why) => Err(ApiError::internal(format!(
            "failed calling webhook {name:?}: {why}"
        ))),
    }
}

fn cannot_be_asked(webhook: &Value) -> Option<String> {
    let conditions = webhook["matchConditions"].as_array();
    if conditions.is_some_and(|list| !list.is_empty()) {
        return Some("evaluating matchConditions is not implemented by kubik yet".to_owned());
    }
    let versions = strings(&webhook["admissionReviewVersions"]);
    (!versions.contains(&VERSION))
        .then(|| format!("webhook does not accept known AdmissionReview versions ({VERSION})"))
}

async fn asked(attempt: &Attempt<'_>, object: &Value, webhook: &Value) -> Result<Answer, String> {
    let uid = crate::task::uuid();
    let question = review::question(attempt, object, &uid);
    let answer = call::post(attempt.request.registry, webhook, &question).await;
    let answer = answer.map_err(|why| format!("failed to call webhook: {why}"))?;
    review::answer(text(webhook, "name"), &uid, &answer)
        .map_err(|why| format!("received invalid webhook response: {why}"))
}
