//! Who may approve and sign certificate requests, and what may not be asked for.

use super::{Attempt, Operation};
use crate::{
    api::ApiError,
    apiserver::{
        authorize::Attributes,
        registry::{finding, metadata::text},
    },
    pki::request,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub fn check(attempt: &Attempt<'_>, csr: &Value) -> Result<(), ApiError> {
    let signer = text(&csr["spec"], "signerName");
    match (attempt.operation, attempt.subresource()) {
        (Operation::Create, "") => check_request(attempt, csr, signer),
        (Operation::Update, "approval") if !may(attempt, "approve", signer) => Err(attempt
            .forbidden(&format!(
                "user not permitted to approve requests with signerName {signer:?}"
            ))),
        (Operation::Update, "status") if is_signing(attempt, csr) => {
            if may(attempt, "sign", signer) {
                return Ok(());
            }
            Err(attempt.forbidden(&format!(
                "user not permitted to sign requests with signerName {signer:?}"
            )))
        }
        _ => Ok(()),
    }
}

/// The request itself: what cannot be read, and what is not to be asked for.
fn check_request(attempt: &Attempt<'_>, csr: &Value, signer: &str) -> Result<(), ApiError> {
    let encoded = &csr["spec"]["request"];
    let pem = BASE64_STANDARD.decode(encoded.as_str().unwrap_or_default());
    let pem = pem.unwrap_or_default();
    let request = request::parse(&String::from_utf8_lossy(&pem)).map_err(|why| {
        let found = finding::invalid("spec.request", encoded, &why);
        let kind = attempt.kind();
        ApiError::invalid(kind.group, kind.name, &attempt.request.name, vec![found])
    })?;
    let mut groups = request.organizations.iter();
    if signer == CLIENT_SIGNER && groups.any(|group| group == "system:masters") {
        return Err(attempt.forbidden(&format!(
            "use of {CLIENT_SIGNER} signer with system:masters group is not allowed"
        )));
    }
    Ok(())
}

/// Whether the write sets the certificate or reports that signing failed.
fn is_signing(attempt: &Attempt<'_>, csr: &Value) -> bool {
    let old = attempt.old.unwrap_or(&Value::Null);
    let failed = |csr: &Value| {
        let conditions = csr["status"]["conditions"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        conditions
            .into_iter()
            .filter(|one| one["type"] == "Failed")
            .collect::<Vec<Value>>()
    };
    csr["status"]["certificate"] != old["status"]["certificate"] || failed(csr) != failed(old)
}

/// Signers are granted by name, or a whole domain at once.
fn may(attempt: &Attempt<'_>, verb: &str, signer: &str) -> bool {
    let domain = signer.split('/').next().unwrap_or_default();
    [signer.to_owned(), format!("{domain}/*")]
        .iter()
        .any(|name| {
            let wanted = Attributes {
                verb,
                group: "certificates.k8s.io",
                version: "*",
                resource: "signers",
                name,
                ..Attributes::default()
            };
            let request = attempt.request;
            request.registry.authorize(request.user, &wanted).is_ok()
        })
}
