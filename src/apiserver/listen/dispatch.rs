//! One request: who asks, for what, may they, and who answers.

use super::{
    Front, Peer,
    answer::{self, Answer},
};
use crate::{
    api::{
        ApiError,
        call::{Body, Call, Outcome, PatchKind, User, Verb},
    },
    apiserver::{
        authenticate,
        authorize::Attributes,
        codec::{Circumstances, Codec, is_person, negotiate, protobuf, table::Include, watch},
        metrics::{self, Asked},
        registry::place,
        request::{
            ResourcePath, body,
            options::{self, Query},
        },
        stream::{self, Upgrade},
    },
    kinds::{self, Kind},
    task::uuid,
};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header, request::Parts};
use hyper::{Request, body::Incoming};
use std::{
    borrow::Cow,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::time::timeout;
use tracing::error;

/// For requests that are not meant to stay open.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const AUDIT_ID: HeaderName = HeaderName::from_static("audit-id");
const AUDIT_ID_MAX: usize = 64;

pub async fn serve(front: Arc<Front>, peer: Arc<Peer>, request: Request<Incoming>) -> Answer {
    let audit_id = audit_id(request.headers());
    let begun = Instant::now();
    let target = Target::of(&request);
    let asked = target.asked(request.method());
    let path = request.uri().path().to_owned();
    // Watches and sessions are not in flight: they may last for hours.
    let is_mutating = !matches!(*request.method(), Method::GET | Method::HEAD);
    let _running = (!target.is_long()).then(|| front.metrics.begin(is_mutating));
    let work = handle(&front, &peer, request, target.clone());
    let caught = AssertUnwindSafe(work).catch_unwind().await;
    let mut answer = caught.unwrap_or_else(|_| {
        error!(%path, "a request panicked");
        let failure = ApiError::internal(
            "This request caused apiserver to panic. Look in the logs for details.",
        );
        answer::error(&failure, false)
    });
    front
        .metrics
        .answered(&asked, answer.status().as_u16(), begun.elapsed());
    let headers = answer.headers_mut();
    headers.insert(AUDIT_ID, audit_id);
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-cache, private"));
    answer
}

/// The client's own id for the request, or a new one.
fn audit_id(headers: &HeaderMap) -> HeaderValue {
    if let Some(given) = headers.get(AUDIT_ID)
        && given.len() <= AUDIT_ID_MAX
    {
        return given.clone();
    }
    HeaderValue::from_str(&uuid()).expect("hexadecimal digits")
}

/// What a request is about, before anything is known to exist.
#[derive(Clone)]
pub struct Target {
    resource: Option<ResourcePath>,
    verb: Option<Verb>,
}

impl Target {
    fn of<B>(request: &Request<B>) -> Target {
        let resource = ResourcePath::parse(request.uri().path());
        let wants_watch = Query::parse(request.uri().query().unwrap_or_default()).flag("watch");
        let verb = resource
            .as_ref()
            .and_then(|path| path.verb(request.method(), wants_watch.unwrap_or(false)));
        Target { resource, verb }
    }

    fn kind(&self) -> Option<&'static Kind> {
        let gvr = &self.resource.as_ref()?.resource;
        kinds::find(&gvr.group, &gvr.version, &gvr.resource)
    }

    fn is_long(&self) -> bool {
        let subresource = self
            .resource
            .as_ref()
            .and_then(|path| path.subresource.as_deref());
        self.verb == Some(Verb::Watch) || subresource.is_some_and(stream::is_stream)
    }

    /// What the request is counted as.
    fn asked(&self, method: &Method) -> Asked {
        let path = self.resource.as_ref();
        let subresource = path.and_then(|path| path.subresource.as_deref());
        match self.verb {
            Some(_) if subresource.is_some_and(stream::is_conversation) => {
                Asked::of("CONNECT".into(), self.kind(), subresource)
            }
            Some(verb) => Asked::of(metrics::name(verb).into(), self.kind(), subresource),
            None => Asked::of(method_name(method).to_uppercase().into(), None, None),
        }
    }
}

/// RBAC's verb of a path; unknown methods are all the same.
fn method_name(method: &Method) -> Cow<'static, str> {
    match *method {
        Method::GET
        | Method::POST
        | Method::PUT
        | Method::PATCH
        | Method::DELETE
        | Method::HEAD
        | Method::OPTIONS => method.as_str().to_ascii_lowercase().into(),
        _ => "other".into(),
    }
}

async fn handle(
    front: &Arc<Front>,
    peer: &Arc<Peer>,
    mut request: Request<Incoming>,
    target: Target,
) -> Answer {
    let registry = &front.config.registry;
    let is_pretty = is_for_people(&request);
    let user = match authenticate::user(registry, peer.user.as_ref(), request.headers_mut()) {
        Ok(user) => user,
        Err(refusal) => return answer::error(&refusal, is_pretty),
    };
    let answered = match target.resource.clone() {
        None => path(front, &user, request).await,
        Some(resource) if target.is_long() => {
            long(front, peer, user, request, target, resource).await
        }
        Some(resource) => {
            let work = resource_request(front, peer, &user, request, &target, resource);
            match timeout(REQUEST_TIMEOUT, work).await {
                Ok(answered) => answered,
                Err(_) => Err(ApiError::new(
                    504,
                    "Timeout",
                    "Timeout: request did not complete within the allotted timeout",
                )),
            }
        }
    };
    answered.unwrap_or_else(|failure| answer::error(&failure, is_pretty))
}

/// Whether an error is shown indented: as the query says, otherwise for programs that people look at.
fn is_for_people(request: &Request<Incoming>) -> bool {
    let query = request.uri().query().unwrap_or_default();
    let asked = form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "pretty");
    match asked {
        Some((_, value)) => !matches!(value.as_ref(), "false" | "0"),
        None => {
            let agent = request.headers().get(header::USER_AGENT);
            agent
                .and_then(|agent| agent.to_str().ok())
                .is_some_and(is_person)
        }
    }
}

/// Discovery, health and everything else that is no resource.
async fn path(front: &Front, user: &User, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let verb = method_name(request.method());
    let path = request.uri().path().to_owned();
    let wanted = Attributes {
        verb: &verb,
        path: Some(&path),
        ..Attributes::default()
    };
    front.config.registry.authorize(user, &wanted)?;
    let (parts, _) = request.into_parts();
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        return Err(ApiError::method_not_allowed());
    }
    Ok(fixed(front, &parts)
        .await?
        .unwrap_or_else(answer::page_not_found))
}

async fn fixed(front: &Front, parts: &Parts) -> Result<Option<Answer>, ApiError> {
    let path = parts.uri.path();
    if let Some(answer) = front.health.answer(path, parts.uri.query()) {
        return Ok(Some(answer));
    }
    if path == "/metrics" {
        let objects = front.config.registry.object_counts();
        return Ok(Some(front.metrics.answer(&objects)));
    }
    if let Some(answer) = front.openapi.answer(parts).await? {
        return Ok(Some(answer));
    }
    front.discovery.answer(&front.config, parts)
}

async fn long(
    front: &Arc<Front>,
    peer: &Arc<Peer>,
    user: User,
    request: Request<Incoming>,
    target: Target,
    resource: ResourcePath,
) -> Result<Answer, ApiError> {
    match resource.subresource.as_deref() {
        Some(name) if stream::is_stream(name) => {
            let served = target
                .kind()
                .is_some_and(|kind| kind.subresources.contains(&name));
            let connect = stream::Connect {
                front,
                peer,
                user,
                path: resource,
                is_served: served,
            };
            stream::serve(connect, request).await
        }
        _ => resource_request(front, peer, &user, request, &target, resource).await,
    }
}

/// Everything the registry serves.
async fn resource_request(
    front: &Arc<Front>,
    peer: &Arc<Peer>,
    user: &User,
    request: Request<Incoming>,
    target: &Target,
    path: ResourcePath,
) -> Result<Answer, ApiError> {
    let (parts, incoming) = request.into_parts();
    let Some(verb) = target.verb else {
        return Err(ApiError::method_not_allowed());
    };
    let Some(kind) = target.kind() else {
        refuse_unknown(front, user, &path, verb)?;
        return Ok(answer::page_not_found());
    };
    if parts.method == Method::HEAD {
        return Err(ApiError::method_not_allowed());
    }
    // The old way to watch one object names it.
    let named = path.name.as_deref().filter(|_| verb != Verb::Watch);
    let (namespace, subresource) = (path.namespace.as_deref(), path.subresource.as_deref());
    place::check(kind, verb, namespace, named, subresource)?;
    let query = Query::parse(parts.uri.query().unwrap_or_default());
    let text = |name: HeaderName| {
        parts
            .headers
            .get(name)
            .and_then(|value| value.to_str().ok())
    };
    let user_agent = text(header::USER_AGENT).unwrap_or_default();
    let codec = Codec {
        wanted: negotiate(
            text(header::ACCEPT),
            Circumstances {
                user_agent,
                pretty: query.flag("pretty"),
                allows_protobuf: protobuf::is_offered(kind),
                only_whole: verb == Verb::Create
                    && !(kind.is_stored() && path.subresource.is_none()),
            },
        )?,
        kind,
        include: Include::parse(query.get("includeObject"))?,
    };
    let content_type = text(header::CONTENT_TYPE);
    let patch = match verb {
        Verb::Patch => Some(body::patch_kind(content_type, false)?),
        _ => None,
    };
    let bytes = body::read(incoming).await?;
    let body = body::decode(verb, patch, content_type, bytes, kind)?;
    let call = call(verb, patch, path.clone(), body, &query, user_agent)?;
    let reply = front.call(user, call).await?;
    match reply.outcome {
        Outcome::Watch(events) if Upgrade::of(&parts.headers) == Upgrade::WebSocket => {
            let connect = stream::Connect {
                front,
                peer,
                user: user.clone(),
                path,
                is_served: true,
            };
            let request = Request::from_parts(parts, ());
            stream::watch(&connect, request, watch::texts(codec, events))
        }
        _ => codec.answer(reply, peer.stop.clone()),
    }
}

fn call(
    verb: Verb,
    patch: Option<PatchKind>,
    path: ResourcePath,
    body: Body,
    query: &Query,
    user_agent: &str,
) -> Result<Call, ApiError> {
    let deletes = matches!(verb, Verb::Delete | Verb::DeleteCollection);
    let delete_body = match &body {
        Body::Document(document) if deletes => Some(&document.value),
        _ => None,
    };
    let context = options::Context {
        verb,
        patch,
        user_agent,
        delete_body,
    };
    let mut options = options::parse(query, context)?;
    let mut name = path.name;
    // The old way to watch one object.
    if verb == Verb::Watch
        && let Some(name) = name.take()
    {
        options.field_selector = Some(format!("metadata.name={name}"));
    }
    Ok(Call {
        verb,
        resource: path.resource,
        namespace: path.namespace,
        name,
        subresource: path.subresource,
        body: if deletes { Body::None } else { body },
        options,
    })
}

/// A resource nobody serves is told only to those who may ask for it.
fn refuse_unknown(
    front: &Front,
    user: &User,
    path: &ResourcePath,
    verb: Verb,
) -> Result<(), ApiError> {
    let wanted = Attributes {
        verb: verb.as_str(),
        group: &path.resource.group,
        version: &path.resource.version,
        resource: &path.resource.resource,
        subresource: path.subresource.as_deref().unwrap_or_default(),
        namespace: path.namespace.as_deref().unwrap_or_default(),
        name: path.name.as_deref().unwrap_or_default(),
        path: None,
    };
    front.config.registry.authorize(user, &wanted)
}
