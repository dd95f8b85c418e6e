//! The one error of the server path: what goes over the wire as a `Status`.
//!
//! Codes, reasons and message forms are Kubernetes' (API chapter 2.10). Clients branch on `reason`, people read
//! `message`, so both are fixed here in one place.

use super::name::Gvr;
use serde_json::{Value, json};
use std::fmt;

/// One entry of `details.causes`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    pub reason: String,
    pub message: String,
    pub field: String,
}

/// A failure as clients see it. Build it with a constructor from where the reason is known.
#[derive(Clone, Debug, PartialEq)]
pub struct ApiError {
    pub code: u16,
    /// `NotFound`, `Conflict` …; empty where upstream gives none.
    pub reason: &'static str,
    pub message: String,
    pub details: Option<Box<Details>>,
    /// `metadata.continue` of the Status: only an expired list token sets it.
    pub continue_token: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    pub name: String,
    pub group: String,
    /// Plural resource, except for `Invalid`, where it is the Kind.
    pub kind: String,
    pub uid: String,
    pub causes: Vec<Cause>,
    pub retry_after_seconds: u32,
}

impl ApiError {
    pub fn new(code: u16, reason: &'static str, message: impl Into<String>) -> ApiError {
        ApiError {
            code,
            reason,
            message: message.into(),
            details: None,
            continue_token: None,
        }
    }

    #[must_use]
    pub fn with_details(mut self, details: Details) -> ApiError {
        self.details = Some(Box::new(details));
        self
    }

    #[must_use]
    pub fn with_cause(mut self, reason: &str, message: &str, field: &str) -> ApiError {
        let cause = Cause {
            reason: reason.to_owned(),
            message: message.to_owned(),
            field: field.to_owned(),
        };
        self.details.get_or_insert_default().causes.push(cause);
        self
    }

    fn about(resource: &Gvr, name: &str) -> Details {
        Details {
            name: name.to_owned(),
            group: resource.group.to_string(),
            kind: resource.resource.to_string(),
            ..Details::default()
        }
    }

    pub fn bad_request(message: impl Into<String>) -> ApiError {
        ApiError::new(400, "BadRequest", message)
    }

    pub fn unauthorized() -> ApiError {
        ApiError::new(401, "Unauthorized", "Unauthorized")
    }

    /// `why` follows `pods "x" is forbidden: `; an empty name leaves the quoted part out.
    pub fn forbidden(resource: &Gvr, name: &str, why: &str) -> ApiError {
        let what = resource.group_resource();
        let message = if name.is_empty() {
            format!("{what} is forbidden: {why}")
        } else {
            format!("{what} \"{name}\" is forbidden: {why}")
        };
        ApiError::new(403, "Forbidden", message).with_details(ApiError::about(resource, name))
    }

    pub fn not_found(resource: &Gvr, name: &str) -> ApiError {
        let message = format!("{} \"{name}\" not found", resource.group_resource());
        ApiError::new(404, "NotFound", message).with_details(ApiError::about(resource, name))
    }

    /// The resource type itself is unknown.
    pub fn no_such_resource() -> ApiError {
        let message = "the server could not find the requested resource";
        ApiError::new(404, "NotFound", message)
    }

    pub fn method_not_allowed() -> ApiError {
        let message = "the server does not allow this method on the requested resource";
        ApiError::new(405, "MethodNotAllowed", message)
    }

    pub fn already_exists(resource: &Gvr, name: &str) -> ApiError {
        let message = format!("{} \"{name}\" already exists", resource.group_resource());
        ApiError::new(409, "AlreadyExists", message).with_details(ApiError::about(resource, name))
    }

    pub fn conflict(resource: &Gvr, name: &str, why: &str) -> ApiError {
        let what = resource.group_resource();
        let message = format!("Operation cannot be fulfilled on {what} \"{name}\": {why}");
        ApiError::new(409, "Conflict", message).with_details(ApiError::about(resource, name))
    }

    /// The optimistic lock failed.
    pub fn modified(resource: &Gvr, name: &str) -> ApiError {
        let why = "the object has been modified; please apply your changes to the latest version and try again";
        ApiError::conflict(resource, name, why)
    }

    pub fn expired(message: impl Into<String>) -> ApiError {
        ApiError::new(410, "Expired", message)
    }

    /// `group` and `kind` name the Kind (`apps`, `Deployment`). Repeated causes are told once.
    pub fn invalid(group: &str, kind: &str, name: &str, mut causes: Vec<Cause>) -> ApiError {
        let mut seen = std::collections::HashSet::new();
        causes.retain(|cause| seen.insert((cause.field.clone(), cause.message.clone())));
        let texts: Vec<String> = causes
            .iter()
            .map(|cause| match cause.field.as_str() {
                "" => cause.message.clone(),
                field => format!("{field}: {}", cause.message),
            })
            .collect();
        let what = match group {
            "" => kind.to_owned(),
            group => format!("{kind}.{group}"),
        };
        let why = match texts.as_slice() {
            [one] => one.clone(),
            many => format!("[{}]", many.join(", ")),
        };
        let details = Details {
            name: name.to_owned(),
            group: group.to_owned(),
            kind: kind.to_owned(),
            causes,
            ..Details::default()
        };
        ApiError::new(
            422,
            "Invalid",
            format!("{what} \"{name}\" is invalid: {why}"),
        )
        .with_details(details)
    }

    pub fn too_many_requests(message: impl Into<String>, retry_after_seconds: u32) -> ApiError {
        ApiError::new(429, "TooManyRequests", message).with_details(Details {
            retry_after_seconds,
            ..Details::default()
        })
    }

    pub fn internal(message: impl fmt::Display) -> ApiError {
        let text = message.to_string();
        ApiError::new(
            500,
            "InternalError",
            format!("Internal error occurred: {text}"),
        )
        .with_cause("", &text, "")
    }

    /// Known to upstream, not built here yet. Said plainly instead of a wrong answer.
    pub fn not_implemented(what: &str) -> ApiError {
        let message = format!("{what} is not implemented by kubik yet");
        ApiError::new(501, "NotImplemented", message)
    }

    pub fn is_not_found(&self) -> bool {
        self.reason == "NotFound"
    }

    pub fn is_already_exists(&self) -> bool {
        self.reason == "AlreadyExists"
    }

    pub fn is_conflict(&self) -> bool {
        self.reason == "Conflict"
    }

    /// The `Status` document that clients receive.
    pub fn to_status(&self) -> Value {
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": self.message, "code": self.code,
        });
        if !self.reason.is_empty() {
            status["reason"] = self.reason.into();
        }
        if let Some(token) = &self.continue_token {
            status["metadata"]["continue"] = token.as_str().into();
        }
        if let Some(details) = &self.details {
            status["details"] = details.to_value();
        }
        status
    }
}

impl Details {
    fn to_value(&self) -> Value {
        let mut value = json!({});
        let texts = [
            ("name", &self.name),
            ("group", &self.group),
            ("kind", &self.kind),
            ("uid", &self.uid),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value[field] = text.as_str().into();
        }
        if !self.causes.is_empty() {
            value["causes"] = self.causes.iter().map(Cause::to_value).collect();
        }
        if self.retry_after_seconds > 0 {
            value["retryAfterSeconds"] = self.retry_after_seconds.into();
        }
        value
    }
}

impl Cause {
    fn to_value(&self) -> Value {
        let mut value = json!({});
        let texts = [
            ("reason", &self.reason),
            ("message", &self.message),
            ("field", &self.field),
        ];
        for (field, text) in texts.into_iter().filter(|(_, text)| !text.is_empty()) {
            value[field] = text.as_str().into();
        }
        value
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}
