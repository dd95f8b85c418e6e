//! Certificate requests: approves what nodes ask for themselves, signs what is approved, removes what is done with.
//!
//! The signers are `kubernetes.io`'s own three that the API still accepts; requests to others are left alone.

mod approve;
mod clean;
mod sign;

use super::{ControllerContext, framework};
use crate::pki::request::{self, Request};
use k8s_openapi::api::certificates::v1::{
    CertificateSigningRequest, CertificateSigningRequestCondition,
};

const CLIENT: &str = "kubernetes.io/kube-apiserver-client";
const NODE_CLIENT: &str = "kubernetes.io/kube-apiserver-client-kubelet";
const NODE_SERVING: &str = "kubernetes.io/kubelet-serving";

const IDENTITY: &str = "certificate-controller";

pub fn start_approving(ctx: &ControllerContext) {
    framework::start(ctx, IDENTITY, IDENTITY, approve::Approving);
}

pub fn start_signing(ctx: &ControllerContext) {
    framework::start(ctx, IDENTITY, IDENTITY, sign::Signing);
}

pub fn start_cleaning(ctx: &ControllerContext) {
    framework::start(ctx, IDENTITY, IDENTITY, clean::Cleaning);
}

fn condition<'a>(
    object: &'a CertificateSigningRequest,
    kind: &str,
) -> Option<&'a CertificateSigningRequestCondition> {
    let conditions = object.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|one| one.type_ == kind)
}

fn certificate(object: &CertificateSigningRequest) -> &[u8] {
    let status = object.status.as_ref();
    let certificate = status.and_then(|status| status.certificate.as_ref());
    certificate.map_or(&[], |certificate| &certificate.0)
}

/// What is asked for; the API server has refused what cannot be read.
fn asked(object: &CertificateSigningRequest) -> Option<Request> {
    request::parse(&String::from_utf8_lossy(&object.spec.request.0)).ok()
}

fn usages(object: &CertificateSigningRequest) -> Vec<&str> {
    let usages = object.spec.usages.iter().flatten();
    usages.map(String::as_str).collect()
}
