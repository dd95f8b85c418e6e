//! Where objects lie in the store.

use crate::{
    api::{ApiError, call::Verb},
    kinds::Kind,
};

/// Whether there is such a place, and whether the verb means something there: names are deleted, collections listed;
/// what lies in namespaces is only read across all of them.
pub fn check(
    kind: &Kind,
    verb: Verb,
    namespace: Option<&str>,
    name: Option<&str>,
    subresource: Option<&str>,
) -> Result<(), ApiError> {
    let is_known = match subresource {
        Some(subresource) => kind.subresources.contains(&subresource) && name.is_some(),
        None => true,
    };
    let is_outside = kind.is_namespaced() && namespace.is_none();
    let is_misplaced = !kind.is_namespaced() && namespace.is_some();
    if !is_known || is_misplaced || (is_outside && name.is_some()) {
        return Err(ApiError::no_such_resource());
    }
    let is_fit = match verb {
        Verb::List | Verb::Watch => name.is_none(),
        Verb::DeleteCollection => name.is_none() && !is_outside,
        Verb::Create => !is_outside && (name.is_none() || subresource.is_some()),
        Verb::Get | Verb::Update | Verb::Patch | Verb::Delete => name.is_some(),
    };
    if is_fit && (subresource.is_some() || kind.verbs.contains(&verb.as_str())) {
        return Ok(());
    }
    Err(ApiError::method_not_allowed())
}

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
    fn verbs_have_their_places() {
        let cases = [
            (Verb::List, "pods", None, None, None, 200),
            (Verb::List, "pods", Some("a"), None, None, 200),
            (Verb::DeleteCollection, "pods", None, None, None, 405),
            (Verb::DeleteCollection, "pods", Some("a"), None, None, 200),
            (Verb::Create, "pods", None, None, None, 405),
            (Verb::Create, "pods", Some("a"), Some("x"), None, 405),
            (
                Verb::Create,
                "pods",
                Some("a"),
                Some("x"),
                Some("eviction"),
                200,
            ),
            (Verb::Patch, "pods", Some("a"), None, None, 405),
            (Verb::Get, "pods", None, Some("x"), None, 404),
            (Verb::Get, "pods", Some("a"), Some("x"), Some("scale"), 404),
            (Verb::Get, "nodes", Some("a"), Some("x"), None, 404),
            (Verb::Delete, "nodes", None, Some("x"), None, 200),
            (Verb::DeleteCollection, "namespaces", None, None, None, 405),
        ];
        for (verb, plural, namespace, name, subresource, code) in cases {
            let kind = crate::kinds::find("", "v1", plural).unwrap();
            let checked = check(kind, verb, namespace, name, subresource);
            let told = checked.map_or_else(|refusal| refusal.code, |()| 200);
            assert_eq!(told, code, "{verb:?} {plural} {namespace:?} {name:?}");
        }
    }

    #[test]
    fn keys_come_apart_again() {
        assert_eq!(parts("/pods/ns/web"), ("ns", "web"));
        assert_eq!(parts("/nodes/n1"), ("", "n1"));
    }
}
