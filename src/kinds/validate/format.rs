//! What strings must look like. Each check returns upstream's complaints, none when the string is fine.

use std::net::IpAddr;

pub type Complaints = Vec<String>;

const LABEL_FORMAT: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";
const LABEL_TEXT: &str = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and \
    must start and end with an alphanumeric character";
const SUBDOMAIN_FORMAT: &str = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*";
const SUBDOMAIN_TEXT: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' \
    or '.', and must start and end with an alphanumeric character";
const KEY_FORMAT: &str = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]";
const KEY_TEXT: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character";

/// `is_end` of the first and last byte, `is_inner` of the others.
fn is_made_of(text: &str, is_end: impl Fn(u8) -> bool, is_inner: impl Fn(u8) -> bool) -> bool {
    match text.as_bytes() {
        [] => false,
        [only] => is_end(*only),
        [first, middle @ .., last] => {
            is_end(*first) && is_end(*last) && middle.iter().all(|byte| is_inner(*byte))
        }
    }
}

fn is_lower(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit()
}

fn is_label(text: &str) -> bool {
    is_made_of(text, is_lower, |byte| is_lower(byte) || byte == b'-')
}

fn is_subdomain(text: &str) -> bool {
    text.split('.').all(is_label)
}

fn is_key(text: &str) -> bool {
    is_made_of(
        text,
        |byte| byte.is_ascii_alphanumeric(),
        |byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte),
    )
}

fn examples(text: &str, format: &str, examples: &[&str]) -> String {
    let quoted: Vec<String> = examples.iter().map(|one| format!("'{one}', ")).collect();
    match quoted.is_empty() {
        true => format!("{text} (regex used for validation is '{format}')"),
        false => {
            let quoted = quoted.join(" or ");
            format!("{text} (e.g. {quoted}regex used for validation is '{format}')")
        }
    }
}

fn too_long(text: &str, most: usize) -> Option<String> {
    (text.len() > most).then(|| format!("must be no more than {most} characters"))
}

pub fn dns_label(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 63));
    if !is_label(text) {
        found.push(match is_subdomain(text) {
            true => "must not contain dots".to_owned(),
            false => examples(LABEL_TEXT, LABEL_FORMAT, &["my-name", "123-abc"]),
        });
    }
    found
}

pub fn dns_subdomain(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 253));
    if !is_subdomain(text) {
        found.push(examples(SUBDOMAIN_TEXT, SUBDOMAIN_FORMAT, &["example.com"]));
    }
    found
}

pub fn dns_subdomain_with_underscore(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 253));
    let is_label = |label: &str| {
        let rest = label.strip_prefix('_').unwrap_or(label);
        is_made_of(rest, is_lower, |byte| {
            is_lower(byte) || b"-_".contains(&byte)
        })
    };
    if !text.split('.').all(is_label) {
        let about = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '_', '-' or \
            '.', and must start and end with an alphanumeric character";
        let format = r"_?[a-z0-9]([-_a-z0-9]*[a-z0-9])?(\._?[a-z0-9]([-_a-z0-9]*[a-z0-9])?)*";
        found.push(examples(about, format, &["example.com"]));
    }
    found
}

pub fn wildcard_subdomain(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 253));
    if !text.strip_prefix("*.").is_some_and(is_subdomain) {
        let about = "a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS subdomain, which \
            must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character";
        let format = format!(r"\*\.{SUBDOMAIN_FORMAT}");
        found.push(examples(about, &format, &["*.example.com"]));
    }
    found
}

/// A label key: an optional domain, a slash, a name.
pub fn qualified_name(text: &str) -> Complaints {
    let mut found = Complaints::new();
    let parts: Vec<&str> = text.split('/').collect();
    let name = match parts.as_slice() {
        [name] => name,
        [domain, name] => {
            if domain.is_empty() {
                found.push("prefix part must be non-empty".to_owned());
            } else {
                let wrong = dns_subdomain(domain).into_iter();
                found.extend(wrong.map(|text| format!("prefix part {text}")));
            }
            name
        }
        _ => {
            let about = examples(KEY_TEXT, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
            let optional =
                "with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')";
            return vec![format!("a valid label key {about} {optional}")];
        }
    };
    if name.is_empty() {
        found.push("name part must be non-empty".to_owned());
    }
    found.extend(too_long(name, 63).map(|text| format!("name part {text}")));
    if !is_key(name) {
        let about = examples(KEY_TEXT, KEY_FORMAT, &["MyName", "my.name", "123-abc"]);
        found.push(format!("name part {about}"));
    }
    found
}

pub fn label_value(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 63));
    if !text.is_empty() && !is_key(text) {
        let about = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', \
            and must start and end with an alphanumeric character";
        let format = format!("({KEY_FORMAT})?");
        found.push(examples(about, &format, &["MyValue", "my_value", "12345"]));
    }
    found
}

/// A key of a ConfigMap or Secret.
pub fn config_key(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 253));
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
    if text.is_empty() || !text.bytes().all(is_fine) {
        let about = "a valid config key must consist of alphanumeric characters, '-', '_' or '.'";
        found.push(examples(
            about,
            "[-._a-zA-Z0-9]+",
            &["key.name", "KEY_NAME", "key-name"],
        ));
    }
    match text {
        "." => found.push("must not be '.'".to_owned()),
        ".." => found.push("must not be '..'".to_owned()),
        text if text.starts_with("..") => found.push("must not start with '..'".to_owned()),
        _ => {}
    }
    found
}

pub fn variable_name(text: &str) -> Complaints {
    let is_fine = |byte: u8| (b' '..=b'~').contains(&byte) && byte != b'=';
    if text.bytes().all(is_fine) {
        return Complaints::new();
    }
    let about = "a valid environment variable name must consist only of printable ASCII characters other than '='";
    vec![about.to_owned()]
}

pub fn port_name(text: &str) -> Complaints {
    let mut found = Complaints::from_iter(too_long(text, 15));
    let mut complain = |is_wrong: bool, about: &str| {
        if is_wrong {
            found.push(about.to_owned());
        }
    };
    let is_charset = !text.is_empty() && text.bytes().all(|byte| is_lower(byte) || byte == b'-');
    complain(
        !is_charset,
        "must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)",
    );
    complain(
        !text.bytes().any(|byte| byte.is_ascii_lowercase()),
        "must contain at least one letter (a-z)",
    );
    complain(text.contains("--"), "must not contain consecutive hyphens");
    complain(
        text.starts_with('-') || text.ends_with('-'),
        "must not begin or end with a hyphen",
    );
    found
}

pub fn in_range(number: i64, low: i64, high: i64) -> Complaints {
    match (low..=high).contains(&number) {
        true => Complaints::new(),
        false => vec![format!("must be between {low} and {high}, inclusive")],
    }
}

pub fn port_number(number: i64) -> Complaints {
    in_range(number, 1, 65535)
}

/// A user or group.
pub fn unix_id(number: i64) -> Complaints {
    in_range(number, 0, 2_147_483_647)
}

pub fn percent(text: &str) -> Complaints {
    let digits = text.strip_suffix('%').unwrap_or_default();
    if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Complaints::new();
    }
    let about = "a valid percent string must be a numeric string followed by an ending '%'";
    vec![examples(about, "[0-9]+%", &["1%", "93%"])]
}

pub fn header_name(text: &str) -> Complaints {
    let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if !text.is_empty() && text.bytes().all(is_fine) {
        return Complaints::new();
    }
    let about = "a valid HTTP header must consist of alphanumeric characters or '-'";
    vec![examples(about, "[-A-Za-z0-9]+", &["X-Header-Name"])]
}

/// Any name that can stand in a path.
pub fn path_segment(text: &str) -> Complaints {
    if text == "." || text == ".." {
        return vec![format!("may not be '{text}'")];
    }
    let forbidden = ['/', '%'];
    let found = forbidden.iter().filter(|sign| text.contains(**sign));
    found
        .map(|sign| format!("may not contain '{sign}'"))
        .collect()
}

pub fn ip(text: &str) -> Complaints {
    match text.parse::<IpAddr>() {
        Ok(_) => Complaints::new(),
        Err(_) => vec!["must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)".to_owned()],
    }
}

pub fn cidr(text: &str) -> Complaints {
    match text.parse::<ipnet::IpNet>() {
        Ok(_) => Complaints::new(),
        Err(_) => {
            vec!["must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)".to_owned()]
        }
    }
}

/// Addresses that make no sense as an endpoint or an external address.
pub fn special_ip(text: &str) -> Complaints {
    let Ok(address) = text.parse::<IpAddr>() else {
        return vec!["must be a valid IP address".to_owned()];
    };
    let mut found = Complaints::new();
    let (link_local, multicast) = match address {
        IpAddr::V4(v4) => (v4.is_link_local(), v4.octets()[..3] == [224, 0, 0]),
        IpAddr::V6(v6) => (
            v6.is_unicast_link_local(),
            v6.segments()[0] & 0xff0f == 0xff02,
        ),
    };
    let table = [
        (
            address.is_unspecified(),
            format!("may not be unspecified ({text})"),
        ),
        (
            address.is_loopback(),
            "may not be in the loopback range (127.0.0.0/8, ::1/128)".to_owned(),
        ),
        (
            link_local,
            "may not be in the link-local range (169.254.0.0/16, fe80::/10)".to_owned(),
        ),
        (
            multicast,
            "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)".to_owned(),
        ),
    ];
    for (is_wrong, about) in table {
        if is_wrong {
            found.push(about);
        }
    }
    found
}

/// `example.com/path`.
pub fn domain_prefixed_path(text: &str) -> Complaints {
    match text.split_once('/') {
        Some((domain, path)) if !domain.is_empty() && !path.is_empty() => dns_subdomain(domain),
        _ => vec!["must be a domain-prefixed path (such as \"acme.io/foo\")".to_owned()],
    }
}
