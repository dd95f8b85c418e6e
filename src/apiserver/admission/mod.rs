//! Admission: steps that complete or refuse writes, after decoding and before the store.
//!
//! [`STEPS`] is the order, upstream's. All mutations run first, then the kind's own validation, then the steps'. A step
//! reads facts through the registry and decides; it never writes. Webhooks come last among those that change and first
//! among those that judge: nobody waits for them with a lock in hand.

mod account;
mod certificate;
mod default_class;
mod escalation;
mod lifecycle;
mod limit_range;
mod node;
mod pod_security;
mod policy;
mod priority;
mod protection;
mod quota;
mod resize;
mod runtime_class;
mod toleration;
mod webhook;

pub use account::wait_for_default;

use super::registry::{self, Request};
use crate::{api::ApiError, kinds::Kind};
use serde_json::Value;
use std::sync::Mutex;
use tracing::debug;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    Create,
    Update,
    Delete,
    /// A conversation begins; the object is its options.
    Connect,
}

/// A write on its way. `object` travels beside it: mutations change it.
pub struct Attempt<'a> {
    pub request: &'a Request<'a>,
    pub operation: Operation,
    /// The stored object, for updates and deletes.
    pub old: Option<&'a Value>,
    /// What the writer is to be told although nothing is refused.
    warnings: Mutex<Vec<String>>,
}

impl<'a> Attempt<'a> {
    pub fn new(
        request: &'a Request<'a>,
        operation: Operation,
        old: Option<&'a Value>,
    ) -> Attempt<'a> {
        Attempt {
            request,
            operation,
            old,
            warnings: Mutex::default(),
        }
    }

    pub fn warn(&self, text: String) {
        self.warnings
            .lock()
            .expect("no panic while locked")
            .push(text);
    }

    pub fn into_warnings(self) -> Vec<String> {
        self.warnings.into_inner().expect("no panic while locked")
    }

    pub fn kind(&self) -> &'static Kind {
        self.request.kind
    }

    pub fn is(&self, operation: Operation) -> bool {
        self.operation == operation
    }

    pub fn subresource(&self) -> &str {
        self.request.subresource.as_deref().unwrap_or_default()
    }

    /// A new object, not something done to one.
    pub fn is_creation(&self) -> bool {
        self.is(Operation::Create) && self.subresource().is_empty()
    }

    pub fn forbidden(&self, why: &str) -> ApiError {
        ApiError::forbidden(&self.request.resource, &self.request.name, why)
    }
}

type Mutate = fn(&Attempt<'_>, &mut Value) -> Result<(), ApiError>;
type Validate = fn(&Attempt<'_>, &Value) -> Result<(), ApiError>;

struct Step {
    /// As upstream's flag names it.
    name: &'static str,
    /// Where objects lie that the step is about; empty: all.
    storage: &'static [&'static str],
    mutate: Option<Mutate>,
    validate: Option<Validate>,
}

const PODS: &[&str] = &["pods"];
const CLAIMS: &[&str] = &["persistentvolumeclaims"];

const STEPS: &[Step] = &[
    Step::new("NamespaceLifecycle", &[], Some(lifecycle::admit), None),
    Step::new(
        "LimitRanger",
        &["pods", "persistentvolumeclaims"],
        Some(limit_range::complete),
        Some(limit_range::check),
    ),
    Step::new("ServiceAccount", PODS, Some(account::complete), None),
    Step::new("NodeRestriction", node::STORAGE, None, Some(node::check)),
    Step::new(
        "PodSecurity",
        pod_security::STORAGE,
        None,
        Some(pod_security::check),
    ),
    Step::new("Priority", PODS, Some(priority::complete), None),
    Step::new(
        "Priority",
        &["priorityclasses.scheduling.k8s.io"],
        None,
        Some(priority::check_class),
    ),
    Step::new(
        "DefaultTolerationSeconds",
        PODS,
        Some(toleration::complete),
        None,
    ),
    Step::new(
        "DefaultStorageClass",
        CLAIMS,
        Some(default_class::storage),
        None,
    ),
    Step::new(
        "StorageObjectInUseProtection",
        &["persistentvolumeclaims", "persistentvolumes"],
        Some(protection::complete),
        None,
    ),
    Step::new(
        "PersistentVolumeClaimResize",
        CLAIMS,
        None,
        Some(resize::check),
    ),
    Step::new("RuntimeClass", PODS, Some(runtime_class::complete), None),
    Step::new(
        "CertificateApproval",
        &["certificatesigningrequests.certificates.k8s.io"],
        None,
        Some(certificate::check),
    ),
    Step::new(
        "DefaultIngressClass",
        &["ingresses.networking.k8s.io"],
        Some(default_class::ingress),
        None,
    ),
    Step::new("RBAC", escalation::STORAGE, None, Some(escalation::check)),
    Step::new("ValidatingAdmissionPolicy", &[], None, Some(policy::check)),
    Step::new("ResourceQuota", &[], None, Some(quota::check)),
];

impl Step {
    const fn new(
        name: &'static str,
        storage: &'static [&'static str],
        mutate: Option<Mutate>,
        validate: Option<Validate>,
    ) -> Step {
        Step {
            name,
            storage,
            mutate,
            validate,
        }
    }

    fn tell(&self, attempt: &Attempt<'_>, error: &ApiError) {
        debug!(step = self.name, key = attempt.request.key(), %error, "refused a write");
    }

    fn is_about(&self, kind: &Kind) -> bool {
        self.storage.is_empty() || self.storage.contains(&kind.storage)
    }
}

/// Completes the object, or refuses early. What webhooks change is completed again.
pub async fn mutate(attempt: &Attempt<'_>, object: &mut Value) -> Result<(), ApiError> {
    complete(attempt, object)?;
    if webhook::mutate(attempt, object).await? && !attempt.is(Operation::Delete) {
        registry::complete(attempt.kind(), object);
        complete(attempt, object)?;
    }
    Ok(())
}

fn complete(attempt: &Attempt<'_>, object: &mut Value) -> Result<(), ApiError> {
    for step in STEPS.iter().filter(|step| step.is_about(attempt.kind())) {
        if let Some(mutate) = step.mutate {
            mutate(attempt, object).inspect_err(|error| step.tell(attempt, error))?;
        }
    }
    Ok(())
}

/// Asks servers outside about the completed, valid object.
pub async fn review(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    webhook::validate(attempt, object).await
}

/// What is posted to a part of an object (an eviction, a binding) is judged by webhooks alone, and so is what a
/// conversation is about.
pub async fn judge_part(attempt: &Attempt<'_>, body: &mut Value) -> Result<(), ApiError> {
    webhook::mutate(attempt, body).await?;
    webhook::validate(attempt, body).await
}

/// Judges the completed, valid object; for a delete, the one that is to go.
pub fn validate(attempt: &Attempt<'_>, object: &Value) -> Result<(), ApiError> {
    for step in STEPS.iter().filter(|step| step.is_about(attempt.kind())) {
        if let Some(validate) = step.validate {
            validate(attempt, object).inspect_err(|error| step.tell(attempt, error))?;
        }
    }
    Ok(())
}
