//! Service account tokens: JSON Web Tokens that this cluster signs and believes.
//!
//! Only form and signature are judged here; whether the account and what the token is bound to still exist, the
//! registry looks up.

use crate::{api::ApiError, pki::TokenKey};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::sync::Arc;

/// Clocks of issuer and verifier may differ by this.
const LEEWAY_SECONDS: i64 = 10;
const LEGACY_ISSUER: &str = "kubernetes/serviceaccount";
/// A token is a few hundred bytes; more is no token of ours.
const LENGTH_MAX: usize = 16 << 10;

/// Makes and reads tokens.
pub struct Tokens {
    key: Arc<TokenKey>,
    issuer: String,
}

/// A name that comes with the uid it stood for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Named {
    pub name: String,
    pub uid: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    pub aud: Vec<String>,
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: Private,
    pub nbf: i64,
    pub sub: String,
}

/// What Kubernetes adds: whose token it is and what its life hangs on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Private {
    pub namespace: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub node: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pod: Option<Named>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Named>,
    pub serviceaccount: Named,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warnafter: Option<i64>,
}

/// Tokens that lie in Secrets and last as long as these. The controller that writes them spells them this way.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct LegacyClaims {
    #[serde(rename = "kubernetes.io/serviceaccount/namespace")]
    pub namespace: String,
    #[serde(rename = "kubernetes.io/serviceaccount/secret.name")]
    pub secret: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.name")]
    pub account: String,
    #[serde(rename = "kubernetes.io/serviceaccount/service-account.uid")]
    pub uid: String,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    Bound(Box<Claims>),
    Legacy(LegacyClaims),
}

#[derive(Deserialize)]
struct Issuer {
    iss: String,
}

#[derive(Debug, Deserialize)]
struct Header {
    alg: String,
    kid: String,
}

impl Tokens {
    #[must_use]
    pub fn new(key: Arc<TokenKey>, issuer: String) -> Tokens {
        Tokens { key, issuer }
    }

    /// Also the audience of tokens that name none.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, ApiError> {
        self.key.jwt(claims).map_err(ApiError::internal)
    }

    /// The claims of a token that we signed and that has not expired. The error is a text for people.
    pub fn open(&self, token: &str, now: i64) -> Result<Opened, String> {
        if token.len() > LENGTH_MAX {
            return Err("token is too long".to_owned());
        }
        let mut parts = token.splitn(3, '.');
        let (Some(header), Some(body), Some(signature)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return Err("malformed token".to_owned());
        };
        let decode = |part: &str| {
            BASE64_URL_SAFE_NO_PAD
                .decode(part)
                .map_err(|_| "malformed token".to_owned())
        };
        let head: Header = serde_json::from_slice(&decode(header)?).map_err(|e| e.to_string())?;
        if head.alg != "ES256" || head.kid != self.key.id() {
            return Err("the token is signed by an unknown key".to_owned());
        }
        let signed = &token[..header.len() + 1 + body.len()];
        if !self.key.verifies(signed.as_bytes(), &decode(signature)?) {
            return Err("invalid signature".to_owned());
        }
        let body = decode(body)?;
        let Issuer { iss } = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        if iss == LEGACY_ISSUER {
            let claims = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
            return Ok(Opened::Legacy(claims));
        }
        if iss != self.issuer {
            return Err(format!("unknown issuer {iss:?}"));
        }
        let claims: Claims = serde_json::from_slice(&body).map_err(|e| e.to_string())?;
        if now > claims.exp + LEEWAY_SECONDS {
            return Err("service account token has expired".to_owned());
        }
        if now < claims.nbf - LEEWAY_SECONDS {
            return Err("service account token is not valid yet".to_owned());
        }
        Ok(Opened::Bound(Box::new(claims)))
    }

    /// `/openid/v1/jwks`.
    #[must_use]
    pub fn jwks(&self) -> Value {
        json!({"keys": [self.key.jwk()]})
    }

    /// `/.well-known/openid-configuration`; `jwks_uri` is where others fetch [`Tokens::jwks`].
    #[must_use]
    pub fn openid_configuration(&self, jwks_uri: &str) -> Value {
        json!({
            "issuer": self.issuer,
            "jwks_uri": jwks_uri,
            "response_types_supported": ["id_token"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["ES256"],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claims() -> Claims {
        Claims {
            aud: vec!["api".to_owned()],
            exp: 2000,
            iat: 1000,
            iss: "me".to_owned(),
            jti: "j".to_owned(),
            kubernetes: Private {
                namespace: "ns".to_owned(),
                node: None,
                pod: None,
                secret: None,
                serviceaccount: Named {
                    name: "a".to_owned(),
                    uid: "u".to_owned(),
                },
                warnafter: None,
            },
            nbf: 1000,
            sub: "system:serviceaccount:ns:a".to_owned(),
        }
    }

    fn tokens(issuer: &str) -> Tokens {
        Tokens::new(Arc::new(TokenKey::generate().unwrap()), issuer.to_owned())
    }

    #[test]
    fn a_token_is_believed_while_it_lasts() {
        let ours = tokens("me");
        let token = ours.sign(&claims()).unwrap();
        assert_eq!(
            ours.open(&token, 1500),
            Ok(Opened::Bound(Box::new(claims())))
        );
        assert!(ours.open(&token, 2011).is_err());
        assert!(ours.open(&token, 900).is_err());
        assert!(tokens("me").open(&token, 1500).is_err());
        let (head, _) = token.rsplit_once('.').unwrap();
        for bad in ["", "a.b.c", head, &format!("{head}.AAAA")] {
            assert!(ours.open(bad, 1500).is_err(), "{bad}");
        }
    }

    #[test]
    fn claims_are_spelled_as_upstreams() {
        let text = serde_json::to_string(&claims()).unwrap();
        assert_eq!(
            text,
            r#"{"aud":["api"],"exp":2000,"iat":1000,"iss":"me","jti":"j","kubernetes.io":{"namespace":"ns","serviceaccount":{"name":"a","uid":"u"}},"nbf":1000,"sub":"system:serviceaccount:ns:a"}"#
        );
    }
}
