//! The cluster's own kubeconfig: one cluster, one user, one context, all named after the profile.

use anyhow::{Context, Result};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;
use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

/// Replaces the file as a whole; only its owner may read it. `ca`, `certificate` and `key` are PEM.
pub fn write(
    path: &Path,
    profile: &str,
    server: &str,
    ca: &str,
    certificate: &str,
    key: &str,
) -> Result<()> {
    let encoded = |pem: &str| STANDARD.encode(pem);
    let document = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": profile, "cluster": {
            "server": server, "certificate-authority-data": encoded(ca),
        }}],
        "users": [{"name": profile, "user": {
            "client-certificate-data": encoded(certificate), "client-key-data": encoded(key),
        }}],
        "contexts": [{
            "name": profile,
            "context": {"cluster": profile, "namespace": "default", "user": profile},
        }],
        "current-context": profile,
    });
    let text = serde_yaml_ng::to_string(&document).context("write the kubeconfig")?;
    let new = path.with_extension("new");
    let replace = || -> std::io::Result<()> {
        let mut file = OpenOptions::new()
            .create(true)
            .write(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    replace().with_context(|| format!("write {}", path.display()))
}
