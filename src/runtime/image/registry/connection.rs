//! One GET over HTTP or HTTPS, with our own name resolution, through a proxy where one is set.

use super::{
    proxy::{Proxies, Proxy},
    trust::Trust,
    verifier::Verifier,
};
use crate::runtime::resolve;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{CertificateError, ClientConfig};
use rustls_pki_types::ServerName;
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Until the head of the answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);
/// Between two parts of a body, which may take as long as it flows.
const PART_PATIENCE: Duration = Duration::from_secs(60);

/// Of a proxy's answer to CONNECT.
const PROXY_HEAD_BYTES_MAX: usize = 8 << 10;

/// The error is a text for people.
pub async fn get(
    url: &Uri,
    headers: HeaderMap,
    trust: &Trust,
    proxies: &Proxies,
) -> Result<Response<Incoming>, String> {
    let host = url.host().ok_or("the address has no host")?.to_owned();
    let is_plain = match url.scheme_str() {
        Some("http") if *trust == Trust::Anything => true,
        Some("http") => {
            return Err(
                "plain HTTP is allowed for loopback and insecure registries only".to_owned(),
            );
        }
        _ => false,
    };
    let port = url.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
    let proxy = proxies.choose(!is_plain, &host, port)?;
    let (next, next_port) = match &proxy {
        Some(proxy) => (proxy.host.as_str(), proxy.port),
        None => (host.as_str(), port),
    };
    let tcp = timeout(CONNECT_PATIENCE, connect(next, next_port)).await;
    let mut tcp = tcp.map_err(|_| "i/o timeout".to_owned())?.map_err(|why| {
        let through = proxy
            .as_ref()
            .map(|proxy| format!("proxyconnect {}: ", proxy.host));
        format!("{}{why}", through.unwrap_or_default())
    })?;
    if is_plain {
        return exchange(tcp, url, headers, proxy.as_ref()).await;
    }
    if let Some(proxy) = &proxy {
        let tunnel = timeout(CONNECT_PATIENCE, tunnel(&mut tcp, proxy, &host, port));
        tunnel
            .await
            .map_err(|_| "the proxy did not answer".to_owned())??;
    }
    let name = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .to_owned();
    let name = ServerName::try_from(name).map_err(|e| format!("{host}: {e}"))?;
    let tls = TlsConnector::from(tls(trust)?).connect(name, tcp);
    let tls = timeout(CONNECT_PATIENCE, tls)
        .await
        .map_err(|_| "TLS handshake timeout".to_owned())?;
    exchange(tls.map_err(|e| handshake_failure(&e))?, url, headers, None).await
}

/// The next part of a body; `None` at its end. A server that has gone silent is an error.
pub async fn part(body: &mut Incoming) -> Option<Result<Bytes, String>> {
    loop {
        let Ok(frame) = timeout(PART_PATIENCE, body.frame()).await else {
            let seconds = PART_PATIENCE.as_secs();
            return Some(Err(format!("no bytes came for {seconds} s")));
        };
        match frame? {
            Ok(frame) => {
                if let Ok(data) = frame.into_data() {
                    return Some(Ok(data));
                }
            }
            Err(error) => return Some(Err(error.to_string())),
        }
    }
}

/// A whole body of at most so many bytes.
pub async fn text(mut body: Incoming, bytes_max: usize) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    while let Some(part) = part(&mut body).await {
        let part = part?;
        if bytes.len() + part.len() > bytes_max {
            return Err(format!("it is longer than {bytes_max} bytes"));
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

/// In the words that people search for.
fn handshake_failure(error: &std::io::Error) -> String {
    let inner = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>());
    let known = match inner {
        Some(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            Some("certificate signed by unknown authority".to_owned())
        }
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => Some("certificate has expired or is not yet valid".to_owned()),
        Some(rustls::Error::InvalidCertificate(other)) => Some(other.to_string()),
        _ => None,
    };
    match known {
        Some(why) => format!("tls: failed to verify certificate: x509: {why}"),
        None => format!("tls: {error}"),
    }
}

/// Asks the proxy for a connection of bytes to a host.
async fn tunnel(tcp: &mut TcpStream, proxy: &Proxy, host: &str, port: u16) -> Result<(), String> {
    let authorization = proxy.authorization.as_ref();
    let authorization = authorization.map(|value| format!("Proxy-Authorization: {value}\r\n"));
    let request = format!(
        "CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n{}\r\n",
        authorization.unwrap_or_default()
    );
    let text = |error: std::io::Error| format!("proxyconnect {}: {error}", proxy.host);
    tcp.write_all(request.as_bytes()).await.map_err(text)?;
    let mut head = Vec::new();
    // Byte by byte: what follows the head belongs to the host behind the proxy.
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= PROXY_HEAD_BYTES_MAX {
            return Err("the proxy's answer is too long".to_owned());
        }
        head.push(tcp.read_u8().await.map_err(text)?);
    }
    let head = String::from_utf8_lossy(&head);
    let line = head.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("proxyconnect {}: {line}", proxy.host)),
    }
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let name = host.to_owned();
    let addresses = tokio::task::spawn_blocking(move || resolve::lookup(&name)).await;
    let addresses: Vec<IpAddr> = addresses
        .map_err(|e| e.to_string())?
        .map_err(|error| format!("dial tcp: lookup {host}: {}", plain(&error)))?;
    let mut last = String::new();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                let why = plain(&error);
                last = format!("dial tcp {address}:{port}: connect: {why}");
            }
        }
    }
    Err(last)
}

/// An error without its number.
fn plain(error: &std::io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => nix::errno::Errno::from_raw(number).desc().to_lowercase(),
        None => error.to_string(),
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &Uri,
    headers: HeaderMap,
    proxy: Option<&Proxy>,
) -> Result<Response<Incoming>, String> {
    let text = |error: hyper::Error| error.to_string();
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(text)?;
    let path = url
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    let authority = url
        .authority()
        .map(http::uri::Authority::as_str)
        .unwrap_or_default();
    // A proxy is told the whole address.
    let target = match proxy {
        Some(_) => url.to_string(),
        None => path.to_owned(),
    };
    let mut request = Request::get(target)
        .header(header::HOST, authority)
        .header(
            header::USER_AGENT,
            concat!("kubik/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    request.headers_mut().extend(headers);
    let authorization = proxy.and_then(|proxy| proxy.authorization.as_ref());
    if let Some(value) = authorization.and_then(|text| HeaderValue::from_str(text).ok()) {
        let headers = request.headers_mut();
        headers.insert(header::PROXY_AUTHORIZATION, value);
    }
    // Lives exactly as long as the response body, which it feeds: it ends when that is dropped.
    drive(driver);
    let answer = timeout(ANSWER_PATIENCE, sender.send_request(request)).await;
    answer
        .map_err(|_| "the registry did not answer".to_owned())?
        .map_err(text)
}

#[expect(
    clippy::disallowed_methods,
    reason = "owned by the response body, whose end is its end"
)]
fn drive(driver: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    drop(tokio::spawn(driver));
}

fn tls(trust: &Trust) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Verifier::new(trust, &provider);
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(verifier))
        .with_no_client_auth();
    Ok(Arc::new(config))
}
