//! Headers on their way through: what ends at a proxy, and what a proxy adds.

use super::option::Options;
use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{
        CONNECTION, COOKIE, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
        TRANSFER_ENCODING, UPGRADE,
    },
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const ORIGINAL_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-original-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PORT: HeaderName = HeaderName::from_static("x-forwarded-port");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_SCHEME: HeaderName = HeaderName::from_static("x-forwarded-scheme");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const SCHEME: HeaderName = HeaderName::from_static("x-scheme");
const REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Some programs take it for their own configuration (CVE-2016-5385).
const PROXY: HeaderName = HeaderName::from_static("proxy");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    KEEP_ALIVE,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    PROXY_CONNECTION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// What is known of the other end of a connection.
pub struct Client {
    pub address: HeaderValue,
    pub is_tls: bool,
    pub port: HeaderValue,
}

/// Whether the client asks for another protocol on this connection, and for which.
#[must_use]
pub fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get(UPGRADE)?;
    let mut words = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let is_asked = words.any(|word| word.trim().eq_ignore_ascii_case("upgrade"));
    is_asked.then(|| wanted.clone())
}

/// Removes what concerns one connection only.
pub fn strip(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .filter_map(|word| word.trim().parse().ok())
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// The request's headers as the backend sees them. `host` is the one the client named.
pub fn to_backend(
    headers: &mut HeaderMap,
    client: &Client,
    host: &HeaderValue,
    options: &Options,
    request_id: impl FnOnce() -> HeaderValue,
) {
    let wants_trailers = headers
        .get(TE)
        .is_some_and(|te| te.as_bytes().eq_ignore_ascii_case(b"trailers"));
    strip(headers);
    headers.remove(PROXY);
    // Answered by the server side, which asks for the body when it is wanted.
    headers.remove(EXPECT);
    if wants_trailers && options.protocol.is_grpc() {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    join_cookies(headers);
    let scheme = HeaderValue::from_static(if client.is_tls { "https" } else { "http" });
    if let Some(original) = headers.insert(FORWARDED_FOR, client.address.clone()) {
        headers.insert(ORIGINAL_FORWARDED_FOR, original);
    }
    headers.insert(REAL_IP, client.address.clone());
    headers.insert(FORWARDED_HOST, host.clone());
    headers.insert(FORWARDED_PORT, client.port.clone());
    headers.insert(FORWARDED_PROTO, scheme.clone());
    headers.insert(FORWARDED_SCHEME, scheme.clone());
    headers.insert(SCHEME, scheme);
    headers.entry(REQUEST_ID).or_insert_with(request_id);
    if let Some(prefix) = &options.forwarded_prefix {
        headers.insert(FORWARDED_PREFIX, prefix.clone());
    }
    let host = options.upstream_vhost.as_ref().unwrap_or(host);
    headers.insert(HOST, host.clone());
}

/// HTTP/2 clients may send each cookie in a header of its own, which HTTP/1 does not know.
fn join_cookies(headers: &mut HeaderMap) {
    let mut cookies = headers.get_all(COOKIE).iter();
    if cookies.next().is_none() || cookies.next().is_none() {
        return;
    }
    let all: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if let Ok(joined) = HeaderValue::from_bytes(&all.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

/// The value of a cookie.
#[must_use]
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(pairs: &[(&str, &str)]) -> HeaderMap {
        let pairs = pairs.iter().map(|(name, value)| {
            let name: HeaderName = name.parse().unwrap();
            (name, HeaderValue::from_str(value).unwrap())
        });
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(name, value);
        }
        headers
    }

    fn client() -> Client {
        Client {
            address: HeaderValue::from_static("10.0.0.9"),
            is_tls: true,
            port: HeaderValue::from_static("443"),
        }
    }

    fn sent(pairs: &[(&str, &str)], options: &Options) -> HeaderMap {
        let mut headers = map(pairs);
        let host = HeaderValue::from_static("a.example");
        to_backend(&mut headers, &client(), &host, options, || {
            HeaderValue::from_static("id")
        });
        headers
    }

    #[test]
    fn what_concerns_one_connection_ends_here() {
        let headers = sent(
            &[
                ("connection", "keep-alive, X-Private"),
                ("x-private", "1"),
                ("transfer-encoding", "chunked"),
                ("proxy", "http://evil"),
                ("te", "trailers"),
                ("keep-alive", "5"),
                ("upgrade", "h2c"),
                ("accept", "*/*"),
            ],
            &Options::default(),
        );
        let mut names: Vec<&str> = headers
            .keys()
            .map(HeaderName::as_str)
            .filter(|name| !name.starts_with("x-"))
            .collect();
        names.sort_unstable();
        assert_eq!(names, ["accept", "host"]);
        assert!(!headers.contains_key("x-private"));
    }

    #[test]
    fn the_client_is_named_and_cannot_name_itself() {
        let options = Options {
            upstream_vhost: Some(HeaderValue::from_static("inner.example")),
            ..Options::default()
        };
        let headers = sent(
            &[
                ("x-forwarded-for", "1.2.3.4"),
                ("x-real-ip", "1.2.3.4"),
                ("x-forwarded-proto", "gopher"),
                ("x-request-id", "mine"),
            ],
            &options,
        );
        for (name, value) in [
            ("x-forwarded-for", "10.0.0.9"),
            ("x-original-forwarded-for", "1.2.3.4"),
            ("x-real-ip", "10.0.0.9"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-scheme", "https"),
            ("x-forwarded-host", "a.example"),
            ("x-forwarded-port", "443"),
            ("x-request-id", "mine"),
            ("host", "inner.example"),
        ] {
            assert_eq!(headers[name], value, "{name}");
        }
    }

    #[test]
    fn cookies_are_joined_and_found() {
        let headers = sent(
            &[("cookie", "a=1"), ("cookie", "b=2; c=3")],
            &Options::default(),
        );
        assert_eq!(headers["cookie"], "a=1; b=2; c=3");
        assert_eq!(cookie(&headers, "b"), Some("2"));
        assert_eq!(cookie(&headers, "d"), None);
    }

    #[test]
    fn an_upgrade_is_asked_for_in_two_headers() {
        assert!(
            upgrade(&map(&[
                ("connection", "keep-alive, Upgrade"),
                ("upgrade", "websocket")
            ]))
            .is_some()
        );
        assert!(upgrade(&map(&[("upgrade", "websocket")])).is_none());
        assert!(upgrade(&map(&[("connection", "upgrade")])).is_none());
    }
}
