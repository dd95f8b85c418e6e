//! Whether a registry is who it says, given what is trusted.
//!
//! Beside chains to an authority, a certificate that was itself given as trusted is good, if its names and dates are:
//! registries in companies and in tutorials have self-signed ones, which are authorities in form.

use super::trust::Trust;
use rustls::{
    CertificateError, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, WebPkiSupportedAlgorithms},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use std::sync::Arc;
use x509_parser::{certificate::X509Certificate, prelude::FromDer, time::ASN1Time};

#[derive(Debug)]
pub struct Verifier {
    algorithms: WebPkiSupportedAlgorithms,
    proof: Proof,
}

#[derive(Debug)]
enum Proof {
    /// Every certificate is good. Content is still checked: by digests.
    Nothing,
    Chain {
        /// `None` when nothing at all is trusted.
        chains: Option<Arc<WebPkiServerVerifier>>,
        given: Vec<CertificateDer<'static>>,
    },
}

impl Verifier {
    pub fn new(trust: &Trust, provider: &Arc<CryptoProvider>) -> Verifier {
        let proof = match trust {
            Trust::Anything => Proof::Nothing,
            Trust::Verified(given) => {
                let mut roots = RootCertStore::empty();
                // Certificates of the host that cannot be read are as good as absent.
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
                roots.add_parsable_certificates(given.iter().cloned());
                let provider = Arc::<CryptoProvider>::clone(provider);
                let builder =
                    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
                Proof::Chain {
                    chains: builder.build().ok(),
                    given: given.clone(),
                }
            }
        };
        Verifier {
            algorithms: provider.signature_verification_algorithms,
            proof,
        }
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let Proof::Chain { chains, given } = &self.proof else {
            return Ok(ServerCertVerified::assertion());
        };
        if given.iter().any(|one| one.as_ref() == end_entity.as_ref()) {
            return itself(end_entity, server_name, now);
        }
        let unknown = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let chains = chains.as_ref().ok_or_else(unknown)?;
        let verified =
            chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // In form an authority of its own, and not one that we know.
            Err(rustls::Error::InvalidCertificate(CertificateError::Other(_))) => Err(unknown()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// A certificate that is trusted by itself must still be for this server and for today.
fn itself(
    certificate: &CertificateDer<'_>,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<ServerCertVerified, rustls::Error> {
    let bad = |why| rustls::Error::InvalidCertificate(why);
    let (_, parsed) =
        X509Certificate::from_der(certificate).map_err(|_| bad(CertificateError::BadEncoding))?;
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let today = ASN1Time::from_timestamp(seconds).map_err(|_| bad(CertificateError::Expired))?;
    if !parsed.validity().is_valid_at(today) {
        return Err(bad(CertificateError::Expired));
    }
    verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
    Ok(ServerCertVerified::assertion())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use std::time::Duration;

    fn self_signed(name: &str) -> CertificateDer<'static> {
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        params.self_signed(&key).unwrap().der().clone()
    }

    fn check(
        given: &[CertificateDer<'static>],
        shown: &CertificateDer<'_>,
        name: &str,
        year: u64,
    ) -> bool {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(&Trust::Verified(given.to_vec()), &provider);
        let now = UnixTime::since_unix_epoch(Duration::from_secs((year - 1970) * 31_557_600));
        let name = ServerName::try_from(name).unwrap();
        verifier
            .verify_server_cert(shown, &[], &name, &[], now)
            .is_ok()
    }

    #[test]
    fn a_given_certificate_is_good_for_its_name_and_time() {
        let certificate = self_signed("registry.corp");
        let given = [certificate.clone()];
        assert!(check(&given, &certificate, "registry.corp", 2026));
        assert!(!check(&given, &certificate, "other.corp", 2026));
        assert!(!check(&given, &certificate, "registry.corp", 1972));
        assert!(!check(&[], &certificate, "registry.corp", 2026));
        assert!(!check(
            &given,
            &self_signed("registry.corp"),
            "registry.corp",
            2026
        ));
    }
}
