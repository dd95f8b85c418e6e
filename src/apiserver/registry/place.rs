//! Where objects lie in the store.

use crate::kinds::Kind;

/// The key of one object; `namespace` is ignored for cluster-scoped kinds.
pub fn key(kind: &Kind, namespace: &str, name: &str) -> String {
    if kind.is_namespaced() {
        format!("/{}/{namespace}/{name}", kind.storage)
    } else {
        format!("/{}/{name}", kind.storage)
    }
}

/// What all keys of the kind begin with, in one namespace or (empty) in all.
pub fn prefix(kind: &Kind, namespace: &str) -> String {
    if kind.is_namespaced() && !namespace.is_empty() {
        format!("/{}/{namespace}/", kind.storage)
    } else {
        format!("/{}/", kind.storage)
    }
}

/// Namespace (empty for cluster scope) and name of a stored object.
pub fn parts(key: &str) -> (&str, &str) {
    let mut parts = key.splitn(4, '/').skip(2);
    let first = parts.next().unwrap_or_default();
    match parts.next() {
        Some(name) => (first, name),
        None => ("", first),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_again() {
        assert_eq!(parts("/pods/ns/web"), ("ns", "web"));
        assert_eq!(parts("/nodes/n1"), ("", "n1"));
    }
}
