//! What happens to a request before it is passed on: redirects, cross-origin checks, who is let in. Pure.
//!
//! In nginx' order: redirects come before anybody is kept out.

use super::{
    answer,
    body::Reply,
    header,
    option::{Canary, Cors, Options, Redirect},
    table::{Route, is_in},
};
use http::{
    HeaderMap, HeaderValue, Method, Response, StatusCode,
    header::{
        ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS,
        ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS,
        ACCESS_CONTROL_MAX_AGE, AUTHORIZATION, CONTENT_LENGTH, ORIGIN, VARY, WWW_AUTHENTICATE,
    },
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use std::net::IpAddr;

/// A request as far as decisions need it.
pub struct Facts<'a> {
    pub method: &'a Method,
    /// Lower case, without port.
    pub host: &'a str,
    /// Normal.
    pub path: &'a str,
    /// Path and query as the client wrote them.
    pub target: &'a str,
    pub is_tls: bool,
    pub client: IpAddr,
    pub headers: &'a HeaderMap,
    /// The certificate that the client has shown, and those that vouch for it.
    pub chain: &'a [CertificateDer<'static>],
    /// What people reach TLS on.
    pub https_port: u16,
}

/// An answer that needs no backend and no permission.
#[must_use]
pub fn redirect(route: &Route, facts: &Facts<'_>) -> Option<Response<Reply>> {
    let options = &route.options;
    let wants_tls = options.force_ssl_redirect || options.ssl_redirect && route.has_tls;
    if wants_tls && !facts.is_tls && !is_acme(facts.path) {
        return Some(answer::redirect(308, &https(facts, facts.host)));
    }
    let scheme = if facts.is_tls { "https" } else { "http" };
    if let Some(root) = options.app_root.as_deref().filter(|_| facts.path == "/") {
        let host = host_and_port(facts);
        return Some(answer::redirect(302, &format!("{scheme}://{host}{root}")));
    }
    match &options.redirect {
        Some(Redirect::Permanent(to)) => {
            Some(answer::redirect(options.permanent_code, &fill(to, facts)))
        }
        Some(Redirect::Temporal(to)) => {
            Some(answer::redirect(options.temporal_code, &fill(to, facts)))
        }
        None => preflight(&options.cors, facts),
    }
}

/// A text of an annotation with the variables of nginx that people use in it.
#[must_use]
pub fn fill(text: &str, facts: &Facts<'_>) -> String {
    let scheme = if facts.is_tls { "https" } else { "http" };
    let variables: [(&str, &dyn Fn() -> String); 7] = [
        ("escaped_request_uri", &|| escaped(facts.target)),
        ("request_uri", &|| facts.target.to_owned()),
        ("pass_access_scheme", &|| scheme.to_owned()),
        ("scheme", &|| scheme.to_owned()),
        ("http_host", &|| host_and_port(facts).to_owned()),
        ("best_http_host", &|| host_and_port(facts).to_owned()),
        ("host", &|| facts.host.to_owned()),
    ];
    let mut parts = text.split('$');
    let mut filled = parts.next().unwrap_or_default().to_owned();
    // What a variable stands for is not looked into again.
    for part in parts {
        let known = variables.iter().find(|(name, _)| part.starts_with(name));
        match known {
            Some((name, value)) => {
                filled.push_str(&value());
                filled.push_str(&part[name.len()..]);
            }
            None => {
                filled.push('$');
                filled.push_str(part);
            }
        }
    }
    filled
}

/// As the value of a query.
#[must_use]
pub fn escaped(text: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'.')
        .remove(b'_')
        .remove(b'~');
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// The same place at another host (`from-to-www-redirect`).
#[must_use]
pub fn moved(facts: &Facts<'_>, host: &str) -> Response<Reply> {
    if facts.is_tls {
        return answer::redirect(308, &https(facts, host));
    }
    let given = host_and_port(facts);
    let port = given.strip_prefix(facts.host).unwrap_or_default();
    answer::redirect(308, &format!("http://{host}{port}{}", facts.target))
}

/// Certificates are renewed over plain HTTP.
fn is_acme(path: &str) -> bool {
    path.starts_with("/.well-known/acme-challenge/")
}

fn https(facts: &Facts<'_>, host: &str) -> String {
    match facts.https_port {
        443 => format!("https://{host}{}", facts.target),
        port => format!("https://{host}:{port}{}", facts.target),
    }
}

fn host_and_port<'a>(facts: &Facts<'a>) -> &'a str {
    let header = facts.headers.get(http::header::HOST);
    header
        .and_then(|host| host.to_str().ok())
        .unwrap_or(facts.host)
}

/// Keeps out whom the route does not want.
#[must_use]
pub fn refuse(route: &Route, facts: &Facts<'_>) -> Option<Response<Reply>> {
    let options = &route.options;
    if options.refused.is_some() {
        return Some(answer::page(StatusCode::SERVICE_UNAVAILABLE));
    }
    let is_denied = is_in(&options.denied, facts.client);
    if is_denied || !options.allowed.is_empty() && !is_in(&options.allowed, facts.client) {
        return Some(answer::page(StatusCode::FORBIDDEN));
    }
    if let Some(users) = &route.users {
        let given = facts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        if !users.admit(given) {
            return Some(challenge(options));
        }
    }
    let length = facts.headers.get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let is_large = options
        .body_bytes_max
        .zip(length)
        .is_some_and(|(max, length)| length > max);
    is_large.then(|| answer::page(StatusCode::PAYLOAD_TOO_LARGE))
}

fn challenge(options: &Options) -> Response<Reply> {
    let mut response = answer::page(StatusCode::UNAUTHORIZED);
    let realm = HeaderValue::from_str(&format!("Basic realm=\"{}\"", options.auth.realm));
    let realm = realm.unwrap_or_else(|_| HeaderValue::from_static("Basic realm=\"\""));
    response.headers_mut().insert(WWW_AUTHENTICATE, realm);
    response
}

/// Answers a browser's question whether another page may ask.
fn preflight(cors: &Cors, facts: &Facts<'_>) -> Option<Response<Reply>> {
    if !cors.is_enabled || facts.method != Method::OPTIONS {
        return None;
    }
    let mut response = answer::empty(StatusCode::NO_CONTENT);
    allow_origin(cors, facts.headers.get(ORIGIN), response.headers_mut());
    if response.headers().contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        response
            .headers_mut()
            .insert(ACCESS_CONTROL_MAX_AGE, cors.max_age_seconds.into());
    }
    Some(response)
}

/// Says on an answer which pages may read it.
pub fn allow_origin(cors: &Cors, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
    if !cors.is_enabled {
        return;
    }
    let is_open = cors.origins.iter().any(|allowed| allowed == "*");
    let given = origin.and_then(|origin| origin.to_str().ok());
    let is_allowed =
        given.is_some_and(|given| cors.origins.iter().any(|allowed| is_origin(allowed, given)));
    let value = match origin {
        _ if is_open => HeaderValue::from_static("*"),
        Some(origin) if is_allowed => origin.clone(),
        _ => return,
    };
    if !is_open {
        headers.append(VARY, HeaderValue::from_static("Origin"));
    }
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, value);
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, cors.methods.clone());
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, cors.headers.clone());
    if cors.credentials {
        headers.insert(
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            HeaderValue::from_static("true"),
        );
    }
    if let Some(expose) = &cors.expose {
        headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, expose.clone());
    }
}

/// `https://*.example.com` stands for every name below, of one label.
fn is_origin(allowed: &str, given: &str) -> bool {
    let Some((scheme, parent)) = allowed.split_once("*.") else {
        return allowed.eq_ignore_ascii_case(given);
    };
    let label = given
        .strip_prefix(scheme)
        .and_then(|rest| rest.strip_suffix(parent))
        .and_then(|rest| rest.strip_suffix('.'));
    label.is_some_and(|label| !label.is_empty() && !label.contains(['.', '/', ':', '@']))
}

/// Whether a request is for the canary. `dice` is random, below the total of the weights.
#[must_use]
pub fn is_for_canary(canary: &Canary, headers: &HeaderMap, dice: impl FnOnce(u32) -> u32) -> bool {
    if let Some(name) = &canary.header {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        let decided = match (value, &canary.header_value, &canary.header_pattern) {
            (None, _, _) => None,
            (Some(value), Some(wanted), _) => (value == wanted).then_some(true),
            (Some(value), None, Some(pattern)) => pattern.is_match(value).then_some(true),
            (Some("always"), None, None) => Some(true),
            (Some("never"), None, None) => Some(false),
            (Some(_), None, None) => None,
        };
        if let Some(decided) = decided {
            return decided;
        }
    }
    match canary
        .cookie
        .as_deref()
        .and_then(|name| header::cookie(headers, name))
    {
        Some("always") => true,
        Some("never") => false,
        _ => canary.weight > 0 && dice(canary.weight_total) < canary.weight,
    }
}

#[cfg(test)]
mod tests;
