//! Who asks: client certificate, bearer token or nobody in particular, then impersonation.
//!
//! A credential that is shown but not good is an error, never anonymity. What a user may do is decided elsewhere;
//! only `impersonate` is asked for here, before the request is anybody else's.

use super::{
    authorize::{Attributes, refusal},
    registry::Registry,
};
use crate::{
    api::{ApiError, call::User},
    pki::request::{common_name, organizations},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, HeaderValue, header};
use percent_encoding::percent_decode_str;
use rustls_pki_types::CertificateDer;
use sha2::{Digest as _, Sha256};
use std::collections::BTreeMap;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

pub const AUTHENTICATED: &str = "system:authenticated";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
pub const ANONYMOUS: &str = "system:anonymous";
const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";
const AUTHENTICATION: &str = "authentication.k8s.io";
/// Browsers cannot set headers on a WebSocket; the token comes as one of the subprotocols.
const PROTOCOL_BEARER: &str = "base64url.bearer.authorization.k8s.io.";

/// The user of a certificate that the TLS stack has verified; `None` when it names nobody.
pub fn certificate_user(certificate: &CertificateDer<'_>) -> Option<User> {
    let (_, parsed) = X509Certificate::from_der(certificate.as_ref()).ok()?;
    let name = common_name(parsed.subject());
    if name.is_empty() {
        return None;
    }
    let mut groups = organizations(parsed.subject());
    groups.push(AUTHENTICATED.to_owned());
    let hash = Sha256::digest(certificate.as_ref());
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    let id = (CREDENTIAL_ID.to_owned(), vec![format!("X509SHA256={hex}")]);
    Some(User {
        name,
        uid: String::new(),
        groups,
        extra: BTreeMap::from([id]),
    })
}

pub fn anonymous() -> User {
    User {
        name: ANONYMOUS.to_owned(),
        groups: vec![UNAUTHENTICATED.to_owned()],
        ..User::default()
    }
}

/// The user of a request. Credentials are taken out of `headers`, so that nothing behind sees them.
pub fn user(
    registry: &Registry,
    certificate: Option<&User>,
    headers: &mut HeaderMap,
) -> Result<User, ApiError> {
    let token = bearer(headers);
    headers.remove(header::AUTHORIZATION);
    let asking = match (certificate, token) {
        (Some(user), _) => user.clone(),
        (None, Some(token)) => verified(registry, &token)?,
        (None, None) => anonymous(),
    };
    let Some(target) = Impersonation::parse(headers)? else {
        return Ok(asking);
    };
    target.authorize(&asking, |wanted| registry.authorize(&asking, wanted))?;
    Ok(target.user())
}

fn verified(registry: &Registry, token: &str) -> Result<User, ApiError> {
    let mut user = registry.verify_token(token)?;
    if !user.groups.iter().any(|group| group == AUTHENTICATED) {
        user.groups.push(AUTHENTICATED.to_owned());
    }
    Ok(user)
}

fn bearer(headers: &mut HeaderMap) -> Option<String> {
    if let Some(value) = headers.get(header::AUTHORIZATION)
        && let Some((scheme, token)) = value.to_str().ok()?.split_once(' ')
        && scheme.eq_ignore_ascii_case("bearer")
    {
        return Some(token.trim().to_owned());
    }
    let offered = headers.get(header::SEC_WEBSOCKET_PROTOCOL)?.to_str().ok()?;
    let (tokens, others): (Vec<&str>, Vec<&str>) = offered
        .split(',')
        .map(str::trim)
        .partition(|protocol| protocol.starts_with(PROTOCOL_BEARER));
    let encoded = tokens.first()?.strip_prefix(PROTOCOL_BEARER)?;
    let token = String::from_utf8(URL_SAFE_NO_PAD.decode(encoded).ok()?).ok()?;
    // The token must not be answered as the chosen protocol.
    let rest = HeaderValue::from_str(&others.join(", ")).ok()?;
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, rest);
    Some(token)
}

/// Whom a request wants to be taken for.
#[derive(Debug, Default, PartialEq, Eq)]
struct Impersonation {
    name: String,
    uid: String,
    groups: Vec<String>,
    extra: BTreeMap<String, Vec<String>>,
}

impl Impersonation {
    fn parse(headers: &mut HeaderMap) -> Result<Option<Impersonation>, ApiError> {
        let mut found = Impersonation::default();
        let names: Vec<_> = headers
            .keys()
            .filter(|name| name.as_str().starts_with("impersonate-"))
            .cloned()
            .collect();
        if names.is_empty() {
            return Ok(None);
        }
        for name in names {
            let texts = headers
                .get_all(&name)
                .iter()
                .filter_map(|value| value.to_str().ok());
            let texts: Vec<String> = texts.map(str::to_owned).collect();
            match name.as_str() {
                "impersonate-user" => found.name = texts.into_iter().next().unwrap_or_default(),
                "impersonate-uid" => found.uid = texts.into_iter().next().unwrap_or_default(),
                "impersonate-group" => found.groups = texts,
                other => {
                    if let Some(key) = other.strip_prefix("impersonate-extra-") {
                        let key = percent_decode_str(key).decode_utf8_lossy().to_lowercase();
                        found.extra.entry(key).or_default().extend(texts);
                    }
                }
            }
            headers.remove(name);
        }
        if found.name.is_empty() {
            return Err(ApiError::internal(
                "requested impersonation without impersonating a user",
            ));
        }
        Ok(Some(found))
    }

    /// Asks `may` for every part.
    fn authorize(
        &self,
        asking: &User,
        may: impl Fn(&Attributes<'_>) -> Result<(), ApiError>,
    ) -> Result<(), ApiError> {
        let base = Attributes {
            verb: "impersonate",
            version: "v1",
            ..Attributes::default()
        };
        let mut wanted = vec![match service_account(&self.name) {
            Some((namespace, name)) => Attributes {
                resource: "serviceaccounts",
                namespace,
                name,
                ..base
            },
            None => Attributes {
                resource: "users",
                name: &self.name,
                ..base
            },
        }];
        wanted.extend(self.groups.iter().map(|group| Attributes {
            resource: "groups",
            name: group,
            ..base
        }));
        if !self.uid.is_empty() {
            wanted.push(Attributes {
                group: AUTHENTICATION,
                resource: "uids",
                name: &self.uid,
                ..base
            });
        }
        for (key, values) in &self.extra {
            wanted.extend(values.iter().map(|value| Attributes {
                group: AUTHENTICATION,
                resource: "userextras",
                subresource: key,
                name: value,
                ..base
            }));
        }
        for attributes in &wanted {
            may(attributes).map_err(|refused| match refused.code {
                403 => refusal(asking, attributes, ""),
                _ => refused,
            })?;
        }
        Ok(())
    }

    fn user(self) -> User {
        let mut groups = self.groups;
        if groups.is_empty()
            && let Some((namespace, _)) = service_account(&self.name)
        {
            groups.push("system:serviceaccounts".to_owned());
            groups.push(format!("system:serviceaccounts:{namespace}"));
        }
        let implied = if self.name == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        if !groups
            .iter()
            .any(|group| group == AUTHENTICATED || group == UNAUTHENTICATED)
        {
            groups.push(implied.to_owned());
        }
        User {
            name: self.name,
            uid: self.uid,
            groups,
            extra: self.extra,
        }
    }
}

fn service_account(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("system:serviceaccount:")?.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn tokens_come_in_a_header_or_a_protocol() {
        let mut plain = headers(&[("authorization", "bearer  abc ")]);
        assert_eq!(bearer(&mut plain).as_deref(), Some("abc"));
        let offered = "v4.channel.k8s.io, base64url.bearer.authorization.k8s.io.YWJj";
        let mut socket = headers(&[("sec-websocket-protocol", offered)]);
        assert_eq!(bearer(&mut socket).as_deref(), Some("abc"));
        assert_eq!(socket[header::SEC_WEBSOCKET_PROTOCOL], "v4.channel.k8s.io");
        assert_eq!(
            bearer(&mut headers(&[("authorization", "Basic eA==")])),
            None
        );
    }

    #[test]
    fn impersonation_asks_for_every_part() {
        let mut headers = headers(&[
            ("impersonate-user", "system:serviceaccount:ns:sa"),
            ("impersonate-group", "dev"),
            ("impersonate-group", "ops"),
            ("impersonate-uid", "u1"),
            ("impersonate-extra-acme.com%2Fproject", "x"),
            ("accept", "*/*"),
        ]);
        let target = Impersonation::parse(&mut headers).unwrap().unwrap();
        assert_eq!(headers.len(), 1);
        let asked = std::cell::RefCell::new(Vec::new());
        let allow = |wanted: &Attributes<'_>| {
            let shown = format!("{}/{}/{}", wanted.resource, wanted.subresource, wanted.name);
            asked.borrow_mut().push(shown);
            Ok(())
        };
        target.authorize(&anonymous(), allow).unwrap();
        assert_eq!(
            asked.into_inner(),
            [
                "serviceaccounts//sa",
                "groups//dev",
                "groups//ops",
                "uids//u1",
                "userextras/acme.com/project/x"
            ]
        );
        assert_eq!(target.user().groups, ["dev", "ops", AUTHENTICATED]);
    }

    #[test]
    fn impersonation_is_refused_in_the_asking_users_name() {
        let target = Impersonation {
            name: "x".to_owned(),
            ..Impersonation::default()
        };
        let asking = User::component("y", &[]);
        let refused = target.authorize(&asking, |wanted| Err(refusal(&asking, wanted, "why")));
        assert_eq!(
            refused.unwrap_err().message,
            "users \"x\" is forbidden: User \"y\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
        );
        let mut lonely = headers(&[("impersonate-group", "dev")]);
        assert_eq!(Impersonation::parse(&mut lonely).unwrap_err().code, 500);
    }

    #[test]
    fn service_accounts_keep_their_groups() {
        let target = Impersonation {
            name: "system:serviceaccount:ns:sa".to_owned(),
            ..Impersonation::default()
        };
        assert_eq!(
            target.user().groups,
            [
                "system:serviceaccounts",
                "system:serviceaccounts:ns",
                AUTHENTICATED
            ]
        );
    }
}
