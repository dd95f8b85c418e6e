//! Annotations as people write them.

use super::*;

fn parsed(annotations: &[(&str, &str)]) -> (Options, Vec<String>) {
    let map = annotations
        .iter()
        .map(|(name, value)| (format!("{PREFIX}{name}"), (*value).to_owned()))
        .collect();
    parse(&map)
}

#[test]
fn no_annotation_is_listed_twice() {
    let mut names: Vec<&str> = ANNOTATIONS.iter().map(|known| known.name).collect();
    let count = names.len();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), count);
}

#[test]
fn sizes_and_times_are_nginx_own() {
    let max = |text| parsed(&[("proxy-body-size", text)]).0.body_bytes_max;
    assert_eq!(max("8m"), Some(8 << 20));
    assert_eq!(max("512K"), Some(512 << 10));
    assert_eq!(max("100"), Some(100));
    assert_eq!(max("0"), None);
    // Nonsense leaves the default.
    assert_eq!(max("much"), Some(1 << 20));
    assert_eq!(max("99999999999999999999g"), Some(1 << 20));
    let (options, told) = parsed(&[
        ("proxy-read-timeout", "3600"),
        ("proxy-send-timeout", "90s"),
    ]);
    assert_eq!(options.read_timeout, Duration::from_secs(3600));
    assert_eq!(options.send_timeout, Duration::from_secs(90));
    assert!(told.is_empty());
}

#[test]
fn what_is_not_known_is_told() {
    let (options, told) = parsed(&[
        ("proxy-buffering", "on"),
        ("server-snippet", "return 200;"),
        ("use-regex", "yes"),
    ]);
    assert_eq!(
        told,
        [
            "annotation nginx.ingress.kubernetes.io/server-snippet is not supported: it has no effect",
            "annotation nginx.ingress.kubernetes.io/use-regex: \"yes\" is neither true nor false: it has no effect",
        ]
    );
    assert!(options.refused.is_none());
}

#[test]
fn what_guards_fails_closed() {
    for (name, value) in [
        ("whitelist-source-range", "10.0.0.0/33"),
        ("whitelist-source-range", ""),
        ("auth-type", "digest"),
        ("auth-url", "auth.example.com"),
        ("auth-snippet", "proxy_set_header A b;"),
        ("auth-tls-verify-client", "off"),
        ("auth-tls-secret", ""),
        ("limit-rps", "few"),
    ] {
        let (options, told) = parsed(&[(name, value)]);
        assert!(options.refused.is_some(), "{name}: {value}");
        assert_eq!(told.len(), 1, "{name}: {value}");
    }
    let (options, _) = parsed(&[("whitelist-source-range", "10.0.0.0/8, 192.168.1.7")]);
    assert_eq!(options.allowed.len(), 2);
    assert!(options.refused.is_none());
}

#[test]
fn cookies_cannot_grow_attributes() {
    let (options, told) = parsed(&[
        ("session-cookie-name", "x; Domain=evil"),
        ("session-cookie-path", "/a"),
    ]);
    assert_eq!(options.affinity.cookie, "INGRESSCOOKIE");
    assert_eq!(options.affinity.path, "/a");
    assert_eq!(told.len(), 1);
}
