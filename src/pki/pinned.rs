//! Verifies a server by authorities that may be the server's own certificate.
//!
//! People make certificates with one command and hand the same file out as authority. Such a certificate calls itself
//! an authority, which `webpki` does not take from a server. Here it is believed when it is, byte for byte, one that was
//! handed out, names the server and has not ended.

use super::tls::provider;
use anyhow::{Context as _, Result};
use rustls::{
    CertificateError, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

#[derive(Debug)]
pub struct Pinned {
    authorities: Vec<CertificateDer<'static>>,
    inner: Arc<WebPkiServerVerifier>,
}

impl Pinned {
    pub fn new(authorities: Vec<CertificateDer<'static>>) -> Result<Arc<Pinned>> {
        let mut roots = RootCertStore::empty();
        for certificate in &authorities {
            let added = roots.add(certificate.clone());
            added.context("use a CA certificate")?;
        }
        let inner = WebPkiServerVerifier::builder_with_provider(roots.into(), provider())
            .build()
            .context("server certificate verifier")?;
        Ok(Arc::new(Pinned { authorities, inner }))
    }
}

fn check_pinned(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), Error> {
    let bad = |why| Err(Error::InvalidCertificate(why));
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    let Ok((_, parsed)) = X509Certificate::from_der(certificate.as_ref()) else {
        return bad(CertificateError::BadEncoding);
    };
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let validity = parsed.validity();
    if now < validity.not_before.timestamp() {
        return bad(CertificateError::NotValidYet);
    }
    if now > validity.not_after.timestamp() {
        return bad(CertificateError::Expired);
    }
    Ok(())
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let is_pinned = self.authorities.iter().any(|one| one == certificate);
        match self
            .inner
            .verify_server_cert(certificate, chain, name, ocsp, now)
        {
            Err(_) if is_pinned => {
                check_pinned(certificate, name, now)?;
                Ok(ServerCertVerified::assertion())
            }
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
