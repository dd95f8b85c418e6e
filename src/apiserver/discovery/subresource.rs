//! What discovery says of subresources: their verbs and what they answer with.

use crate::kinds::Kind;

/// Group, version and kind of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Response {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
}

struct Fact {
    name: &'static str,
    verbs: &'static [&'static str],
    /// `None`: the kind itself.
    response: Option<Response>,
}

const READ_AND_CHANGE: &[&str] = &["get", "patch", "update"];
const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
const fn response(
    group: &'static str,
    version: &'static str,
    kind: &'static str,
) -> Option<Response> {
    Some(Response {
        group,
        version,
        kind,
    })
}

const FACTS: &[Fact] = &[
    Fact {
        name: "approval",
        verbs: READ_AND_CHANGE,
        response: None,
    },
    Fact {
        name: "attach",
        verbs: &["create", "get"],
        response: response("", "v1", "PodAttachOptions"),
    },
    Fact {
        name: "binding",
        verbs: &["create"],
        response: response("", "v1", "Binding"),
    },
    Fact {
        name: "ephemeralcontainers",
        verbs: READ_AND_CHANGE,
        response: None,
    },
    Fact {
        name: "eviction",
        verbs: &["create"],
        response: response("policy", "v1", "Eviction"),
    },
    Fact {
        name: "exec",
        verbs: &["create", "get"],
        response: response("", "v1", "PodExecOptions"),
    },
    Fact {
        name: "finalize",
        verbs: &["update"],
        response: None,
    },
    Fact {
        name: "log",
        verbs: &["get"],
        response: None,
    },
    Fact {
        name: "portforward",
        verbs: &["create", "get"],
        response: response("", "v1", "PodPortForwardOptions"),
    },
    Fact {
        name: "proxy",
        verbs: PROXY_VERBS,
        response: None,
    },
    Fact {
        name: "resize",
        verbs: READ_AND_CHANGE,
        response: None,
    },
    Fact {
        name: "scale",
        verbs: READ_AND_CHANGE,
        response: response("autoscaling", "v1", "Scale"),
    },
    Fact {
        name: "status",
        verbs: READ_AND_CHANGE,
        response: None,
    },
    Fact {
        name: "token",
        verbs: &["create"],
        response: response("authentication.k8s.io", "v1", "TokenRequest"),
    },
];

/// One subresource of a kind.
#[derive(Clone, Copy, Debug)]
pub struct Subresource {
    pub name: &'static str,
    pub verbs: &'static [&'static str],
    pub response: Response,
}

/// By name, as discovery lists them.
pub fn subresources(kind: &'static Kind) -> Vec<Subresource> {
    let own = Response {
        group: kind.group,
        version: kind.version,
        kind: kind.name,
    };
    let mut names: Vec<&'static str> = kind.subresources.to_vec();
    names.sort_unstable();
    names
        .into_iter()
        .map(|name| {
            let fact = FACTS.iter().find(|fact| fact.name == name);
            let response = fact.and_then(|fact| fact.response).unwrap_or(own);
            let proxied = match (name, kind.name) {
                ("proxy", "Node") => Some("NodeProxyOptions"),
                ("proxy", "Pod") => Some("PodProxyOptions"),
                ("proxy", "Service") => Some("ServiceProxyOptions"),
                _ => None,
            };
            Subresource {
                name,
                verbs: fact.map_or(READ_AND_CHANGE, |fact| fact.verbs),
                response: Response {
                    kind: proxied.unwrap_or(response.kind),
                    ..response
                },
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kinds;

    #[test]
    fn every_subresource_is_known() {
        for kind in kinds::all() {
            for name in kind.subresources {
                assert!(
                    FACTS.iter().any(|fact| fact.name == *name),
                    "{}/{name}",
                    kind.plural
                );
            }
        }
    }

    #[test]
    fn answers_of_other_kinds_are_told() {
        let pods = subresources(kinds::find("", "v1", "pods").unwrap());
        let eviction = pods.iter().find(|sub| sub.name == "eviction").unwrap();
        assert_eq!(
            (eviction.response.group, eviction.response.kind),
            ("policy", "Eviction")
        );
        let log = pods.iter().find(|sub| sub.name == "log").unwrap();
        assert_eq!(log.response.kind, "Pod");
    }
}
