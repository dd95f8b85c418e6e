//! Requests that become a conversation with a node: logs, exec, attach, port-forward, proxy.
//!
//! Watches over a WebSocket end here as well, for browsers: they allow only six plain connections to one server.
//!
//! Everything that can be refused is refused before a protocol is switched, as an ordinary `Status`.

mod forward;
mod judge;
mod log;
mod proxy;
mod remote;
mod socket;
mod spdy;
mod target;
mod watch;

use super::{
    authorize::Attributes,
    listen::{
        Front, Peer,
        answer::{self, Answer},
    },
    request::ResourcePath,
};
use crate::api::{ApiError, call::User, name::Key, stream::NodeApi};
use http::Method;
use hyper::{Request, body::Incoming};
pub(super) use socket::Upgrade;
use std::sync::Arc;
pub(super) use watch::serve as watch;

/// Finds node agents by the name of their Node.
pub trait NodeDirectory: Send + Sync {
    fn node(&self, name: &str) -> Option<Arc<dyn NodeApi>>;

    /// Every node's agent, by the name of the node.
    fn all(&self) -> Vec<(String, Arc<dyn NodeApi>)>;
}

/// Whether requests for this subresource come here.
pub fn is_stream(subresource: &str) -> bool {
    matches!(
        subresource,
        "log" | "exec" | "attach" | "portforward" | "proxy"
    )
}

/// What is begun, not answered: everything that comes here but logs.
pub fn is_conversation(subresource: &str) -> bool {
    is_stream(subresource) && subresource != "log"
}

/// An authenticated request for one of our subresources.
pub(super) struct Connect<'a> {
    pub front: &'a Arc<Front>,
    pub peer: &'a Arc<Peer>,
    pub user: User,
    pub path: ResourcePath,
    /// The kind has this subresource.
    pub is_served: bool,
}

impl Connect<'_> {
    fn key(&self) -> Key {
        Key::new(
            self.path.namespace.clone().unwrap_or_default(),
            self.path.name.clone().unwrap_or_default(),
        )
    }

    fn subresource(&self) -> &str {
        self.path.subresource.as_deref().unwrap_or_default()
    }

    fn authorize(&self, verb: &str) -> Result<(), ApiError> {
        let resource = &self.path.resource;
        let wanted = Attributes {
            verb,
            group: &resource.group,
            version: &resource.version,
            resource: &resource.resource,
            subresource: self.subresource(),
            namespace: self.path.namespace.as_deref().unwrap_or_default(),
            name: self.path.name.as_deref().unwrap_or_default(),
            path: None,
        };
        self.front.config.registry.authorize(&self.user, &wanted)
    }
}

pub(super) async fn serve(
    connect: Connect<'_>,
    mut request: Request<Incoming>,
) -> Result<Answer, ApiError> {
    let method = request.method().clone();
    connect.authorize(verb(&method))?;
    let subresource = connect.subresource();
    // What a WebSocket's GET can do, only a POST could do before: both rights are wanted.
    let acts = matches!(subresource, "exec" | "attach" | "portforward");
    if acts && method == Method::GET && Upgrade::of(request.headers()) == Upgrade::WebSocket {
        connect.authorize("create")?;
    }
    if !connect.is_served {
        return Ok(answer::page_not_found());
    }
    let is_allowed = match subresource {
        "proxy" => true,
        "log" => method == Method::GET,
        _ => matches!(method, Method::GET | Method::POST),
    };
    if !is_allowed {
        return Err(ApiError::method_not_allowed());
    }
    if is_conversation(subresource) {
        *request.uri_mut() = judge::judge(&connect, request.uri()).await?;
    }
    match subresource {
        "log" => log::serve(&connect, request).await,
        "exec" | "attach" => remote::serve(&connect, request).await,
        "portforward" => forward::serve(&connect, request).await,
        _ => proxy::serve(&connect, request).await,
    }
}

/// RBAC's verb for a method on a named object.
fn verb(method: &Method) -> &'static str {
    match *method {
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "get",
    }
}
