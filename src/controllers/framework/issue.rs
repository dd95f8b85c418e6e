//! Certificates and tokens: signs what a controller decided to issue. The signature is what makes this no decision:
//! it needs the cluster's keys and chance.

use super::action::{Issue, Write};
use crate::pki::Pki;
use anyhow::{Context, Result};
use jiff::Timestamp;
use k8s_openapi::ByteString;

const TOKEN: &str = "token";

/// The write that hands the document over.
pub fn signed(issue: Issue, pki: &Pki, now: Timestamp) -> Result<Write> {
    match issue {
        Issue::Certificate {
            mut object,
            request,
            grant,
        } => {
            let certificate = pki
                .sign_request(&request, &grant, now)
                .context("sign a certificate request")?;
            let status = object.status.get_or_insert_default();
            status.certificate = Some(ByteString(certificate.into_bytes()));
            Ok(Write::update_status(&*object))
        }
        Issue::Token { mut secret, claims } => {
            let token = pki.token_key().jwt(&claims)?;
            let data = secret.data.get_or_insert_default();
            data.insert(TOKEN.to_owned(), ByteString(token.into_bytes()));
            Ok(Write::update(&*secret))
        }
    }
}
