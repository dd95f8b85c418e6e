//! Switching protocols: WebSockets with a subprotocol, and SPDY.
//!
//! The conversation runs as a task of the server's group: it ends with it.

use super::Connect;
use crate::{
    api::ApiError,
    apiserver::listen::answer::{self, Answer},
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper::{Request, body::Incoming, upgrade::Upgraded};
use hyper_util::rt::TokioIo;
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        handshake::derive_accept_key,
        protocol::{Role, WebSocketConfig},
    },
};
use tracing::debug;

pub type Io = TokioIo<Upgraded>;
pub type Socket = WebSocketStream<Io>;

const STREAM_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");
const ACCEPTED_PROTOCOLS: HeaderName =
    HeaderName::from_static("x-accepted-stream-protocol-versions");
const MESSAGE_MAX: usize = 4 * 1024 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Upgrade {
    None,
    WebSocket,
    Spdy,
}

impl Upgrade {
    pub fn of(headers: &HeaderMap) -> Upgrade {
        let has = |name: HeaderName, wanted: &str| {
            listed(headers, &name).any(|token| token.eq_ignore_ascii_case(wanted))
        };
        if !has(header::CONNECTION, "upgrade") {
            return Upgrade::None;
        }
        match (
            has(header::UPGRADE, "websocket"),
            has(header::UPGRADE, "SPDY/3.1"),
        ) {
            (true, _) => Upgrade::WebSocket,
            (_, true) => Upgrade::Spdy,
            _ => Upgrade::None,
        }
    }
}

/// Tokens of a header that may be repeated and hold a list.
fn listed<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|token| !token.is_empty())
}

/// The first of the client's protocols that is served. `""` is served to clients that name none.
fn choose<'a>(
    offered: impl Iterator<Item = &'a str>,
    served: &[&'static str],
) -> Option<&'static str> {
    let mut offered = offered.peekable();
    if offered.peek().is_none() {
        return served.iter().copied().find(|protocol| protocol.is_empty());
    }
    offered.find_map(|wanted| served.iter().copied().find(|protocol| *protocol == wanted))
}

/// Answers 101 and runs `talk` on the WebSocket.
pub fn websocket<B, F, W>(
    connect: &Connect<'_>,
    mut request: Request<B>,
    served: &[&'static str],
    talk: F,
) -> Result<Answer, ApiError>
where
    F: FnOnce(Socket, &'static str) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let headers = request.headers();
    let Some(protocol) = choose(listed(headers, &header::SEC_WEBSOCKET_PROTOCOL), served) else {
        return Err(ApiError::bad_request(
            "unable to upgrade: no supported WebSocket subprotocol was requested",
        ));
    };
    let key = headers.get(header::SEC_WEBSOCKET_KEY);
    let Some(key) = key.map(|key| derive_accept_key(key.as_bytes())) else {
        return Err(ApiError::bad_request(
            "unable to upgrade: missing Sec-WebSocket-Key",
        ));
    };
    let mut answer = switching("websocket");
    let headers = answer.headers_mut();
    headers.insert(
        header::SEC_WEBSOCKET_ACCEPT,
        HeaderValue::from_str(&key).expect("base64"),
    );
    if !protocol.is_empty() {
        headers.insert(
            header::SEC_WEBSOCKET_PROTOCOL,
            HeaderValue::from_static(protocol),
        );
    }
    let upgraded = hyper::upgrade::on(&mut request);
    run(connect, "websocket", async move {
        let io = match upgraded.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return debug!(%error, "switch to a WebSocket"),
        };
        let limits = WebSocketConfig::default()
            .max_message_size(Some(MESSAGE_MAX))
            .max_frame_size(Some(MESSAGE_MAX));
        talk(
            WebSocketStream::from_raw_socket(io, Role::Server, Some(limits)).await,
            protocol,
        )
        .await;
    });
    Ok(answer)
}

/// Answers 101 and runs `talk` on the connection; 403 when no protocol fits.
pub fn spdy<F, W>(
    connect: &Connect<'_>,
    mut request: Request<Incoming>,
    served: &[&'static str],
    talk: F,
) -> Answer
where
    F: FnOnce(Io, &'static str) -> W + Send + 'static,
    W: Future<Output = ()> + Send + 'static,
{
    let chosen = choose(listed(request.headers(), &STREAM_PROTOCOL), served);
    let Some(protocol) = chosen else {
        let mut answer = answer::text(403, "unable to upgrade: unable to negotiate protocol\n");
        let known = HeaderValue::from_str(&served.join(",")).expect("protocol names");
        answer.headers_mut().insert(ACCEPTED_PROTOCOLS, known);
        return answer;
    };
    let mut answer = switching("SPDY/3.1");
    if !protocol.is_empty() {
        answer
            .headers_mut()
            .insert(STREAM_PROTOCOL, HeaderValue::from_static(protocol));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    run(connect, "spdy", async move {
        match upgraded.await {
            Ok(upgraded) => talk(TokioIo::new(upgraded), protocol).await,
            Err(error) => debug!(%error, "switch to SPDY"),
        }
    });
    answer
}

fn run(connect: &Connect<'_>, what: &str, work: impl Future<Output = ()> + Send + 'static) {
    let mut stop = connect.peer.stop.clone();
    let name = format!("{what} {} {}", connect.subresource(), connect.key());
    connect.peer.tasks.spawn(name, async move {
        tokio::select! {
            () = work => {}
            () = stop.stopped() => {}
        }
    });
}

fn switching(protocol: &'static str) -> Answer {
    let mut answer = answer::empty(StatusCode::SWITCHING_PROTOCOLS.as_u16());
    let headers = answer.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static(protocol));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clients_order_decides() {
        let served = ["v5", "v4", ""];
        assert_eq!(choose(["v9", "v4", "v5"].into_iter(), &served), Some("v4"));
        assert_eq!(choose(["v9"].into_iter(), &served), None);
        assert_eq!(choose([].into_iter(), &served), Some(""));
        assert_eq!(choose([].into_iter(), &["v5"]), None);
    }

    #[test]
    fn upgrades_are_told_by_two_headers() {
        let of = |connection: &'static str, upgrade: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONNECTION, HeaderValue::from_static(connection));
            headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
            Upgrade::of(&headers)
        };
        assert_eq!(of("keep-alive, Upgrade", "WebSocket"), Upgrade::WebSocket);
        assert_eq!(of("upgrade", "SPDY/3.1"), Upgrade::Spdy);
        assert_eq!(of("keep-alive", "websocket"), Upgrade::None);
        assert_eq!(of("upgrade", "h2c"), Upgrade::None);
    }
}
