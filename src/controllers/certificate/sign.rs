//! Signs approved requests, or says why their signer will not.

use super::{CLIENT, NODE_CLIENT, NODE_SERVING, asked, certificate, condition, usages};
use crate::{
    controllers::framework::{Controller, Decision, Issue, Watches, World, Write},
    pki::{AltName, ExtendedUsage, Grant, Usage, request::Request},
};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};
use std::time::Duration;

/// What a certificate is good for when its request does not say, and at most.
const LIFE: Duration = Duration::from_secs(365 * 24 * 3600);
const LIFE_MIN: Duration = Duration::from_secs(600);
/// Certificates begin this long in the past; from a life that is not short it is taken away.
const BACKDATE: Duration = Duration::from_secs(300);
const SHORT: Duration = Duration::from_secs(8 * 3600);

pub struct Signing;

impl Controller for Signing {
    type Primary = CertificateSigningRequest;

    fn watches(_: &mut Watches) {}

    fn reconcile(&self, object: &CertificateSigningRequest, world: &World) -> Decision {
        let mut decision = Decision::default();
        let is_done = condition(object, "Approved").is_none()
            || condition(object, "Failed").is_some()
            || !certificate(object).is_empty();
        if is_done {
            return decision;
        }
        let (Some(request), signer) = (asked(object), object.spec.signer_name.as_str()) else {
            return decision;
        };
        match judge(signer, &request, &usages(object)) {
            None => {}
            Some(Ok(())) => decision.push(Issue::Certificate {
                object: Box::new(object.clone()),
                request,
                grant: grant(object),
            }),
            Some(Err(why)) => {
                let mut failed = object.clone();
                let status = failed.status.get_or_insert_default();
                let conditions = status.conditions.get_or_insert_default();
                conditions.push(CertificateSigningRequestCondition {
                    type_: "Failed".to_owned(),
                    status: "True".to_owned(),
                    reason: Some("SignerValidationFailure".to_owned()),
                    message: Some(why),
                    last_update_time: Some(world.stamp()),
                    ..CertificateSigningRequestCondition::default()
                });
                decision.push(Write::update_status(&failed));
            }
        }
        decision
    }
}

/// `None` for signers of others.
fn judge(signer: &str, request: &Request, usages: &[&str]) -> Option<Result<(), String>> {
    match signer {
        CLIENT => Some(judge_client(usages)),
        NODE_CLIENT => Some(judge_node_client(request, usages).map_err(str::to_owned)),
        NODE_SERVING => Some(judge_node_serving(request, usages).map_err(str::to_owned)),
        _ => None,
    }
}

fn judge_client(usages: &[&str]) -> Result<(), String> {
    let known = ["client auth", "digital signature", "key encipherment"];
    if let Some(other) = usages.iter().find(|usage| !known.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.contains(&"client auth") {
        return Err("missing required usage for client certificate: client auth".to_owned());
    }
    Ok(())
}

pub fn judge_node_client(request: &Request, usages: &[&str]) -> Result<(), &'static str> {
    judge_organization(request)?;
    if let Some(name) = request.names.first() {
        return Err(match name {
            AltName::Dns(_) => "DNS subjectAltNames are not allowed",
            AltName::Email(_) => "Email subjectAltNames are not allowed",
            AltName::Ip(_) => "IP subjectAltNames are not allowed",
            AltName::Uri(_) => "URI subjectAltNames are not allowed",
        });
    }
    judge_common_name(request)?;
    let why = "usages did not match [client auth digital signature key encipherment]";
    judge_usages(usages, "client auth", why)
}

fn judge_node_serving(request: &Request, usages: &[&str]) -> Result<(), &'static str> {
    judge_organization(request)?;
    let has = |wanted: fn(&AltName) -> bool| request.names.iter().any(wanted);
    if !has(|name| matches!(name, AltName::Dns(_) | AltName::Ip(_))) {
        return Err("DNS or IP subjectAltName is required");
    }
    if has(|name| matches!(name, AltName::Email(_))) {
        return Err("Email subjectAltNames are not allowed");
    }
    if has(|name| matches!(name, AltName::Uri(_))) {
        return Err("URI subjectAltNames are not allowed");
    }
    let why = "usages did not match [digital signature key encipherment server auth]";
    judge_usages(usages, "server auth", why)?;
    judge_common_name(request)
}

fn judge_organization(request: &Request) -> Result<(), &'static str> {
    match request.organizations.as_slice() {
        [one] if one == "system:nodes" => Ok(()),
        _ => Err("subject organization is not system:nodes"),
    }
}

fn judge_common_name(request: &Request) -> Result<(), &'static str> {
    if request.common_name.starts_with("system:node:") {
        return Ok(());
    }
    Err("subject common name does not begin with system:node:")
}

/// Keys that cannot encipher need not be allowed to.
fn judge_usages(usages: &[&str], purpose: &str, why: &'static str) -> Result<(), &'static str> {
    let mut usages = usages.to_vec();
    usages.sort_unstable();
    usages.dedup();
    usages.retain(|usage| *usage != "key encipherment");
    let mut wanted = ["digital signature", purpose];
    wanted.sort_unstable();
    if usages == wanted { Ok(()) } else { Err(why) }
}

fn grant(object: &CertificateSigningRequest) -> Grant {
    let wished = object.spec.expiration_seconds;
    let wished = wished.and_then(|seconds| u64::try_from(seconds).ok());
    let mut life = wished.map_or(LIFE, Duration::from_secs);
    life = life.clamp(LIFE_MIN, LIFE);
    if life >= SHORT {
        life -= BACKDATE;
    }
    let mut grant = Grant {
        usages: Vec::new(),
        extended: Vec::new(),
        life,
    };
    for usage in usages(object) {
        match usage {
            "digital signature" => grant.usages.push(Usage::DigitalSignature),
            "key encipherment" => grant.usages.push(Usage::KeyEncipherment),
            "client auth" => grant.extended.push(ExtendedUsage::ClientAuth),
            "server auth" => grant.extended.push(ExtendedUsage::ServerAuth),
            _ => {}
        }
    }
    grant
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::{Value, json};

    fn request(name: &str, organization: &str, names: Vec<AltName>) -> Request {
        Request {
            subject: Vec::new(),
            common_name: name.to_owned(),
            organizations: vec![organization.to_owned()],
            public_key: Vec::new(),
            names,
        }
    }

    #[test]
    fn signers_say_why_not() {
        let node = |names| request("system:node:n", "system:nodes", names);
        let dns = || vec![AltName::Dns("n".to_owned())];
        let client = ["client auth", "digital signature"];
        let server = ["digital signature", "server auth"];
        let cases: [(&str, Request, &[&str], &str); 9] = [
            (CLIENT, request("jane", "dev", vec![]), &client, ""),
            (
                CLIENT,
                request("jane", "dev", vec![]),
                &["server auth"],
                "invalid usage for client certificate: server auth",
            ),
            (
                CLIENT,
                request("jane", "dev", vec![]),
                &["digital signature"],
                "missing required usage for client certificate: client auth",
            ),
            (NODE_CLIENT, node(vec![]), &client, ""),
            (
                NODE_CLIENT,
                node(dns()),
                &client,
                "DNS subjectAltNames are not allowed",
            ),
            (
                NODE_CLIENT,
                request("jane", "system:nodes", vec![]),
                &client,
                "subject common name does not begin with system:node:",
            ),
            (NODE_SERVING, node(dns()), &server, ""),
            (
                NODE_SERVING,
                node(vec![]),
                &server,
                "DNS or IP subjectAltName is required",
            ),
            (
                NODE_SERVING,
                node(dns()),
                &client,
                "usages did not match [digital signature key encipherment server auth]",
            ),
        ];
        for (signer, request, usages, expected) in cases {
            let found = judge(signer, &request, usages).unwrap();
            assert_eq!(found.err().unwrap_or_default(), expected, "{signer}");
        }
        assert!(judge("example.com/s", &node(vec![]), &client).is_none());
    }

    fn object(usages: &Value, approved: bool) -> Value {
        let verdict = json!([{"type": "Approved", "status": "True"}]);
        json!({
            "metadata": {"name": "jane"},
            "spec": {
                "request": k8s_openapi::ByteString(REQUEST.as_bytes().to_vec()),
                "signerName": CLIENT, "usages": usages, "expirationSeconds": 3600,
            },
            "status": {"conditions": if approved { verdict } else { json!([]) }},
        })
    }

    const REQUEST: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIHyMIGaAgEAMDgxDDAKBgNVBAoMA2RldjEMMAoGA1UECgwDb3BzMQswCQYDVQQK
DAJxYTENMAsGA1UEAwwEamFuZTBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH3x
dMS1luRQIBhLbLEiP597MjiDsNfuTPAehBB+4HjGiv+GYYYuPWMHv7wJlUmZYqbu
iL7SaPHLv7Rpx+4cZ26gADAKBggqhkjOPQQDAgNHADBEAiBgscJDY9DwFsfEdV8y
QraSm627EF4RosX+wHW16NTqqgIgSgUZ5Q5EEXGBIjj2zGGShvpkYJ6vrBEiu9w8
0KXszUY=
-----END CERTIFICATE REQUEST-----
";

    #[test]
    fn only_what_is_approved_is_signed() {
        let mut stage = Stage::new(Signing);
        stage.put::<CertificateSigningRequest>(object(&json!(["client auth"]), false));
        stage.settle();
        let waiting: CertificateSigningRequest = stage.get("", "jane");
        assert!(certificate(&waiting).is_empty());
        stage.put::<CertificateSigningRequest>(object(&json!(["client auth"]), true));
        stage.settle();
        let signed: CertificateSigningRequest = stage.get("", "jane");
        let text = String::from_utf8(certificate(&signed).to_vec()).unwrap();
        let end = crate::pki::end(&text).unwrap();
        assert_eq!(end.as_second(), stage.now.as_second() + 3600);
    }

    #[test]
    fn what_a_signer_refuses_has_failed() {
        let mut stage = Stage::new(Signing);
        stage.put::<CertificateSigningRequest>(object(&json!(["server auth"]), true));
        stage.settle();
        let failed: CertificateSigningRequest = stage.get("", "jane");
        let reason = condition(&failed, "Failed").unwrap().reason.clone();
        assert_eq!(reason.as_deref(), Some("SignerValidationFailure"));
        assert!(certificate(&failed).is_empty());
    }
}
