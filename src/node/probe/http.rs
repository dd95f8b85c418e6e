//! A small HTTP client for probes and hooks: one request per connection, bounded, certificates not verified.

use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error, SignatureScheme,
        client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        crypto::ring,
    },
};

/// What is read of an answer.
const BODY_MAX: usize = 10 << 10;
const REDIRECTS_MAX: usize = 10;
const USER_AGENT: &str = "kube-probe/1.36";

#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub is_tls: bool,
    pub host: String,
    pub port: u16,
    pub path: String,
    pub headers: Vec<(String, String)>,
}

#[derive(Clone, Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub body: String,
    /// The answer redirects to another host, which is not followed.
    pub leads_elsewhere: bool,
    location: Option<String>,
}

impl Request {
    fn url(&self) -> String {
        let scheme = if self.is_tls { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

/// GET, with redirects on the same host. The error is upstream's text.
pub async fn fetch(request: &Request, timeout: Duration) -> Result<Answer, String> {
    let quoted = |url: &str, why: &str| format!("Get \"{url}\": {why}");
    let mut request = request.clone();
    let first = request.url();
    let following = async {
        for _ in 0..=REDIRECTS_MAX {
            let url = request.url();
            let mut answer = once(&request).await.map_err(|why| quoted(&url, &why))?;
            match answer.location.as_deref() {
                Some(location) if (300..400).contains(&answer.status) => {
                    match redirected(&request, location) {
                        Some(next) => request = next,
                        None => {
                            answer.leads_elsewhere = true;
                            return Ok(answer);
                        }
                    }
                }
                _ => return Ok(answer),
            }
        }
        Err(quoted(&first, "stopped after 10 redirects"))
    };
    let late = || {
        let why = "context deadline exceeded (Client.Timeout exceeded while awaiting headers)";
        Err(quoted(&first, why))
    };
    tokio::time::timeout(timeout, following)
        .await
        .unwrap_or_else(|_| late())
}

/// The request a redirect leads to; `None` when it is on another host.
fn redirected(from: &Request, location: &str) -> Option<Request> {
    let mut next = from.clone();
    let rest = match location.split_once("://") {
        None if location.starts_with('/') => {
            location.clone_into(&mut next.path);
            return Some(next);
        }
        None => {
            let base = from.path.rsplit_once('/').map_or("", |(base, _)| base);
            next.path = format!("{base}/{location}");
            return Some(next);
        }
        Some(("http", rest)) => {
            next.is_tls = false;
            rest
        }
        Some(("https", rest)) => {
            next.is_tls = true;
            rest
        }
        Some(_) => return None,
    };
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (host, port) = authority.rsplit_once(':').unwrap_or((authority, ""));
    if host != from.host {
        return None;
    }
    next.port = match port.parse() {
        Ok(port) => port,
        Err(_) if next.is_tls => 443,
        Err(_) => 80,
    };
    next.path = format!("/{path}");
    Some(next)
}

async fn once(request: &Request) -> Result<Answer, String> {
    let target = format!("{}:{}", request.host, request.port);
    let stream = TcpStream::connect((request.host.as_str(), request.port)).await;
    let stream = stream.map_err(|failure| format!("dial tcp {target}: {}", dial_text(&failure)))?;
    if !request.is_tls {
        return exchange(stream, request).await;
    }
    let name = ServerName::try_from(request.host.clone()).map_err(|failure| failure.to_string())?;
    let connector = TlsConnector::from(unverified());
    let stream = connector.connect(name, stream).await;
    exchange(stream.map_err(|failure| failure.to_string())?, request).await
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: &Request,
) -> Result<Answer, String> {
    let text = |failure: &dyn std::error::Error| failure.to_string();
    let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(|failure| text(&failure))?;
    let has = |name: &str| {
        let mut headers = request.headers.iter();
        headers.find(|(known, _)| known.eq_ignore_ascii_case(name))
    };
    let default_host = format!("{}:{}", request.host, request.port);
    let host = has("host").map_or(default_host.as_str(), |(_, value)| value.as_str());
    let mut built = http::Request::get(&request.path).header("Host", host);
    for (name, value) in &request.headers {
        if !name.eq_ignore_ascii_case("host") && !value.is_empty() {
            built = built.header(name, value);
        }
    }
    for (name, value) in [
        ("User-Agent", USER_AGENT),
        ("Accept", "*/*"),
        ("Connection", "close"),
    ] {
        if has(name).is_none() {
            built = built.header(name, value);
        }
    }
    let built = built.body(Empty::<Bytes>::new());
    let built = built.map_err(|failure| text(&failure))?;
    let answering = async {
        let response = sender.send_request(built).await;
        let response = response.map_err(|failure| broken(&failure))?;
        let location = response.headers().get("Location");
        let location = location
            .and_then(|value| value.to_str().ok())
            .map(str::to_owned);
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
        let body = body
            .map(http_body_util::Collected::to_bytes)
            .unwrap_or_default();
        Ok(Answer {
            status,
            body: String::from_utf8_lossy(&body).into_owned(),
            leads_elsewhere: false,
            location,
        })
    };
    // The connection makes progress only while it is polled; its end is not yet the answer's.
    let driving = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = answering => answer,
        never = driving => never,
    }
}

/// Why there was no answer, in Go's words where it has some.
fn broken(failure: &hyper::Error) -> String {
    use std::error::Error;
    let source = failure.source();
    let source = source.and_then(|source| source.downcast_ref::<io::Error>());
    match source {
        _ if failure.is_incomplete_message() => "EOF".to_owned(),
        Some(source) if source.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        Some(source) => dial_text(source),
        None => failure.to_string(),
    }
}

/// `connect: connection refused`, as Go spells the usual failures.
#[must_use]
pub fn dial_text(failure: &io::Error) -> String {
    match failure.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        _ => failure.to_string(),
    }
}

/// Probes ask whether a server answers, not who it is.
fn unverified() -> Arc<ClientConfig> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    let make = || {
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
        let builder = builder.with_safe_default_protocol_versions();
        let builder = builder.expect("ring serves the default versions");
        let verifier = Arc::new(Anybody(provider));
        let builder = builder.dangerous();
        let builder = builder.with_custom_certificate_verifier(verifier);
        Arc::new(builder.with_no_client_auth())
    };
    Arc::clone(CONFIG.get_or_init(make))
}

#[derive(Debug)]
struct Anybody(Arc<tokio_rustls::rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    /// Answers each connection in turn; returns the request heads it saw.
    async fn served(answers: &[&str]) -> (Result<Answer, String>, Vec<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let request = Request {
            is_tls: false,
            host: "127.0.0.1".to_owned(),
            port: listener.local_addr().unwrap().port(),
            path: "/a/b".to_owned(),
            headers: vec![("X-One".to_owned(), "1".to_owned())],
        };
        let serve = async {
            let mut heads = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = vec![0; 4096];
                let length = stream.read(&mut head).await.unwrap();
                heads.push(String::from_utf8_lossy(&head[..length]).into_owned());
                let answer = format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            heads
        };
        let fetch = fetch(&request, Duration::from_secs(10));
        tokio::join!(fetch, serve)
    }

    #[tokio::test]
    async fn requests_look_like_upstreams() {
        let (answer, heads) = served(&["503 No"]).await;
        assert_eq!(answer.unwrap().status, 503);
        let head = heads[0].to_lowercase();
        for line in [
            "get /a/b http/1.1",
            "user-agent: kube-probe/1.36",
            "accept: */*",
            "x-one: 1",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
    }

    #[tokio::test]
    async fn redirects_on_the_same_host_are_followed() {
        let (answer, heads) = served(&["302 Found\r\nLocation: /c", "200 OK"]).await;
        assert_eq!(answer.unwrap().status, 200);
        assert!(heads[1].starts_with("GET /c "));
        let elsewhere = "302 Found\r\nLocation: http://example.com/";
        assert!(served(&[elsewhere]).await.0.unwrap().leads_elsewhere);
    }

    #[tokio::test]
    async fn a_closed_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let request = Request {
            is_tls: false,
            host: "127.0.0.1".to_owned(),
            port,
            path: "/".to_owned(),
            headers: Vec::new(),
        };
        let failure = fetch(&request, Duration::from_secs(10)).await.unwrap_err();
        let at = format!("127.0.0.1:{port}");
        let text = format!("Get \"http://{at}/\": dial tcp {at}: connect: connection refused");
        assert_eq!(failure, text);
    }
}
