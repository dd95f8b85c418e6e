//! Asking somebody else whether a request may pass: `auth-url`.
//!
//! The question is the request without its body. An answer of 2xx lets it in, 401 and 403 are the client's to see, all
//! else is a mistake of the set-up: 500. Whom to ask is the Ingress' author's to say, never the client's: an address
//! that is made of the host a client names must be one of ours.

use super::{
    answer::{self, Refusal},
    body::Upload,
    forward, header,
    option::{External, Options, Protocol},
    policy::{self, Facts},
    serve::Front,
    table::{Backend, Table},
};
use crate::task::Tasks;
use http::{
    HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HOST, SET_COOKIE, TRANSFER_ENCODING, WWW_AUTHENTICATE},
    uri::PathAndQuery,
};
use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};
use tracing::debug;

const ORIGINAL_URL: HeaderName = HeaderName::from_static("x-original-url");
const ORIGINAL_METHOD: HeaderName = HeaderName::from_static("x-original-method");
const REDIRECT: HeaderName = HeaderName::from_static("x-auth-request-redirect");
const SENT_FROM: HeaderName = HeaderName::from_static("x-sent-from");
const OURSELVES: HeaderValue = HeaderValue::from_static("nginx-ingress-controller");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// How the one who judges is reached.
#[derive(Debug)]
pub struct Judge {
    /// Of a Service of the cluster; `None`: found anew for every question.
    backend: Option<Backend>,
    options: Options,
}

impl Judge {
    #[must_use]
    pub fn new(external: &External, backend: Option<Backend>) -> Judge {
        let protocol = match external.url.starts_with("https://") {
            true => Protocol::Https,
            false => Protocol::Http,
        };
        Judge {
            backend,
            options: Options {
                protocol,
                ..Options::default()
            },
        }
    }
}

/// What the judge says about a request that may pass.
#[derive(Debug, Default)]
pub struct Granted {
    /// For the backend.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// For the client.
    pub cookies: Vec<HeaderValue>,
}

/// `Err` is what the client gets.
pub async fn ask(
    front: &Arc<Front>,
    table: &Table,
    judge: &Judge,
    external: &External,
    facts: &Facts<'_>,
) -> Result<Granted, Refusal> {
    let wrong = || Box::new(answer::page(StatusCode::INTERNAL_SERVER_ERROR));
    // The judge is behind us and wants to be asked as well: that would never end.
    if facts.headers.get(&SENT_FROM) == Some(&OURSELVES) {
        return Err(wrong());
    }
    let Some(question) = question(external, facts) else {
        return Err(wrong());
    };
    let found;
    let backend = match &judge.backend {
        Some(backend) => backend,
        None => {
            found = find(front, table, external, question.uri()).await;
            &found
        }
    };
    let Some(endpoint) = backend.next() else {
        debug!(url = external.url, "nobody to ask");
        return Err(wrong());
    };
    let mut question = question;
    let path = question.uri().path_and_query().cloned();
    *question.uri_mut() = Uri::from(path.unwrap_or(PathAndQuery::from_static("/")));
    let asked = forward::forward(&front.pool, backend, &judge.options, endpoint, question).await;
    let (parts, _) = asked.map_err(|_| wrong())?.response.into_parts();
    judged(external, facts, parts.status, &parts.headers)
}

/// The question with its whole address; `None`: it cannot be made.
fn question(external: &External, facts: &Facts<'_>) -> Option<Request<Upload>> {
    let uri: Uri = policy::fill(&external.url, facts).parse().ok()?;
    let authority = uri.authority()?.as_str().to_owned();
    let mut headers = facts.headers.clone();
    header::strip(&mut headers);
    for name in [CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING] {
        headers.remove(name);
    }
    let text = |text: &str| HeaderValue::from_str(text).ok();
    let redirect = external.redirect.as_deref().unwrap_or("$request_uri");
    let client = text(&facts.client.to_string())?;
    headers.insert(HOST, text(&authority)?);
    headers.insert(ORIGINAL_URL, text(&url(facts, facts.target))?);
    headers.insert(ORIGINAL_METHOD, text(facts.method.as_str())?);
    headers.insert(REDIRECT, text(&policy::fill(redirect, facts))?);
    headers.insert(SENT_FROM, OURSELVES);
    headers.insert(REAL_IP, client.clone());
    headers.insert(FORWARDED_FOR, client);
    let mut question = Request::new(Upload::empty());
    *question.method_mut() = external.method.clone();
    *question.headers_mut() = headers;
    *question.uri_mut() = uri;
    Some(question)
}

fn url(facts: &Facts<'_>, target: &str) -> String {
    policy::fill("$scheme://$http_host", facts) + target
}

async fn find(front: &Front, table: &Table, external: &External, uri: &Uri) -> Backend {
    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
    let host = host.to_ascii_lowercase();
    let is_tls = uri.scheme_str() == Some("https");
    let port = uri.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
    let at = |addresses: Vec<IpAddr>| {
        let places = addresses.into_iter().map(|ip| SocketAddr::new(ip, port));
        Backend::new(host.clone(), places.collect())
    };
    if table.knows(&host) {
        let own = front.own.map(|(http, https)| match is_tls {
            true => https,
            false => http,
        });
        return Backend::new(host.clone(), own.into_iter().collect());
    }
    // The client may have chosen it.
    if external.has_open_authority() {
        return at(Vec::new());
    }
    if let Ok(address) = host.parse() {
        return at(vec![address]);
    }
    let (resolve, name) = (front.resolve, host.clone());
    let found = Tasks::blocking(move || resolve(&name)).await;
    at(found.ok().and_then(Result::ok).unwrap_or_default())
}

fn judged(
    external: &External,
    facts: &Facts<'_>,
    status: StatusCode,
    headers: &HeaderMap,
) -> Result<Granted, Refusal> {
    let cookies: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    if status.is_success() {
        let wanted = external.response_headers.iter();
        let headers = wanted.filter_map(|name| Some((name.clone(), headers.get(name)?.clone())));
        return Ok(Granted {
            headers: headers.collect(),
            cookies,
        });
    }
    let mut response = match (status, &external.signin) {
        (StatusCode::UNAUTHORIZED, Some(signin)) => {
            answer::redirect(302, &sign_in(signin, &external.signin_param, facts))
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => answer::page(status),
        _ => return Err(Box::new(answer::page(StatusCode::INTERNAL_SERVER_ERROR))),
    };
    if let Some(challenge) = headers.get(WWW_AUTHENTICATE) {
        let own = response.headers_mut();
        own.insert(WWW_AUTHENTICATE, challenge.clone());
    }
    for cookie in cookies {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    Err(Box::new(response))
}

/// Where people sign in, and where they come back to.
fn sign_in(signin: &str, param: &str, facts: &Facts<'_>) -> String {
    let place = policy::fill(signin, facts);
    let has_way_back = |query: &str| {
        let mut pairs = query.split('&');
        pairs.any(|pair| pair.split('=').next() == Some(param))
    };
    let join = match place.split_once('?') {
        None => '?',
        Some((_, query)) if has_way_back(query) => return place,
        Some(_) => '&',
    };
    let back = url(facts, &policy::escaped(facts.target));
    format!("{place}{join}{param}={back}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Method;

    fn facts<'a>(method: &'a Method, headers: &'a HeaderMap) -> Facts<'a> {
        Facts {
            method,
            host: "a.example",
            path: "/x",
            target: "/x?y=1&z",
            is_tls: true,
            client: "192.0.2.1".parse().unwrap(),
            headers,
            https_port: 443,
            chain: &[],
        }
    }

    fn external(url: &str) -> External {
        External {
            url: url.to_owned(),
            ..External::default()
        }
    }

    #[test]
    fn the_question_is_the_request_without_its_body() {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_static("a.example:8443"));
        headers.insert(CONTENT_LENGTH, 7.into());
        headers.insert("cookie", HeaderValue::from_static("s=1"));
        let asked = question(
            &external("https://$host/oauth2/auth?u=$escaped_request_uri"),
            &facts(&Method::POST, &headers),
        );
        let asked = asked.unwrap();
        assert_eq!(asked.method(), Method::GET);
        assert_eq!(
            asked.uri().to_string(),
            "https://a.example/oauth2/auth?u=%2Fx%3Fy%3D1%26z"
        );
        let header = |name: &str| {
            asked
                .headers()
                .get(name)
                .map(|value| value.to_str().unwrap())
        };
        assert_eq!(header("host"), Some("a.example"));
        assert_eq!(header("cookie"), Some("s=1"));
        assert_eq!(header("content-length"), None);
        assert_eq!(header("x-original-method"), Some("POST"));
        assert_eq!(
            header("x-original-url"),
            Some("https://a.example:8443/x?y=1&z")
        );
        assert_eq!(header("x-auth-request-redirect"), Some("/x?y=1&z"));
    }

    #[test]
    fn answers_are_judged() {
        let (method, mut sent, mut said) = (Method::GET, HeaderMap::new(), HeaderMap::new());
        sent.insert(HOST, HeaderValue::from_static("a.example"));
        said.insert("x-user", HeaderValue::from_static("jane"));
        said.insert("x-secret", HeaderValue::from_static("s"));
        let facts = facts(&method, &sent);
        let mut external = external("http://judge/");
        external.response_headers = vec![HeaderName::from_static("x-user")];
        let granted = judged(&external, &facts, StatusCode::ACCEPTED, &said);
        assert_eq!(granted.ok().unwrap().headers.len(), 1);
        let refused = |external: &External, status: u16| {
            let status = StatusCode::from_u16(status).unwrap();
            let response = judged(external, &facts, status, &said).err().unwrap();
            let location = response.headers().get("location");
            (
                response.status().as_u16(),
                location.map(|place| place.to_str().unwrap().to_owned()),
            )
        };
        for (status, expected) in [(401, 401), (403, 403), (404, 500), (302, 500), (503, 500)] {
            assert_eq!(refused(&external, status), (expected, None));
        }
        let back = "rd=https://a.example%2Fx%3Fy%3D1%26z";
        for (signin, expected) in [
            (
                "https://$host/start",
                format!("https://a.example/start?{back}"),
            ),
            ("/start?a=b", format!("/start?a=b&{back}")),
            ("/start?rd=/", "/start?rd=/".to_owned()),
        ] {
            external.signin = Some(signin.to_owned());
            assert_eq!(refused(&external, 401), (302, Some(expected)));
        }
    }
}
