//! The gRPC health question (`grpc.health.v1.Health/Check`), written by hand: two fields are all there is to encode.

use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::{TokioExecutor, TokioIo};
use std::net::Ipv4Addr;
use tokio::net::TcpStream;

const ANSWER_MAX: usize = 4 << 10;
const STATUSES: &[&str] = &["UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN"];
const SERVING: usize = 1;

/// Succeeds when the service says that it serves.
pub async fn health(address: Ipv4Addr, port: u16, service: &str) -> Result<(), String> {
    let text = |failure: &dyn std::error::Error| failure.to_string();
    let stream = TcpStream::connect((address, port)).await.map_err(|failure| {
        let why = super::http::dial_text(&failure);
        format!("timeout: failed to connect service \"{address}:{port}\" within 1s: dial tcp {address}:{port}: {why}")
    })?;
    let builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = builder
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|failure| text(&failure))?;
    let url = format!("http://{address}:{port}/grpc.health.v1.Health/Check");
    let request = http::Request::post(url)
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("user-agent", "kube-probe/1.36")
        .body(Full::new(question(service)))
        .map_err(|failure| text(&failure))?;
    let asking = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|failure| text(&failure))?;
        let refused = response.headers().get("grpc-status").cloned();
        let body = Limited::new(response.into_body(), ANSWER_MAX)
            .collect()
            .await;
        let body = body.map_err(|failure| failure.to_string())?;
        let trailers = body
            .trailers()
            .and_then(|all| all.get("grpc-status").cloned());
        match refused.or(trailers).as_ref().map(http::HeaderValue::as_bytes) {
            None | Some(b"0") => judge(&body.to_bytes()),
            Some(b"12") => Err("this server does not implement the grpc health protocol (grpc.health.v1.Health): rpc error: code = Unimplemented".to_owned()),
            Some(code) => Err(format!("health rpc failed: rpc error: code = {}", String::from_utf8_lossy(code))),
        }
    };
    let driving = async {
        let _ = connection.await;
        std::future::pending().await
    };
    tokio::select! {
        answer = asking => answer,
        never = driving => never,
    }
}

/// `HealthCheckRequest { service = 1 }` in a gRPC frame.
fn question(service: &str) -> Bytes {
    let mut message = BytesMut::new();
    if !service.is_empty() {
        message.put_u8(0x0a);
        let mut length = service.len();
        while length >= 0x80 {
            message.put_u8(u8::try_from(length & 0x7f).unwrap_or_default() | 0x80);
            length >>= 7;
        }
        message.put_u8(u8::try_from(length).unwrap_or_default());
        message.put_slice(service.as_bytes());
    }
    let mut frame = BytesMut::new();
    frame.put_u8(0);
    frame.put_u32(u32::try_from(message.len()).unwrap_or_default());
    frame.extend_from_slice(&message);
    frame.freeze()
}

/// `HealthCheckResponse { status = 1 }` out of a gRPC frame; absent means zero.
fn judge(frame: &[u8]) -> Result<(), String> {
    let status = match frame.get(5..) {
        Some([0x08, status, ..]) => usize::from(*status),
        Some([]) => 0,
        _ => return Err("health rpc failed: malformed answer".to_owned()),
    };
    if status == SERVING {
        return Ok(());
    }
    let name = STATUSES.get(status).unwrap_or(&"UNKNOWN");
    Err(format!("service unhealthy (responded with \"{name}\")"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames() {
        assert_eq!(question("").as_ref(), [0, 0, 0, 0, 0]);
        assert_eq!(
            question("ab").as_ref(),
            [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']
        );
        assert_eq!(judge(&[0, 0, 0, 0, 2, 8, 1]), Ok(()));
        let down = Err("service unhealthy (responded with \"NOT_SERVING\")".to_owned());
        assert_eq!(judge(&[0, 0, 0, 0, 2, 8, 2]), down);
        assert!(judge(&[0, 0]).is_err());
    }
}
