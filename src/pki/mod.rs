//! Certificates and keys: the cluster's CA, server and client certificates, the service account signing key.
//!
//! All keys are P-256: the whole set is made in milliseconds. A certificate and its key lie in one file, so that a
//! crash cannot leave a pair that does not fit. The CA is kept for its life; what it signed is renewed when it
//! nears its end, when its names change or when the CA is another. Nothing here reads the clock.

mod certificate;
mod files;
mod key;
mod pinned;
pub mod request;
pub mod shown;
mod subject;
pub mod tls;

pub use certificate::AltName;
pub use key::TokenKey;
pub use rcgen::{ExtendedKeyUsagePurpose as ExtendedUsage, KeyUsagePurpose as Usage};
pub use subject::certificate_pem;

use anyhow::{Context as _, Result, anyhow};
use certificate::{Template, subject};
use jiff::{SignedDuration, Timestamp};
use key::Key;
use rcgen::DistinguishedName;
use request::{Request, alt_name};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

const CA_LIFE: Duration = Duration::from_secs(3650 * 24 * 3600);
const LEAF_LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
/// What is left of a certificate's life when it is renewed.
const RENEWAL: Duration = Duration::from_secs(30 * 24 * 3600);
/// Certificates begin in the past, for clients whose clocks are behind.
const BACKDATE: Duration = Duration::from_secs(300);

/// Names the API server answers to in every cluster.
const SERVER_NAMES: &[&str] = &[
    "localhost",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// A certificate and its private key, both PEM.
#[derive(Clone)]
pub struct Identity {
    pub certificate: String,
    pub key: String,
}

/// What the API server's certificate names besides `localhost`, loopback and the `kubernetes` service.
#[derive(Clone, Debug, Default)]
pub struct ServerNames {
    pub cluster_domain: String,
    pub dns: Vec<String>,
    pub ips: Vec<IpAddr>,
}

/// What a signed request shall be good for.
#[derive(Clone, Debug)]
pub struct Grant {
    pub usages: Vec<Usage>,
    pub extended: Vec<ExtendedUsage>,
    pub life: Duration,
}

pub struct Pki {
    ca_pem: String,
    ca_key: Key,
    ca_end: Timestamp,
    server: Identity,
    admin: Identity,
    token_key: Arc<TokenKey>,
}

impl Pki {
    /// Reads the set from `directory` and makes or renews what is missing. Blocking.
    pub fn load_or_create(directory: &Path, names: &ServerNames, now: Timestamp) -> Result<Pki> {
        let ca = match load(directory, "ca.pem")?.filter(|ca| is_lasting(ca, now)) {
            Some(ca) => ca,
            None => store(directory, "ca.pem", new_ca(now)?)?,
        };
        let token_key = match files::read(&directory.join("service-accounts.pem"))? {
            Some(text) => Key::from_pem(&text)?,
            None => {
                let key = Key::generate()?;
                files::replace(directory, "service-accounts.pem", &key.to_pem())?;
                key
            }
        };
        let ca_end = facts(&ca.certificate, |ca| ca.validity().not_after.timestamp())?;
        let mut pki = Pki {
            ca_key: Key::from_pem(&ca.key)?,
            ca_end: Timestamp::from_second(ca_end)?,
            ca_pem: ca.certificate,
            server: Identity::none(),
            admin: Identity::none(),
            token_key: Arc::new(TokenKey::new(&token_key)?),
        };
        let wanted = names.all();
        pki.server = pki.keep_or(directory, "apiserver.pem", &wanted, now, || {
            pki.issue(
                subject("kube-apiserver", &[])?,
                wanted.clone(),
                ExtendedUsage::ServerAuth,
                LEAF_LIFE,
                now,
            )
        })?;
        pki.admin = pki.keep_or(directory, "admin.pem", &[], now, || {
            pki.issue_client("kubernetes-admin", &["system:masters"], LEAF_LIFE, now)
        })?;
        Ok(pki)
    }

    /// The CA certificate as clients trust it.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    pub fn server(&self) -> &Identity {
        &self.server
    }

    /// `kubernetes-admin` of the group `system:masters`.
    pub fn admin(&self) -> &Identity {
        &self.admin
    }

    pub fn token_key(&self) -> &Arc<TokenKey> {
        &self.token_key
    }

    /// A new client certificate: the common name is the user, the organizations are the groups.
    pub fn issue_client(
        &self,
        common_name: &str,
        organizations: &[&str],
        life: Duration,
        now: Timestamp,
    ) -> Result<Identity> {
        self.issue(
            subject(common_name, organizations)?,
            Vec::new(),
            ExtendedUsage::ClientAuth,
            life,
            now,
        )
    }

    /// A new server certificate for these names.
    pub fn issue_server(
        &self,
        common_name: &str,
        names: Vec<AltName>,
        life: Duration,
        now: Timestamp,
    ) -> Result<Identity> {
        self.issue(
            subject(common_name, &[])?,
            names,
            ExtendedUsage::ServerAuth,
            life,
            now,
        )
    }

    /// Signs a request as it stands; what may be asked for is the caller's decision. Answers PEM.
    pub fn sign_request(&self, request: &Request, grant: &Grant, now: Timestamp) -> Result<String> {
        let template = Template {
            subject: DistinguishedName::new(),
            names: request.names.clone(),
            usages: grant.usages.clone(),
            extended: grant.extended.clone(),
            is_ca: false,
            not_before: now.checked_sub(BACKDATE)?,
            not_after: now.checked_add(grant.life)?.min(self.ca_end),
        };
        let certificate = template.signed(&request.public_key, &self.ca_pem, &self.ca_key)?;
        subject::replace(certificate.der(), &request.subject, &self.ca_key)
    }

    fn issue(
        &self,
        subject: DistinguishedName,
        names: Vec<AltName>,
        purpose: ExtendedUsage,
        life: Duration,
        now: Timestamp,
    ) -> Result<Identity> {
        let key = Key::generate()?;
        let template = Template {
            subject,
            names,
            usages: vec![Usage::DigitalSignature],
            extended: vec![purpose],
            is_ca: false,
            not_before: now.checked_sub(BACKDATE)?,
            not_after: now.checked_add(life)?.min(self.ca_end),
        };
        Ok(Identity {
            certificate: template
                .signed(&key.public(), &self.ca_pem, &self.ca_key)?
                .pem(),
            key: key.to_pem(),
        })
    }

    /// The stored identity while it is good, otherwise a new one.
    fn keep_or(
        &self,
        directory: &Path,
        name: &str,
        names: &[AltName],
        now: Timestamp,
        make: impl FnOnce() -> Result<Identity>,
    ) -> Result<Identity> {
        let good = |identity: &Identity| {
            is_lasting(identity, now)
                && is_signed_by(identity, &self.ca_pem)
                && has_names(identity, names)
        };
        match load(directory, name)?.filter(good) {
            Some(identity) => Ok(identity),
            None => store(directory, name, make()?),
        }
    }
}

impl Identity {
    fn none() -> Identity {
        Identity {
            certificate: String::new(),
            key: String::new(),
        }
    }
}

impl ServerNames {
    fn all(&self) -> Vec<AltName> {
        let service = format!("kubernetes.default.svc.{}", self.cluster_domain);
        let dns = SERVER_NAMES
            .iter()
            .map(|&name| name.to_owned())
            .chain([service]);
        let loopback = [
            IpAddr::from([127, 0, 0, 1]),
            IpAddr::from(std::net::Ipv6Addr::LOCALHOST),
        ];
        let dns = dns.chain(self.dns.iter().cloned()).map(AltName::Dns);
        let ips = loopback
            .into_iter()
            .chain(self.ips.iter().copied())
            .map(AltName::Ip);
        let mut all: Vec<AltName> = dns.chain(ips).collect();
        all.sort();
        all.dedup();
        all
    }
}

fn new_ca(now: Timestamp) -> Result<Identity> {
    let key = Key::generate()?;
    let template = Template {
        subject: subject("kubernetes", &[])?,
        names: vec![AltName::Dns("kubernetes".to_owned())],
        usages: vec![Usage::DigitalSignature, Usage::KeyCertSign, Usage::CrlSign],
        extended: Vec::new(),
        is_ca: true,
        not_before: now.checked_sub(BACKDATE)?,
        not_after: now.checked_add(CA_LIFE)?,
    };
    Ok(Identity {
        certificate: template.self_signed(&key)?,
        key: key.to_pem(),
    })
}

fn load(directory: &Path, name: &str) -> Result<Option<Identity>> {
    let Some(text) = files::read(&directory.join(name))? else {
        return Ok(None);
    };
    let marker = "-----BEGIN PRIVATE KEY-----";
    let Some(at) = text.find(marker) else {
        return Err(anyhow!(
            "{} holds no private key",
            directory.join(name).display()
        ));
    };
    let (certificate, key) = text.split_at(at);
    Ok(Some(Identity {
        certificate: certificate.to_owned(),
        key: key.to_owned(),
    }))
}

fn store(directory: &Path, name: &str, identity: Identity) -> Result<Identity> {
    let text = format!("{}{}", identity.certificate, identity.key);
    files::replace(directory, name, &text)?;
    Ok(identity)
}

/// When a PEM certificate ends; `None` for what is none.
pub fn end(certificate: &str) -> Option<Timestamp> {
    let end = facts(certificate, |found| found.validity().not_after.timestamp());
    Timestamp::from_second(end.ok()?).ok()
}

/// Reads facts off a PEM certificate.
fn facts<T>(text: &str, read: impl FnOnce(&X509Certificate<'_>) -> T) -> Result<T> {
    let document = CertificateDer::from_pem_slice(text.as_bytes())
        .map_err(|e| anyhow!("read a certificate: {e}"))?;
    let (_, certificate) =
        X509Certificate::from_der(document.as_ref()).context("parse a certificate")?;
    Ok(read(&certificate))
}

fn is_lasting(identity: &Identity, now: Timestamp) -> bool {
    let life = facts(&identity.certificate, |certificate| {
        let validity = certificate.validity();
        (
            validity.not_before.timestamp(),
            validity.not_after.timestamp(),
        )
    });
    let Ok((from, until)) = life else {
        return false;
    };
    let left = SignedDuration::from_secs(until.saturating_sub(now.as_second()));
    from <= now.as_second() && left > SignedDuration::try_from(RENEWAL).expect("days fit")
}

fn is_signed_by(identity: &Identity, ca_pem: &str) -> bool {
    let Ok(document) = CertificateDer::from_pem_slice(ca_pem.as_bytes()) else {
        return false;
    };
    let Ok((_, ca)) = X509Certificate::from_der(document.as_ref()) else {
        return false;
    };
    let key = ca.public_key();
    facts(&identity.certificate, |leaf| {
        leaf.verify_signature(Some(key)).is_ok()
    })
    .unwrap_or(false)
}

fn has_names(identity: &Identity, wanted: &[AltName]) -> bool {
    let names = facts(&identity.certificate, |certificate| {
        let names = certificate.subject_alternative_name().ok().flatten();
        let names = names.map(|names| {
            names
                .value
                .general_names
                .iter()
                .filter_map(alt_name)
                .collect()
        });
        names.unwrap_or_default()
    });
    names.is_ok_and(|mut names: Vec<AltName>| {
        names.sort();
        names == wanted
    })
}

#[cfg(test)]
mod tests;
