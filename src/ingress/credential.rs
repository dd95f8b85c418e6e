//! Certificates that clients show: `auth-tls-secret`. Pure.
//!
//! The handshake only asks for one and proves that the client has its key; whether it is good is said here, as an
//! answer of HTTP, like nginx does it.

use super::{
    answer::{self, Refusal},
    option::{Asks, ClientAuth},
    policy::Facts,
};
use crate::pki::shown::Authorities;
use http::{HeaderName, HeaderValue, StatusCode};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::CertificateError;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::{
    certificate::X509Certificate,
    objects::{oid_registry, oid2abbrev},
    prelude::FromDer as _,
    x509::X509Name,
};

const VERIFY: HeaderName = HeaderName::from_static("ssl-client-verify");
const SUBJECT: HeaderName = HeaderName::from_static("ssl-client-subject-dn");
const ISSUER: HeaderName = HeaderName::from_static("ssl-client-issuer-dn");
const CERTIFICATE: HeaderName = HeaderName::from_static("ssl-client-cert");
/// What a client must not say itself.
const ALL: [HeaderName; 4] = [VERIFY, SUBJECT, ISSUER, CERTIFICATE];

/// Who is believed.
#[derive(Debug)]
pub struct Authority(Authorities);

impl Authority {
    /// From the `ca.crt` of a Secret.
    pub fn read(pem: &str) -> Result<Authority, String> {
        Authorities::read(pem)
            .map(Authority)
            .map_err(|failure| format!("{failure:#}"))
    }
}

/// Headers for the backend, or what the client gets instead.
pub fn judge(
    authority: &Authority,
    auth: &ClientAuth,
    facts: &Facts<'_>,
    now: UnixTime,
) -> Result<Vec<(HeaderName, Option<HeaderValue>)>, Refusal> {
    let Some((own, others)) = facts.chain.split_first() else {
        return match auth.asks {
            Asks::Must => Err(refused(auth, facts, "No required SSL certificate was sent")),
            Asks::May | Asks::Unproven => Ok(described("NONE", None, auth)),
        };
    };
    let verified = authority.0.vouch(own, others, now);
    let parsed = X509Certificate::from_der(own);
    let Ok((_, parsed)) = parsed else {
        return Err(refused(auth, facts, "The SSL certificate error"));
    };
    let subject = dn(parsed.subject());
    if let Some(pattern) = &auth.pattern
        && !pattern.is_match(&subject)
    {
        return Err(Box::new(answer::page(StatusCode::FORBIDDEN)));
    }
    let names = Some((own, subject, dn(parsed.issuer())));
    match (verified, auth.asks) {
        (Ok(()), _) => Ok(described("SUCCESS", names, auth)),
        (Err(why), Asks::Unproven) => Ok(described(&format!("FAILED:{}", told(&why)), names, auth)),
        (Err(_), _) => Err(refused(auth, facts, "The SSL certificate error")),
    }
}

fn told(why: &rustls::Error) -> String {
    match why {
        rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            "unable to verify the first certificate".to_owned()
        }
        other => other.to_string(),
    }
}

fn refused(auth: &ClientAuth, facts: &Facts<'_>, why: &str) -> Refusal {
    Box::new(match &auth.error_page {
        Some(page) => answer::redirect(302, &super::policy::fill(page, facts)),
        None => answer::refusal(why),
    })
}

type Shown<'a> = (&'a CertificateDer<'a>, String, String);

/// `None` as value: the client's own header of this name goes.
fn described(
    verdict: &str,
    shown: Option<Shown<'_>>,
    auth: &ClientAuth,
) -> Vec<(HeaderName, Option<HeaderValue>)> {
    let mut all: Vec<(HeaderName, Option<HeaderValue>)> =
        ALL.into_iter().map(|name| (name, None)).collect();
    let mut put = |name: HeaderName, text: &str| {
        all.push((name, HeaderValue::from_bytes(text.as_bytes()).ok()));
    };
    put(VERIFY, verdict);
    if let Some((certificate, subject, issuer)) = shown {
        put(SUBJECT, &subject);
        put(ISSUER, &issuer);
        if auth.passes {
            let pem = crate::pki::certificate_pem(certificate);
            let escaped = utf8_percent_encode(&pem, NON_ALPHANUMERIC).to_string();
            put(CERTIFICATE, &escaped);
        }
    }
    all
}

/// As RFC 2253 writes names: the last part first.
fn dn(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = name
        .iter_attributes()
        .map(|attribute| {
            let kind = oid2abbrev(attribute.attr_type(), oid_registry())
                .map_or_else(|_| attribute.attr_type().to_id_string(), str::to_owned);
            let value = attribute.as_str().unwrap_or_default();
            let mut escaped = String::with_capacity(value.len());
            for letter in value.chars() {
                if matches!(letter, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
                    escaped.push('\\');
                }
                escaped.push(letter);
            }
            format!("{kind}={escaped}")
        })
        .collect();
    parts.reverse();
    parts.join(",")
}
