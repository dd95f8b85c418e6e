//! Who may approve and sign certificate requests, and what may not be asked for.

use super::{Attempt, Operation};
use crate::{
    api::ApiError,
    apiserver::{authorize::Attributes, registry::metadata::text},
    pki::request,
};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::Value;

const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";

pub fn check(attempt: &Attempt<'_>, csr: &Value) -> Result<(), ApiError> {
    let signer = text(&csr["spec"], "signerName");
    match (attempt.operation, attempt.subresource()) {
        (Operation::Create, "") => check_subject(attempt, csr, signer),
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

fn check_subject(attempt: &Attempt<'_>, csr: &Value, signer: &str) -> Result<(), ApiError> {
    if signer != CLIENT_SIGNER {
        return Ok(());
    }
    let pem = BASE64_STANDARD
        .decode(text(&csr["spec"], "request"))
        .unwrap_or_default();
    let Ok(request) = request::parse(&String::from_utf8_lossy(&pem)) else {
        return Ok(());
    };
    if request
        .organizations
        .iter()
        .any(|group| group == "system:masters")
    {
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
