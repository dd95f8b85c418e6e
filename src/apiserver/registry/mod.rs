//! The generic registry: one code path per verb for every kind, between any front and the store.
//!
//! [`Registry::call`] authorizes, then serves: fronts only authenticate, and decode and encode what goes over a wire.
//! Writes run defaults, admission and validation in upstream's order and are serialized once; reads hand out stored
//! bytes. The registry is the only user of the store.

pub mod body;
mod change;
mod component;
pub mod convert;
mod create;
mod delete;
pub mod document;
mod expiry;
pub mod finding;
pub mod identity;
mod list;
pub mod metadata;
mod options;
mod ownership;
pub mod place;
mod review;
mod selection;
mod services;
pub mod testing;
mod usage;
mod watch;
mod write;

pub(super) use create::default as complete;

use super::{
    admission::{self, Attempt, Operation},
    authorize::{self, Attributes, Decision, Rule},
    stream::NodeDirectory,
    subresource::{self, View, action, view},
    token::Tokens,
};
use crate::{
    api::{
        ApiError,
        call::{Body, Call, Document, Options, Reply, User, Verb},
        name::Gvr,
    },
    kinds::{self, Kind},
    pki::TokenKey,
    store::{Entry, Store},
};
use ipnet::Ipv4Net;
use std::{
    io,
    net::IpAddr,
    sync::{Arc, Mutex, RwLock, RwLockReadGuard},
};
use tracing::debug;

/// What a registry is made of.
pub struct RegistryConfig {
    /// Opened with [`document::annotate`].
    pub store: Store,
    /// Signs the tokens of service accounts.
    pub token_key: Arc<TokenKey>,
    /// Who signs them: `https://kubernetes.default.svc.cluster.local`.
    pub issuer: String,
    /// Where ClusterIPs come from.
    pub service_cidr: Ipv4Net,
    /// Reaches the nodes: for logs, exec, attach, port-forward, proxy, and what they use.
    pub nodes: Arc<dyn NodeDirectory>,
    /// Finds the addresses of names outside; blocks.
    pub resolve: Resolve,
}

pub type Resolve = fn(&str) -> io::Result<Vec<IpAddr>>;

/// The API behind every front. Shared as an `Arc`.
pub struct Registry {
    pub(super) store: Store,
    pub(super) nodes: Arc<dyn NodeDirectory>,
    access: RwLock<authorize::Index>,
    tokens: Tokens,
    services: Mutex<services::Pool>,
    expiry: Mutex<expiry::Expiry>,
    pub(super) quota_lock: tokio::sync::Mutex<()>,
    pub(super) resolve: Resolve,
}

impl Registry {
    /// Reads what it keeps indexes of; blocks for as long as that takes.
    #[must_use]
    pub fn new(config: RegistryConfig) -> Arc<Registry> {
        let registry = Registry {
            store: config.store,
            nodes: config.nodes,
            access: RwLock::default(),
            tokens: Tokens::new(config.token_key, config.issuer),
            services: Mutex::new(services::Pool::new(config.service_cidr)),
            expiry: Mutex::default(),
            quota_lock: tokio::sync::Mutex::default(),
            resolve: config.resolve,
        };
        registry.observe_all();
        Arc::new(registry)
    }

    /// Serves one request of an authenticated user, after asking whether the user may.
    /// `log`, `exec`, `attach`, `portforward` and `proxy` are not served here.
    pub async fn call(&self, user: &User, call: Call) -> Result<Reply, ApiError> {
        let mut request = Request::new(self, user, call)?;
        let body = std::mem::take(&mut request.body);
        self.authorize(user, &request.attributes())?;
        if request.kind.storage == "events" {
            self.expire_events().await;
        }
        let mut reply = match (request.verb, request.subresource.is_some()) {
            (Verb::Get | Verb::List, false) if !request.kind.is_stored() => {
                computed(&mut request).await
            }
            (Verb::Get | Verb::Update | Verb::Patch, true) if request.view().is_none() => {
                Err(ApiError::method_not_allowed())
            }
            (Verb::Get, _) => list::get(&request).await,
            (Verb::List, false) => list::list(&request).await,
            (Verb::Watch, false) => watch::watch(&request).await,
            (Verb::Create, _) => create(&mut request, document(body)?).await,
            (Verb::Update, _) => change::update(&mut request, document(body)?).await,
            (Verb::Patch, _) => change::patch(&mut request, body).await,
            (Verb::Delete, false) => delete::delete(&mut request).await,
            (Verb::DeleteCollection, false) => delete::delete_collection(&mut request).await,
            _ => Err(ApiError::method_not_allowed()),
        }?;
        if !matches!(request.verb, Verb::Get | Verb::List | Verb::Watch) {
            self.settle_quotas(&request.namespace).await;
        }
        reply.warnings.append(&mut request.warnings);
        Ok(reply)
    }

    /// Whether the user may; the error is what the client shall see.
    pub fn authorize(&self, user: &User, wanted: &Attributes<'_>) -> Result<(), ApiError> {
        match self.decide(user, wanted) {
            Decision::Allowed(_) => Ok(()),
            Decision::Refused(reason) => Err(authorize::refusal(user, wanted, &reason)),
        }
    }

    /// Whose token this is; `Unauthorized` when nobody's.
    pub fn verify_token(&self, token: &str) -> Result<User, ApiError> {
        let audiences = [self.tokens.issuer().to_owned()];
        match subresource::token::verify(self, token, &audiences) {
            Ok((user, _)) => Ok(user),
            Err(why) => {
                debug!(why, "refused a token");
                Err(ApiError::unauthorized())
            }
        }
    }

    /// Signs service account tokens, and knows what discovery says about them.
    #[must_use]
    pub fn tokens(&self) -> &Tokens {
        &self.tokens
    }

    fn decide(&self, user: &User, wanted: &Attributes<'_>) -> Decision {
        self.access().decide(user, wanted)
    }

    /// Everything the user may in a namespace, and the roles that bindings name in vain.
    pub(super) fn rules(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        self.access().rules(user, namespace)
    }

    /// What a role grants.
    pub(super) fn role_rules(
        &self,
        namespace: &str,
        kind: &str,
        name: &str,
    ) -> Option<Arc<Vec<Rule>>> {
        self.access().role(namespace, kind, name)
    }

    fn access(&self) -> RwLockReadGuard<'_, authorize::Index> {
        self.access.read().expect("no panic while locked")
    }
}

async fn computed(request: &mut Request<'_>) -> Result<Reply, ApiError> {
    match request.kind.group {
        "metrics.k8s.io" => usage::read(request).await,
        _ => component::read(request),
    }
}

async fn create(request: &mut Request<'_>, document: Document) -> Result<Reply, ApiError> {
    let Some(subresource) = request.subresource.as_deref() else {
        return match request.kind.name {
            "Binding" => {
                let body = request.accept(document, request.expected())?;
                subresource::binding::create(request, &body).await
            }
            _ if !request.kind.is_stored() => review::create(request, document),
            _ => create::create(request, document).await,
        };
    };
    let action = action(subresource).ok_or_else(ApiError::method_not_allowed)?;
    let mut body = request.accept(document, action.document)?;
    let attempt = Attempt::new(request, Operation::Create, None);
    admission::judge_part(&attempt, &mut body).await?;
    let told = attempt.into_warnings();
    request.warnings.extend(told);
    action.run(request, body).await
}

/// `x` of `metadata.name=x`, where nothing in it has to be unescaped.
fn sole_name(field_selector: &str) -> Option<&str> {
    let mut terms = field_selector.split(',');
    let name = terms.find_map(|term| {
        let value = term.strip_prefix("metadata.name=")?;
        Some(value.strip_prefix('=').unwrap_or(value))
    })?;
    let is_plain = !name.is_empty() && !name.contains(['\\', '/', '%']);
    is_plain.then_some(name)
}

fn document(body: Body) -> Result<Document, ApiError> {
    match body {
        Body::Document(document) => Ok(document),
        _ => Err(ApiError::bad_request("the request has no body")),
    }
}

/// A request whose target was found.
pub struct Request<'a> {
    pub registry: &'a Registry,
    pub user: &'a User,
    pub verb: Verb,
    pub kind: &'static Kind,
    pub resource: Gvr,
    /// Empty for cluster scope, and for all namespaces.
    pub namespace: String,
    /// Empty for collections.
    pub name: String,
    pub subresource: Option<String>,
    pub body: Body,
    pub options: Options,
    /// Texts for `Warning` headers, collected on the way.
    pub warnings: Vec<String>,
}

impl<'a> Request<'a> {
    pub(super) fn new(
        registry: &'a Registry,
        user: &'a User,
        call: Call,
    ) -> Result<Request<'a>, ApiError> {
        let Gvr {
            group,
            version,
            resource,
        } = &call.resource;
        let kind = kinds::find(group, version, resource).ok_or_else(ApiError::no_such_resource)?;
        place::check(
            kind,
            call.verb,
            call.namespace.as_deref(),
            call.name.as_deref(),
            call.subresource.as_deref(),
        )?;
        Ok(Request {
            registry,
            user,
            verb: call.verb,
            kind,
            resource: call.resource,
            namespace: call.namespace.unwrap_or_default(),
            name: call.name.unwrap_or_default(),
            subresource: call.subresource,
            body: call.body,
            options: call.options,
            warnings: Vec::new(),
        })
    }

    fn attributes(&self) -> Attributes<'_> {
        let is_namespace = self.kind.storage == "namespaces";
        let one = self.selected_name();
        Attributes {
            verb: self.verb.as_str(),
            group: &self.resource.group,
            version: &self.resource.version,
            resource: &self.resource.resource,
            subresource: self.subresource.as_deref().unwrap_or_default(),
            // A namespace lies in itself, so that roles inside can speak about it.
            namespace: if is_namespace {
                &self.name
            } else {
                &self.namespace
            },
            name: one.unwrap_or(&self.name),
            path: None,
        }
    }

    /// Of a collection that is narrowed to one object by a field selector, its name: a right to that object is enough.
    fn selected_name(&self) -> Option<&str> {
        let is_collection = matches!(self.verb, Verb::List | Verb::Watch | Verb::DeleteCollection);
        let text = self.options.field_selector.as_deref();
        text.filter(|_| is_collection).and_then(sole_name)
    }

    /// The part of the object that a subresource shows.
    fn view(&self) -> Option<&'static View> {
        self.subresource.as_deref().and_then(view)
    }

    pub fn key(&self) -> String {
        place::key(self.kind, &self.namespace, &self.name)
    }

    pub fn not_found(&self) -> ApiError {
        ApiError::not_found(&self.resource, &self.name)
    }

    fn entry(&self) -> Result<Entry, ApiError> {
        let entry = self.registry.store.get(&self.key());
        entry.ok_or_else(|| self.not_found())
    }
}
