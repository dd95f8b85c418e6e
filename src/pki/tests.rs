//! Renewal, requests and a real handshake over the certificates we write.

use super::*;
use std::{fs, os::unix::fs::PermissionsExt as _, sync::Arc};
use tempfile::TempDir;

fn now() -> Timestamp {
    "2026-11-21T10:00:00Z".parse().unwrap()
}

fn names(extra: &[&str]) -> ServerNames {
    ServerNames {
        cluster_domain: "cluster.local".to_owned(),
        dns: extra.iter().map(|&name| name.to_owned()).collect(),
        ips: vec![IpAddr::from([10, 96, 0, 1])],
    }
}

fn files_of(dir: &TempDir) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = fs::read_dir(dir.path())
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            assert_eq!(mode, 0o600, "{:?}", entry.path());
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_second_start_changes_nothing() {
    let dir = TempDir::new().unwrap();
    Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    let first = files_of(&dir);
    assert_eq!(first.len(), 4);
    Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    assert_eq!(first, files_of(&dir));
}

#[test]
fn new_names_renew_the_server_only() {
    let dir = TempDir::new().unwrap();
    let one = Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    let two = Pki::load_or_create(dir.path(), &names(&["my.host"]), now()).unwrap();
    assert_eq!(one.ca_pem(), two.ca_pem());
    assert_eq!(one.admin().certificate, two.admin().certificate);
    assert_ne!(one.server().certificate, two.server().certificate);
    assert!(has_names(two.server(), &names(&["my.host"]).all()));
}

#[test]
fn certificates_are_renewed_before_they_end() {
    let dir = TempDir::new().unwrap();
    let one = Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    let later = now() + Duration::from_secs(340 * 24 * 3600);
    let two = Pki::load_or_create(dir.path(), &names(&[]), later).unwrap();
    assert_eq!(one.ca_pem(), two.ca_pem());
    assert_ne!(one.server().certificate, two.server().certificate);
    assert_ne!(one.admin().certificate, two.admin().certificate);
    assert_eq!(one.token_key().id(), two.token_key().id());
}

#[test]
fn a_new_ca_renews_what_the_old_one_signed() {
    let dir = TempDir::new().unwrap();
    let one = Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    fs::remove_file(dir.path().join("ca.pem")).unwrap();
    let two = Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    assert!(!is_signed_by(one.server(), two.ca_pem()));
    assert!(is_signed_by(two.server(), two.ca_pem()));
    assert!(is_signed_by(two.admin(), two.ca_pem()));
}

#[test]
fn requests_are_signed_with_their_subject() {
    let dir = TempDir::new().unwrap();
    let pki = Pki::load_or_create(dir.path(), &names(&[]), now()).unwrap();
    let request = request::parse(MANY_GROUPS).unwrap();
    assert_eq!(request.common_name, "jane");
    assert_eq!(request.organizations, ["dev", "ops", "qa"]);
    let grant = Grant {
        usages: vec![Usage::DigitalSignature],
        extended: vec![ExtendedUsage::ClientAuth],
        life: Duration::from_secs(3600),
    };
    let certificate = pki.sign_request(&request, &grant, now()).unwrap();
    let read = facts(&certificate, |certificate| {
        assert_eq!(certificate.subject().as_raw(), request.subject);
        certificate.validity().not_after.timestamp()
    });
    assert_eq!(read.unwrap(), now().as_second() + 3600);
    let identity = Identity {
        certificate,
        key: String::new(),
    };
    assert!(is_signed_by(&identity, pki.ca_pem()));
    let text = signing_request(&[]);
    let broken = text.replacen("MI", "MJ", 1);
    assert!(request::parse(&broken).is_err());
    assert!(request::parse("").is_err());
}

/// Made by openssl; `rcgen` cannot.
const MANY_GROUPS: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIHyMIGaAgEAMDgxDDAKBgNVBAoMA2RldjEMMAoGA1UECgwDb3BzMQswCQYDVQQK
DAJxYTENMAsGA1UEAwwEamFuZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH3x
dMS1luRQIBhLbLEiP597MjiDsNfuTPAehBB+4HjGiv+GYYYuPWMHv7wJlUmZYqbu
iL7SaPHLv7Rpx+4cZ26gADAKBggqhkjOPQQDAgNHADBEAiBgscJDY9DwFsfEdV8y
QraSm627EF4RosX+wHW16NTqqgIgSgUZ5Q5EEXGBIjj2zGGShvpkYJ6vrBEiu9w8
0KXszUY=
-----END CERTIFICATE REQUEST-----
";

/// A PKCS#10 request of `jane`, made with our own key.
fn signing_request(organizations: &[&str]) -> String {
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = subject("jane", organizations).unwrap();
    let request = parameters.serialize_request(Key::generate().unwrap().pair());
    request.unwrap().pem().unwrap()
}

#[test]
fn a_third_value_is_refused_rather_than_lost() {
    assert!(subject("jane", &["a", "b"]).is_ok());
    assert!(subject("jane", &["a", "b", "c"]).is_err());
}

/// Both ends over memory: the strictest reader of our DER is the TLS stack.
#[tokio::test]
async fn both_ends_shake_hands() {
    let dir = TempDir::new().unwrap();
    let now = crate::task::clock::now();
    let pki = Pki::load_or_create(dir.path(), &names(&[]), now).unwrap();
    let server = tls::server(pki.server(), pki.ca_pem()).unwrap();
    let client = tls::client(pki.ca_pem(), Some(pki.admin()), &["h2"]).unwrap();
    let (near, far) = tokio::io::duplex(64 * 1024);
    let name = rustls_pki_types::ServerName::try_from("10.96.0.1").unwrap();
    let accept = tokio_rustls::TlsAcceptor::from(Arc::clone(&server)).accept(far);
    let connect = tokio_rustls::TlsConnector::from(client).connect(name, near);
    let (accepted, connected) = tokio::join!(accept, connect);
    connected.unwrap();
    let (_, session) = accepted.as_ref().unwrap().get_ref();
    let peer = session.peer_certificates().unwrap();
    let (_, peer) = X509Certificate::from_der(peer[0].as_ref()).unwrap();
    assert_eq!(request::common_name(peer.subject()), "kubernetes-admin");
    assert_eq!(request::organizations(peer.subject()), ["system:masters"]);
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
}
