//! The verbs, typed and untyped.

use crate::api::{
    ApiError,
    call::{Body, Call, Document, Outcome, PatchKind, Reply, User, Verb},
    name::{Gvr, Key},
    object::Object,
};
use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;
use std::sync::Arc;

/// Carries calls to an API server.
pub trait Transport: Send + Sync {
    fn call<'a>(&'a self, user: &'a User, call: Call) -> BoxFuture<'a, Result<Reply, ApiError>>;
}

/// The API as one identity sees it. Cheap to clone.
#[derive(Clone)]
pub struct Client {
    transport: Arc<dyn Transport>,
    user: Arc<User>,
}

impl Client {
    pub fn new(transport: Arc<dyn Transport>, user: User) -> Client {
        Client {
            transport,
            user: Arc::new(user),
        }
    }

    /// The same server under another identity.
    #[must_use]
    pub fn acting_as(&self, user: User) -> Client {
        Client {
            transport: Arc::clone(&self.transport),
            user: Arc::new(user),
        }
    }

    pub async fn call(&self, call: Call) -> Result<Reply, ApiError> {
        self.transport.call(&self.user, call).await
    }

    pub async fn get<T: Object>(&self, key: &Key) -> Result<T, ApiError> {
        let call = Call::new(Verb::Get, T::gvr()).named(&key.namespace, &key.name);
        self.object(call).await
    }

    /// Answers the object as stored, with its uid and revision.
    pub async fn create<T: Object>(&self, object: &T) -> Result<T, ApiError> {
        let namespace = object.metadata().namespace.clone().unwrap_or_default();
        let mut call = Call::new(Verb::Create, T::gvr()).named(&namespace, "");
        call.body = document(object)?;
        self.object(call).await
    }

    /// Refused with `Conflict` when the object has a resource version that is not current.
    pub async fn update<T: Object>(&self, object: &T) -> Result<T, ApiError> {
        self.put(object, None).await
    }

    pub async fn update_status<T: Object>(&self, object: &T) -> Result<T, ApiError> {
        self.put(object, Some("status")).await
    }

    async fn put<T: Object>(&self, object: &T, sub: Option<&str>) -> Result<T, ApiError> {
        let key = object.key();
        let mut call = Call::new(Verb::Update, T::gvr()).named(&key.namespace, &key.name);
        call.subresource = sub.map(str::to_owned);
        call.body = document(object)?;
        self.object(call).await
    }

    pub async fn patch<T: Object>(
        &self,
        key: &Key,
        subresource: Option<&str>,
        kind: PatchKind,
        patch: &Value,
    ) -> Result<T, ApiError> {
        let mut call = Call::new(Verb::Patch, T::gvr()).named(&key.namespace, &key.name);
        call.subresource = subresource.map(str::to_owned);
        call.body = Body::Patch(kind, Bytes::from(patch.to_string()));
        self.object(call).await
    }

    /// Deletes exactly the object with this uid: another of the same name is a `Conflict`.
    pub async fn delete<T: Object>(&self, key: &Key, uid: &str) -> Result<(), ApiError> {
        let mut call = Call::new(Verb::Delete, T::gvr()).named(&key.namespace, &key.name);
        call.options.delete.uid = (!uid.is_empty()).then(|| uid.to_owned());
        self.call(call).await.map(drop)
    }

    /// Creates a subresource (`binding`, `eviction`, `token`) of a named object.
    pub async fn create_sub(
        &self,
        resource: Gvr,
        key: &Key,
        subresource: &str,
        body: Value,
    ) -> Result<Value, ApiError> {
        let mut call = Call::new(Verb::Create, resource).named(&key.namespace, &key.name);
        call.subresource = Some(subresource.to_owned());
        call.body = Body::Document(Document {
            value: body,
            duplicates: Vec::new(),
        });
        match self.call(call).await?.outcome {
            Outcome::Object { bytes, .. } | Outcome::Status { bytes, .. } => decode(&bytes),
            other => Err(unexpected(&other)),
        }
    }

    async fn object<T: Object>(&self, call: Call) -> Result<T, ApiError> {
        match self.call(call).await?.outcome {
            Outcome::Object { bytes, .. } => decode(&bytes),
            other => Err(unexpected(&other)),
        }
    }
}

fn document<T: Object>(object: &T) -> Result<Body, ApiError> {
    let value = serde_json::to_value(object).map_err(ApiError::internal)?;
    Ok(Body::Document(Document {
        value,
        duplicates: Vec::new(),
    }))
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, ApiError> {
    super::decode::decode(bytes).map_err(ApiError::internal)
}

fn unexpected(outcome: &Outcome) -> ApiError {
    ApiError::internal(format!("unexpected answer: {outcome:?}"))
}
