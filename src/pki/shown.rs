//! Certificates that clients show to servers which are not ours to choose clients for: asked for in the handshake, judged
//! afterwards.
//!
//! `openssl x509 -req` without more makes certificates of version 1, which `webpki` does not read. People give such
//! ones to their clients: they are believed when an authority itself has signed them, over TLS 1.3.

use super::tls::{provider, roots};
use anyhow::{Context as _, Result, anyhow};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    crypto::{
        WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature,
        verify_tls13_signature_with_raw_key,
    },
    server::{
        WebPkiClientVerifier,
        danger::{ClientCertVerified, ClientCertVerifier},
    },
};
use rustls_pki_types::{CertificateDer, SubjectPublicKeyInfoDer, UnixTime, pem::PemObject as _};
use std::sync::Arc;
use x509_parser::{
    certificate::X509Certificate, prelude::FromDer as _, time::ASN1Time, x509::X509Version,
};

/// Asks for a certificate and takes any; the client must have its key.
#[derive(Debug)]
pub(super) struct Any(WebPkiSupportedAlgorithms);

impl Any {
    pub fn new() -> Arc<Any> {
        Arc::new(Any(provider().signature_verification_algorithms))
    }
}

impl ClientCertVerifier for Any {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        match old(certificate) {
            None => verify_tls13_signature(message, certificate, signature, &self.0),
            Some(parsed) => {
                let key = SubjectPublicKeyInfoDer::from(parsed.public_key().raw);
                verify_tls13_signature_with_raw_key(message, &key, signature, &self.0)
            }
        }
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// A certificate of version 1.
fn old<'a>(certificate: &'a CertificateDer<'_>) -> Option<X509Certificate<'a>> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    (parsed.version() == X509Version::V1).then_some(parsed)
}

/// Those whose word counts.
#[derive(Debug)]
pub struct Authorities {
    chains: Arc<dyn ClientCertVerifier>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Authorities {
    pub fn read(pem: &str) -> Result<Authorities> {
        let chains = WebPkiClientVerifier::builder_with_provider(roots(pem)?.into(), provider());
        let certificates = CertificateDer::pem_slice_iter(pem.as_bytes())
            .collect::<Result<Vec<_>, _>>()
            .map_err(|why| anyhow!("read a CA certificate: {why}"))?;
        Ok(Authorities {
            chains: chains.build().context("client certificate verifier")?,
            certificates,
        })
    }

    /// Whether one of them vouches for a certificate, now and by way of the others that were shown.
    pub fn vouch(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<(), Error> {
        let Some(parsed) = old(certificate) else {
            let verified = self.chains.verify_client_cert(certificate, others, now);
            return verified.map(drop);
        };
        let bad = |why| Err(Error::InvalidCertificate(why));
        let signed = self.certificates.iter().any(|authority| {
            let authority = X509Certificate::from_der(authority);
            authority.is_ok_and(|(_, authority)| {
                authority.subject().as_raw() == parsed.issuer().as_raw()
                    && parsed
                        .verify_signature(Some(authority.public_key()))
                        .is_ok()
            })
        });
        if !signed {
            return bad(CertificateError::UnknownIssuer);
        }
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        let is_valid = ASN1Time::from_timestamp(seconds)
            .is_ok_and(|today| parsed.validity().is_valid_at(today));
        match is_valid {
            true => Ok(()),
            false => bad(CertificateError::Expired),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    /// Made by `openssl req -x509` and `openssl x509 -req`, without extensions.
    const AUTHORITY: &str = "-----BEGIN CERTIFICATE-----
MIIBfjCCASOgAwIBAgIUWOqu5exkROdn8AgqgAOiYlST8eIwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIc2hvd24tY2EwIBcNMjYxMTIxMTY1NTM3WhgPMjEyNjEwMjgx
NjU1MzdaMBMxETAPBgNVBAMMCHNob3duLWNhMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEipZLUic/vRGHOPtMvsHok14UIHW323dMkaLK0G7hoNKbF/wvD1OgvEdL
hLT1f+uWTYDeCQldfcICnNH+aPu8Y6NTMFEwHQYDVR0OBBYEFOAlCfeV/NSTJC8/
sTZ3FW+amZIVMB8GA1UdIwQYMBaAFOAlCfeV/NSTJC8/sTZ3FW+amZIVMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAI6QYyMYE1NAdR7NAoAIKCfU
xRO5a1QUgQy4WLkH4qNWAiEAjisWSt760ILMocVjySh+YhKtiF0VeVMOAu5N2gan
AKo=
-----END CERTIFICATE-----
";
    const OLD: &str = "-----BEGIN CERTIFICATE-----
MIIBLDCB0wIUJqs5aT//C7hJGA/ottpJAGT7C9kwCgYIKoZIzj0EAwIwEzERMA8G
A1UEAwwIc2hvd24tY2EwIBcNMjYxMTIxMTY1NTM3WhgPMjEyNTA2MTUxNjU1Mzda
MB0xDDAKBgNVBAoMA2RldjENMAsGA1UEAwwEamFuZTBZMBMGByqGSM49AgEGCCqG
SM49AwEHA0IABHyet3JQ7Q3A1FqCX6ksvDCiocokHzDjzgUrXcaCB7BuH3n7eM/T
/5mA42iOwJe/pQbLtbwS7f+sdwV+AFCNTiswCgYIKoZIzj0EAwIDSAAwRQIgW1sK
soOpNbrNt3dnf2Kw6wAuvz9lrGF4mMfXA3Iel6wCIQD5OKidEIGYj+AFYMzxugWk
/XfF9mkfk3PKcBwZr06+vw==
-----END CERTIFICATE-----
";
    const STRANGER: &str = "-----BEGIN CERTIFICATE-----
MIIBfTCCASOgAwIBAgIUOGEmE79qNyFgHx85Mnt4+mwyFVcwCgYIKoZIzj0EAwIw
EzERMA8GA1UEAwwIc2hvd24tY2EwIBcNMjYxMTIxMTY1NTM3WhgPMjEyNjEwMjgx
NjU1MzdaMBMxETAPBgNVBAMMCHNob3duLWNhMFkwEwYHKoZIzj0CAQYIKoZIzj0D
AQcDQgAEMjvKldra2TqiwKPhARq8Gd02G1+jVFmF6dCrYTWwIQgiYZrgW7+205T6
Awzehht4K/Xf+0MKejUM1xfQkdEyLqNTMFEwHQYDVR0OBBYEFMv2VvIyGPC1eT9H
pLEYV+Ar8mvvMB8GA1UdIwQYMBaAFMv2VvIyGPC1eT9HpLEYV+Ar8mvvMA8GA1Ud
EwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSAAwRQIgbpnLpyTnmxhuWwLQ0GlLriaG
D0EljKRxzCnJnfD1+kQCIQCsbTuixPO9MTu/CjeiNeMt0vFX3V8I8DK/ZLSkwY+z
uQ==
-----END CERTIFICATE-----
";

    #[test]
    fn certificates_of_version_one_are_judged_too() {
        let shown = CertificateDer::from_pem_slice(OLD.as_bytes()).unwrap();
        assert!(old(&shown).is_some());
        let at = |seconds| UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let now = at(1_800_000_000);
        let judged = |authority: &str, now| {
            let authorities = Authorities::read(authority).unwrap();
            authorities
                .vouch(&shown, &[], now)
                .map_err(|why| why.to_string())
        };
        assert_eq!(judged(AUTHORITY, now), Ok(()));
        assert!(judged(STRANGER, now).unwrap_err().contains("UnknownIssuer"));
        assert!(judged(AUTHORITY, at(10)).unwrap_err().contains("Expired"));
    }
}
