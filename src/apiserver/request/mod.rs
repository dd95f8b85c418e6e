//! From an HTTP request to an [`api::call::Call`](crate::api::call::Call): path, options, body.
//!
//! Pure. What the target is follows from the path alone, as upstream resolves it; whether such a resource exists is
//! judged later, after authorization.

pub mod body;
pub mod options;

use crate::api::{call::Verb, name::Gvr};
use http::Method;
use percent_encoding::percent_decode_str;

/// The longest path that is looked at.
const PATH_MAX: usize = 16 * 1024;
const NAMESPACE_SUBRESOURCES: &[&str] = &["status", "finalize"];

/// A path below `/api/v1` or `/apis/<group>/<version>` that names a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResourcePath {
    pub resource: Gvr,
    pub namespace: Option<String>,
    pub name: Option<String>,
    pub subresource: Option<String>,
    /// What follows the subresource, still encoded; `None` when the subresource is the end (without a slash).
    pub rest: Option<String>,
    /// The old `/watch/` prefix was used.
    pub is_watch: bool,
}

impl ResourcePath {
    /// `None` for paths that are no resource: discovery, health and the like.
    pub fn parse(path: &str) -> Option<ResourcePath> {
        if path.len() > PATH_MAX {
            return None;
        }
        let mut segments = path.trim_matches('/').split('/');
        let (group, version) = match segments.next()? {
            "api" => (String::new(), decode(segments.next()?)),
            "apis" => (decode(segments.next()?), decode(segments.next()?)),
            _ => return None,
        };
        let mut parts: Vec<&str> = segments.collect();
        let is_watch = parts.first() == Some(&"watch");
        if is_watch {
            parts.remove(0);
        }
        let mut namespace = None;
        if parts.first() == Some(&"namespaces")
            && parts.len() > 2
            && !NAMESPACE_SUBRESOURCES.contains(&parts[2])
        {
            namespace = Some(decode(parts[1]));
            parts.drain(..2);
        }
        let resource = decode(parts.first()?);
        if resource.is_empty() {
            return None;
        }
        let part = |index: usize| parts.get(index).map(|part| decode(part));
        Some(ResourcePath {
            resource: Gvr {
                group: group.into(),
                version: version.into(),
                resource: resource.into(),
            },
            namespace,
            name: part(1),
            subresource: part(2),
            rest: rest(path, &parts),
            is_watch,
        })
    }

    /// `wants_watch`: the query's `watch` option.
    pub fn verb(&self, method: &Method, wants_watch: bool) -> Option<Verb> {
        Some(match *method {
            Method::GET | Method::HEAD if self.is_watch => Verb::Watch,
            Method::GET | Method::HEAD => match (&self.name, wants_watch) {
                (Some(_), _) => Verb::Get,
                (None, true) => Verb::Watch,
                (None, false) => Verb::List,
            },
            Method::POST => Verb::Create,
            Method::PUT => Verb::Update,
            Method::PATCH => Verb::Patch,
            Method::DELETE if self.name.is_some() => Verb::Delete,
            Method::DELETE => Verb::DeleteCollection,
            _ => return None,
        })
    }
}

/// Everything behind the third part, with a leading slash.
fn rest(path: &str, parts: &[&str]) -> Option<String> {
    if parts.len() > 3 {
        let slash = if path.ends_with('/') { "/" } else { "" };
        return Some(format!("/{}{slash}", parts[3..].join("/")));
    }
    (parts.len() == 3 && path.ends_with('/')).then(|| "/".to_owned())
}

fn decode(segment: &str) -> String {
    percent_decode_str(segment).decode_utf8_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(path: &str) -> String {
        let Some(path) = ResourcePath::parse(path) else {
            return "-".to_owned();
        };
        format!(
            "{} ns={} name={} sub={} rest={}{}",
            path.resource,
            path.namespace.unwrap_or_default(),
            path.name.unwrap_or_default(),
            path.subresource.unwrap_or_default(),
            path.rest.unwrap_or_default(),
            if path.is_watch { " watch" } else { "" },
        )
    }

    #[test]
    fn paths_name_resources() {
        let cases = [
            ("/api", "-"),
            ("/api/v1", "-"),
            ("/apis/apps/v1/", "-"),
            ("/healthz", "-"),
            ("/api/v1/nodes", "v1/nodes ns= name= sub= rest="),
            ("/api/v1/namespaces", "v1/namespaces ns= name= sub= rest="),
            (
                "/api/v1/namespaces/a",
                "v1/namespaces ns= name=a sub= rest=",
            ),
            (
                "/api/v1/namespaces/a/status",
                "v1/namespaces ns= name=a sub=status rest=",
            ),
            (
                "/api/v1/namespaces/a/finalize",
                "v1/namespaces ns= name=a sub=finalize rest=",
            ),
            ("/api/v1/namespaces/a/pods", "v1/pods ns=a name= sub= rest="),
            (
                "/api/v1/namespaces/a/pods/x/log",
                "v1/pods ns=a name=x sub=log rest=",
            ),
            (
                "/apis/apps/v1/namespaces/a/deployments/x/scale",
                "apps/v1/deployments ns=a name=x sub=scale rest=",
            ),
            (
                "/api/v1/watch/namespaces/a/pods/x",
                "v1/pods ns=a name=x sub= rest= watch",
            ),
            (
                "/api/v1/nodes/system%3An/",
                "v1/nodes ns= name=system:n sub= rest=",
            ),
            (
                "/api/v1/nodes/n/proxy",
                "v1/nodes ns= name=n sub=proxy rest=",
            ),
            (
                "/api/v1/nodes/n/proxy/",
                "v1/nodes ns= name=n sub=proxy rest=/",
            ),
            (
                "/api/v1/namespaces/a/services/https:x:80/proxy/p%2Fq/r/",
                "v1/services ns=a name=https:x:80 sub=proxy rest=/p%2Fq/r/",
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(shown(path), expected, "{path}");
        }
    }

    #[test]
    fn verbs_follow_method_and_path() {
        let verb = |method: Method, path: &str, watch| {
            ResourcePath::parse(path)
                .unwrap()
                .verb(&method, watch)
                .map_or("-", Verb::as_str)
        };
        let pods = "/api/v1/namespaces/a/pods";
        let pod = "/api/v1/namespaces/a/pods/x";
        assert_eq!(verb(Method::GET, pods, false), "list");
        assert_eq!(verb(Method::GET, pods, true), "watch");
        assert_eq!(verb(Method::GET, pod, true), "get");
        assert_eq!(verb(Method::GET, "/api/v1/watch/pods", false), "watch");
        assert_eq!(verb(Method::DELETE, pods, false), "deletecollection");
        assert_eq!(verb(Method::DELETE, pod, false), "delete");
        assert_eq!(verb(Method::OPTIONS, pod, false), "-");
    }
}
