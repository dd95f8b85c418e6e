//! Requests and what is decided about them.

use super::*;
use crate::{
    api::name::Key,
    ingress::{
        option,
        table::{Backend, Matcher},
    },
};
use http::header::LOCATION;
use std::{collections::BTreeMap, sync::Arc};

/// Names without the prefix, and values.
type Annotations<'a> = &'a [(&'a str, &'a str)];
type Headers<'a> = &'a [(&'static str, &'a str)];

fn route(annotations: Annotations<'_>, has_tls: bool) -> Route {
    let map: BTreeMap<String, String> = annotations
        .iter()
        .map(|(name, value)| (format!("{}{name}", option::PREFIX), (*value).to_owned()))
        .collect();
    Route {
        ingress: Key::new("ns", "a"),
        path: "/".to_owned(),
        matcher: Matcher::Prefix,
        rewrite: None,
        options: Arc::new(option::parse(&map).0),
        users: None,
        judge: None,
        authority: None,
        has_tls,
        backend: Backend::default(),
        canary: None,
    }
}

struct Asked<'a> {
    method: Method,
    target: &'a str,
    is_tls: bool,
    client: &'a str,
    headers: Headers<'a>,
    https_port: u16,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Asked {
            method: Method::GET,
            target: "/a?b=c",
            is_tls: false,
            client: "10.0.0.1",
            headers: &[],
            https_port: 443,
        }
    }
}

fn with<T>(asked: &Asked<'_>, decide: impl FnOnce(&Facts<'_>) -> T) -> T {
    let mut headers = HeaderMap::new();
    for (name, value) in asked.headers {
        headers.insert(*name, HeaderValue::from_str(value).unwrap());
    }
    decide(&Facts {
        chain: &[],
        method: &asked.method,
        host: "a.example",
        path: asked.target.split('?').next().unwrap(),
        target: asked.target,
        is_tls: asked.is_tls,
        client: asked.client.parse().unwrap(),
        headers: &headers,
        https_port: asked.https_port,
    })
}

fn redirected(route: &Route, asked: &Asked<'_>) -> String {
    match with(asked, |facts| redirect(route, facts)) {
        None => "-".to_owned(),
        Some(response) => {
            let place = response
                .headers()
                .get(LOCATION)
                .map_or("", |place| place.to_str().unwrap());
            format!("{} {place}", response.status().as_u16())
        }
    }
}

#[test]
fn redirects_follow_annotations_and_certificates() {
    let plain = Asked::default();
    let tls = Asked {
        is_tls: true,
        ..Asked::default()
    };
    let root = Asked {
        target: "/",
        headers: &[("host", "a.example:8080")],
        ..Asked::default()
    };
    let other_port = Asked {
        https_port: 8443,
        ..Asked::default()
    };
    let acme = Asked {
        target: "/.well-known/acme-challenge/x",
        ..Asked::default()
    };
    let cases: &[(Annotations<'_>, bool, &Asked<'_>, &str)] = &[
        (&[], false, &plain, "-"),
        (&[], true, &plain, "308 https://a.example/a?b=c"),
        (&[], true, &other_port, "308 https://a.example:8443/a?b=c"),
        (&[], true, &tls, "-"),
        (&[], true, &acme, "-"),
        (&[("ssl-redirect", "false")], true, &plain, "-"),
        (
            &[("force-ssl-redirect", "true")],
            false,
            &plain,
            "308 https://a.example/a?b=c",
        ),
        (
            &[("app-root", "/app")],
            false,
            &root,
            "302 http://a.example:8080/app",
        ),
        (&[("app-root", "/app")], false, &plain, "-"),
        (
            &[("permanent-redirect", "https://b.example")],
            false,
            &plain,
            "301 https://b.example",
        ),
        (
            &[
                ("permanent-redirect", "https://b.example$request_uri"),
                ("permanent-redirect-code", "308"),
            ],
            false,
            &plain,
            "308 https://b.example/a?b=c",
        ),
        (
            &[("temporal-redirect", "https://b.example")],
            false,
            &plain,
            "302 https://b.example",
        ),
    ];
    for (annotations, has_tls, asked, expected) in cases {
        assert_eq!(
            redirected(&route(annotations, *has_tls), asked),
            *expected,
            "{annotations:?}"
        );
    }
}

fn refused(route: &Route, asked: &Asked<'_>) -> u16 {
    with(asked, |facts| refuse(route, facts)).map_or(0, |response| response.status().as_u16())
}

#[test]
fn routes_keep_out_whom_they_do_not_want() {
    let inside = Asked::default();
    let outside = Asked {
        client: "192.168.0.1",
        ..Asked::default()
    };
    let large = Asked {
        headers: &[("content-length", "2000000")],
        ..Asked::default()
    };
    let cases: &[(Annotations<'_>, &Asked<'_>, u16)] = &[
        (&[], &outside, 0),
        (&[("whitelist-source-range", "10.0.0.0/8")], &inside, 0),
        (&[("whitelist-source-range", "10.0.0.0/8")], &outside, 403),
        (&[("denylist-source-range", "10.0.0.1")], &inside, 403),
        (&[("auth-snippet", "x")], &inside, 503),
        (&[], &large, 413),
        (&[("proxy-body-size", "2m")], &large, 0),
        (&[("proxy-body-size", "0")], &large, 0),
    ];
    for (annotations, asked, expected) in cases {
        assert_eq!(
            refused(&route(annotations, false), asked),
            *expected,
            "{annotations:?}"
        );
    }
    let mut guarded = route(&[("auth-realm", "My \"place\"")], false);
    guarded.users = Some(Arc::new(
        crate::ingress::password::Users::read("jane:{PLAIN}secret").0,
    ));
    let response = with(&inside, |facts| refuse(&guarded, facts)).unwrap();
    assert_eq!(
        response.headers()["www-authenticate"],
        "Basic realm=\"My place\""
    );
    let jane = Asked {
        headers: &[("authorization", "Basic amFuZTpzZWNyZXQ=")],
        ..Asked::default()
    };
    assert_eq!(refused(&guarded, &jane), 0);
}

#[test]
fn other_pages_may_ask_where_they_are_named() {
    let enabled = |origins: &str| {
        route(
            &[("enable-cors", "true"), ("cors-allow-origin", origins)],
            false,
        )
    };
    let cases = [
        ("*", "https://x.example", Some("*")),
        (
            "https://x.example, https://*.y.example",
            "https://x.example",
            Some("https://x.example"),
        ),
        (
            "https://*.y.example",
            "https://a.y.example",
            Some("https://a.y.example"),
        ),
        ("https://*.y.example", "https://a.b.y.example", None),
        ("https://*.y.example", "https://evil.com/.y.example", None),
        ("https://*.y.example", "http://a.y.example", None),
        ("https://x.example", "https://x.example.evil.com", None),
    ];
    for (origins, origin, expected) in cases {
        let mut headers = HeaderMap::new();
        let given = HeaderValue::from_str(origin).unwrap();
        allow_origin(&enabled(origins).options.cors, Some(&given), &mut headers);
        let allowed = headers
            .get(ACCESS_CONTROL_ALLOW_ORIGIN)
            .map(|value| value.to_str().unwrap());
        assert_eq!(allowed, expected, "{origins}: {origin}");
    }
    let asked = Asked {
        method: Method::OPTIONS,
        headers: &[("origin", "https://x.example")],
        ..Asked::default()
    };
    let response = with(&asked, |facts| redirect(&enabled("*"), facts)).unwrap();
    assert_eq!(response.status(), StatusCode::NO_CONTENT);
    assert_eq!(response.headers()[ACCESS_CONTROL_MAX_AGE], "1728000");
    assert!(with(&asked, |facts| redirect(&route(&[], false), facts)).is_none());
}

#[test]
fn canaries_are_chosen_by_header_then_cookie_then_weight() {
    let cases: &[(Annotations<'_>, Headers<'_>, u32, bool)] = &[
        (&[("canary-weight", "30")], &[], 29, true),
        (&[("canary-weight", "30")], &[], 30, false),
        (&[("canary-weight", "0")], &[], 0, false),
        (
            &[("canary-by-header", "X-New")],
            &[("x-new", "always")],
            99,
            true,
        ),
        (
            &[("canary-by-header", "X-New"), ("canary-weight", "100")],
            &[("x-new", "never")],
            0,
            false,
        ),
        (
            &[
                ("canary-by-header", "X-New"),
                ("canary-by-header-value", "me"),
            ],
            &[("x-new", "me")],
            99,
            true,
        ),
        (
            &[
                ("canary-by-header", "X-New"),
                ("canary-by-header-value", "me"),
            ],
            &[("x-new", "always")],
            99,
            false,
        ),
        (
            &[
                ("canary-by-header", "X-New"),
                ("canary-by-header-pattern", "^m.$"),
            ],
            &[("x-new", "me")],
            99,
            true,
        ),
        (
            &[("canary-by-cookie", "new")],
            &[("cookie", "new=always")],
            99,
            true,
        ),
        (
            &[("canary-by-cookie", "new"), ("canary-weight", "50")],
            &[("cookie", "new=never")],
            0,
            false,
        ),
        (
            &[("canary-by-cookie", "new"), ("canary-weight", "50")],
            &[("cookie", "new=maybe")],
            0,
            true,
        ),
    ];
    for (annotations, given, dice, expected) in cases {
        let mut headers = HeaderMap::new();
        for (name, value) in *given {
            headers.insert(*name, HeaderValue::from_str(value).unwrap());
        }
        let options = &route(annotations, false).options;
        assert_eq!(
            is_for_canary(&options.canary, &headers, |_| *dice),
            *expected,
            "{annotations:?} {given:?}"
        );
    }
}
