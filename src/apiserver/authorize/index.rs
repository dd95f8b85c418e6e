//! The stored roles and bindings, arranged by subject.

use super::{Attributes, MASTERS, Rule};
use crate::api::call::User;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

/// Namespace (empty: cluster-wide) and name.
type Place = (String, String);

/// All roles and bindings. Objects are put and removed one by one; the order does not matter.
#[derive(Default)]
pub struct Index {
    roles: HashMap<Place, Arc<Vec<Rule>>>,
    bindings: BTreeMap<Place, Binding>,
    by_subject: HashMap<String, BTreeSet<Place>>,
}

/// The answer to "may they?".
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// With the reason that reviews show.
    Allowed(String),
    /// With what went wrong on the way: roles that bindings name but nobody made.
    Refused(String),
}

struct Binding {
    role: RoleRef,
    subjects: Vec<Subject>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

impl Subject {
    /// One name space for users and groups. A service account is the user it authenticates as.
    fn id(&self) -> String {
        match self.kind.as_str() {
            "Group" => format!("g:{}", self.name),
            "ServiceAccount" => {
                format!("u:system:serviceaccount:{}:{}", self.namespace, self.name)
            }
            _ => format!("u:{}", self.name),
        }
    }

    fn describe(&self) -> String {
        match self.kind.as_str() {
            "ServiceAccount" => format!("ServiceAccount \"{}/{}\"", self.name, self.namespace),
            kind => format!("{kind} \"{}\"", self.name),
        }
    }
}

fn part<T: serde::de::DeserializeOwned + Default>(object: &Value, field: &str) -> T {
    object
        .get(field)
        .and_then(|value| T::deserialize(value).ok())
        .unwrap_or_default()
}

impl Index {
    /// A Role, or a ClusterRole when `namespace` is empty; `None` removes it.
    pub fn set_role(&mut self, namespace: &str, name: &str, role: Option<&Value>) {
        let place = (namespace.to_owned(), name.to_owned());
        match role {
            Some(role) => self.roles.insert(place, Arc::new(part(role, "rules"))),
            None => self.roles.remove(&place),
        };
    }

    /// A RoleBinding, or a ClusterRoleBinding when `namespace` is empty; `None` removes it.
    pub fn set_binding(&mut self, namespace: &str, name: &str, binding: Option<&Value>) {
        let place = (namespace.to_owned(), name.to_owned());
        if let Some(old) = self.bindings.remove(&place) {
            for subject in &old.subjects {
                let id = subject.id();
                if let Some(places) = self.by_subject.get_mut(&id) {
                    places.remove(&place);
                    if places.is_empty() {
                        self.by_subject.remove(&id);
                    }
                }
            }
        }
        let Some(binding) = binding else { return };
        let binding = Binding {
            role: part(binding, "roleRef"),
            subjects: part(binding, "subjects"),
        };
        for subject in &binding.subjects {
            let places = self.by_subject.entry(subject.id()).or_default();
            places.insert(place.clone());
        }
        self.bindings.insert(place, binding);
    }

    #[must_use]
    pub fn decide(&self, user: &User, wanted: &Attributes<'_>) -> Decision {
        if user.groups.iter().any(|group| group == MASTERS) {
            return Decision::Allowed(String::new());
        }
        let mut problems = Vec::new();
        for (place, binding) in self.bindings_of(user, wanted.namespace) {
            // A RoleBinding grants nothing on paths, whatever its role says.
            if wanted.path.is_some() && !place.0.is_empty() {
                continue;
            }
            match self.rules_of(place, binding) {
                Ok(rules) if rules.iter().any(|rule| rule.allows(wanted)) => {
                    return Decision::Allowed(reason(user, place, binding));
                }
                Ok(_) => {}
                Err(problem) => problems.push(problem),
            }
        }
        Decision::Refused(match problems.as_slice() {
            [] => String::new(),
            [one] => format!("RBAC: {one}"),
            many => format!("RBAC: [{}]", many.join(", ")),
        })
    }

    /// Every rule that holds for the user in the namespace (empty: cluster-wide ones only), with unresolved roles.
    #[must_use]
    pub fn rules(&self, user: &User, namespace: &str) -> (Vec<Rule>, Vec<String>) {
        let mut rules = Vec::new();
        let mut problems = Vec::new();
        for (place, binding) in self.bindings_of(user, namespace) {
            match self.rules_of(place, binding) {
                Ok(found) => rules.extend(found.iter().cloned()),
                Err(problem) => problems.push(problem),
            }
        }
        (rules, problems)
    }

    /// The rules of the role that a binding in `namespace` names; `None` when there is no such role.
    #[must_use]
    pub fn role(&self, namespace: &str, kind: &str, name: &str) -> Option<Arc<Vec<Rule>>> {
        let namespace = if kind == "ClusterRole" { "" } else { namespace };
        let place = (namespace.to_owned(), name.to_owned());
        self.roles.get(&place).cloned()
    }

    fn bindings_of<'a>(
        &'a self,
        user: &User,
        namespace: &str,
    ) -> impl Iterator<Item = (&'a Place, &'a Binding)> {
        let mut ids = vec![format!("u:{}", user.name)];
        ids.extend(user.groups.iter().map(|group| format!("g:{group}")));
        let places: BTreeSet<&Place> = ids
            .iter()
            .filter_map(|id| self.by_subject.get(id))
            .flatten()
            .filter(|(ns, _)| ns.is_empty() || ns == namespace)
            .collect();
        places
            .into_iter()
            .filter_map(|place| self.bindings.get_key_value(place))
    }

    fn rules_of(&self, place: &Place, binding: &Binding) -> Result<Arc<Vec<Rule>>, String> {
        let RoleRef { kind, name } = &binding.role;
        self.role(&place.0, kind, name).ok_or_else(|| {
            let kind = kind.to_lowercase();
            format!("{kind}.rbac.authorization.k8s.io \"{name}\" not found")
        })
    }
}

fn reason(user: &User, (namespace, name): &Place, binding: &Binding) -> String {
    let mut ids: BTreeSet<String> = user.groups.iter().map(|g| format!("g:{g}")).collect();
    ids.insert(format!("u:{}", user.name));
    let subject = binding
        .subjects
        .iter()
        .find(|subject| ids.contains(&subject.id()))
        .map(Subject::describe)
        .unwrap_or_default();
    let what = if namespace.is_empty() {
        format!("ClusterRoleBinding \"{name}\"")
    } else {
        format!("RoleBinding \"{name}/{namespace}\"")
    };
    let RoleRef { kind, name } = &binding.role;
    format!("RBAC: allowed by {what} of {kind} \"{name}\" to {subject}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn index() -> Index {
        let mut index = Index::default();
        let view = json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]});
        index.set_role("", "view", Some(&view));
        let binding = |kind: &str, name: &str, role: &str| {
            json!({
                "roleRef": {"kind": "ClusterRole", "name": role},
                "subjects": [{"kind": kind, "name": name, "namespace": "ns"}],
            })
        };
        index.set_binding("ns", "viewers", Some(&binding("Group", "team", "view")));
        index.set_binding("", "robot", Some(&binding("ServiceAccount", "bot", "view")));
        index.set_binding("", "dangling", Some(&binding("User", "eve", "gone")));
        index
    }

    fn get_pods(namespace: &str) -> Attributes<'_> {
        Attributes {
            verb: "get",
            resource: "pods",
            namespace,
            ..Attributes::default()
        }
    }

    #[test]
    fn bindings_decide_by_namespace_and_subject() {
        let cases = [
            (
                User::component("jane", &["team"]),
                "ns",
                Decision::Allowed(
                    "RBAC: allowed by RoleBinding \"viewers/ns\" of ClusterRole \"view\" to Group \"team\"".into(),
                ),
            ),
            (
                User::component("jane", &["team"]),
                "other",
                Decision::Refused(String::new()),
            ),
            (
                User::component("system:serviceaccount:ns:bot", &[]),
                "other",
                Decision::Allowed(
                    "RBAC: allowed by ClusterRoleBinding \"robot\" of ClusterRole \"view\" to ServiceAccount \"bot/ns\"".into(),
                ),
            ),
            (
                User::component("eve", &[]),
                "ns",
                Decision::Refused("RBAC: clusterrole.rbac.authorization.k8s.io \"gone\" not found".into()),
            ),
            (
                User::component("root", &[MASTERS]),
                "ns",
                Decision::Allowed(String::new()),
            ),
        ];
        for (user, namespace, expected) in cases {
            assert_eq!(
                index().decide(&user, &get_pods(namespace)),
                expected,
                "{user:?}"
            );
        }
    }

    #[test]
    fn a_removed_binding_grants_nothing() {
        let mut index = index();
        index.set_binding("ns", "viewers", None);
        let jane = User::component("jane", &["team"]);
        assert_eq!(
            index.decide(&jane, &get_pods("ns")),
            Decision::Refused(String::new())
        );
        assert!(!index.by_subject.contains_key("g:team"));
    }
}
