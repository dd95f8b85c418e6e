//! Certificate signing requests: what they ask for, checked against their own signature.

use super::certificate::AltName;
use rustls_pki_types::{CertificateSigningRequestDer, pem::PemObject as _};
use std::net::IpAddr;
use x509_parser::{
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    prelude::FromDer as _,
    x509::X509Name,
};

/// A request whose signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// A DER `Name`, as the request spells it.
    pub subject: Vec<u8>,
    pub common_name: String,
    pub organizations: Vec<String>,
    /// SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    pub names: Vec<AltName>,
}

/// Reads a PEM `CERTIFICATE REQUEST`; the error is a text for people.
pub fn parse(text: &str) -> Result<Request, String> {
    let document = CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| "PEM block type must be CERTIFICATE REQUEST".to_owned())?;
    let (rest, request) = X509CertificationRequest::from_der(document.as_ref())
        .map_err(|e| format!("malformed certificate request: {e}"))?;
    if !rest.is_empty() {
        return Err("trailing data after the certificate request".to_owned());
    }
    request
        .verify_signature()
        .map_err(|e| format!("certificate request signature: {e}"))?;
    let info = &request.certification_request_info;
    let extensions = request.requested_extensions().into_iter().flatten();
    let names = extensions
        .filter_map(|extension| match extension {
            ParsedExtension::SubjectAlternativeName(names) => Some(&names.general_names),
            _ => None,
        })
        .flatten();
    Ok(Request {
        subject: info.subject.as_raw().to_vec(),
        common_name: common_name(&info.subject),
        organizations: organizations(&info.subject),
        public_key: info.subject_pki.raw.to_vec(),
        names: names.filter_map(alt_name).collect(),
    })
}

/// The last common name, as Go reads it; empty without one.
pub fn common_name(name: &X509Name<'_>) -> String {
    let last = name.iter_common_name().last();
    last.and_then(|part| part.as_str().ok())
        .unwrap_or_default()
        .to_owned()
}

pub fn organizations(name: &X509Name<'_>) -> Vec<String> {
    let parts = name.iter_organization();
    parts
        .filter_map(|part| part.as_str().ok())
        .map(str::to_owned)
        .collect()
}

pub fn alt_name(name: &GeneralName<'_>) -> Option<AltName> {
    Some(match name {
        GeneralName::DNSName(text) => AltName::Dns((*text).to_owned()),
        GeneralName::RFC822Name(text) => AltName::Email((*text).to_owned()),
        GeneralName::URI(text) => AltName::Uri((*text).to_owned()),
        GeneralName::IPAddress(bytes) => AltName::Ip(match bytes.len() {
            4 => IpAddr::from(<[u8; 4]>::try_from(*bytes).ok()?),
            _ => IpAddr::from(<[u8; 16]>::try_from(*bytes).ok()?),
        }),
        _ => return None,
    })
}
