//! The HTTPS front: connections, their limits, and their end.
//!
//! Every connection is a task of the server's group. HTTP/2 and HTTP/1.1 are chosen by ALPN. On stop, connections
//! finish the requests they are serving; watches end at once.

pub mod answer;
pub(super) mod dispatch;
mod handler;

pub use handler::Handler;

use super::{
    authenticate::certificate_user,
    discovery::Discovery,
    health::Health,
    metrics::{self, Asked, Metrics},
    openapi::OpenApi,
    registry::Registry,
};
use crate::{
    api::{
        ApiError,
        call::{Call, Reply, User},
        name::Gvr,
    },
    kinds,
    task::{Stop, Tasks},
};
use futures_util::future::BoxFuture;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
};
use serde_json::Value;
use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tracing::debug;

/// Connections at once; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
/// As upstream: clients keep hundreds of watches on one connection.
const STREAMS_MAX: u32 = 250;
const STREAM_WINDOW: u32 = 256 * 1024;
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;
const HEADER_BYTES_MAX: u32 = 64 * 1024;
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(15);

pub struct ServerConfig {
    pub registry: Arc<Registry>,
    pub tls: Arc<rustls::ServerConfig>,
    /// `host:port` where clients find this server.
    pub address: String,
    /// Of service account tokens.
    pub issuer: String,
    /// Public token keys, each a JSON Web Key.
    pub token_keys: Vec<Value>,
}

/// The API server as clients see it. Cheap to clone.
#[derive(Clone)]
pub struct Server(Arc<Front>);

/// What all requests share.
pub(super) struct Front {
    pub config: ServerConfig,
    pub discovery: Discovery,
    pub health: Health,
    pub metrics: Metrics,
    pub openapi: OpenApi,
}

impl Front {
    /// Boxed: the registry's futures are large, and generic over lifetimes in ways that would spread.
    pub fn call<'a>(
        &'a self,
        user: &'a User,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, ApiError>> {
        Box::pin(self.config.registry.call(user, call))
    }
}

/// The other end of a connection.
pub(super) struct Peer {
    /// From a verified client certificate.
    pub user: Option<User>,
    pub tasks: Tasks,
    pub stop: Stop,
}

impl Server {
    #[must_use]
    pub fn new(config: ServerConfig) -> Server {
        Server(Arc::new(Front {
            config,
            discovery: Discovery::default(),
            health: Health::default(),
            metrics: Metrics::default(),
            openapi: OpenApi::default(),
        }))
    }

    /// From now on `/readyz` is good: what every cluster holds was made.
    pub fn ready(&self) {
        self.0.health.bootstrapped();
    }

    /// Serves a call from this process, counted like a request that came over a wire.
    pub fn call<'a>(
        &'a self,
        user: &'a User,
        call: Call,
    ) -> BoxFuture<'a, Result<Reply, ApiError>> {
        let Gvr {
            group,
            version,
            resource,
        } = &call.resource;
        let kind = kinds::find(group, version, resource);
        let verb = metrics::name(call.verb).into();
        let asked = Asked::of(verb, kind, call.subresource.as_deref());
        let begun = Instant::now();
        Box::pin(async move {
            let answered = self.0.config.registry.call(user, call).await;
            let code = match &answered {
                Err(refusal) => refusal.code,
                Ok(reply) => reply.outcome.code(),
            };
            self.0.metrics.answered(&asked, code, begun.elapsed());
            answered
        })
    }

    /// Serves requests that arrive elsewhere, all of them as `user`. What they start ends with `tasks`.
    #[must_use]
    pub fn handler(&self, user: User, tasks: Tasks) -> Handler {
        Handler::new(Arc::clone(&self.0), user, tasks)
    }

    /// Accepts connections until the group is stopped. May run for several listeners.
    pub async fn serve(self, listener: TcpListener, tasks: Tasks) {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let connection = |stream, address| self.clone().connection(stream, address, tasks.clone());
        tasks
            .accept("connection", listener, &places, connection)
            .await;
        self.0.health.stopping();
    }

    async fn connection(self, stream: TcpStream, address: SocketAddr, tasks: Tasks) {
        let acceptor = TlsAcceptor::from(Arc::clone(&self.0.config.tls));
        let tls = match timeout(HANDSHAKE_TIMEOUT, acceptor.accept(stream)).await {
            Ok(Ok(tls)) => tls,
            Ok(Err(error)) => return debug!(%address, %error, "TLS handshake"),
            Err(_) => return debug!(%address, "TLS handshake took too long"),
        };
        let certificates = tls.get_ref().1.peer_certificates().unwrap_or_default();
        let mut stop = tasks.stop_signal();
        let peer = Arc::new(Peer {
            user: certificates.first().and_then(certificate_user),
            stop: stop.clone(),
            tasks,
        });
        let front = self.0;
        let service = service_fn(move |request: hyper::Request<Incoming>| {
            let (front, peer) = (Arc::clone(&front), Arc::clone(&peer));
            async move { Ok::<_, Infallible>(dispatch::serve(front, peer, request).await) }
        });
        let builder = builder();
        let connection = builder.serve_connection_with_upgrades(TokioIo::new(tls), service);
        let ended = stop.lets_end(connection, |connection| connection.graceful_shutdown());
        if let Err(error) = ended.await {
            debug!(%address, %error, "connection");
        }
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_BYTES_MAX)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT);
    builder
}
