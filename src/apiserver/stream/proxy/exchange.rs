//! One request to the other end of a proxy, and its answer: headers, links and upgrades as clients below the proxy's
//! path need them.
//!
//! Like upstream's proxy it asks for encryption only: who answers over TLS is believed.

use super::page::{Links, Rewriter};
use crate::{
    api::{ApiError, stream::Duplex},
    apiserver::{
        listen::answer::{Answer, Body},
        stream::Connect,
    },
    pki::tls,
};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri, header};
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Request, Response,
    body::Incoming,
    client::conn::http1,
    upgrade::{self, OnUpgrade},
};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use std::{convert::Infallible, io, net::SocketAddr, time::Duration};
use tokio::{io::copy_bidirectional, net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;
use tracing::debug;

/// Meant for the connection, not for the other end (RFC 9110, 7.6.1).
const HOP_HEADERS: &[HeaderName] = &[
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const FORWARDED_URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const DIAL_TIME: Duration = Duration::from_secs(30);

/// Asks `address` for `rest` of the path.
pub async fn run(
    connect: &Connect<'_>,
    address: SocketAddr,
    is_tls: bool,
    mut request: Request<Incoming>,
    rest: &str,
) -> Result<Answer, ApiError> {
    let stream = dial(address, is_tls).await?;
    let client = protocol(request.headers()).map(|_| upgrade::on(&mut request));
    let links = links(&request, rest, address);
    prepare(&mut request, rest)?;
    let failed = |why: hyper::Error| unreachable(&why.to_string());
    let handshake = http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = handshake.map_err(failed)?;
    let mut stop = connect.peer.stop.clone();
    let name = format!("proxy to {}", connect.key());
    connect.peer.tasks.spawn(name, async move {
        tokio::select! {
            ended = connection.with_upgrades() => if let Err(error) = ended {
                debug!(%error, "connection behind a proxy");
            },
            () = stop.stopped() => {}
        }
    });
    let mut response = sender.send_request(request).await.map_err(failed)?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(client) = client else {
            return Err(unreachable("an upgrade that nobody asked for"));
        };
        let backend = upgrade::on(&mut response);
        join(connect, client, backend);
        return Ok(switched(response));
    }
    Ok(passed_on(response, links))
}

async fn dial(address: SocketAddr, is_tls: bool) -> Result<Box<dyn Duplex>, ApiError> {
    let failed = |why: &str| unreachable(&format!("dial tcp {address}: {why}"));
    let tcp = match timeout(DIAL_TIME, TcpStream::connect(address)).await {
        Ok(Ok(tcp)) => tcp,
        Ok(Err(why)) => return Err(failed(&dialed(&why))),
        Err(_) => return Err(failed("i/o timeout")),
    };
    // Small answers should not wait for more.
    tcp.set_nodelay(true).map_err(ApiError::internal)?;
    if !is_tls {
        return Ok(Box::new(tcp));
    }
    let config = tls::client_of_anybody(&["http/1.1"]).map_err(ApiError::internal)?;
    let name = ServerName::IpAddress(address.ip().into());
    let encrypted = TlsConnector::from(config).connect(name, tcp).await;
    let encrypted = encrypted.map_err(|why| unreachable(&tls::told(&why)))?;
    Ok(Box::new(encrypted))
}

fn dialed(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => why.to_string(),
    }
}

fn unreachable(why: &str) -> ApiError {
    ApiError::new(
        503,
        "ServiceUnavailable",
        format!("error trying to reach service: {why}"),
    )
}

/// What the client wants to switch to.
fn protocol(headers: &HeaderMap) -> Option<HeaderValue> {
    let connection = headers.get_all(header::CONNECTION).iter();
    let connection = connection.filter_map(|value| value.to_str().ok());
    let mut words = connection.flat_map(|value| value.split(','));
    let wanted = words.any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    headers.get(header::UPGRADE).filter(|_| wanted).cloned()
}

/// Where links of the answer have to lead.
fn links(request: &Request<Incoming>, rest: &str, address: SocketAddr) -> Links {
    let path = request.uri().path();
    let prefix = path.strip_suffix(rest).unwrap_or(path);
    let host = request.headers().get(header::HOST);
    let host = host.and_then(|host| host.to_str().ok());
    let host = host.or_else(|| Some(request.uri().authority()?.as_str()));
    Links {
        prefix: prefix.to_owned(),
        hosts: [host.unwrap_or_default().to_owned(), address.to_string()],
    }
}

fn prepare(request: &mut Request<Incoming>, rest: &str) -> Result<(), ApiError> {
    let wrong = |why: &dyn std::fmt::Display| ApiError::bad_request(why.to_string());
    let path = match request.uri().query() {
        Some(query) => format!("{rest}?{query}"),
        None => rest.to_owned(),
    };
    let host = request.uri().authority().map(ToString::to_string);
    let host = HeaderValue::from_str(host.as_deref().unwrap_or("localhost"));
    let host = host.map_err(|why| wrong(&why))?;
    let came_by = HeaderValue::from_str(request.uri().path()).map_err(|why| wrong(&why))?;
    *request.uri_mut() = Uri::try_from(path).map_err(|why| wrong(&why))?;
    *request.version_mut() = http::Version::HTTP_11;
    let headers = request.headers_mut();
    let protocol = protocol(headers);
    for name in HOP_HEADERS {
        headers.remove(name);
    }
    // The client's right to be here is no business of the other end, and links of packed pages cannot be turned.
    headers.remove(header::AUTHORIZATION);
    headers.remove(header::ACCEPT_ENCODING);
    if let Some(protocol) = protocol {
        headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(header::UPGRADE, protocol);
    }
    headers.entry(header::HOST).or_insert(host);
    headers.insert(FORWARDED_URI, came_by);
    Ok(())
}

/// Bytes in both directions until both ends are done.
fn join(connect: &Connect<'_>, client: OnUpgrade, backend: OnUpgrade) {
    let mut stop = connect.peer.stop.clone();
    let name = format!("tunnel to {}", connect.key());
    let talk = async move {
        match tokio::join!(client, backend) {
            (Ok(client), Ok(backend)) => {
                let (mut client, mut backend) = (TokioIo::new(client), TokioIo::new(backend));
                if let Err(error) = copy_bidirectional(&mut client, &mut backend).await {
                    debug!(%error, "tunnel");
                }
            }
            (client, backend) => {
                debug!(client = ?client.err(), backend = ?backend.err(), "upgrade");
            }
        }
    };
    connect.peer.tasks.spawn(name, async move {
        tokio::select! {
            () = talk => {}
            () = stop.stopped() => {}
        }
    });
}

fn switched(response: Response<Incoming>) -> Answer {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, UnsyncBoxBody::default())
}

fn passed_on(response: Response<Incoming>, links: Links) -> Answer {
    let (mut parts, body) = response.into_parts();
    for name in HOP_HEADERS {
        parts.headers.remove(name);
    }
    let location = parts.headers.get(header::LOCATION);
    let location = location.and_then(|location| links.moved(location.to_str().ok()?));
    if let Some(location) = location.and_then(|text| HeaderValue::from_str(&text).ok()) {
        parts.headers.insert(header::LOCATION, location);
    }
    let is_page = is_page(&parts.headers);
    // A broken body ends early; its length, if it was told, shows the client that something is missing.
    let frames = BodyStream::new(body);
    let frames = frames.take_while(|frame| std::future::ready(frame.is_ok()));
    let frames = frames.filter_map(|frame| std::future::ready(frame.ok()));
    let body: Body = if is_page {
        parts.headers.remove(header::CONTENT_LENGTH);
        let data = frames.filter_map(|frame| std::future::ready(frame.into_data().ok()));
        // Nothing at the end lets go of what was held back.
        let data = data.map(Some).chain(stream::iter([None]));
        let mut rewriter = Rewriter::new(links);
        let turned = data.map(move |data| match data {
            Some(data) => rewriter.push(&data),
            None => rewriter.end(),
        });
        let turned = turned.filter(|bytes| std::future::ready(!bytes.is_empty()));
        let turned = turned.map(|bytes| Ok::<_, Infallible>(Frame::data(Bytes::from(bytes))));
        UnsyncBoxBody::new(StreamBody::new(turned))
    } else {
        UnsyncBoxBody::new(StreamBody::new(frames.map(Ok)))
    };
    Response::from_parts(parts, body)
}

fn is_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let kind = text(header::CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    let is_plain = text(header::CONTENT_ENCODING).is_none_or(|coding| coding == "identity");
    kind.eq_ignore_ascii_case("text/html") && is_plain
}
