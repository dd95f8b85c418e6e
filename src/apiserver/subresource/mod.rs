//! Subresources: other ways to see or to move one object.
//!
//! A [`View`] shows a part of the object (or another document made of it) and puts a changed part back; `get`,
//! `update` and `patch` work through it as on the object itself. An [`Action`] is created and does something.

pub mod binding;
mod certificate;
mod eviction;
mod pod;
mod scale;
pub mod token;

use super::registry::{Request, body::Expected};
use crate::{
    api::{ApiError, call::Reply, time},
    kinds::Kind,
    task::clock,
};
use serde_json::{Value, json};

pub struct View {
    pub name: &'static str,
    /// What the view's documents are; `None`: objects of the kind itself.
    pub document: Option<Expected>,
    project: fn(&Kind, &Value) -> Result<Value, ApiError>,
    inject: fn(&Kind, &Value, &Value) -> Result<Value, ApiError>,
}

const VIEWS: &[View] = &[
    View::part("status", put_status),
    View::part("ephemeralcontainers", pod::put_ephemeral),
    View::part("resize", pod::put_resources),
    View::part("approval", certificate::put_approval),
    View::part("finalize", put_finalizers),
    View {
        name: "scale",
        document: Some(Expected {
            group: "autoscaling",
            version: "v1",
            kind: "Scale",
            definition: "io.k8s.api.autoscaling.v1.Scale",
        }),
        project: scale::project,
        inject: scale::inject,
    },
];

#[must_use]
pub fn view(subresource: &str) -> Option<&'static View> {
    VIEWS.iter().find(|view| view.name == subresource)
}

impl View {
    const fn part(
        name: &'static str,
        inject: fn(&Kind, &Value, &Value) -> Result<Value, ApiError>,
    ) -> View {
        View {
            name,
            document: None,
            project: whole,
            inject,
        }
    }

    pub fn project(&self, kind: &Kind, object: &Value) -> Result<Value, ApiError> {
        (self.project)(kind, object)
    }

    /// The whole object with what the changed document says.
    pub fn inject(&self, kind: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
        (self.inject)(kind, old, candidate)
    }
}

/// Something that is done to an object by creating a subresource of it.
pub struct Action {
    pub name: &'static str,
    /// What the body is.
    pub document: Expected,
    act: Act,
}

#[derive(Clone, Copy)]
enum Act {
    Bind,
    Evict,
    Token,
}

const BINDING: Expected = Expected {
    group: "",
    version: "v1",
    kind: "Binding",
    definition: "io.k8s.api.core.v1.Binding",
};

const ACTIONS: &[Action] = &[
    Action {
        name: "binding",
        document: BINDING,
        act: Act::Bind,
    },
    Action {
        name: "eviction",
        document: Expected {
            group: "policy",
            version: "v1",
            kind: "Eviction",
            definition: "io.k8s.api.policy.v1.Eviction",
        },
        act: Act::Evict,
    },
    Action {
        name: "token",
        document: Expected {
            group: "authentication.k8s.io",
            version: "v1",
            kind: "TokenRequest",
            definition: "io.k8s.api.authentication.v1.TokenRequest",
        },
        act: Act::Token,
    },
];

#[must_use]
pub fn action(subresource: &str) -> Option<&'static Action> {
    ACTIONS.iter().find(|action| action.name == subresource)
}

impl Action {
    pub async fn run(&self, request: &Request<'_>, body: Value) -> Result<Reply, ApiError> {
        match self.act {
            Act::Bind => binding::create(request, &body).await,
            Act::Evict => eviction::create(request, &body).await,
            Act::Token => token::create(request, body).await,
        }
    }
}

fn whole(_: &Kind, object: &Value) -> Result<Value, ApiError> {
    Ok(object.clone())
}

/// Kinds whose metadata does not change through `/status`.
const STATUS_KEEPS_METADATA: &[&str] = &[
    "apiservices.apiregistration.k8s.io",
    "customresourcedefinitions.apiextensions.k8s.io",
    "resourceclaims.resource.k8s.io",
    "servicecidrs.networking.k8s.io",
    "volumeattachments.storage.k8s.io",
];

fn put_status(kind: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    new["status"] = candidate["status"].clone();
    if new["status"].is_null() {
        new["status"] = json!({});
    }
    if kind.name == "CertificateSigningRequest" {
        certificate::keep_approval(&mut new, old);
        certificate::stamp(&mut new, old, &time::format(clock::now()));
    }
    if STATUS_KEEPS_METADATA.contains(&kind.storage) {
        return Ok(new);
    }
    let mut meta = candidate["metadata"].clone();
    if kind.name == "Deployment" {
        meta["labels"] = old["metadata"]["labels"].clone();
    }
    if kind.name == "Pod" {
        meta["ownerReferences"] = old["metadata"]["ownerReferences"].clone();
        if new["status"]["qosClass"].is_null() {
            new["status"]["qosClass"] = old["status"]["qosClass"].clone();
        }
    }
    new["metadata"] = meta;
    Ok(new)
}

fn put_finalizers(_: &Kind, old: &Value, candidate: &Value) -> Result<Value, ApiError> {
    let mut new = old.clone();
    new["spec"]["finalizers"] = candidate["spec"]["finalizers"].clone();
    if let Some(spec) = new["spec"].as_object_mut() {
        spec.retain(|_, value| !value.is_null());
    }
    Ok(new)
}
