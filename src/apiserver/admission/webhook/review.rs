//! The question that webhooks are asked, and what their answers mean.

use super::{
    super::{Attempt, Operation},
    matching,
};
use crate::{
    api::{ApiError, name::group_version},
    apiserver::registry::metadata::{strings, text},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

const API_VERSION: &str = "admission.k8s.io/v1";

/// Reasons that a refusal may carry on; others are told in its message only.
const REASONS: &[&str] = &[
    "AlreadyExists",
    "BadRequest",
    "Conflict",
    "Expired",
    "Forbidden",
    "Gone",
    "InternalError",
    "Invalid",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotFound",
    "RequestEntityTooLarge",
    "ServerTimeout",
    "ServiceUnavailable",
    "Timeout",
    "TooManyRequests",
    "Unauthorized",
    "UnsupportedMediaType",
];

#[derive(Debug, PartialEq)]
pub enum Answer {
    Allowed {
        /// A JSON patch.
        patch: Option<String>,
        warnings: Vec<String>,
    },
    Denied {
        error: ApiError,
        warnings: Vec<String>,
    },
}

pub fn question(attempt: &Attempt<'_>, object: &Value, uid: &str) -> Value {
    let request = attempt.request;
    let (group, version) = (&request.resource.group, &request.resource.version);
    let kind = kind_of(object).unwrap_or_else(
        || json!({"group": group, "version": version, "kind": attempt.kind().name}),
    );
    let resource = json!({
        "group": group, "version": version, "resource": request.resource.resource,
    });
    let typed = |object: &Value| {
        let mut object = object.clone();
        if object.is_object() && object["kind"].is_null() {
            object["apiVersion"] = group_version(group, version).into();
            object["kind"] = attempt.kind().name.into();
        }
        object
    };
    let is_deletion = attempt.is(Operation::Delete);
    let options = match attempt.operation {
        Operation::Create => json!({"kind": "CreateOptions"}),
        Operation::Update => json!({"kind": "UpdateOptions"}),
        Operation::Delete => json!({"kind": "DeleteOptions"}),
        Operation::Connect => Value::Null,
    };
    let mut asked = json!({
        "uid": uid,
        "kind": kind, "requestKind": kind,
        "resource": resource, "requestResource": resource,
        "operation": matching::operation(attempt.operation),
        "userInfo": request.user.info(),
        "object": if is_deletion { Value::Null } else { typed(object) },
        "oldObject": attempt.old.map(typed),
        "dryRun": request.options.dry_run,
        "options": options,
    });
    if asked["options"].is_object() {
        asked["options"]["apiVersion"] = "meta.k8s.io/v1".into();
    }
    for (field, value) in [("name", &request.name), ("namespace", &request.namespace)] {
        if !value.is_empty() {
            asked[field] = value.as_str().into();
        }
    }
    if !attempt.subresource().is_empty() {
        asked["subResource"] = attempt.subresource().into();
        asked["requestSubResource"] = attempt.subresource().into();
    }
    if let Some(manager) = &request.options.field_manager
        && matches!(attempt.operation, Operation::Create | Operation::Update)
    {
        asked["options"]["fieldManager"] = manager.as_str().into();
    }
    json!({"kind": "AdmissionReview", "apiVersion": API_VERSION, "request": asked})
}

/// What is done to a part of an object may be of another kind than the object.
fn kind_of(object: &Value) -> Option<Value> {
    let (version, kind) = (text(object, "apiVersion"), text(object, "kind"));
    let (group, version) = version.rsplit_once('/').unwrap_or(("", version));
    let is_named = !version.is_empty() && !kind.is_empty();
    is_named.then(|| json!({"group": group, "version": version, "kind": kind}))
}

/// Reads an answer; the error says why it is none.
pub fn answer(webhook: &str, uid: &str, review: &Value) -> Result<Answer, String> {
    let (version, kind) = (text(review, "apiVersion"), text(review, "kind"));
    if (version, kind) != (API_VERSION, "AdmissionReview") {
        return Err(format!(
            "expected webhook response of {API_VERSION}, Kind=AdmissionReview, got {version}, Kind={kind}"
        ));
    }
    let response = &review["response"];
    if response.is_null() {
        return Err("webhook response was absent".to_owned());
    }
    if text(response, "uid") != uid {
        let theirs = text(response, "uid");
        return Err(format!("expected response.uid={uid:?}, got {theirs:?}"));
    }
    let warnings: Vec<String> = strings(&response["warnings"])
        .into_iter()
        .map(str::to_owned)
        .collect();
    if response["allowed"] != true {
        let error = denial(webhook, &response["status"]);
        return Ok(Answer::Denied { error, warnings });
    }
    let encoded = text(response, "patch");
    let kind = text(response, "patchType");
    if encoded.is_empty() {
        if !kind.is_empty() {
            return Err(format!(
                "webhook returned response.patchType but not response.patch ({kind})"
            ));
        }
        let patch = None;
        return Ok(Answer::Allowed { patch, warnings });
    }
    if kind.is_empty() {
        return Err("webhook returned response.patch but not response.patchType".to_owned());
    }
    if kind != "JSONPatch" {
        return Err(format!(
            "webhook returned invalid response.patchType of {kind:?}"
        ));
    }
    let patch = BASE64_STANDARD.decode(encoded).ok();
    let patch = patch.and_then(|bytes| String::from_utf8(bytes).ok());
    let patch = patch.ok_or("webhook returned a response.patch that is not base64")?;
    let patch = Some(patch).filter(|patch| patch != "[]");
    Ok(Answer::Allowed { patch, warnings })
}

fn denial(webhook: &str, status: &Value) -> ApiError {
    let denied = format!("admission webhook {webhook:?} denied the request");
    let (message, reason) = (text(status, "message"), text(status, "reason"));
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", reason) => format!("{denied}: {reason}"),
        (message, _) => format!("{denied}: {message}"),
    };
    let code = status["code"]
        .as_u64()
        .and_then(|code| code.try_into().ok());
    let code = code.filter(|code| (400..600).contains(code)).unwrap_or(400);
    let known = REASONS.iter().find(|known| **known == reason);
    ApiError::new(code, known.copied().unwrap_or_default(), message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn review(response: &Value) -> Value {
        json!({"apiVersion": API_VERSION, "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn refusals_are_told_as_upstream_tells_them() {
        let cases = [
            (
                json!({"message": "no"}),
                (400, "", "admission webhook \"w\" denied the request: no"),
            ),
            (
                json!({"code": 403, "reason": "Forbidden"}),
                (
                    403,
                    "Forbidden",
                    "admission webhook \"w\" denied the request: Forbidden",
                ),
            ),
            (
                json!({"code": 200}),
                (
                    400,
                    "",
                    "admission webhook \"w\" denied the request without explanation",
                ),
            ),
        ];
        for (status, expected) in cases {
            let answer = answer("w", "u", &review(&json!({"uid": "u", "status": status})));
            let Ok(Answer::Denied { error, .. }) = answer else {
                panic!("{status}");
            };
            assert_eq!((error.code, error.reason, error.message.as_str()), expected);
        }
    }

    #[test]
    fn answers_must_be_answers() {
        let cases = [
            (json!({}), "expected webhook response of"),
            (review(&Value::Null), "webhook response was absent"),
            (
                review(&json!({"uid": "x", "allowed": true})),
                "expected response.uid=\"u\", got \"x\"",
            ),
            (
                review(&json!({"uid": "u", "allowed": true, "patch": "W10="})),
                "webhook returned response.patch but not response.patchType",
            ),
        ];
        for (document, expected) in cases {
            let why = answer("w", "u", &document).unwrap_err();
            assert!(why.starts_with(expected), "{why}");
        }
        let fine = review(&json!({
            "uid": "u", "allowed": true, "patchType": "JSONPatch", "warnings": ["hm"],
            "patch": BASE64_STANDARD.encode("[{}]"),
        }));
        let (patch, warnings) = (Some("[{}]".to_owned()), vec!["hm".to_owned()]);
        assert_eq!(
            answer("w", "u", &fine),
            Ok(Answer::Allowed { patch, warnings })
        );
    }
}
