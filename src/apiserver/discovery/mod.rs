//! What the server offers: groups, versions and resources, its own version, its paths, its token keys.
//!
//! Documents follow from the catalogue of kinds alone. They are made on demand; clients keep them by their ETag.

mod aggregated;
mod catalog;
mod legacy;
pub(super) mod subresource;

use super::{
    codec::accept::{self, clauses},
    listen::{
        ServerConfig,
        answer::{self, Answer, JSON},
    },
};
use crate::{api::ApiError, config::KUBERNETES, kinds};
pub use catalog::groups;
use http::{HeaderMap, HeaderValue, header, request::Parts};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;

/// The Kubernetes release whose behavior this server shows.
pub const MAJOR: &str = "1";
pub const MINOR: &str = "36";

/// Paths besides groups and single health checks.
const PATHS: &[&str] = &[
    "/.well-known/openid-configuration",
    "/api",
    "/api/v1",
    "/apis",
    "/healthz",
    "/livez",
    "/metrics",
    "/openapi/v2",
    "/openapi/v3",
    "/openid/v1/jwks",
    "/readyz",
    "/version",
];

#[derive(Default)]
pub struct Discovery {}

impl Discovery {
    /// `None` when the path is none of ours.
    pub fn answer(&self, config: &ServerConfig, parts: &Parts) -> Result<Option<Answer>, ApiError> {
        let path = parts.uri.path().trim_end_matches('/');
        let headers = &parts.headers;
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        let groups = groups();
        let found = match segments.as_slice() {
            [] => json!({"paths": paths()}),
            ["version"] => version(),
            [".well-known", "openid-configuration"] => return Ok(Some(openid(config))),
            ["openid", "v1", "jwks"] => return Ok(Some(keys(config))),
            ["api"] => {
                let plain = || legacy::api_versions(&config.address);
                return root(headers, &aggregated::document(&groups, true), plain).map(Some);
            }
            ["apis"] => {
                let plain = || legacy::group_list(&groups);
                return root(headers, &aggregated::document(&groups, false), plain).map(Some);
            }
            ["apis", group] => match groups.iter().find(|known| known.name == *group) {
                Some(group) if !group.name.is_empty() => legacy::group(group),
                _ => return Ok(None),
            },
            ["api", version] | ["apis", _, version] => {
                let name = if segments.len() == 3 { segments[1] } else { "" };
                let group = groups.iter().find(|known| known.name == name);
                let found = group.and_then(|group| {
                    let versions = group.versions.iter();
                    let found = versions
                        .into_iter()
                        .find(|known| known.version == *version)?;
                    Some(legacy::resource_list(group, found))
                });
                match found {
                    Some(list) => list,
                    None => return Ok(None),
                }
            }
            _ => return Ok(None),
        };
        Ok(Some(json_answer(&found)))
    }
}

/// The wanted form of `/api` or `/apis`.
fn root(
    headers: &HeaderMap,
    whole: &Value,
    plain: impl FnOnce() -> Value,
) -> Result<Answer, ApiError> {
    let header = headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok());
    for clause in clauses(header) {
        if !clause.is_json() {
            continue;
        }
        match (clause.param("as"), clause.param("v")) {
            ("", _) => return Ok(with_etag(headers, JSON, &plain())),
            ("APIGroupDiscoveryList", "v2") => {
                return Ok(with_etag(headers, aggregated::CONTENT_TYPE, whole));
            }
            _ => {}
        }
    }
    Err(accept::not_acceptable(false))
}

/// 304 when the client has the document already.
fn with_etag(headers: &HeaderMap, content_type: &'static str, document: &Value) -> Answer {
    let text = document.to_string();
    let hash: String = Sha256::digest(text.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("hexadecimal digits");
    let mut answer = match headers.get(header::IF_NONE_MATCH) == Some(&etag) {
        true => answer::empty(304),
        false => answer::bytes(200, content_type, text),
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, etag);
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("public"));
    answer
}

fn json_answer(document: &Value) -> Answer {
    answer::bytes(200, JSON, format!("{document}\n"))
}

fn version() -> Value {
    json!({
        "major": MAJOR, "minor": MINOR, "emulationMajor": MAJOR, "emulationMinor": MINOR,
        "minCompatibilityMajor": MAJOR, "minCompatibilityMinor": "35", "gitVersion": format!("{KUBERNETES}+kubik{}", env!("CARGO_PKG_VERSION_MAJOR")),
        "gitCommit": "", "gitTreeState": "clean", "buildDate": "2026-01-01T00:00:00Z",
        "goVersion": "", "compiler": "rustc", "platform": "linux/amd64",
    })
}

fn paths() -> Vec<String> {
    let mut all: BTreeSet<String> = PATHS.iter().map(|&path| path.to_owned()).collect();
    for kind in kinds::all().iter().filter(|kind| !kind.group.is_empty()) {
        all.insert(format!("/apis/{}", kind.group));
        all.insert(format!("/apis/{}/{}", kind.group, kind.version));
    }
    all.into_iter().collect()
}

/// How others verify our service account tokens.
fn openid(config: &ServerConfig) -> Answer {
    let algorithms: BTreeSet<&str> = config
        .token_keys
        .iter()
        .filter_map(|key| key["alg"].as_str())
        .collect();
    let document = json!({
        "issuer": config.issuer, "jwks_uri": format!("https://{}/openid/v1/jwks", config.address),
        "response_types_supported": ["id_token"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": algorithms,
    });
    public(answer::bytes(200, JSON, document.to_string()))
}

fn keys(config: &ServerConfig) -> Answer {
    let document = json!({"keys": config.token_keys});
    public(answer::bytes(
        200,
        "application/jwk-set+json",
        document.to_string(),
    ))
}

fn public(mut answer: Answer) -> Answer {
    let hour = HeaderValue::from_static("public, max-age=3600");
    answer.headers_mut().insert(header::CACHE_CONTROL, hour);
    answer
}
