//! Approves the client certificates of nodes, when who asks may have them.

use super::{NODE_CLIENT, asked, certificate, condition, sign::judge_node_client, usages};
use crate::controllers::framework::{Controller, Decision, Question, Watches, World, Write};
use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
};

pub struct Approving;

impl Controller for Approving {
    type Primary = CertificateSigningRequest;

    fn watches(_: &mut Watches) {}

    fn reconcile(&self, object: &CertificateSigningRequest, _: &World) -> Decision {
        let mut decision = Decision::default();
        let is_judged = ["Approved", "Denied"]
            .iter()
            .any(|kind| condition(object, kind).is_some());
        if object.spec.signer_name != NODE_CLIENT || is_judged || !certificate(object).is_empty() {
            return decision;
        }
        let Some(request) = asked(object) else {
            return decision;
        };
        if judge_node_client(&request, &usages(object)).is_err() {
            return decision;
        }
        let mut choices = Vec::new();
        if object.spec.username.as_deref() == Some(request.common_name.as_str()) {
            let why = "Auto approving self kubelet client certificate after SubjectAccessReview.";
            choices.push((review(object, "selfnodeclient"), approval(object, why)));
        }
        let why = "Auto approving kubelet client certificate after SubjectAccessReview.";
        choices.push((review(object, "nodeclient"), approval(object, why)));
        decision.push(Question { choices });
        decision
    }
}

fn review(object: &CertificateSigningRequest, subresource: &str) -> SubjectAccessReview {
    let spec = &object.spec;
    SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: spec.username.clone(),
            uid: spec.uid.clone(),
            groups: spec.groups.clone(),
            extra: spec.extra.clone(),
            resource_attributes: Some(ResourceAttributes {
                group: Some("certificates.k8s.io".to_owned()),
                resource: Some("certificatesigningrequests".to_owned()),
                verb: Some("create".to_owned()),
                subresource: Some(subresource.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    }
}

fn approval(object: &CertificateSigningRequest, message: &str) -> Write {
    let mut approved = object.clone();
    let status = approved.status.get_or_insert_default();
    let conditions = status.conditions.get_or_insert_default();
    conditions.push(CertificateSigningRequestCondition {
        type_: "Approved".to_owned(),
        status: "True".to_owned(),
        reason: Some("AutoApproved".to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    });
    Write::update(&approved).on_sub("approval")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::controllers::framework::testing::Stage;
    use serde_json::json;

    const REQUEST: &str = "\
-----BEGIN CERTIFICATE REQUEST-----
MIHqMIGRAgEAMC8xFTATBgNVBAoMDHN5c3RlbTpub2RlczEWMBQGA1UEAwwNc3lz
dGVtOm5vZGU6bjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABH3xdMS1luRQIBhL
bLEiP597MjiDsNfuTPAehBB+4HjGiv+GYYYuPWMHv7wJlUmZYqbuiL7SaPHLv7Rp
x+4cZ26gADAKBggqhkjOPQQDAgNIADBFAiEA9YildwDRUcFaqdYx8svBH/UVUxmV
1Sa4cYcLCo9q230CICvMRyWOtFb2kZgbIlQHRge0ZdSsNHJyvMLOFsNfnF/C
-----END CERTIFICATE REQUEST-----
";

    #[test]
    fn nodes_get_what_they_may_have() {
        for (allow, expected) in [
            (None, None),
            (Some("nodeclient"), Some("AutoApproved")),
            (Some("selfnodeclient"), None),
        ] {
            let mut stage = Stage::new(Approving);
            stage.allow = allow;
            stage.put::<CertificateSigningRequest>(json!({
                "metadata": {"name": "n"},
                "spec": {
                    "request": k8s_openapi::ByteString(REQUEST.as_bytes().to_vec()),
                    "signerName": NODE_CLIENT, "usages": ["client auth", "digital signature"],
                    "username": "system:bootstrap:abcdef",
                },
            }));
            stage.settle();
            let object: CertificateSigningRequest = stage.get("", "n");
            let verdict = condition(&object, "Approved");
            let reason = verdict.and_then(|one| one.reason.as_deref());
            assert_eq!(reason, expected, "{allow:?}");
        }
    }
}
