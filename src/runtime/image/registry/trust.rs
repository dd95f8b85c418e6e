//! Which certificates of registries are believed: the host's own store, authorities given to the cluster, and those
//! that Docker, Podman or containerd know for one registry.

use rustls_pki_types::{CertificateDer, pem::PemObject};
use std::{fs, path::Path};

/// Where the tools people have keep authorities per registry: `<folder>/<host[:port]>/*.crt`.
const FOLDERS: [&str; 3] = [
    "/etc/docker/certs.d",
    "/etc/containers/certs.d",
    "/etc/containerd/certs.d",
];

/// What a server has to prove.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trust {
    /// A certificate that the host's own store or one of these authorities vouches for.
    Verified(Vec<CertificateDer<'static>>),
    /// Nothing: loopback, or a host that the user named as insecure.
    Anything,
}

impl Trust {
    /// For a registry whose certificate must be good. `authorities` are PEM texts; ones that cannot be read are as
    /// good as absent: the handshake says so.
    pub fn verified(authorities: &[String], registry: &str) -> Trust {
        let given = authorities
            .iter()
            .flat_map(|text| certificates(text.as_bytes()));
        let known = FOLDERS
            .iter()
            .flat_map(|folder| of_registry(Path::new(folder), registry));
        Trust::Verified(given.chain(known).collect())
    }
}

/// Every certificate of a PEM text.
pub fn certificates(pem: &[u8]) -> Vec<CertificateDer<'static>> {
    CertificateDer::pem_slice_iter(pem)
        .filter_map(Result::ok)
        .map(CertificateDer::into_owned)
        .collect()
}

/// `registry` is a checked domain and holds no slash.
fn of_registry(folder: &Path, registry: &str) -> Vec<CertificateDer<'static>> {
    let entries = fs::read_dir(folder.join(registry)).into_iter().flatten();
    let mut paths: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    paths
        .iter()
        .filter(|path| {
            path.extension()
                .is_some_and(|end| end == "crt" || end == "pem")
        })
        .filter_map(|path| fs::read(path).ok())
        .flat_map(|bytes| certificates(&bytes))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authorities_of_a_registry_are_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = rcgen::CertificateParams::new(vec!["r".into()])
            .unwrap()
            .self_signed(&key)
            .unwrap()
            .pem();
        let own = folder.path().join("registry.corp:5000");
        fs::create_dir(&own).unwrap();
        fs::write(own.join("ca.crt"), &pem).unwrap();
        fs::write(own.join("client.key"), "secret").unwrap();
        assert_eq!(of_registry(folder.path(), "registry.corp:5000").len(), 1);
        assert!(of_registry(folder.path(), "registry.corp").is_empty());
        let Trust::Verified(all) = Trust::verified(&[pem.clone(), "junk".into()], "x.invalid")
        else {
            panic!("not verified");
        };
        assert_eq!(all, certificates(pem.as_bytes()));
    }
}
