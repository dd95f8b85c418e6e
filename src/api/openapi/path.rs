//! Paths: which operations stand where.

use super::{
    Dialect, Resource, Subresource,
    definition::{META, list_definition, of_kind},
    operation::{Action, Subject, capitalized, operation, parameter},
    path_of,
};
use serde_json::{Map, Value, json};

pub fn paths(resources: &[Resource<'_>], dialect: Dialect) -> Map<String, Value> {
    let mut paths = Map::new();
    for resource in resources {
        let naming = Naming::of(resource);
        let base = format!("/{}", path_of(&resource.group, &resource.version));
        paths
            .entry(format!("{base}/"))
            .or_insert_with(|| resource_list(&naming, dialect));
        let scope = if resource.is_namespaced {
            "/namespaces/{namespace}"
        } else {
            ""
        };
        let collection = format!("{base}{scope}/{}", resource.plural);
        add(
            &mut paths,
            collection.clone(),
            collection_path(resource, &naming, dialect),
        );
        add(
            &mut paths,
            format!("{collection}/{{name}}"),
            item_path(resource, &naming, dialect),
        );
        if resource.is_namespaced && resource.verbs.contains(&"list") {
            let path = format!("{base}/{}", resource.plural);
            add(
                &mut paths,
                path,
                everywhere_path(resource, &naming, dialect),
            );
        }
        for sub in &resource.subresources {
            let path = format!("{collection}/{{name}}/{}", sub.name);
            add(
                &mut paths,
                path.clone(),
                sub_path(resource, sub, &naming, dialect),
            );
            if sub.name == "proxy" {
                let item = sub_path(resource, sub, &naming, dialect);
                add(&mut paths, format!("{path}/{{path}}"), item);
            }
        }
    }
    paths
}

/// How a group version is called in operations.
struct Naming {
    /// `RbacAuthorizationV1`.
    camel: String,
    /// `rbacAuthorization_v1`.
    tag: String,
}

impl Naming {
    fn of(resource: &Resource<'_>) -> Naming {
        let group = match resource.group.as_ref() {
            "" => "core",
            group => group.trim_end_matches(".k8s.io"),
        };
        let words: String = group.split('.').map(capitalized).collect();
        let version = &resource.version;
        let mut letters = words.chars();
        let first = letters.next().map(|letter| letter.to_ascii_lowercase());
        let lower: String = first.into_iter().chain(letters).collect();
        Naming {
            camel: format!("{words}{}", capitalized(version)),
            tag: format!("{lower}_{version}"),
        }
    }
}

/// The path's own parameters come from its placeholders.
fn add(paths: &mut Map<String, Value>, path: String, (dialect, mut item): (Dialect, Value)) {
    if item.as_object().is_none_or(Map::is_empty) {
        return;
    }
    let mut parameters: Vec<Value> = ["namespace", "name", "path"]
        .into_iter()
        .filter(|name| path.contains(&format!("{{{name}}}")))
        .map(|name| parameter(name, "path", "string", dialect))
        .collect();
    parameters.push(parameter("pretty", "query", "string", dialect));
    item["parameters"] = parameters.into();
    paths.insert(path, item);
}

fn resource_list(naming: &Naming, dialect: Dialect) -> Value {
    let schema = dialect.reference(&format!("{META}.APIResourceList"));
    let answer = match dialect {
        Dialect::V2 => json!({"description": "OK", "schema": schema}),
        Dialect::V3 => {
            json!({"description": "OK", "content": {"application/json": {"schema": schema}}})
        }
    };
    json!({"get": {
        "operationId": format!("get{}APIResources", naming.camel),
        "tags": [naming.tag],
        "responses": {"200": answer, "401": {"description": "Unauthorized"}},
    }})
}

fn collection_path(resource: &Resource<'_>, naming: &Naming, dialect: Dialect) -> (Dialect, Value) {
    let list = list_definition(resource);
    let status = format!("{META}.Status");
    let options = format!("{META}.DeleteOptions");
    let own = Some(resource.definition.as_ref());
    let actions = [
        ("list", Action::List, None, list.as_deref()),
        ("create", Action::Create, own, own),
        (
            "deletecollection",
            Action::DeleteCollection,
            Some(options.as_str()),
            Some(status.as_str()),
        ),
    ];
    (dialect, operations(resource, naming, dialect, "", &actions))
}

fn everywhere_path(resource: &Resource<'_>, naming: &Naming, dialect: Dialect) -> (Dialect, Value) {
    let list = list_definition(resource);
    let resource = Resource {
        is_namespaced: false,
        ..resource.clone()
    };
    let actions = [("list", Action::List, None, list.as_deref())];
    (
        dialect,
        operations(&resource, naming, dialect, "ForAllNamespaces", &actions),
    )
}

fn item_path(resource: &Resource<'_>, naming: &Naming, dialect: Dialect) -> (Dialect, Value) {
    let own = Some(resource.definition.as_ref());
    let (patch, options) = (format!("{META}.Patch"), format!("{META}.DeleteOptions"));
    let status = format!("{META}.Status");
    // A pod is answered with its last state, most others with a Status.
    let deleted = if resource.kind == "Pod" {
        own
    } else {
        Some(status.as_str())
    };
    let actions = [
        ("get", Action::Read, None, own),
        ("update", Action::Replace, own, own),
        ("patch", Action::Patch, Some(patch.as_str()), own),
        ("delete", Action::Delete, Some(options.as_str()), deleted),
    ];
    (dialect, operations(resource, naming, dialect, "", &actions))
}

type Planned<'a> = (&'a str, Action, Option<&'a str>, Option<&'a str>);

/// The operations whose verb the resource has.
fn operations(
    resource: &Resource<'_>,
    naming: &Naming,
    dialect: Dialect,
    suffix: &str,
    actions: &[Planned<'_>],
) -> Value {
    let mut item = Map::new();
    for (_, action, body, answer) in actions
        .iter()
        .filter(|(verb, ..)| resource.verbs.contains(verb))
    {
        let subject = Subject {
            group_version: &naming.camel,
            tag: &naming.tag,
            is_namespaced: resource.is_namespaced,
            kind: &resource.kind,
            suffix,
            gvk: (&resource.group, &resource.version, &resource.kind),
            is_custom: resource.is_custom,
            body: *body,
            answer: *answer,
        };
        item.insert(
            action.method().to_owned(),
            operation(*action, &subject, dialect),
        );
    }
    Value::Object(item)
}

/// Subresources that are streams or proxies: every HTTP method connects.
const CONNECTED: &[&str] = &["attach", "exec", "portforward", "proxy"];
const CONNECT_METHODS: &[(&str, &str)] = &[
    ("create", "post"),
    ("delete", "delete"),
    ("get", "get"),
    ("patch", "patch"),
    ("update", "put"),
];

fn sub_path(
    resource: &Resource<'_>,
    sub: &Subresource<'_>,
    naming: &Naming,
    dialect: Dialect,
) -> (Dialect, Value) {
    let known = of_kind(&sub.group, &sub.version, &sub.kind);
    let is_own = (&sub.group, &sub.version, &sub.kind)
        == (&resource.group, &resource.version, &resource.kind);
    let definition = if is_own {
        Some(resource.definition.as_ref())
    } else {
        known.as_deref()
    };
    let suffix = capitalized(&sub.name);
    let patch = format!("{META}.Patch");
    let mut item = Map::new();
    for verb in sub.verbs {
        let (action, body, answer) = match (*verb, sub.name.as_ref()) {
            (verb, name) if CONNECTED.contains(&name) => {
                let method = CONNECT_METHODS.iter().find(|(known, _)| *known == verb);
                match method {
                    Some((_, method)) => (Action::Connect(method), None, None),
                    None => continue,
                }
            }
            // A log is text.
            ("get", "log") => (Action::Read, None, None),
            ("get", _) => (Action::Read, None, definition),
            ("create", _) => (Action::Create, definition, definition),
            ("update", _) => (Action::Replace, definition, definition),
            ("patch", _) => (Action::Patch, Some(patch.as_str()), definition),
            _ => continue,
        };
        let subject = Subject {
            group_version: &naming.camel,
            tag: &naming.tag,
            is_namespaced: resource.is_namespaced,
            kind: &resource.kind,
            suffix: &suffix,
            gvk: (&sub.group, &sub.version, &sub.kind),
            is_custom: resource.is_custom,
            body,
            answer,
        };
        item.insert(
            action.method().to_owned(),
            operation(action, &subject, dialect),
        );
    }
    (dialect, Value::Object(item))
}
