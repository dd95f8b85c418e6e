//! The listeners and the connections of clients, within limits.

use super::{
    serve::{self, Front, Peer},
    upstream::Stream,
};
use crate::pki::tls;
use hyper::{
    Request,
    body::Incoming,
    server::conn::{http1, http2},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::{
    ServerConfig,
    server::{Acceptor, ResolvesServerCert},
};
use rustls_pki_types::CertificateDer;
use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::timeout,
};
use tokio_rustls::{LazyConfigAcceptor, TlsStream, server::TlsStream as ServerStream};
use tracing::debug;

/// Connections at once per listener; further ones wait in the kernel's queue.
const CONNECTIONS_MAX: usize = 4096;
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// For a whole head, and for how long a kept connection may wait for its next request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);
const HEADERS_MAX: usize = 100;
const BUFFER_BYTES_MAX: usize = 64 << 10;
const HEADER_LIST_BYTES_MAX: u32 = 32 << 10;
const STREAMS_MAX: u32 = 128;
const STREAM_WINDOW: u32 = 256 << 10;
const CONNECTION_WINDOW: u32 = 4 << 20;
const PING_INTERVAL: Duration = Duration::from_secs(60);
const PING_TIMEOUT: Duration = Duration::from_secs(20);

/// How handshakes are made.
#[derive(Clone)]
pub struct Tls {
    plain: Arc<ServerConfig>,
    /// For hosts whose clients have to show a certificate: others would only be bothered.
    asking: Arc<ServerConfig>,
}

impl Tls {
    pub fn new(certificates: &Arc<dyn ResolvesServerCert>) -> anyhow::Result<Tls> {
        Ok(Tls {
            plain: tls::server_of_many(Arc::clone(certificates))?,
            asking: tls::server_that_asks(Arc::clone(certificates))?,
        })
    }

    async fn accept(&self, front: &Front, tcp: TcpStream) -> io::Result<ServerStream<TcpStream>> {
        let begun = LazyConfigAcceptor::new(Acceptor::default(), tcp).await?;
        let name = begun.client_hello().server_name().map(str::to_lowercase);
        let asks = front
            .tables
            .borrow()
            .asks(name.as_deref().unwrap_or_default());
        let config = if asks { &self.asking } else { &self.plain };
        begun.into_stream(Arc::clone(config)).await
    }
}

/// Serves one listener until the front's tasks are stopped. Without TLS it speaks plain HTTP. Clients know it by `port`.
pub async fn run(front: Arc<Front>, listener: TcpListener, port: u16, tls: Option<Tls>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let connection =
        |stream, address| connection(Arc::clone(&front), stream, address, port, tls.clone());
    let tasks = &front.tasks;
    tasks
        .accept("ingress connection", listener, &places, connection)
        .await;
}

async fn connection(
    front: Arc<Front>,
    tcp: TcpStream,
    address: SocketAddr,
    port: u16,
    tls: Option<Tls>,
) {
    let Some(tls) = tls else {
        let peer = Arc::new(Peer::new(&front, address.ip(), port, false, Vec::new()));
        return http1(front, peer, Stream::Plain(tcp)).await;
    };
    match timeout(HANDSHAKE_TIMEOUT, tls.accept(&front, tcp)).await {
        Ok(Ok(stream)) => {
            let session = stream.get_ref().1;
            let is_http2 = session.alpn_protocol() == Some(b"h2");
            let chain = session.peer_certificates().unwrap_or_default();
            let chain = chain
                .iter()
                .cloned()
                .map(CertificateDer::into_owned)
                .collect();
            let peer = Arc::new(Peer::new(&front, address.ip(), port, true, chain));
            let stream = Stream::Tls(Box::new(TlsStream::Server(stream)));
            if is_http2 {
                http2(front, peer, stream).await;
            } else {
                http1(front, peer, stream).await;
            }
        }
        Ok(Err(error)) => debug!(%address, %error, "TLS handshake"),
        Err(_) => debug!(%address, "TLS handshake took too long"),
    }
}

async fn http1(front: Arc<Front>, peer: Arc<Peer>, stream: Stream) {
    let mut stop = front.tasks.stop_signal();
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, peer) = (Arc::clone(&front), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(serve::serve(&front, &peer, request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_headers(HEADERS_MAX)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    let ended = stop.lets_end(connection, |connection| connection.graceful_shutdown());
    if let Err(error) = ended.await {
        debug!(%error, "connection");
    }
}

async fn http2(front: Arc<Front>, peer: Arc<Peer>, stream: Stream) {
    let mut stop = front.tasks.stop_signal();
    let service = service_fn(move |request: Request<Incoming>| {
        let (front, peer) = (Arc::clone(&front), Arc::clone(&peer));
        async move { Ok::<_, Infallible>(serve::serve(&front, &peer, request).await) }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .keep_alive_interval(PING_INTERVAL)
        .keep_alive_timeout(PING_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let ended = stop.lets_end(connection, |connection| connection.graceful_shutdown());
    if let Err(error) = ended.await {
        debug!(%error, "connection");
    }
}
