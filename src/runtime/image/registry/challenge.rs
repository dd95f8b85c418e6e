//! `WWW-Authenticate` challenges of registries. Pure.

use std::collections::BTreeMap;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Challenge {
    Basic,
    /// Get a token from `realm` first.
    Bearer {
        realm: String,
        service: String,
        scope: String,
    },
}

/// The first challenge we can answer.
pub fn parse(header: &str) -> Option<Challenge> {
    let (scheme, rest) = header.trim().split_once(' ').unwrap_or((header.trim(), ""));
    if scheme.eq_ignore_ascii_case("basic") {
        return Some(Challenge::Basic);
    }
    if !scheme.eq_ignore_ascii_case("bearer") {
        return None;
    }
    let mut parameters = parameters(rest);
    let mut take = |name: &str| parameters.remove(name).unwrap_or_default();
    let realm = take("realm");
    (!realm.is_empty()).then(|| Challenge::Bearer {
        realm,
        service: take("service"),
        scope: take("scope"),
    })
}

/// `a="b",c=d`: commas inside quotes belong to the value.
fn parameters(text: &str) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let (mut name, mut value) = (String::new(), String::new());
    let (mut in_value, mut quoted) = (false, false);
    for c in text.chars().chain([',']) {
        match c {
            '"' => quoted = !quoted,
            ',' if !quoted => {
                found.insert(name.trim().to_lowercase(), std::mem::take(&mut value));
                name.clear();
                in_value = false;
            }
            '=' if !in_value => in_value = true,
            c if in_value => value.push(c),
            c => name.push(c),
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges_are_understood() {
        let header = r#"Bearer realm="https://auth.example/token",service="registry",scope="repository:a/b:pull,push""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.example/token".into(),
            service: "registry".into(),
            scope: "repository:a/b:pull,push".into(),
        };
        assert_eq!(parse(header), Some(expected));
        assert_eq!(parse("Basic realm=\"x\""), Some(Challenge::Basic));
        for odd in [
            "",
            "Negotiate",
            "Bearer",
            "Bearer realm=",
            "\"",
            "Bearer \"=,",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }
}
