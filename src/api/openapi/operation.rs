//! One operation: its parameters, what it takes and what it answers.

use super::Dialect;
use serde_json::{Map, Value, json};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    List,
    Create,
    DeleteCollection,
    Read,
    Replace,
    Patch,
    Delete,
    /// exec, proxy …: with this HTTP method.
    Connect(&'static str),
}

type Parameter = (&'static str, &'static str);

const LIST: &[Parameter] = &[
    ("allowWatchBookmarks", "boolean"),
    ("continue", "string"),
    ("fieldSelector", "string"),
    ("labelSelector", "string"),
    ("limit", "integer"),
    ("resourceVersion", "string"),
    ("resourceVersionMatch", "string"),
    ("sendInitialEvents", "boolean"),
    ("timeoutSeconds", "integer"),
    ("watch", "boolean"),
];
const WRITE: &[Parameter] = &[
    ("dryRun", "string"),
    ("fieldManager", "string"),
    ("fieldValidation", "string"),
];
const FORCE: &[Parameter] = &[("force", "boolean")];
const DELETE: &[Parameter] = &[
    ("dryRun", "string"),
    ("gracePeriodSeconds", "integer"),
    (
        "ignoreStoreReadErrorWithClusterBreakingPotential",
        "boolean",
    ),
    ("orphanDependents", "boolean"),
    ("propagationPolicy", "string"),
];

impl Action {
    /// As `x-kubernetes-action` has it.
    fn name(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::Create => "post",
            Action::DeleteCollection => "deletecollection",
            Action::Read => "get",
            Action::Replace => "put",
            Action::Patch => "patch",
            Action::Delete => "delete",
            Action::Connect(_) => "connect",
        }
    }

    pub fn method(self) -> &'static str {
        match self {
            Action::List | Action::Read => "get",
            Action::Create => "post",
            Action::Replace => "put",
            Action::Patch => "patch",
            Action::Delete | Action::DeleteCollection => "delete",
            Action::Connect(method) => method,
        }
    }

    fn verb(self) -> &'static str {
        match self {
            Action::List => "list",
            Action::Create => "create",
            Action::Read => "read",
            Action::Replace => "replace",
            Action::Patch => "patch",
            Action::Delete | Action::DeleteCollection => "delete",
            Action::Connect(_) => "connect",
        }
    }

    fn parameters(self) -> Vec<Parameter> {
        let lists: &[&[Parameter]] = match self {
            Action::List => &[LIST],
            Action::Create | Action::Replace => &[WRITE],
            Action::Patch => &[WRITE, FORCE],
            Action::Delete => &[DELETE],
            Action::DeleteCollection => &[DELETE, LIST],
            Action::Read | Action::Connect(_) => &[],
        };
        let mut parameters: Vec<Parameter> = lists.concat();
        if self == Action::DeleteCollection {
            parameters.retain(|(name, _)| !["watch", "allowWatchBookmarks"].contains(name));
        }
        parameters
    }

    /// The codes of success.
    fn codes(self) -> &'static [&'static str] {
        match self {
            Action::Create => &["200", "201", "202"],
            Action::Replace | Action::Patch => &["200", "201"],
            Action::Delete => &["200", "202"],
            _ => &["200"],
        }
    }
}

/// What an operation is about.
pub struct Subject<'a> {
    /// `AppsV1`.
    pub group_version: &'a str,
    /// `apps_v1`.
    pub tag: &'a str,
    pub is_namespaced: bool,
    /// `Deployment`; of the resource, not of the subresource.
    pub kind: &'a str,
    /// `Status`, `ForAllNamespaces` or nothing: the end of the operation's name.
    pub suffix: &'a str,
    /// Group, version and kind of what is taken and answered.
    pub gvk: (&'a str, &'a str, &'a str),
    pub is_custom: bool,
    /// Definitions of the body and of the answer.
    pub body: Option<&'a str>,
    pub answer: Option<&'a str>,
}

pub fn operation(action: Action, subject: &Subject<'_>, dialect: Dialect) -> Value {
    let (group, version, kind) = subject.gvk;
    let mut operation = json!({
        "operationId": operation_id(action, subject),
        "tags": [subject.tag],
        "x-kubernetes-action": action.name(),
        "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
    });
    let mut parameters: Vec<Value> = action
        .parameters()
        .into_iter()
        .map(|(name, kind)| parameter(name, "query", kind, dialect))
        .collect();
    if let Some(body) = subject.body {
        let schema = dialect.reference(body);
        let types = body_types(action, subject);
        let is_required = !matches!(action, Action::Delete | Action::DeleteCollection);
        match dialect {
            Dialect::V2 => {
                parameters.push(json!({
                    "name": "body", "in": "body", "required": is_required, "schema": schema,
                }));
                operation["consumes"] = json!(types);
            }
            Dialect::V3 => {
                operation["requestBody"] = json!({"content": content(&types, &schema)});
                if is_required {
                    operation["requestBody"]["required"] = true.into();
                }
            }
        }
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if dialect == Dialect::V2 {
        operation["schemes"] = json!(["https"]);
        operation["produces"] = json!(answer_types(action, subject));
    }
    operation["responses"] = responses(action, subject, dialect);
    operation
}

/// `patchAppsV1NamespacedDeploymentStatus`.
fn operation_id(action: Action, subject: &Subject<'_>) -> String {
    let method = match action {
        Action::Connect(method) => capitalized(method),
        _ => String::new(),
    };
    let collection = if action == Action::DeleteCollection {
        "Collection"
    } else {
        ""
    };
    let namespaced = if subject.is_namespaced {
        "Namespaced"
    } else {
        ""
    };
    format!(
        "{}{}{method}{collection}{namespaced}{}{}",
        action.verb(),
        subject.group_version,
        subject.kind,
        subject.suffix
    )
}

pub fn capitalized(word: &str) -> String {
    let mut letters = word.chars();
    let first = letters.next().map(|letter| letter.to_ascii_uppercase());
    first.into_iter().chain(letters).collect()
}

pub fn parameter(name: &str, place: &str, kind: &str, dialect: Dialect) -> Value {
    let mut parameter = json!({"name": name, "in": place});
    let schema = json!({"type": kind, "uniqueItems": true});
    match dialect {
        Dialect::V2 => {
            parameter["type"] = kind.into();
            parameter["uniqueItems"] = true.into();
        }
        Dialect::V3 => parameter["schema"] = schema,
    }
    if place == "path" {
        parameter["required"] = true.into();
    }
    parameter
}

fn body_types(action: Action, subject: &Subject<'_>) -> Vec<&'static str> {
    match (action, subject.is_custom) {
        // Clients conclude from this list whether a strategic merge patch is understood.
        (Action::Patch, true) => vec![
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/apply-patch+yaml",
        ],
        (Action::Patch, false) => vec![
            "application/json-patch+json",
            "application/merge-patch+json",
            "application/strategic-merge-patch+json",
            "application/apply-patch+yaml",
        ],
        (_, true) => vec!["application/json", "application/yaml"],
        (_, false) => vec!["*/*"],
    }
}

fn answer_types(action: Action, subject: &Subject<'_>) -> Vec<&'static str> {
    if matches!(action, Action::Connect(_)) {
        return vec!["*/*"];
    }
    let mut types = vec!["application/json", "application/yaml"];
    if !subject.is_custom {
        types.push("application/vnd.kubernetes.protobuf");
    }
    if action == Action::List {
        types.push("application/json;stream=watch");
        if !subject.is_custom {
            types.push("application/vnd.kubernetes.protobuf;stream=watch");
        }
    }
    types
}

fn content(types: &[&'static str], schema: &Value) -> Map<String, Value> {
    let entries = types.iter();
    entries
        .map(|kind| ((*kind).to_owned(), json!({"schema": schema})))
        .collect()
}

fn responses(action: Action, subject: &Subject<'_>, dialect: Dialect) -> Value {
    let mut responses = json!({"401": {"description": "Unauthorized"}});
    let schema = match subject.answer {
        Some(definition) => dialect.reference(definition),
        None => json!({"type": "string"}),
    };
    for code in action.codes() {
        let description = match *code {
            "201" => "Created",
            "202" => "Accepted",
            _ => "OK",
        };
        responses[*code] = match dialect {
            Dialect::V2 => json!({"description": description, "schema": schema}),
            Dialect::V3 => {
                let types = answer_types(action, subject);
                json!({"description": description, "content": content(&types, &schema)})
            }
        };
    }
    responses
}
