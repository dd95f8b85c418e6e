//! Asks one webhook over HTTPS: by a URL, or at the address of a service of the cluster.
//!
//! A new connection for every question: webhooks are asked seldom, and a kept connection would keep a dead pod.

use crate::{
    apiserver::registry::{Registry, metadata::text},
    pki::tls,
    task::Tasks,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use bytes::Bytes;
use http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use serde_json::Value;
use std::{io, net::IpAddr, pin::pin, sync::Arc, time::Duration};
use tokio::{io::AsyncRead, io::AsyncWrite, net::TcpStream};
use tokio_rustls::TlsConnector;

const ANSWER_MAX: usize = 3 << 20;
const SECONDS_DEFAULT: u64 = 10;
const SECONDS_MAX: u64 = 30;
const HTTPS: u16 = 443;

/// Where a webhook listens.
struct Target {
    /// As told to people.
    url: String,
    /// Named by the certificate.
    host: String,
    port: u16,
    path: String,
    /// Where to connect when `host` is a name of a service.
    address: Option<IpAddr>,
}

/// Posts the question, answers the answer's document. The error is a text for people.
pub async fn post(registry: &Registry, webhook: &Value, question: &Value) -> Result<Value, String> {
    let seconds = webhook["timeoutSeconds"]
        .as_u64()
        .unwrap_or(SECONDS_DEFAULT);
    let seconds = seconds.clamp(1, SECONDS_MAX);
    let config = &webhook["clientConfig"];
    let target = target(registry, config, seconds)?;
    let exchange = exchange(registry, &target, config, question);
    let answered = tokio::time::timeout(Duration::from_secs(seconds), exchange).await;
    let answered = answered.unwrap_or_else(|_| Err("context deadline exceeded".to_owned()));
    let (status, body) = answered.map_err(|why| format!("Post \"{}\": {why}", target.url))?;
    match status {
        StatusCode::OK => serde_json::from_slice(&body)
            .map_err(|why| format!("couldn't read the webhook's answer: {why}")),
        StatusCode::NOT_FOUND => Err("the server could not find the requested resource".to_owned()),
        status => {
            let text = String::from_utf8_lossy(&body);
            let text = text.trim();
            let text = if text.is_empty() {
                status.canonical_reason().unwrap_or("unknown")
            } else {
                text
            };
            Err(format!(
                "an error on the server ({text:?}) has prevented the request from succeeding"
            ))
        }
    }
}

fn target(registry: &Registry, config: &Value, seconds: u64) -> Result<Target, String> {
    let service = &config["service"];
    if service.is_null() {
        let url = text(config, "url");
        let uri: Uri = url.parse().map_err(|why| format!("{url:?}: {why}"))?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        return Ok(Target {
            url: format!("{url}?timeout={seconds}s"),
            host: host.to_owned(),
            port: uri.port_u16().unwrap_or(HTTPS),
            path: format!("{}?timeout={seconds}s", uri.path()),
            address: None,
        });
    }
    let (namespace, name) = (text(service, "namespace"), text(service, "name"));
    let port = service["port"]
        .as_u64()
        .and_then(|port| port.try_into().ok());
    let port = port.unwrap_or(HTTPS);
    let path = match text(service, "path") {
        "" => "/",
        path => path,
    };
    let host = format!("{name}.{namespace}.svc");
    let path = format!("{path}?timeout={seconds}s");
    let url = format!("https://{host}:{port}{path}");
    let told = |why: String| format!("Post \"{url}\": {why}");
    let found = registry.read("services", namespace, name);
    let found = found.ok_or_else(|| told(format!("service {name:?} not found")))?;
    let ports = found["spec"]["ports"].as_array().into_iter().flatten();
    if !ports.into_iter().any(|one| one["port"] == u64::from(port)) {
        return Err(told(format!(
            "no service port {port} found for service {name:?}"
        )));
    }
    let address = text(&found["spec"], "clusterIP").parse();
    let address = address.map_err(|_| {
        told(format!(
            "cannot route to service with ClusterIP {:?}",
            text(&found["spec"], "clusterIP")
        ))
    })?;
    Ok(Target {
        url,
        host,
        port,
        path,
        address: Some(address),
    })
}

async fn exchange(
    registry: &Registry,
    target: &Target,
    config: &Value,
    question: &Value,
) -> Result<(StatusCode, Bytes), String> {
    let tcp = connect(registry, target).await?;
    let authorities = BASE64_STANDARD.decode(text(config, "caBundle"));
    let authorities = String::from_utf8(authorities.unwrap_or_default()).unwrap_or_default();
    let protocols = &["http/1.1"];
    let tls = match authorities.as_str() {
        "" => tls::client_of_the_web(protocols),
        authorities => tls::client_of_pinned(authorities, protocols),
    };
    let tls = tls.map_err(|why| format!("{why:#}"))?;
    let name = ServerName::try_from(target.host.clone()).map_err(|why| why.to_string())?;
    let stream = TlsConnector::from(Arc::clone(&tls))
        .connect(name, tcp)
        .await;
    let stream = stream.map_err(|why| tls::told(&why))?;
    let request = Request::post(&target.path)
        .header(header::HOST, format!("{}:{}", target.host, target.port))
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kube-apiserver-admission")
        .body(Full::new(Bytes::from(question.to_string())))
        .map_err(|why| why.to_string())?;
    send(stream, request).await
}

async fn connect(registry: &Registry, target: &Target) -> Result<TcpStream, String> {
    let addresses = match (target.address, target.host.parse()) {
        (Some(address), _) | (None, Ok(address)) => vec![address],
        (None, Err(_)) => {
            let (resolve, host) = (registry.resolve, target.host.clone());
            let found = Tasks::blocking(move || resolve(&host)).await;
            let found = found.map_err(|why| why.to_string())?;
            found.map_err(|_| format!("dial tcp: lookup {}: no such host", target.host))?
        }
    };
    let mut trouble = format!("dial tcp: lookup {}: no such host", target.host);
    for address in addresses {
        match TcpStream::connect((address, target.port)).await {
            Ok(stream) => return Ok(stream),
            Err(why) => trouble = format!("dial tcp {address}:{}: {}", target.port, dialed(&why)),
        }
    }
    Err(trouble)
}

fn dialed(why: &io::Error) -> String {
    match why.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        _ => why.to_string(),
    }
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    request: Request<Full<Bytes>>,
) -> Result<(StatusCode, Bytes), String> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|why| why.to_string())?;
    let exchange = async {
        let response = sender.send_request(request).await;
        let response = response.map_err(|why| why.to_string())?;
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX);
        let body = body.collect().await.map_err(|why| why.to_string())?;
        Ok((status, body.to_bytes()))
    };
    let (mut exchange, mut connection) = (pin!(exchange), pin!(connection));
    let mut is_open = true;
    loop {
        // Both are only polled again, never started anew: neither loses what it has read.
        tokio::select! {
            biased;
            answer = &mut exchange => return answer,
            _ = &mut connection, if is_open => is_open = false,
        }
    }
}
