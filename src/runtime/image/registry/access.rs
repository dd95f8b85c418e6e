//! One way into one repository: where to ask, with which credential, and the tokens it was given.

use super::{
    super::{Options, reference::Reference},
    challenge::{self, Challenge},
    connection,
    proxy::Proxies,
    trust::Trust,
};
use crate::runtime::model::Credential;
use base64::{Engine, engine::general_purpose::STANDARD};
use http::{HeaderMap, HeaderValue, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use serde::Deserialize;
use std::sync::Mutex;

const REDIRECTS_MAX: usize = 5;
const TOKEN_BYTES_MAX: usize = 1 << 20;
const COMPLAINT_BYTES_MAX: usize = 4 << 10;

/// Why a request brought nothing.
#[derive(Debug)]
pub enum Refusal {
    NotFound,
    Denied(String),
    /// Anything else it answered, in words.
    Status(String),
    Unreachable(String),
}

pub struct Access {
    /// `https://registry-1.docker.io/v2/library/nginx`.
    base: String,
    trust: Trust,
    proxies: Proxies,
    credential: Option<Credential>,
    /// The value of the `Authorization` header that worked last.
    authorization: Mutex<Option<String>>,
}

/// Mirrors first, then the registry itself; each with every credential for the image, or without one.
pub fn candidates(
    reference: &Reference,
    credentials: &[Credential],
    options: &Options,
) -> Vec<Access> {
    let mut addresses: Vec<(String, bool)> = Vec::new();
    for mirror in options.mirrors.get(&reference.domain).into_iter().flatten() {
        let is_plain = mirror.starts_with("http://");
        let whole = if mirror.contains("://") {
            mirror.clone()
        } else {
            format!("https://{mirror}")
        };
        addresses.push((whole, is_plain));
    }
    let host = match reference.domain.as_str() {
        "docker.io" => "registry-1.docker.io",
        other => other,
    };
    let insecure = is_loopback(host) || options.insecure.contains(host);
    addresses.push((format!("https://{host}"), insecure));
    if insecure {
        addresses.push((format!("http://{host}"), true));
    }
    let mut fitting: Vec<Option<Credential>> = credentials
        .iter()
        .filter(|credential| fits(credential, reference))
        .cloned()
        .map(Some)
        .collect();
    if fitting.is_empty() {
        fitting.push(None);
    }
    let mut all = Vec::new();
    for (address, insecure) in addresses {
        for credential in &fitting {
            all.push(Access {
                base: format!("{}/v2/{}", address.trim_end_matches('/'), reference.path),
                trust: if insecure {
                    Trust::Anything
                } else {
                    Trust::verified(&options.authorities, &authority(&address))
                },
                proxies: options.proxies.clone(),
                credential: credential.clone(),
                authorization: Mutex::default(),
            });
        }
    }
    all
}

/// `host[:port]` of an address.
fn authority(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or_default().to_owned()
}

fn is_loopback(host: &str) -> bool {
    let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
    name == "localhost"
        || name == "[::1]"
        || name
            .parse::<std::net::Ipv4Addr>()
            .is_ok_and(|ip| ip.is_loopback())
}

/// A credential is for a host, or for a path below it. Docker's own registry has several names.
fn fits(credential: &Credential, reference: &Reference) -> bool {
    let server = credential
        .server
        .trim_start_matches("https://")
        .trim_start_matches("http://");
    let server = server
        .trim_end_matches('/')
        .trim_end_matches("/v1")
        .trim_end_matches("/v2")
        .trim_end_matches('/');
    let server = match server {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        other => other,
    };
    let name = reference.name();
    server == reference.domain || name == server || name.starts_with(&format!("{server}/"))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct TokenAnswer {
    token: String,
    access_token: String,
}

impl Access {
    /// GET of `manifests/…` or `blobs/…`, from byte `offset` on. Answers successful responses only.
    pub async fn get(
        &self,
        part: &str,
        accept: &str,
        offset: u64,
    ) -> Result<Response<Incoming>, Refusal> {
        let url = format!("{}/{part}", self.base);
        let mut known = self
            .authorization
            .lock()
            .expect("no panic while locked")
            .clone();
        for _ in 0..2 {
            let response = self.follow(&url, accept, offset, known.as_deref()).await?;
            let status = response.status();
            match status {
                _ if status.is_success() => return Ok(response),
                StatusCode::UNAUTHORIZED => {
                    let fresh = self.authorize(response.headers()).await?;
                    *self.authorization.lock().expect("no panic while locked") =
                        Some(fresh.clone());
                    if known.replace(fresh.clone()).as_ref() == Some(&fresh) {
                        break;
                    }
                }
                StatusCode::NOT_FOUND => return Err(Refusal::NotFound),
                StatusCode::FORBIDDEN => {
                    return Err(Refusal::Denied(
                        "authorization failed: forbidden".to_owned(),
                    ));
                }
                _ => {
                    let mut text = format!("unexpected status from GET request to {url}: {status}");
                    if let Some(why) = explanation(response.into_body()).await {
                        text.push_str(": ");
                        text.push_str(&why);
                    }
                    return Err(Refusal::Status(text));
                }
            }
        }
        Err(Refusal::Denied(
            "authorization failed: the credentials were refused".to_owned(),
        ))
    }

    /// Marks of the credential, if the registry wanted one.
    pub fn used(&self) -> Vec<String> {
        let was_asked = self
            .authorization
            .lock()
            .expect("no panic while locked")
            .is_some();
        let credential = self.credential.as_ref().filter(|_| was_asked);
        credential.map(Credential::marks).unwrap_or_default()
    }

    /// Follows redirects. The credential stays with the registry: stores it redirects to have their own signatures.
    async fn follow(
        &self,
        url: &str,
        accept: &str,
        offset: u64,
        authorization: Option<&str>,
    ) -> Result<Response<Incoming>, Refusal> {
        let mut url: Uri = url
            .parse()
            .map_err(|e| Refusal::Unreachable(format!("{url}: {e}")))?;
        let home = url.authority().cloned();
        for _ in 0..REDIRECTS_MAX {
            let mut headers = HeaderMap::new();
            let mut set = |name, value: &str| {
                if let Ok(value) = HeaderValue::from_str(value) {
                    headers.insert(name, value);
                }
            };
            set(header::ACCEPT, accept);
            if offset > 0 {
                set(header::RANGE, &format!("bytes={offset}-"));
            }
            if let Some(value) = authorization.filter(|_| url.authority() == home.as_ref()) {
                set(header::AUTHORIZATION, value);
            }
            let unreachable = |why: String| {
                Refusal::Unreachable(format!("failed to do request: Get \"{url}\": {why}"))
            };
            let response = connection::get(&url, headers, &self.trust, &self.proxies)
                .await
                .map_err(unreachable)?;
            if !response.status().is_redirection() {
                return Ok(response);
            }
            url = redirected(&url, response.headers())
                .ok_or_else(|| Refusal::Unreachable(format!("{url} redirects to nowhere")))?;
        }
        Err(Refusal::Unreachable(format!("{url}: too many redirects")))
    }

    async fn authorize(&self, headers: &HeaderMap) -> Result<String, Refusal> {
        let offered = headers
            .get_all(header::WWW_AUTHENTICATE)
            .iter()
            .filter_map(|value| value.to_str().ok());
        let Some(challenge) = offered.filter_map(challenge::parse).next() else {
            return Err(Refusal::Denied(
                "authorization failed: no known challenge".to_owned(),
            ));
        };
        match challenge {
            Challenge::Basic => self.basic().ok_or_else(|| {
                Refusal::Denied("authorization failed: no basic auth credentials".to_owned())
            }),
            Challenge::Bearer {
                realm,
                service,
                scope,
            } => {
                let scope = if scope.is_empty() {
                    self.pull_scope()
                } else {
                    scope
                };
                self.token(&realm, &service, &scope).await
            }
        }
    }

    fn basic(&self) -> Option<String> {
        let credential = self.credential.as_ref()?;
        let pair = format!("{}:{}", credential.username, credential.password);
        Some(format!("Basic {}", STANDARD.encode(pair)))
    }

    fn pull_scope(&self) -> String {
        let path = self.base.split_once("/v2/").map_or("", |(_, path)| path);
        format!("repository:{path}:pull")
    }

    async fn token(&self, realm: &str, service: &str, scope: &str) -> Result<String, Refusal> {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("service", service)
            .append_pair("scope", scope)
            .finish();
        let separator = if realm.contains('?') { '&' } else { '?' };
        let url = format!("{realm}{separator}{query}");
        let unreachable = |why: String| {
            Refusal::Unreachable(format!("failed to fetch oauth token: {url}: {why}"))
        };
        let uri: Uri = url.parse().map_err(|e| unreachable(format!("{e}")))?;
        let mut headers = HeaderMap::new();
        if let Some(value) = self
            .basic()
            .and_then(|value| HeaderValue::from_str(&value).ok())
        {
            headers.insert(header::AUTHORIZATION, value);
        }
        let response = connection::get(&uri, headers, &self.trust, &self.proxies)
            .await
            .map_err(unreachable)?;
        if !response.status().is_success() {
            let why = format!(
                "authorization failed: failed to fetch oauth token: {}",
                response.status()
            );
            return Err(Refusal::Denied(why));
        }
        let bytes = connection::text(response.into_body(), TOKEN_BYTES_MAX)
            .await
            .map_err(unreachable)?;
        let answer: TokenAnswer =
            serde_json::from_slice(&bytes).map_err(|e| unreachable(e.to_string()))?;
        let token = if answer.token.is_empty() {
            answer.access_token
        } else {
            answer.token
        };
        Ok(format!("Bearer {token}"))
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Complaint {
    code: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Complaints {
    errors: Vec<Complaint>,
}

/// What the registry says of its own refusal (distribution specification, error codes).
async fn explanation(body: Incoming) -> Option<String> {
    let text = connection::text(body, COMPLAINT_BYTES_MAX).await.ok()?;
    let complaints: Complaints = serde_json::from_slice(&text).ok()?;
    let first = complaints.errors.into_iter().next()?;
    Some(format!("{}: {}", first.code.to_lowercase(), first.message))
}

fn redirected(from: &Uri, headers: &HeaderMap) -> Option<Uri> {
    let location = headers.get(header::LOCATION)?.to_str().ok()?;
    if location.starts_with('/') {
        let (scheme, authority) = (from.scheme_str()?, from.authority()?);
        return format!("{scheme}://{authority}{location}").parse().ok();
    }
    location.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reference(text: &str) -> Reference {
        Reference::parse(text).unwrap()
    }

    #[test]
    fn mirrors_come_first_and_loopback_may_be_plain() {
        let mut options = Options::default();
        options
            .mirrors
            .insert("docker.io".into(), vec!["http://127.0.0.1:5000/".into()]);
        let bases = |text: &str| -> Vec<String> {
            candidates(&reference(text), &[], &options)
                .into_iter()
                .map(|access| access.base)
                .collect()
        };
        let expected = [
            "http://127.0.0.1:5000/v2/library/nginx",
            "https://registry-1.docker.io/v2/library/nginx",
        ];
        assert_eq!(bases("nginx"), expected);
        assert_eq!(
            bases("localhost:5000/a"),
            ["https://localhost:5000/v2/a", "http://localhost:5000/v2/a"]
        );
        assert_eq!(bases("ghcr.io/a/b"), ["https://ghcr.io/v2/a/b"]);
    }

    #[test]
    fn credentials_go_only_to_their_registry() {
        let for_server = |server: &str| Credential {
            server: server.into(),
            ..Credential::default()
        };
        let cases = [
            ("https://index.docker.io/v1/", "nginx", true),
            ("docker.io", "a/b", true),
            ("ghcr.io", "ghcr.io/a/b", true),
            ("ghcr.io/a", "ghcr.io/a/b", true),
            ("ghcr.io/a", "ghcr.io/ab/c", false),
            ("ghcr.io", "nginx", false),
            ("127.0.0.1:5443", "127.0.0.1:5443/team/x", true),
            ("127.0.0.1", "127.0.0.1:5443/team/x", false),
        ];
        for (server, image, expected) in cases {
            assert_eq!(
                fits(&for_server(server), &reference(image)),
                expected,
                "{server} {image}"
            );
        }
    }
}
