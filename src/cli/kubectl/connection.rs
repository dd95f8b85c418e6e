//! HTTPS to the API server with the credentials of a kubeconfig: whole answers, streams and upgrades.

use anyhow::{Context, Result, bail};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use serde_yaml_ng::Value as Yaml;
use std::{path::Path, sync::Arc};
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream, rustls::ClientConfig};

pub struct Connection {
    host: String,
    port: u16,
    tls: TlsConnector,
}

/// An answer and the task that feeds its body; dropping it ends both.
pub struct Answer {
    pub response: Response<Incoming>,
    _driver: JoinSet<()>,
}

impl Connection {
    /// Reads the current context's cluster and user. Nothing is sent yet.
    pub fn open(kubeconfig: &Path) -> Result<Connection> {
        let text = std::fs::read_to_string(kubeconfig)
            .with_context(|| format!("read {}", kubeconfig.display()))?;
        let config: Yaml = serde_yaml_ng::from_str(&text).context("read the kubeconfig")?;
        let server = scalar(&config, "clusters", "cluster", "server")?;
        let uri: http::Uri = server.parse().context("read the server's address")?;
        let pem = |list, inner, field| -> Result<Vec<u8>> {
            let text = scalar(&config, list, inner, field)?;
            STANDARD
                .decode(text)
                .with_context(|| format!("read {field}"))
        };
        let mut roots = rustls::RootCertStore::empty();
        let authority = pem("clusters", "cluster", "certificate-authority-data")?;
        for certificate in CertificateDer::pem_slice_iter(&authority) {
            roots.add(certificate.context("read the cluster's authority")?)?;
        }
        let certificates = pem("users", "user", "client-certificate-data")?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&certificates).collect();
        let key = PrivateKeyDer::from_pem_slice(&pem("users", "user", "client-key-data")?)
            .context("read the client key")?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain.context("read the client certificate")?, key)?;
        Ok(Connection {
            host: uri
                .host()
                .context("the server's address has no host")?
                .to_owned(),
            port: uri.port_u16().unwrap_or(443),
            tls: TlsConnector::from(Arc::new(tls)),
        })
    }

    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }

    /// A fresh TLS stream, for requests and for WebSockets.
    pub async fn stream(&self) -> Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .with_context(|| format!("connect to {}", self.authority()))?;
        tcp.set_nodelay(true)?;
        let name = ServerName::try_from(self.host.clone()).context("the server's name")?;
        Ok(self.tls.connect(name, tcp).await?)
    }

    /// Sends one request. `accept` and `content` are media types; an empty one is left out.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content: &str,
        body: impl Into<Bytes>,
    ) -> Result<Answer> {
        let io = TokioIo::new(self.stream().await?);
        let (mut sender, driver) = hyper::client::conn::http1::handshake(io).await?;
        let mut tasks = JoinSet::new();
        tasks.spawn(async move { drop(driver.await) });
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.authority())
            .header(
                header::USER_AGENT,
                concat!("kubik/", env!("CARGO_PKG_VERSION")),
            );
        for (name, value) in [(header::ACCEPT, accept), (header::CONTENT_TYPE, content)] {
            if !value.is_empty() {
                request = request.header(name, value);
            }
        }
        let response = sender
            .send_request(request.body(Full::new(body.into()))?)
            .await?;
        Ok(Answer {
            response,
            _driver: tasks,
        })
    }

    /// A whole JSON answer; a `Status` of failure becomes kubectl's error line.
    pub async fn json(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        content: &str,
        body: impl Into<Bytes>,
    ) -> Result<Value> {
        let answer = self.send(method, path, accept, content, body).await?;
        let status = answer.response.status();
        let bytes = answer.response.into_body().collect().await?.to_bytes();
        if status.is_success() {
            return serde_json::from_slice(&bytes).context("read the server's answer");
        }
        Err(refusal(status, &bytes))
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.json(Method::GET, path, "application/json", "", "")
            .await
    }
}

/// `Error from server (NotFound): pods "x" not found`.
pub fn refusal(status: StatusCode, bytes: &[u8]) -> anyhow::Error {
    let document: Value = serde_json::from_slice(bytes).unwrap_or_default();
    match (document["reason"].as_str(), document["message"].as_str()) {
        (Some(reason), Some(message)) => Refusal {
            not_found: reason == "NotFound",
            text: format!("Error from server ({reason}): {message}"),
        }
        .into(),
        _ => {
            let text = String::from_utf8_lossy(bytes);
            anyhow::anyhow!("Error from server: {status} {}", text.trim())
        }
    }
}

/// The server said no.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Refusal {
    pub not_found: bool,
    text: String,
}

pub fn is_not_found(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<Refusal>()
        .is_some_and(|refusal| refusal.not_found)
}

/// Our own kubeconfig has one entry per list.
fn scalar(config: &Yaml, list: &str, inner: &str, field: &str) -> Result<String> {
    let entry = config.get(list).and_then(|entries| entries.get(0));
    let value = entry
        .and_then(|entry| entry.get(inner))
        .and_then(|inner| inner.get(field));
    match value.and_then(Yaml::as_str) {
        Some(text) => Ok(text.to_owned()),
        None => bail!("the kubeconfig has no {list}[0].{inner}.{field}"),
    }
}
