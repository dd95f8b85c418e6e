//! Certificates: what one shall say, and the authority that signs it.
//!
//! A subject attribute may stand twice (two groups of one user), but not three times: `rcgen` keeps one value per
//! attribute type, and knows each standard type by two names.

use super::key::Key;
use anyhow::{Context as _, Result, bail};
use jiff::Timestamp;
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType,
    ExtendedKeyUsagePurpose, IsCa, Issuer, KeyUsagePurpose, SanType, SerialNumber,
    SubjectPublicKeyInfo, date_time_ymd,
};
use std::{net::IpAddr, time::Duration};

pub const COMMON_NAME: &[u64] = &[2, 5, 4, 3];
pub const ORGANIZATION: &[u64] = &[2, 5, 4, 10];

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
    pub subject: DistinguishedName,
    pub names: Vec<AltName>,
    pub usages: Vec<KeyUsagePurpose>,
    pub extended: Vec<ExtendedKeyUsagePurpose>,
    pub is_ca: bool,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
}

/// A Name of organizations and a common name.
pub fn subject(common_name: &str, organizations: &[&str]) -> Result<DistinguishedName> {
    let organizations = organizations.iter().map(|&text| (ORGANIZATION, text));
    distinguished(organizations.chain([(COMMON_NAME, common_name)]))
}

/// A Name of attributes, each an object identifier and a text.
pub fn distinguished<'a>(
    attributes: impl Iterator<Item = (&'a [u64], &'a str)>,
) -> Result<DistinguishedName> {
    let mut name = DistinguishedName::new();
    for (kind, text) in attributes {
        let spellings = [DnType::from_oid(kind), DnType::CustomDnType(kind.to_vec())];
        let free = spellings.into_iter().find(|kind| name.get(kind).is_none());
        let Some(kind) = free else {
            bail!("a subject with more than two values of one attribute is not supported");
        };
        name.push(kind, text);
    }
    Ok(name)
}

impl Template {
    fn parameters(&self) -> Result<CertificateParams> {
        let mut serial = [0u8; 16];
        getrandom::fill(&mut serial).context("random serial number")?;
        // Positive and of constant length: 0x40..=0x7f in the first byte.
        serial[0] = serial[0] & 0x3f | 0x40;
        let mut parameters = CertificateParams::default();
        parameters.serial_number = Some(SerialNumber::from_slice(&serial));
        parameters.distinguished_name = self.subject.clone();
        parameters.subject_alt_names = self.names.iter().map(alternative).collect::<Result<_>>()?;
        parameters.key_usages.clone_from(&self.usages);
        parameters.extended_key_usages.clone_from(&self.extended);
        parameters.is_ca = match self.is_ca {
            true => IsCa::Ca(BasicConstraints::Unconstrained),
            false => IsCa::ExplicitNoCa,
        };
        parameters.use_authority_key_identifier_extension = !self.is_ca;
        let since_epoch = |at: Timestamp| {
            let seconds = u64::try_from(at.as_second()).context("a time before 1970")?;
            anyhow::Ok(date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds))
        };
        parameters.not_before = since_epoch(self.not_before)?;
        parameters.not_after = since_epoch(self.not_after)?;
        Ok(parameters)
    }

    /// A certificate that vouches for itself, as PEM.
    pub fn self_signed(&self, key: &Key) -> Result<String> {
        let certificate = self.parameters()?.self_signed(key.pair());
        Ok(certificate.context("sign a CA certificate")?.pem())
    }

    /// A certificate for a SubjectPublicKeyInfo in the name of the CA.
    pub fn signed(&self, public_key: &[u8], ca_pem: &str, ca_key: &Key) -> Result<Certificate> {
        let public_key = SubjectPublicKeyInfo::from_der(public_key).context("read a public key")?;
        let issuer = Issuer::from_ca_cert_pem(ca_pem, ca_key.pair()).context("read the CA")?;
        let certificate = self.parameters()?.signed_by(&public_key, &issuer);
        certificate.context("sign a certificate")
    }
}

fn alternative(name: &AltName) -> Result<SanType> {
    Ok(match name {
        AltName::Dns(text) => SanType::DnsName(text.as_str().try_into()?),
        AltName::Email(text) => SanType::Rfc822Name(text.as_str().try_into()?),
        AltName::Uri(text) => SanType::URI(text.as_str().try_into()?),
        AltName::Ip(ip) => SanType::IpAddress(*ip),
    })
}
