//! Webhook configurations.

use super::{
    finding::{Field, Findings},
    format, labels,
};
use crate::api::error::Cause;
use serde_json::Value;

const OPERATIONS: &[&str] = &["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const SCOPES: &[&str] = &["*", "Cluster", "Namespaced"];
const VERSIONS: &[&str] = &["v1", "v1beta1"];

pub fn validating(object: &Value) -> Vec<Cause> {
    configuration(object, false)
}

pub fn mutating(object: &Value) -> Vec<Cause> {
    configuration(object, true)
}

fn configuration(object: &Value, is_mutating: bool) -> Vec<Cause> {
    let mut found = Findings::default();
    let mut names = Vec::new();
    for webhook in Field::root(object).child("webhooks").items() {
        let name = webhook.child("name");
        if names.contains(&name.text()) {
            found.duplicate(&name.path, name.text());
        }
        names.push(name.text());
        self::webhook(&webhook, &mut found);
        if is_mutating {
            let policy = webhook.child("reinvocationPolicy");
            found.one_of_if_set(&policy, &["IfNeeded", "Never"]);
        }
    }
    found.into_causes()
}

fn webhook(webhook: &Field<'_>, found: &mut Findings) {
    let name = webhook.child("name");
    found.invalid_each(&name.path, name.text(), format::dns_subdomain(name.text()));
    if name.text().split('.').count() < 3 {
        let about = "should be a domain with at least three segments separated by dots";
        found.invalid(&name.path, name.text(), about);
    }
    for rule in webhook.child("rules").items() {
        self::rule(&rule, found);
    }
    found.one_of_if_set(&webhook.child("failurePolicy"), &["Fail", "Ignore"]);
    found.one_of_if_set(&webhook.child("matchPolicy"), &["Equivalent", "Exact"]);
    let effects = webhook.child("sideEffects");
    if effects.is_empty() {
        let about = "must specify one of None, NoneOnDryRun";
        found.required(&effects.path, about);
    } else {
        found.one_of(&effects, &["None", "NoneOnDryRun"]);
    }
    let seconds = webhook.child("timeoutSeconds");
    if let Some(count) = seconds.int().filter(|count| !(1..=30).contains(count)) {
        let about = "the timeout value must be between 1 and 30 seconds";
        found.invalid(&seconds.path, &count, about);
    }
    for selector in ["namespaceSelector", "objectSelector"] {
        labels::label_selector(&webhook.child(selector), found);
    }
    review_versions(&webhook.child("admissionReviewVersions"), found);
    client(&webhook.child("clientConfig"), found);
    // Said when the configuration is made: such a webhook could only fail later.
    for condition in webhook.child("matchConditions").items() {
        let expression = condition.child("expression");
        let about = "compilation failed: expressions are not implemented by kubik yet";
        found.invalid(&expression.path, expression.text(), about);
    }
}

fn rule(rule: &Field<'_>, found: &mut Findings) {
    for list in ["apiGroups", "apiVersions", "resources"] {
        let list = rule.child(list);
        if list.is_empty() {
            found.required(&list.path, "");
        }
        let has_all = list.items().any(|item| item.text() == "*");
        if has_all && list.items().len() > 1 && !list.path.ends_with("resources") {
            let about = "if '*' is present, must not specify other API groups or versions";
            found.invalid(&list.path, &list.json(), about);
        }
    }
    let operations = rule.child("operations");
    if operations.is_empty() {
        found.required(&operations.path, "");
    }
    let has_all = operations.items().any(|item| item.text() == "*");
    if has_all && operations.items().len() > 1 {
        let about = "if '*' is present, must not specify other operations";
        found.invalid(&operations.path, &operations.json(), about);
    }
    for operation in operations.items() {
        found.one_of(&operation, OPERATIONS);
    }
    found.one_of_if_set(&rule.child("scope"), SCOPES);
}

fn review_versions(field: &Field<'_>, found: &mut Findings) {
    if field.is_empty() {
        let about = "must specify one of v1, v1beta1";
        return found.required(&field.path, about);
    }
    if !field.items().any(|item| VERSIONS.contains(&item.text())) {
        let about = "must include at least one of v1, v1beta1";
        found.invalid(&field.path, &field.json(), about);
    }
}

fn client(field: &Field<'_>, found: &mut Findings) {
    let (url, service) = (field.child("url"), field.child("service"));
    if url.is_set() == service.is_set() {
        let about = "exactly one of url or service is required";
        return found.required(&field.path, about);
    }
    if service.is_set() {
        found.required_text(&service.child("name"));
        found.required_text(&service.child("namespace"));
        let port = service.child("port");
        if let Some(number) = port.int().filter(|number| !(1..=65535).contains(number)) {
            let about = "port is not valid: must be between 1 and 65535, inclusive";
            found.invalid(&port.path, &number, about);
        }
        return;
    }
    let text = url.text();
    let form = "; desired format: https://host[/path]";
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    if scheme != "https" {
        let about = format!("'https' is the only allowed URL scheme{form}");
        found.invalid(&url.path, text, &about);
    }
    if rest.split('/').next().is_none_or(str::is_empty) {
        let about = format!("host must be specified{form}");
        found.invalid(&url.path, text, &about);
    }
    for (mark, about) in [
        ('@', "user information is not permitted in the URL"),
        ('#', "fragments are not permitted in the URL"),
        ('?', "query parameters are not permitted in the URL"),
    ] {
        if rest.contains(mark) {
            found.invalid(&url.path, text, about);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn with(change: &Value) -> Value {
        let mut webhook = json!({
            "name": "a.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"url": "https://127.0.0.1:1/x"},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
        });
        for (field, value) in change.as_object().unwrap() {
            webhook[field] = value.clone();
        }
        json!({"webhooks": [webhook]})
    }

    #[test]
    fn what_could_not_be_called_is_refused() {
        assert_eq!(validating(&with(&json!({}))), []);
        let cases = [
            (
                json!({"name": "a"}),
                "should be a domain with at least three segments",
            ),
            (
                json!({"sideEffects": "Some"}),
                "supported values: \"None\", \"NoneOnDryRun\"",
            ),
            (
                json!({"clientConfig": {}}),
                "exactly one of url or service is required",
            ),
            (
                json!({"clientConfig": {"url": "http://x"}}),
                "'https' is the only allowed URL scheme",
            ),
            (json!({"timeoutSeconds": 31}), "between 1 and 30 seconds"),
            (
                json!({"admissionReviewVersions": ["v9"]}),
                "must include at least one of v1, v1beta1",
            ),
            (
                json!({"matchConditions": [{"name": "c", "expression": "true"}]}),
                "compilation failed",
            ),
            (
                json!({"rules": [{"operations": ["X"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}]}),
                "Unsupported value: \"X\"",
            ),
        ];
        for (change, expected) in cases {
            let causes = mutating(&with(&change));
            assert!(
                causes.iter().any(|one| one.message.contains(expected)),
                "{change}: {causes:?}"
            );
        }
    }
}
