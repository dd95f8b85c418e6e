//! The cookie that keeps a client with its endpoint.
//!
//! It holds a digest of the endpoint's address: it says nothing about the inside, and whoever makes one up reaches an
//! endpoint that everybody may reach.

use super::{body::Reply, header, option::Affinity, table::Backend};
use http::{HeaderMap, HeaderValue, Response, header::SET_COOKIE};
use ring::digest::{SHA256, digest};
use std::{fmt::Write as _, net::SocketAddr};

/// The endpoint that the client's cookie names, if it is still there.
#[must_use]
pub fn find(affinity: &Affinity, backend: &Backend, headers: &HeaderMap) -> Option<usize> {
    if !affinity.is_cookie {
        return None;
    }
    let value = header::cookie(headers, &affinity.cookie)?;
    backend
        .endpoints
        .iter()
        .position(|endpoint| mark(endpoint) == value)
}

/// Gives the client the cookie of the endpoint that has answered.
pub fn remember(
    affinity: &Affinity,
    backend: &Backend,
    endpoint: usize,
    is_tls: bool,
    response: &mut Response<Reply>,
) {
    let Some(address) = backend
        .endpoints
        .get(endpoint)
        .filter(|_| affinity.is_cookie)
    else {
        return;
    };
    let mut cookie = format!(
        "{}={}; Path={}",
        affinity.cookie,
        mark(address),
        affinity.path
    );
    if let Some(domain) = &affinity.domain {
        let _ = write!(cookie, "; Domain={domain}");
    }
    if let Some(seconds) = affinity.max_age_seconds {
        let _ = write!(cookie, "; Max-Age={seconds}");
    }
    if is_tls || affinity.secure {
        cookie.push_str("; Secure");
    }
    cookie.push_str("; HttpOnly");
    if let Some(same_site) = &affinity.same_site {
        let _ = write!(cookie, "; SameSite={same_site}");
    }
    if let Ok(value) = HeaderValue::from_str(&cookie) {
        response.headers_mut().append(SET_COOKIE, value);
    }
}

fn mark(endpoint: &SocketAddr) -> String {
    let digest = digest(&SHA256, endpoint.to_string().as_bytes());
    digest.as_ref()[..16]
        .iter()
        .fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        })
}
