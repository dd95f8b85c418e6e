//! Certificates: what one shall say, and the authority that signs it.
//!
//! The subject is kept as DER, so that a request's subject is signed byte for byte: one with several organizations
//! stays as it is.

use super::{der, key::Key, pem};
use anyhow::{Result, anyhow};
use jiff::Timestamp;
use ring::digest;
use std::net::IpAddr;

/// Bits of the KeyUsage extension (RFC 5280, 4.2.1.3), by position.
pub mod usage {
    pub const DIGITAL_SIGNATURE: u16 = 1 << 0;
    pub const CONTENT_COMMITMENT: u16 = 1 << 1;
    pub const KEY_ENCIPHERMENT: u16 = 1 << 2;
    pub const DATA_ENCIPHERMENT: u16 = 1 << 3;
    pub const KEY_AGREEMENT: u16 = 1 << 4;
    pub const CERT_SIGN: u16 = 1 << 5;
    pub const CRL_SIGN: u16 = 1 << 6;
    pub const ENCIPHER_ONLY: u16 = 1 << 7;
    pub const DECIPHER_ONLY: u16 = 1 << 8;
}

/// Arcs of id-kp: `SERVER_AUTH` is 1.3.6.1.5.5.7.3.1.
pub const SERVER_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 1];
pub const CLIENT_AUTH: &[u32] = &[1, 3, 6, 1, 5, 5, 7, 3, 2];

const COMMON_NAME: &[u32] = &[2, 5, 4, 3];
const ORGANIZATION: &[u32] = &[2, 5, 4, 10];
const ECDSA_WITH_SHA256: &[u32] = &[1, 2, 840, 10045, 4, 3, 2];

/// A subject alternative name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AltName {
    Dns(String),
    Ip(IpAddr),
    Email(String),
    Uri(String),
}

/// What a certificate shall say.
pub struct Template {
    /// A DER Name; see [`subject`].
    pub subject: Vec<u8>,
    /// SubjectPublicKeyInfo.
    pub public_key: Vec<u8>,
    pub names: Vec<AltName>,
    /// Bits from [`usage`].
    pub usages: u16,
    pub extended: Vec<&'static [u32]>,
    pub is_ca: bool,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// Signs certificates in the name of `subject`.
pub struct Issuer<'a> {
    pub subject: &'a [u8],
    pub key: &'a Key,
}

/// A Name of organizations and a common name.
pub fn subject(common_name: &str, organizations: &[&str]) -> Vec<u8> {
    let part = |kind: &[u32], text: &str| {
        der::set(&[&der::sequence(&[&der::oid(kind), &der::utf8(text)])])
    };
    let mut parts: Vec<Vec<u8>> = organizations
        .iter()
        .map(|organization| part(ORGANIZATION, organization))
        .collect();
    parts.push(part(COMMON_NAME, common_name));
    der::element(0x30, &parts.concat())
}

impl Issuer<'_> {
    /// The signed certificate as DER.
    pub fn sign(&self, template: &Template) -> Result<Vec<u8>> {
        let mut serial = [0u8; 16];
        getrandom::fill(&mut serial).map_err(|e| anyhow!("random serial number: {e}"))?;
        // Positive and of constant length: 0x40..=0x7f in the first byte.
        serial[0] = serial[0] & 0x3f | 0x40;
        let algorithm = der::sequence(&[&der::oid(ECDSA_WITH_SHA256)]);
        let body = der::sequence(&[
            &der::explicit(0, &der::integer(&[2])),
            &der::integer(&serial),
            &algorithm,
            self.subject,
            &der::sequence(&[
                &der::time(template.not_before),
                &der::time(template.not_after),
            ]),
            &template.subject,
            &template.public_key,
            &der::explicit(3, &self.extensions(template)),
        ]);
        let signature = self.key.sign(&body)?;
        Ok(der::sequence(&[&body, &algorithm, &der::bits(&signature)]))
    }

    pub fn sign_pem(&self, template: &Template) -> Result<String> {
        Ok(pem::encode("CERTIFICATE", &self.sign(template)?))
    }

    fn extensions(&self, template: &Template) -> Vec<u8> {
        let own = key_id(&template.public_key);
        let authority = der::sequence(&[&der::element(0x80, &key_id(&self.key.public()))]);
        let constraints = match template.is_ca {
            true => der::sequence(&[&der::boolean(true)]),
            false => der::sequence(&[]),
        };
        let mut all = vec![
            extension(&[2, 5, 29, 19], true, &constraints),
            extension(&[2, 5, 29, 14], false, &der::octets(&own)),
            extension(&[2, 5, 29, 35], false, &authority),
        ];
        if template.usages != 0 {
            all.push(extension(
                &[2, 5, 29, 15],
                true,
                &der::flags(template.usages),
            ));
        }
        if !template.extended.is_empty() {
            let purposes: Vec<Vec<u8>> = template
                .extended
                .iter()
                .map(|arcs| der::oid(arcs))
                .collect();
            all.push(extension(
                &[2, 5, 29, 37],
                false,
                &der::element(0x30, &purposes.concat()),
            ));
        }
        if !template.names.is_empty() {
            let names: Vec<Vec<u8>> = template.names.iter().map(general_name).collect();
            all.push(extension(
                &[2, 5, 29, 17],
                false,
                &der::element(0x30, &names.concat()),
            ));
        }
        der::element(0x30, &all.concat())
    }
}

fn extension(kind: &[u32], critical: bool, value: &[u8]) -> Vec<u8> {
    let value = der::octets(value);
    match critical {
        true => der::sequence(&[&der::oid(kind), &der::boolean(true), &value]),
        false => der::sequence(&[&der::oid(kind), &value]),
    }
}

fn general_name(name: &AltName) -> Vec<u8> {
    match name {
        AltName::Email(text) => der::element(0x81, text.as_bytes()),
        AltName::Dns(text) => der::element(0x82, text.as_bytes()),
        AltName::Uri(text) => der::element(0x86, text.as_bytes()),
        AltName::Ip(IpAddr::V4(ip)) => der::element(0x87, &ip.octets()),
        AltName::Ip(IpAddr::V6(ip)) => der::element(0x87, &ip.octets()),
    }
}

/// RFC 7093, method 1: the leftmost 160 bits of the key's SHA-256.
fn key_id(public_key: &[u8]) -> Vec<u8> {
    digest::digest(&digest::SHA256, public_key).as_ref()[..20].to_vec()
}
