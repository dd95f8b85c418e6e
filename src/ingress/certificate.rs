//! The certificate for each host, from the Secrets that Ingresses name.
//!
//! A change of a Secret is met by the next handshake. A host without a usable certificate gets the default one, which
//! the cluster's own CA has signed.

use super::compile::Finding;
use crate::{
    api::{name::Key, object::Object},
    client::Snapshot,
};
use anyhow::{Context, Result};
use k8s_openapi::api::{
    core::v1::Secret,
    networking::v1::{Ingress, IngressTLS},
};
use rustls::{
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use std::{collections::HashMap, sync::Arc};
use tokio::sync::watch;

/// Certificates by host. `*.` stands for one label.
#[derive(Clone, Debug, Default)]
pub struct Certificates {
    hosts: HashMap<String, Arc<CertifiedKey>>,
    /// What each Secret was read to, by its revision: keys are not parsed again when something else changes.
    read: HashMap<Key, (u64, Arc<CertifiedKey>)>,
}

impl Certificates {
    /// What the Ingresses ask for, oldest first: the first one to name a host decides.
    #[must_use]
    pub fn collect(
        ingresses: &[Arc<Ingress>],
        secrets: &Snapshot<Secret>,
        before: &Certificates,
    ) -> (Certificates, Vec<Finding>) {
        let (mut all, mut findings) = (Certificates::default(), Vec::new());
        for ingress in ingresses {
            for tls in tls(ingress) {
                let Some(name) = tls.secret_name.as_deref().filter(|name| !name.is_empty()) else {
                    continue;
                };
                let key = Key::new(&*ingress.key().namespace, name);
                match all.secret(&key, secrets, before) {
                    Ok(certificate) => {
                        for host in hosts(ingress, tls) {
                            let entry = all.hosts.entry(host);
                            entry.or_insert_with(|| Arc::clone(&certificate));
                        }
                    }
                    Err(why) => findings.push(Finding {
                        ingress: ingress.key(),
                        message: format!(
                            "Error getting SSL certificate {key:?}: {why}. Using default certificate",
                            key = key.to_string()
                        ),
                    }),
                }
            }
        }
        (all, findings)
    }

    fn secret(
        &mut self,
        key: &Key,
        secrets: &Snapshot<Secret>,
        before: &Certificates,
    ) -> Result<Arc<CertifiedKey>, String> {
        let secret = secrets.get(key);
        let secret = secret.ok_or_else(|| format!("local SSL certificate {key} was not found"))?;
        let revision = secret.revision();
        let known = self.read.get(key).or_else(|| before.read.get(key));
        let certificate = match known.filter(|(read, _)| *read == revision) {
            Some((_, certificate)) => Arc::clone(certificate),
            None => Arc::new(read(secret).map_err(|failure| format!("{failure:#}"))?),
        };
        self.read
            .insert(key.clone(), (revision, Arc::clone(&certificate)));
        Ok(certificate)
    }

    fn find(&self, host: &str) -> Option<&Arc<CertifiedKey>> {
        self.hosts.get(host).or_else(|| {
            let (_, parent) = host.split_once('.')?;
            self.hosts.get(&format!("*.{parent}"))
        })
    }
}

pub fn tls(ingress: &Ingress) -> &[IngressTLS] {
    let spec = ingress.spec.as_ref();
    spec.and_then(|spec| spec.tls.as_deref())
        .unwrap_or_default()
}

/// The hosts of a TLS entry; without any, those of the rules.
pub fn hosts(ingress: &Ingress, tls: &IngressTLS) -> Vec<String> {
    let named = tls.hosts.as_deref().unwrap_or_default();
    if !named.is_empty() {
        return named.iter().map(|host| host.to_lowercase()).collect();
    }
    let spec = ingress.spec.as_ref();
    let rules = spec
        .and_then(|spec| spec.rules.as_deref())
        .unwrap_or_default();
    let hosts = rules.iter().filter_map(|rule| rule.host.as_deref());
    hosts.map(str::to_lowercase).collect()
}

fn read(secret: &Secret) -> Result<CertifiedKey> {
    let field = |name: &str| {
        let data = secret.data.as_ref().and_then(|data| data.get(name));
        data.map(|bytes| bytes.0.as_slice())
            .with_context(|| format!("key {name:?} is missing in the secret"))
    };
    certified(field("tls.crt")?, field("tls.key")?)
}

/// A chain and its key, both PEM. Fails when they do not belong together.
pub fn certified(chain: &[u8], key: &[u8]) -> Result<CertifiedKey> {
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .context("tls.crt is no certificate in PEM")?;
    anyhow::ensure!(!chain.is_empty(), "tls.crt is no certificate in PEM");
    let key = PrivateKeyDer::from_pem_slice(key).context("tls.key is no private key in PEM")?;
    CertifiedKey::from_der(chain, key, &ring::default_provider())
        .context("the key does not fit the certificate")
}

/// Chooses by the name that a client says it wants.
#[derive(Debug)]
pub struct Resolver {
    pub current: watch::Receiver<Arc<Certificates>>,
    pub fallback: Arc<CertifiedKey>,
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let current = self.current.borrow();
        let found = hello
            .server_name()
            .and_then(|host| current.find(&host.to_lowercase()));
        Some(Arc::clone(found.unwrap_or(&self.fallback)))
    }
}
