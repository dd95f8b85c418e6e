//! Request paths as rules see them: decoded, without dot segments and doubled slashes.
//!
//! Rules must not be judged by a spelling that the backend reads differently: `/%61dmin` is `/admin`. What is sent on
//! is the client's own spelling.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;

/// The path that rules are compared with; `None` when it leads above the root or has a zero byte in it.
#[must_use]
pub fn normal(path: &str) -> Option<Cow<'_, str>> {
    if !path.starts_with('/') {
        return None;
    }
    if is_plain(path) {
        return Some(Cow::Borrowed(path));
    }
    let decoded = percent_decode_str(path).decode_utf8_lossy();
    if decoded.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = Vec::new();
    let mut ends_in_folder = false;
    for part in decoded.split('/').skip(1) {
        ends_in_folder = matches!(part, "" | "." | "..");
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    let mut result = String::with_capacity(decoded.len());
    for part in parts {
        result.push('/');
        result.push_str(part);
    }
    if ends_in_folder || result.is_empty() {
        result.push('/');
    }
    Some(Cow::Owned(result))
}

fn is_plain(path: &str) -> bool {
    let bytes = path.as_bytes();
    let pairs = bytes.windows(2);
    !bytes.contains(&b'%')
        && !pairs
            .into_iter()
            .any(|pair| pair[0] == b'/' && matches!(pair[1], b'/' | b'.'))
}

/// A prefix rule's path without the trailing slash, which does not count; the root is empty.
#[must_use]
pub fn prefix_key(path: &str) -> &str {
    path.trim_end_matches('/')
}

/// A path and everything above it, longest first, as [`prefix_key`]s.
pub fn prefixes(path: &str) -> impl Iterator<Item = &str> {
    let whole = prefix_key(path);
    std::iter::successors(Some(whole), |rest| rest.rfind('/').map(|at| &rest[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_path_are_one() {
        let cases = [
            ("/", Some("/")),
            ("/a/b", Some("/a/b")),
            ("/a/b/", Some("/a/b/")),
            ("//a///b", Some("/a/b")),
            ("/%61dmin", Some("/admin")),
            ("/a/./b/../c", Some("/a/c")),
            ("/a/%2e%2e/b", Some("/b")),
            ("/a/..", Some("/")),
            ("/a/.", Some("/a/")),
            ("/..", None),
            ("/a/../../b", None),
            ("/%00", None),
            ("a", None),
            ("*", None),
            ("/.well-known/x", Some("/.well-known/x")),
            ("/%ED%95%9C", Some("/한")),
        ];
        for (path, expected) in cases {
            assert_eq!(normal(path).as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn prefixes_go_element_by_element() {
        let all: Vec<&str> = prefixes("/a/bc/").collect();
        assert_eq!(all, ["/a/bc", "/a", ""]);
        let all: Vec<&str> = prefixes("/").collect();
        assert_eq!(all, [""]);
    }
}
