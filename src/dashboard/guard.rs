//! What a request to the dashboard's port is, and whether it may be. Pure.
//!
//! The order of the checks is the order of trust: first whether a page of ours, in a browser that means us, asks at
//! all; only then what for, and whether with a session.

use http::{HeaderMap, HeaderName, Method, Uri, header};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What the API server serves; everything else is ours.
const API_ROOTS: &[&str] = &[
    "api", "apis", "version", "openapi", "healthz", "livez", "readyz",
];

/// What is to be done with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The pages: the same for everybody.
    Asset,
    /// A ticket for a session, who is there, and good-bye.
    Session,
    /// Goes to the API server as the cluster's admin.
    Api,
    Refused(Refusal),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The name in `Host` is not this machine's: somebody's DNS points at us.
    ForeignHost,
    /// A page that is not ours made the browser ask.
    ForeignPage,
    /// It would run a pod's pages with our rights.
    Proxied,
    NoSession,
    Method,
}

impl Refusal {
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Refusal::ForeignHost => 421,
            Refusal::ForeignPage | Refusal::Proxied => 403,
            Refusal::NoSession => 401,
            Refusal::Method => 405,
        }
    }

    #[must_use]
    pub fn message(self) -> &'static str {
        match self {
            Refusal::ForeignHost => {
                "the dashboard answers to localhost and loopback addresses only"
            }
            Refusal::ForeignPage => "the request was made by a page that is not the dashboard's",
            Refusal::Proxied => {
                "what pods serve is not shown here, because it would act with the dashboard's rights; use: kubectl port-forward"
            }
            Refusal::NoSession => "no session: open the link that `kubik dashboard` prints",
            Refusal::Method => "the method is not allowed here",
        }
    }
}

/// `has_session`: whether the request's cookie is one that we gave.
#[must_use]
pub fn judge(method: &Method, uri: &Uri, headers: &HeaderMap, has_session: bool) -> Verdict {
    let Some(host) = text(headers, &header::HOST).filter(|host| is_loopback(host)) else {
        return Verdict::Refused(Refusal::ForeignHost);
    };
    let path = uri.path();
    let root = path.trim_start_matches('/').split('/').next();
    let is_api = root.is_some_and(|root| API_ROOTS.contains(&root));
    let is_session = path == "/session";
    if is_foreign(method, headers, host, is_api || is_session) {
        return Verdict::Refused(Refusal::ForeignPage);
    }
    if is_session {
        return Verdict::Session;
    }
    if !is_api {
        return match *method {
            Method::GET | Method::HEAD => Verdict::Asset,
            _ => Verdict::Refused(Refusal::Method),
        };
    }
    if !has_session {
        return Verdict::Refused(Refusal::NoSession);
    }
    if is_proxied(path) {
        return Verdict::Refused(Refusal::Proxied);
    }
    Verdict::Api
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// Any port: the browser may come through a tunnel. Nothing else may stand there: the name goes into a policy.
fn is_loopback(host: &str) -> bool {
    let names = ["localhost", "127.0.0.1", "[::1]"];
    let rest = names.iter().find_map(|name| host.strip_prefix(name));
    let port = |rest: &str| rest.strip_prefix(':').is_some_and(is_number);
    rest.is_some_and(|rest| rest.is_empty() || port(rest))
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Reads may come without an origin: browsers name it only for what can change something or was asked across.
fn is_foreign(method: &Method, headers: &HeaderMap, host: &str, is_guarded: bool) -> bool {
    let own = |origin: &str| origin.strip_prefix("http://") == Some(host);
    let acts = !matches!(*method, Method::GET | Method::HEAD) || is_upgrade(headers);
    match text(headers, &header::ORIGIN) {
        Some(origin) if !own(origin) => return true,
        None if acts => return true,
        _ => {}
    }
    let site = text(headers, &FETCH_SITE);
    is_guarded && site.is_some_and(|site| !matches!(site, "same-origin" | "none"))
}

fn is_upgrade(headers: &HeaderMap) -> bool {
    headers.contains_key(header::UPGRADE)
}

/// `…/services/x/proxy…`, `…/pods/x/proxy…`, `…/nodes/x/proxy…`; the segment may be encoded.
fn is_proxied(path: &str) -> bool {
    let decoded = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    let mut segments = decoded.split('/');
    segments.any(|segment| segment.eq_ignore_ascii_case("proxy"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn shown(request: &str, headers: &[&str], has_session: bool) -> String {
        let (method, path) = request.split_once(' ').unwrap();
        let mut map = HeaderMap::new();
        for line in headers {
            let (name, value) = line.split_once(": ").unwrap();
            let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
            map.insert(name, HeaderValue::from_str(value).unwrap());
        }
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        match judge(&method, &path.parse().unwrap(), &map, has_session) {
            Verdict::Refused(refusal) => refusal.code().to_string(),
            verdict => format!("{verdict:?}"),
        }
    }

    #[test]
    fn only_our_own_page_with_a_session_reaches_the_api() {
        const HOST: &str = "host: 127.0.0.1:7070";
        const OWN: &str = "origin: http://127.0.0.1:7070";
        const SOCKET: &str = "upgrade: websocket";
        const PODS: &str = "GET /api/v1/pods";
        let cases: &[(&str, &[&str], bool, &str)] = &[
            // The pages are everybody's.
            ("GET /", &[HOST], false, "Asset"),
            (
                "GET /app.js",
                &[HOST, "sec-fetch-site: cross-site"],
                false,
                "Asset",
            ),
            ("POST /", &[HOST, OWN], true, "405"),
            // Names of this machine, through any port.
            ("GET /", &["host: localhost:9"], false, "Asset"),
            ("GET /", &["host: [::1]:7070"], false, "Asset"),
            ("GET /", &["host: evil.example:7070"], false, "421"),
            ("GET /", &["host: 127.0.0.1.evil.example"], false, "421"),
            ("GET /", &["host: localhost.evil.example"], false, "421"),
            ("GET /", &["host: localhost:1;script-src"], false, "421"),
            ("GET /", &["host: localhost:"], false, "421"),
            ("GET /", &["host: 10.244.0.1:7070"], false, "421"),
            ("GET /", &[], false, "421"),
            // Reading.
            (PODS, &[HOST], true, "Api"),
            (PODS, &[HOST], false, "401"),
            (PODS, &[HOST, "sec-fetch-site: same-origin"], true, "Api"),
            (PODS, &[HOST, "sec-fetch-site: none"], true, "Api"),
            (PODS, &[HOST, "sec-fetch-site: same-site"], true, "403"),
            (PODS, &[HOST, "sec-fetch-site: cross-site"], true, "403"),
            (PODS, &[HOST, "origin: http://127.0.0.1:8080"], true, "403"),
            (PODS, &[HOST, "origin: null"], true, "403"),
            ("GET /apis", &[HOST], true, "Api"),
            ("GET /apiserver.js", &[HOST], false, "Asset"),
            // Acting and conversations need our origin.
            ("DELETE /api/v1/pods/x", &[HOST, OWN], true, "Api"),
            ("DELETE /api/v1/pods/x", &[HOST, OWN], false, "401"),
            ("DELETE /api/v1/pods/x", &[HOST], true, "403"),
            (
                "DELETE /api/v1/pods/x",
                &[HOST, "origin: https://127.0.0.1:7070"],
                true,
                "403",
            ),
            (PODS, &[HOST, SOCKET], true, "403"),
            (PODS, &[HOST, SOCKET, OWN], true, "Api"),
            (
                PODS,
                &[HOST, SOCKET, "origin: http://evil.example"],
                true,
                "403",
            ),
            // The exchange.
            ("POST /session", &[HOST, OWN], false, "Session"),
            ("POST /session", &[HOST], false, "403"),
            (
                "POST /session",
                &[HOST, "origin: http://localhost:7070"],
                false,
                "403",
            ),
            ("GET /session", &[HOST], false, "Session"),
            // Pages of pods.
            (
                "GET /api/v1/namespaces/a/services/x/proxy/",
                &[HOST],
                true,
                "403",
            ),
            ("GET /api/v1/nodes/n/pr%6Fxy", &[HOST], true, "403"),
            ("GET /api/v1/namespaces/a/pods/x/log", &[HOST], true, "Api"),
            ("GET /metrics", &[HOST], false, "Asset"),
        ];
        for (request, headers, has_session, expected) in cases {
            assert_eq!(
                shown(request, headers, *has_session),
                *expected,
                "{request} {headers:?}"
            );
        }
    }
}
