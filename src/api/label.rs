//! Names and values of labels: which are well-formed, and why not, in upstream's words.

const NAME_MAX: usize = 63;
const PREFIX_MAX: usize = 253;

const QUALIFIED: &str = "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an \
    alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
    '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')";
const VALUE: &str = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and \
    must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
    validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
const SUBDOMAIN: &str = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', \
    and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
    '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')";

/// What is wrong with a qualified name: a label's or annotation's key, a finalizer, a resource. Empty when nothing is.
pub fn check_key(key: &str) -> Vec<String> {
    let (prefix, name) = match key.split_once('/') {
        None => (None, key),
        Some((_, name)) if name.contains('/') => {
            return vec![format!(
                "a qualified name {QUALIFIED} with an optional DNS subdomain prefix and '/' (e.g. 'example.com/MyName')"
            )];
        }
        Some((prefix, name)) => (Some(prefix), name),
    };
    let mut wrong = Vec::new();
    match prefix {
        Some("") => wrong.push("prefix part must be non-empty".to_owned()),
        Some(prefix) => wrong.extend(
            check_subdomain(prefix)
                .into_iter()
                .map(|text| format!("prefix part {text}")),
        ),
        None => {}
    }
    if name.is_empty() {
        wrong.push("name part must be non-empty".to_owned());
    } else if name.len() > NAME_MAX {
        wrong.push(format!("name part {}", too_long(NAME_MAX)));
    }
    if !is_word(name) {
        wrong.push(format!("name part {QUALIFIED}"));
    }
    wrong
}

/// What is wrong with a label's value.
pub fn check_value(value: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if value.len() > NAME_MAX {
        wrong.push(too_long(NAME_MAX));
    }
    if !value.is_empty() && !is_word(value) {
        wrong.push(VALUE.to_owned());
    }
    wrong
}

/// What is wrong with a DNS subdomain: the names of most objects.
pub fn check_subdomain(name: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    if name.len() > PREFIX_MAX {
        wrong.push(too_long(PREFIX_MAX));
    }
    if !name.split('.').all(is_dns_label) {
        wrong.push(SUBDOMAIN.to_owned());
    }
    wrong
}

fn too_long(max: usize) -> String {
    format!("must be no more than {max} bytes")
}

fn is_dns_label(part: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = part.as_bytes();
    bytes.first().is_some_and(|&byte| inner(byte))
        && bytes.last().is_some_and(|&byte| inner(byte))
        && bytes.iter().all(|&byte| inner(byte) || byte == b'-')
}

fn is_word(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys() {
        let long = "a".repeat(64);
        for good in [
            "a",
            "A.b_c-d",
            "example.com/a",
            "kubernetes.io/metadata.name",
        ] {
            assert_eq!(check_key(good), Vec::<String>::new(), "{good}");
        }
        let cases = [
            ("", "name part must be non-empty"),
            ("/a", "prefix part must be non-empty"),
            ("a/b/c", "a qualified name must consist"),
            (
                "Example.com/a",
                "prefix part a lowercase RFC 1123 subdomain",
            ),
            ("a b", "name part must consist"),
            ("-a", "name part must consist"),
            (&long, "name part must be no more than 63 bytes"),
        ];
        for (key, expected) in cases {
            assert!(check_key(key)[0].starts_with(expected), "{key}");
        }
    }

    #[test]
    fn values() {
        for good in ["", "a", "1.2-3_4"] {
            assert!(check_value(good).is_empty(), "{good}");
        }
        for bad in ["a b", "-", "ä", &"a".repeat(64)] {
            assert!(!check_value(bad).is_empty(), "{bad}");
        }
    }
}
