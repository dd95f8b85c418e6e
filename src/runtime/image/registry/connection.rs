//! One GET over HTTP or HTTPS, with our own name resolution.

use crate::runtime::resolve;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// Until the head of the answer; bodies may take as long as they flow.
const ANSWER_PATIENCE: Duration = Duration::from_secs(30);

/// What a server has to prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A certificate that the host's own store accepts.
    Verified,
    /// Nothing: loopback, or a host that the user named as insecure.
    Anything,
}

/// The error is a text for people.
pub async fn get(
    url: &Uri,
    headers: HeaderMap,
    trust: Trust,
) -> Result<Response<Incoming>, String> {
    let host = url.host().ok_or("the address has no host")?.to_owned();
    let is_plain = match url.scheme_str() {
        Some("http") if trust == Trust::Anything => true,
        Some("http") => {
            return Err(
                "plain HTTP is allowed for loopback and insecure registries only".to_owned(),
            );
        }
        _ => false,
    };
    let port = url.port_u16().unwrap_or(if is_plain { 80 } else { 443 });
    let tcp = timeout(CONNECT_PATIENCE, connect(&host, port))
        .await
        .map_err(|_| "i/o timeout".to_owned())??;
    if is_plain {
        return exchange(tcp, url, headers).await;
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
    exchange(tls.map_err(|e| format!("tls: {e}"))?, url, headers).await
}

async fn connect(host: &str, port: u16) -> Result<TcpStream, String> {
    let name = host.to_owned();
    let addresses = tokio::task::spawn_blocking(move || resolve::lookup(&name)).await;
    let addresses: Vec<IpAddr> = addresses
        .map_err(|e| e.to_string())?
        .map_err(|error| format!("dial tcp: {error}"))?;
    let mut last = String::new();
    for address in addresses {
        match TcpStream::connect(SocketAddr::new(address, port)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = format!("dial tcp {address}:{port}: connect: {error}"),
        }
    }
    Err(last)
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    url: &Uri,
    headers: HeaderMap,
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
    let mut request = Request::get(path)
        .header(header::HOST, authority)
        .header(
            header::USER_AGENT,
            concat!("kubik/", env!("CARGO_PKG_VERSION")),
        )
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    request.headers_mut().extend(headers);
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

fn tls(trust: Trust) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let algorithms = provider.signature_verification_algorithms;
    let builder = ClientConfig::builder_with_provider(Arc::<CryptoProvider>::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|e| e.to_string())?;
    let config = match trust {
        Trust::Verified => {
            let mut roots = RootCertStore::empty();
            // Certificates of the host that cannot be read are as good as absent.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            builder.with_root_certificates(roots).with_no_client_auth()
        }
        Trust::Anything => builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(NoProof(algorithms)))
            .with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

/// Accepts every certificate. Content is still checked: by digests.
#[derive(Debug)]
struct NoProof(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for NoProof {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}
