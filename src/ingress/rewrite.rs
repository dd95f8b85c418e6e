//! `rewrite-target`: the path that the backend sees.

use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use regex::Regex;

/// What may not stand in a path as it is.
const ESCAPED: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'%')
    .add(b'<')
    .add(b'>')
    .add(b'?')
    .add(b'`')
    .add(b'{')
    .add(b'}');

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    /// The text that a group of the rule's expression has caught.
    Group(usize),
}

/// A target with its groups, `/$2`, compiled.
#[derive(Clone, Debug)]
pub struct Rewrite {
    pattern: Option<Regex>,
    parts: Vec<Part>,
}

impl Rewrite {
    /// Without a pattern there is nothing to catch: the groups are empty.
    #[must_use]
    pub fn new(target: &str, pattern: Option<Regex>) -> Rewrite {
        let mut parts = vec![Part::Text(String::new())];
        let mut rest = target;
        while let Some(at) = rest.find('$') {
            push(&mut parts, &rest[..at]);
            let after = &rest[at + 1..];
            let digits = after.bytes().take_while(u8::is_ascii_digit).count().min(2);
            match after[..digits].parse() {
                Ok(group) => parts.push(Part::Group(group)),
                Err(_) => push(&mut parts, "$"),
            }
            rest = &after[digits..];
        }
        push(&mut parts, rest);
        Rewrite { pattern, parts }
    }

    /// Path and query for the backend. A query of the target comes first, as nginx does it.
    #[must_use]
    pub fn apply(&self, path: &str, query: Option<&str>) -> String {
        let captures = self.pattern.as_ref().and_then(|it| it.captures(path));
        let mut result = String::with_capacity(path.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => result.push_str(text),
                Part::Group(group) => {
                    let caught = captures.as_ref().and_then(|all| all.get(*group));
                    let caught = caught.map_or("", |caught| caught.as_str());
                    result.extend(utf8_percent_encode(caught, ESCAPED));
                }
            }
        }
        if !result.starts_with('/') {
            result.insert(0, '/');
        }
        if let Some(query) = query.filter(|query| !query.is_empty()) {
            result.push(if result.contains('?') { '&' } else { '?' });
            result.push_str(query);
        }
        result
    }
}

fn push(parts: &mut Vec<Part>, text: &str) {
    match parts.last_mut() {
        Some(Part::Text(last)) => last.push_str(text),
        _ => parts.push(Part::Text(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_are_put_in_and_queries_kept() {
        let cases = [
            (
                "/$2",
                r"(?i)^/something(/|$)(.*)",
                "/something/new",
                None,
                "/new",
            ),
            ("/$2", r"(?i)^/something(/|$)(.*)", "/something", None, "/"),
            (
                "/$1",
                r"(?i)^/(.*)",
                "/a b/한",
                Some("x=1"),
                "/a%20b/%ED%95%9C?x=1",
            ),
            (
                "/api?v=$1",
                r"(?i)^/v(\d+)",
                "/v12/x",
                Some("y"),
                "/api?v=12&y",
            ),
            ("/$9$", r"(?i)^/x", "/x", None, "/$"),
            ("/", r"(?i)^/deep", "/deep/er", Some(""), "/"),
            // What was caught cannot begin a query or break the request line.
            (
                "/$1",
                r"(?is)^/(.*)",
                "/a?b c\r\nX: y",
                None,
                "/a%3Fb%20c%0D%0AX:%20y",
            ),
        ];
        for (target, pattern, path, query, expected) in cases {
            let rewrite = Rewrite::new(target, Some(Regex::new(pattern).unwrap()));
            assert_eq!(rewrite.apply(path, query), expected, "{target} of {path}");
        }
    }
}
