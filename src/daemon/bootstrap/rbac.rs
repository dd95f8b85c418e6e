//! The default roles and bindings, from the table in `assets/bootstrap-rbac.tsv`. Pure.

use serde_json::{Map, Value, json};

const TABLE: &str = include_str!("../../../assets/bootstrap-rbac.tsv");
const GROUP: &str = "rbac.authorization.k8s.io";

/// Every role and binding. Aggregated roles already have the rules of the roles they collect.
pub fn documents() -> Vec<Value> {
    let mut documents: Vec<Value> = Vec::new();
    for line in TABLE
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        match line.strip_prefix('\t') {
            Some(rule) => {
                if let Some(rules) = documents
                    .last_mut()
                    .and_then(|role| role["rules"].as_array_mut())
                {
                    rules.push(parse_rule(rule));
                }
            }
            None => documents.push(head(line)),
        }
    }
    aggregate(&mut documents);
    documents
}

fn head(line: &str) -> Value {
    let mut fields = line.split('\t');
    let mut next = || fields.next().unwrap_or_default();
    let (kind, name, third, fourth) = (next(), next(), next(), next());
    let (name, namespace) = match name.split_once(" (") {
        Some((name, namespace)) => (name, namespace.trim_end_matches(')')),
        None => (name, ""),
    };
    let mut meta = json!({
        "name": name,
        "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
    });
    if !namespace.is_empty() {
        meta["namespace"] = namespace.into();
    }
    let mut document = json!({"apiVersion": format!("{GROUP}/v1"), "kind": kind, "metadata": meta});
    if kind.ends_with("Binding") {
        let (role_kind, role) = third.split_once('/').unwrap_or_default();
        document["roleRef"] = json!({"apiGroup": GROUP, "kind": role_kind, "name": role});
        document["subjects"] = fourth
            .split(", ")
            .filter(|text| !text.is_empty())
            .map(subject)
            .collect();
        return document;
    }
    for (key, value) in pairs(third) {
        document["metadata"]["labels"][key] = value.into();
    }
    let selector: Map<String, Value> = pairs(fourth)
        .map(|(key, value)| (key.to_owned(), value.into()))
        .collect();
    if !selector.is_empty() {
        document["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": selector}]});
    }
    document["rules"] = json!([]);
    document
}

fn pairs(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|pair| pair.split_once('='))
}

/// `Group:system:masters`, `User:x`, `ServiceAccount:namespace/name`.
fn subject(text: &str) -> Value {
    let (kind, name) = text.split_once(':').unwrap_or_default();
    match name.split_once('/') {
        Some((namespace, name)) if kind == "ServiceAccount" => {
            json!({"kind": kind, "namespace": namespace, "name": name})
        }
        _ => json!({"apiGroup": GROUP, "kind": kind, "name": name}),
    }
}

fn parse_rule(line: &str) -> Value {
    let columns = [
        "apiGroups",
        "resources",
        "verbs",
        "resourceNames",
        "nonResourceURLs",
    ];
    let mut rule = Map::new();
    for (column, text) in columns.into_iter().zip(line.split('|')) {
        let words: Vec<Value> = text
            .trim()
            .split(',')
            .filter(|word| !word.is_empty())
            .map(|word| word.trim_matches('"').into())
            .collect();
        if !words.is_empty() {
            rule.insert(column.to_owned(), words.into());
        }
    }
    rule.into()
}

/// Gives `admin`, `edit` and `view` the rules that the aggregation controller would.
fn aggregate(documents: &mut [Value]) {
    // `admin` collects what `edit` has collected, so pass on until nothing changes.
    loop {
        let mut changed = false;
        for at in 0..documents.len() {
            let selector =
                documents[at]["aggregationRule"]["clusterRoleSelectors"][0]["matchLabels"].clone();
            let Some(wanted) = selector.as_object() else {
                continue;
            };
            let fits = |role: &Value| {
                wanted
                    .iter()
                    .all(|(key, value)| &role["metadata"]["labels"][key] == value)
            };
            let mut rules: Vec<Value> = Vec::new();
            for role in documents.iter().filter(|role| fits(role)) {
                for rule in role["rules"].as_array().into_iter().flatten() {
                    if !rules.contains(rule) {
                        rules.push(rule.clone());
                    }
                }
            }
            let rules = Value::from(rules);
            changed |= documents[at]["rules"] != rules;
            documents[at]["rules"] = rules;
        }
        if !changed {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'a>(documents: &'a [Value], kind: &str, name: &str) -> &'a Value {
        let is =
            |document: &&Value| document["kind"] == kind && document["metadata"]["name"] == name;
        documents
            .iter()
            .find(is)
            .unwrap_or_else(|| panic!("no {kind} {name}"))
    }

    #[test]
    fn the_masters_may_do_everything() {
        let all = documents();
        let admin = find(&all, "ClusterRole", "cluster-admin");
        assert_eq!(
            admin["rules"][0],
            json!({"apiGroups": ["*"], "resources": ["*"], "verbs": ["*"]})
        );
        assert_eq!(
            admin["rules"][1],
            json!({"nonResourceURLs": ["*"], "verbs": ["*"]})
        );
        let binding = find(&all, "ClusterRoleBinding", "cluster-admin");
        assert_eq!(binding["subjects"][0]["name"], "system:masters");
        assert_eq!(binding["roleRef"]["name"], "cluster-admin");
    }

    #[test]
    fn aggregated_roles_have_their_rules() {
        let all = documents();
        for name in ["admin", "edit", "view"] {
            let rules = find(&all, "ClusterRole", name)["rules"]
                .as_array()
                .unwrap()
                .clone();
            let pods = rules.iter().any(|rule| {
                let resources = rule["resources"].as_array();
                resources.is_some_and(|resources| resources.contains(&json!("pods")))
            });
            assert!(pods, "{name}: {rules:?}");
        }
    }

    #[test]
    fn namespaced_names_and_core_groups_are_read() {
        let all = documents();
        let role = find(&all, "Role", "system:controller:token-cleaner");
        assert_eq!(role["metadata"]["namespace"], "kube-system");
        assert_eq!(role["rules"][0]["apiGroups"], json!([""]));
        assert_eq!(role["rules"][1]["apiGroups"], json!(["", "events.k8s.io"]));
    }
}
