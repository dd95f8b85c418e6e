//! Decisions: lists of writes and events, as plain values that tests can look at.

use crate::{
    api::{
        call::{Body, Call, DeleteOptions, Document, PatchKind, Propagation, Verb},
        name::{Gvr, Key},
        object::Object,
    },
    client::{EventKind, reference},
    pki::{Grant, request::Request},
};
use bytes::Bytes;
use k8s_openapi::api::{
    authorization::v1::SubjectAccessReview,
    certificates::v1::CertificateSigningRequest,
    core::v1::{ObjectReference, Secret},
};
use serde_json::Value;
use std::{path::PathBuf, time::Duration};

/// The outcome of one pass. An empty decision means that the object is settled.
#[derive(Clone, Debug, Default)]
pub struct Decision {
    pub actions: Vec<Action>,
    /// When to look again although nothing changes: a deadline computed from state, never a poll.
    pub again_after: Option<Duration>,
}

impl Decision {
    pub fn push(&mut self, action: impl Into<Action>) {
        self.actions.push(action.into());
    }

    /// Of several deadlines the earliest counts.
    pub fn again(&mut self, after: Duration) {
        self.again_after = Some(self.again_after.map_or(after, |other| other.min(after)));
    }
}

#[derive(Clone, Debug)]
pub enum Action {
    Write(Box<Write>),
    Tell(Box<Notice>),
    Disk(Disk),
    Issue(Issue),
    Ask(Box<Question>),
}

/// A write that needs the keys of the cluster.
#[derive(Clone, Debug)]
pub enum Issue {
    /// A certificate, for the status of the request that asks for it.
    Certificate {
        object: Box<CertificateSigningRequest>,
        request: Request,
        grant: Grant,
    },
    /// A token that makes these claims, for the Secret that shall hold it.
    Token { secret: Box<Secret>, claims: Value },
}

/// Asks the API server whether somebody may do something; what follows the first yes is written.
#[derive(Clone, Debug)]
pub struct Question {
    pub choices: Vec<(SubjectAccessReview, Write)>,
}

/// The one thing controllers do besides the API: directories of the built-in storage class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Disk {
    /// With room for everybody: who may write there is decided by who may claim the volume.
    Make(PathBuf),
    /// With everything in it; links are not followed.
    Remove(PathBuf),
}

impl From<Disk> for Action {
    fn from(disk: Disk) -> Action {
        Action::Disk(disk)
    }
}

impl From<Issue> for Action {
    fn from(issue: Issue) -> Action {
        Action::Issue(issue)
    }
}

impl From<Question> for Action {
    fn from(question: Question) -> Action {
        Action::Ask(Box::new(question))
    }
}

impl From<Write> for Action {
    fn from(write: Write) -> Action {
        Action::Write(Box::new(write))
    }
}

impl From<Notice> for Action {
    fn from(notice: Notice) -> Action {
        Action::Tell(Box::new(notice))
    }
}

/// An event to record.
#[derive(Clone, Debug)]
pub struct Notice {
    pub about: ObjectReference,
    pub kind: EventKind,
    pub reason: String,
    pub message: String,
}

impl Notice {
    pub fn normal<T: Object>(about: &T, reason: &str, message: impl Into<String>) -> Notice {
        Notice::new(about, EventKind::Normal, reason, message)
    }

    pub fn warning<T: Object>(about: &T, reason: &str, message: impl Into<String>) -> Notice {
        Notice::new(about, EventKind::Warning, reason, message)
    }

    fn new<T: Object>(
        about: &T,
        kind: EventKind,
        reason: &str,
        message: impl Into<String>,
    ) -> Notice {
        Notice {
            about: reference(about),
            kind,
            reason: reason.to_owned(),
            message: message.into(),
        }
    }
}

/// One write to the API.
#[derive(Clone, Debug)]
pub struct Write {
    pub verb: Verb,
    pub resource: Gvr,
    /// The name is empty when the server makes it.
    pub key: Key,
    pub subresource: Option<&'static str>,
    /// The document of create and update, the patch of a patch.
    pub body: Value,
    pub patch: Option<PatchKind>,
    pub delete: DeleteOptions,
    /// Told when it was done; the object's name is appended when the text ends with a space.
    pub on_success: Option<Notice>,
    /// Told when it was refused; the error is appended.
    pub on_failure: Option<Notice>,
}

impl Write {
    fn new<T: Object>(verb: Verb, key: Key, body: Value) -> Write {
        Write {
            verb,
            resource: T::gvr(),
            key,
            subresource: None,
            body,
            patch: None,
            delete: DeleteOptions::default(),
            on_success: None,
            on_failure: None,
        }
    }

    pub fn create<T: Object>(object: &T) -> Write {
        Write::new::<T>(Verb::Create, object.key(), to_value(object))
    }

    /// Refused when the object has changed since it was read.
    pub fn update<T: Object>(object: &T) -> Write {
        Write::new::<T>(Verb::Update, object.key(), to_value(object))
    }

    pub fn update_status<T: Object>(object: &T) -> Write {
        Write::update(object).on_sub("status")
    }

    /// A JSON merge patch.
    pub fn patch<T: Object>(key: Key, patch: Value) -> Write {
        let mut write = Write::new::<T>(Verb::Patch, key, patch);
        write.patch = Some(PatchKind::Merge);
        write
    }

    /// Of exactly this object: another with the same name is left alone.
    pub fn delete<T: Object>(object: &T) -> Write {
        let mut write = Write::new::<T>(Verb::Delete, object.key(), Value::Null);
        write.delete.uid = Some(object.uid().to_owned());
        write
    }

    #[must_use]
    pub fn propagating(mut self, propagation: Propagation) -> Write {
        self.delete.propagation = Some(propagation);
        self
    }

    #[must_use]
    pub fn on_sub(mut self, subresource: &'static str) -> Write {
        self.subresource = Some(subresource);
        self
    }

    #[must_use]
    pub fn told(mut self, notice: Notice) -> Write {
        self.on_success = Some(notice);
        self
    }

    #[must_use]
    pub fn lamented(mut self, notice: Notice) -> Write {
        self.on_failure = Some(notice);
        self
    }

    pub fn is_status(&self) -> bool {
        self.subresource == Some("status")
    }

    pub(super) fn call(&self) -> Call {
        let mut call =
            Call::new(self.verb, self.resource.clone()).named(&self.key.namespace, &self.key.name);
        if self.verb == Verb::Create && self.subresource.is_none() {
            call.name = None;
        }
        call.subresource = self.subresource.map(str::to_owned);
        call.options.field_manager = Some("kube-controller-manager".to_owned());
        call.options.delete = self.delete.clone();
        call.body = match (self.verb, self.patch) {
            (Verb::Delete, _) => Body::None,
            (_, Some(kind)) => Body::Patch(kind, Bytes::from(self.body.to_string())),
            (_, None) => Body::Document(Document {
                value: self.body.clone(),
                duplicates: Vec::new(),
            }),
        };
        call
    }
}

fn to_value<T: Object>(object: &T) -> Value {
    serde_json::to_value(object).expect("our own types have string keys only")
}

/// What went wrong in the last pass over a key: a fact for the next one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub verb: Verb,
    pub resource: Gvr,
    /// `Forbidden`, `Invalid` …
    pub reason: &'static str,
    pub message: String,
}
