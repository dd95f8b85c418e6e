//! One request: its route, what the route wants of it, the way to its backend and back.

use super::{
    Resolve, affinity,
    answer::{self, Refusal},
    body::{Reply, Upload},
    credential, external,
    forward::{self, Forwarded},
    header::{self, Client},
    limit::Limits,
    option::Options,
    path, policy,
    policy::Facts,
    table::{Backend, Found, Route, Table},
    tunnel,
    upstream::Pool,
};
use crate::task::{Tasks, clock};
use http::{
    HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, HOST, ORIGIN, SET_COOKIE, UPGRADE},
    uri::PathAndQuery,
};
use hyper::{body::Incoming, upgrade::OnUpgrade};
use rustls_pki_types::{CertificateDer, UnixTime};
use std::{
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{sync::watch, time::Instant};

/// What all connections share.
pub struct Front {
    pub tables: watch::Receiver<Arc<Table>>,
    pub pool: Arc<Pool>,
    pub limits: Limits,
    pub tasks: Tasks,
    /// What people reach TLS on.
    pub https_port: u16,
    /// Where we listen ourselves, for HTTP and HTTPS.
    pub own: Option<(SocketAddr, SocketAddr)>,
    pub resolve: Resolve,
}

/// The client's end of one connection.
pub struct Peer {
    address: IpAddr,
    chain: Vec<CertificateDer<'static>>,
    client: Client,
    /// Of this connection alone: no request waits for another's.
    view: Mutex<(watch::Receiver<Arc<Table>>, Arc<Table>)>,
    /// Request identities are a random start, counted on.
    identity: u64,
    requests: AtomicU64,
}

impl Peer {
    pub fn new(
        front: &Front,
        address: IpAddr,
        port: u16,
        is_tls: bool,
        chain: Vec<CertificateDer<'static>>,
    ) -> Peer {
        let mut tables = front.tables.clone();
        let table = Arc::clone(&tables.borrow_and_update());
        let mut identity = [0; 8];
        let _ = getrandom::fill(&mut identity);
        let text = address.to_canonical().to_string();
        Peer {
            address: address.to_canonical(),
            chain,
            client: Client {
                address: HeaderValue::from_str(&text).expect("addresses are plain"),
                is_tls,
                port: port.into(),
            },
            view: Mutex::new((tables, table)),
            identity: u64::from_ne_bytes(identity),
            requests: AtomicU64::new(0),
        }
    }

    fn table(&self) -> Arc<Table> {
        let mut view = self.view.lock().expect("no panic while locked");
        let (tables, table) = &mut *view;
        if tables.has_changed().unwrap_or(false) {
            *table = Arc::clone(&tables.borrow_and_update());
        }
        Arc::clone(table)
    }

    fn request_id(&self) -> HeaderValue {
        let count = self.requests.fetch_add(1, Ordering::Relaxed);
        let text = format!("{:016x}{count:016x}", self.identity);
        HeaderValue::from_str(&text).expect("digits are plain")
    }
}

pub async fn serve(front: &Arc<Front>, peer: &Peer, request: Request<Incoming>) -> Response<Reply> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return answer::page(StatusCode::METHOD_NOT_ALLOWED);
    }
    let Some(named) = named_host(&request) else {
        return answer::page(StatusCode::BAD_REQUEST);
    };
    let host = bare_host(&named);
    let target = request
        .uri()
        .path_and_query()
        .map_or("/", PathAndQuery::as_str);
    let Some(normal) = path::normal(request.uri().path()) else {
        return answer::page(StatusCode::BAD_REQUEST);
    };
    let facts = Facts {
        method: request.method(),
        host: &host,
        path: &normal,
        target,
        is_tls: peer.client.is_tls,
        client: peer.address,
        headers: request.headers(),
        chain: &peer.chain,
        https_port: front.https_port,
    };
    let table = peer.table();
    let route = match table.find(&host, &normal) {
        Found::Route(route) => Arc::clone(route),
        Found::Moved(to) => return policy::moved(&facts, to),
        Found::Nothing => return answer::page(StatusCode::NOT_FOUND),
    };
    if let Some(answer) = policy::redirect(&route, &facts) {
        return answer;
    }
    let admitted = front.limits.admit(
        &route.ingress,
        &route.options.limit,
        peer.address,
        Instant::now(),
    );
    let Ok(guard) = admitted else {
        return answer::page(StatusCode::SERVICE_UNAVAILABLE);
    };
    let origin = request
        .headers()
        .get(ORIGIN)
        .filter(|_| route.options.cors.is_enabled)
        .cloned();
    let mut response = match guard_route(front, &table, &route, &facts).await {
        Err(refusal) => *refusal,
        Ok(admission) => {
            let uri = backend_uri(&route, &normal, request.uri());
            let mut request = request;
            let headers = request.headers_mut();
            for (name, value) in admission.headers {
                match value {
                    Some(value) => drop(headers.insert(name, value)),
                    None => drop(headers.remove(name)),
                }
            }
            let mut response = pass(front, peer, &route, &named, uri, request).await;
            for cookie in admission.cookies {
                response.headers_mut().append(SET_COOKIE, cookie);
            }
            response
        }
    };
    policy::allow_origin(&route.options.cors, origin.as_ref(), response.headers_mut());
    response.body_mut().guard = guard;
    response
}

/// What goes along with a request that may pass.
#[derive(Default)]
struct Admission {
    /// For the backend; `None` takes away what the client has sent.
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    /// For the client.
    cookies: Vec<HeaderValue>,
}

/// Everybody who may say no is asked; the cheapest first.
async fn guard_route(
    front: &Arc<Front>,
    table: &Table,
    route: &Route,
    facts: &Facts<'_>,
) -> Result<Admission, Refusal> {
    let mut admission = Admission::default();
    // Before passwords: the connection itself says who it is.
    if let Some(authority) = route
        .authority
        .as_ref()
        .filter(|_| route.options.refused.is_none())
    {
        let now = u64::try_from(clock::now().as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(now));
        admission.headers = credential::judge(authority, &route.options.client_auth, facts, now)?;
    }
    if let Some(refusal) = policy::refuse(route, facts) {
        return Err(Box::new(refusal));
    }
    if let Some(judge) = &route.judge {
        let granted = external::ask(front, table, judge, &route.options.external, facts).await?;
        let headers = granted.headers.into_iter();
        admission
            .headers
            .extend(headers.map(|(name, value)| (name, Some(value))));
        admission.cookies = granted.cookies;
    }
    Ok(admission)
}

/// The host as the client wrote it. HTTP/2 has it in the address, and so may HTTP/1.
fn named_host(request: &Request<Incoming>) -> Option<HeaderValue> {
    if let Some(authority) = request.uri().authority() {
        return HeaderValue::from_str(authority.as_str()).ok();
    }
    let mut hosts = request.headers().get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => Some(host.clone()),
        (None, _) if request.version() == Version::HTTP_10 => Some(HeaderValue::from_static("")),
        _ => None,
    }
}

/// Lower case, without port.
fn bare_host(named: &HeaderValue) -> String {
    let named = String::from_utf8_lossy(named.as_bytes());
    let end = match named.rfind(']') {
        Some(bracket) => bracket + 1,
        None => named.rfind(':').unwrap_or(named.len()),
    };
    named[..end].trim_end_matches('.').to_ascii_lowercase()
}

/// `None` when the rewritten path is none.
fn backend_uri(route: &Route, normal: &str, uri: &Uri) -> Option<Uri> {
    let target = match &route.rewrite {
        Some(rewrite) => PathAndQuery::try_from(rewrite.apply(normal, uri.query())).ok()?,
        None => uri
            .path_and_query()
            .cloned()
            .unwrap_or(PathAndQuery::from_static("/")),
    };
    Some(Uri::from(target))
}

async fn pass(
    front: &Arc<Front>,
    peer: &Peer,
    route: &Arc<Route>,
    host: &HeaderValue,
    uri: Option<Uri>,
    mut request: Request<Incoming>,
) -> Response<Reply> {
    let Some(uri) = uri else {
        return answer::page(StatusCode::BAD_REQUEST);
    };
    let (options, backend) = choose(route, &request);
    let begin = affinity::find(&options.affinity, backend, request.headers());
    let Some(endpoint) = begin.or_else(|| backend.next()) else {
        return answer::page(StatusCode::SERVICE_UNAVAILABLE);
    };
    let upgrade =
        header::upgrade(request.headers()).filter(|_| request.version() == Version::HTTP_11);
    let client_upgrade = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));
    let (mut parts, body) = request.into_parts();
    header::to_backend(&mut parts.headers, &peer.client, host, options, || {
        peer.request_id()
    });
    if let Some(protocol) = upgrade {
        parts
            .headers
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol);
    }
    parts.uri = uri;
    // What hyper keeps there belongs to the client's connection.
    parts.extensions.clear();
    let upload = Upload::new(body, options.body_bytes_max);
    let request = Request::from_parts(parts, upload);
    match forward::forward(&front.pool, backend, options, endpoint, request).await {
        Ok(forwarded) => {
            let is_new = begin != Some(forwarded.endpoint);
            let index = forwarded.endpoint;
            let mut response = come_back(front, options, forwarded, client_upgrade);
            if is_new {
                affinity::remember(
                    &options.affinity,
                    backend,
                    index,
                    peer.client.is_tls,
                    &mut response,
                );
            }
            response
        }
        Err(status) => answer::page(status),
    }
}

fn choose<'a>(route: &'a Route, request: &Request<Incoming>) -> (&'a Options, &'a Backend) {
    let dice = |below: u32| {
        let mut bytes = [0; 4];
        let _ = getrandom::fill(&mut bytes);
        u32::from_ne_bytes(bytes) % below.max(1)
    };
    match &route.canary {
        Some((options, backend))
            if policy::is_for_canary(&options.canary, request.headers(), dice) =>
        {
            (options, backend)
        }
        _ => (&route.options, &route.backend),
    }
}

fn come_back(
    front: &Arc<Front>,
    options: &Options,
    forwarded: Forwarded,
    client: Option<OnUpgrade>,
) -> Response<Reply> {
    let mut response = forwarded.response;
    *response.version_mut() = Version::HTTP_11;
    match (forwarded.switched, client) {
        (None, _) => {
            header::strip(response.headers_mut());
            response
        }
        (Some(switched), Some(client)) => {
            let protocol = response.headers().get(UPGRADE).cloned();
            header::strip(response.headers_mut());
            response.headers_mut().remove(CONTENT_LENGTH);
            response
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("upgrade"));
            if let Some(protocol) = protocol {
                response.headers_mut().insert(UPGRADE, protocol);
            }
            let (patience, mut stop) = (options.read_timeout, front.tasks.stop_signal());
            front.tasks.spawn("ingress tunnel", async move {
                tokio::select! {
                    () = tunnel::run(client, switched, patience) => {}
                    () = stop.stopped() => {}
                }
            });
            response
        }
        // Nobody had asked for another protocol.
        (Some(_), None) => answer::page(StatusCode::BAD_GATEWAY),
    }
}
