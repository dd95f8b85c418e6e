//! The default roles and bindings of Kubernetes 1.36, from `assets/rbac.tsv`.
//!
//! Lines: `ClusterRole <tab> name <tab> labels <tab> aggregation selector`, followed by rules that begin with a tab
//! and have the fields apiGroups, resources, verbs, resourceNames and nonResourceURLs; or `ClusterRoleBinding <tab>
//! name <tab> role <tab> subjects`. Names of namespaced objects are followed by `(namespace)`.

use super::Seed;
use serde_json::{Map, Value, json};

const ASSET: &str = include_str!("../../../assets/rbac.tsv");
/// What this cluster's own parts need beyond. Upstream's node authorizer is a graph; here nodes have their role.
const OWN: &str = "\
ClusterRole\tsystem:kubik:informers\t\t
\t* | * | get,list,watch |  |\x20
ClusterRoleBinding\tsystem:kubik:informers\tClusterRole/system:kubik:informers\tUser:system:kubik:informers
ClusterRole\tsystem:kubik:ipallocator\t\t
\tnetworking.k8s.io | ipaddresses | create,delete |  |\x20
ClusterRoleBinding\tsystem:kubik:ipallocator\tClusterRole/system:kubik:ipallocator\tUser:system:kubik:ipallocator
ClusterRoleBinding\tsystem:kubik:nodes\tClusterRole/system:node\tGroup:system:nodes
ClusterRole\tsystem:aggregated-metrics-reader\trbac.authorization.k8s.io/aggregate-to-admin=true,rbac.authorization.k8s.io/aggregate-to-edit=true,rbac.authorization.k8s.io/aggregate-to-view=true\t
\tmetrics.k8s.io | nodes,pods | get,list,watch |  |\x20
ClusterRole\tsystem:coredns\t\t
\t\"\" | endpoints,namespaces,pods,services | list,watch |  |\x20
\tdiscovery.k8s.io | endpointslices | list,watch |  |\x20
ClusterRoleBinding\tsystem:coredns\tClusterRole/system:coredns\tServiceAccount:kube-system/coredns
";

const GROUP: &str = "rbac.authorization.k8s.io";

pub fn seeds() -> Vec<Seed> {
    let mut seeds: Vec<Seed> = Vec::new();
    for line in ASSET.lines().chain(OWN.lines()) {
        if let Some(rule) = line.strip_prefix('\t') {
            if let Some(rules) = seeds
                .last_mut()
                .and_then(|seed| seed.object["rules"].as_array_mut())
            {
                rules.push(parse_rule(rule));
            }
            continue;
        }
        let mut fields = line.split('\t');
        let mut next = || fields.next().unwrap_or_default();
        let (kind, place, third, fourth) = (next(), next(), next(), next());
        let (name, namespace) = match place.split_once(" (") {
            Some((name, namespace)) => (name, namespace.trim_end_matches(')')),
            None => (place, ""),
        };
        let mut object = json!({
            "metadata": {
                "name": name,
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
                "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            },
        });
        let plural = match kind {
            "ClusterRole" | "Role" => {
                for (key, value) in pairs(third) {
                    object["metadata"]["labels"][key] = value;
                }
                object["rules"] = json!([]);
                if !fourth.is_empty() {
                    let labels: Map<String, Value> = pairs(fourth).into_iter().collect();
                    object["aggregationRule"] =
                        json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
                }
                if kind == "Role" {
                    "roles"
                } else {
                    "clusterroles"
                }
            }
            _ => {
                let (role_kind, role) = third.split_once('/').unwrap_or_default();
                object["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
                let subjects: Vec<Value> = fourth.split(", ").filter_map(parse_subject).collect();
                if !subjects.is_empty() {
                    object["subjects"] = subjects.into();
                }
                if kind == "RoleBinding" {
                    "rolebindings"
                } else {
                    "clusterrolebindings"
                }
            }
        };
        seeds.push(Seed {
            group: GROUP,
            version: "v1",
            plural,
            namespace: namespace.to_owned(),
            object,
        });
    }
    aggregate(&mut seeds);
    seeds
}

fn pairs(text: &str) -> Vec<(String, Value)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect()
}

fn parse_rule(line: &str) -> Value {
    let mut rule = json!({});
    let fields = [
        "apiGroups",
        "resources",
        "verbs",
        "resourceNames",
        "nonResourceURLs",
    ];
    for (field, text) in fields.into_iter().zip(line.split('|')) {
        let items: Vec<&str> = text.trim().split(',').map(str::trim).collect();
        let items: Vec<&str> = items
            .into_iter()
            .filter(|item| !item.is_empty())
            .map(|item| if item == "\"\"" { "" } else { item })
            .collect();
        if !items.is_empty() {
            rule[field] = json!(items);
        }
    }
    rule
}

fn parse_subject(text: &str) -> Option<Value> {
    let (kind, name) = text.split_once(':')?;
    Some(match kind {
        "ServiceAccount" => {
            let (namespace, name) = name.split_once('/')?;
            json!({"kind": kind, "namespace": namespace, "name": name})
        }
        _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
    })
}

/// Roles with an aggregation rule hold the rules of those that they select: what the aggregation controller would
/// come to.
fn aggregate(seeds: &mut [Seed]) {
    // `admin` selects `edit`, which selects `view`: the order of the passes does not matter, their number does.
    for _ in 0..3 {
        for at in 0..seeds.len() {
            let selector =
                &seeds[at].object["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"];
            let Some(wanted) = selector.as_object().cloned() else {
                continue;
            };
            let mut rules: Vec<Value> = Vec::new();
            for (other, seed) in seeds.iter().enumerate() {
                let labels = &seed.object["metadata"]["labels"];
                if other == at || !wanted.iter().all(|(key, value)| labels[key] == *value) {
                    continue;
                }
                for rule in seed.object["rules"].as_array().into_iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            seeds[at].object["rules"] = rules.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(seeds: &[Seed], plural: &str, name: &str) -> Value {
        let found = seeds
            .iter()
            .find(|seed| seed.plural == plural && seed.object["metadata"]["name"] == name);
        found
            .unwrap_or_else(|| panic!("{plural} {name}"))
            .object
            .clone()
    }

    #[test]
    fn the_asset_holds_the_default_roles() {
        let seeds = seeds();
        assert_eq!(seeds.len(), 135 + 8);
        let admin = seed(&seeds, "clusterroles", "cluster-admin");
        assert_eq!(
            admin["rules"],
            json!([
                {"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]},
                {"verbs": ["*"], "nonResourceURLs": ["*"]},
            ])
        );
        let binding = seed(&seeds, "clusterrolebindings", "system:kube-dns");
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "namespace": "kube-system", "name": "kube-dns"}])
        );
        let role = seed(&seeds, "roles", "extension-apiserver-authentication-reader");
        assert_eq!(role["rules"][0]["apiGroups"], json!([""]));
    }

    #[test]
    fn admin_contains_edit_contains_view() {
        let seeds = seeds();
        let rules = |name: &str| {
            seed(&seeds, "clusterroles", name)["rules"]
                .as_array()
                .unwrap()
                .clone()
        };
        let (admin, edit, view) = (rules("admin"), rules("edit"), rules("view"));
        assert!(!view.is_empty());
        assert!(view.iter().all(|rule| edit.contains(rule)));
        assert!(edit.iter().all(|rule| admin.contains(rule)));
    }
}
