//! From a decoded body to a document of the expected kind.

use super::{Request, finding::invalid, metadata::text};
use crate::api::{
    ApiError,
    call::{Document, FieldValidation},
    name::group_version,
    schema,
};
use serde_json::{Value, json};

/// What strict decoding tells at most, as upstream's.
const FINDINGS_MAX: usize = 100;

/// The kind a body must be of: the request's own, or that of a subresource.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    pub group: &'static str,
    pub version: &'static str,
    pub kind: &'static str,
    pub definition: &'static str,
}

impl Request<'_> {
    /// What the target's own documents are.
    pub fn expected(&self) -> Expected {
        match self.view().and_then(|view| view.document) {
            Some(document) => document,
            None => Expected {
                group: self.kind.group,
                version: self.kind.version,
                kind: self.kind.name,
                definition: self.kind.definition,
            },
        }
    }

    /// Judges a whole document from a client. Fields that do not exist are dropped.
    pub fn accept(&mut self, document: Document, expected: Expected) -> Result<Value, ApiError> {
        let Document {
            mut value,
            duplicates,
        } = document;
        identify(&mut value, expected)?;
        let refused = |why: &str| {
            let Expected { version, kind, .. } = expected;
            ApiError::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: {why}"
            ))
        };
        let definition = expected.definition;
        schema::check_types(&value, definition).map_err(|why| refused(&why))?;
        let unknown = schema::prune(&mut value, definition);
        let strict: Vec<String> = unknown
            .iter()
            .map(|path| format!("unknown field \"{path}\""))
            .chain(
                duplicates
                    .iter()
                    .map(|path| format!("duplicate field \"{path}\"")),
            )
            .collect();
        self.report(strict, |all| {
            refused(&format!("strict decoding error: {all}"))
        })?;
        schema::normalize(&mut value, definition);
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        Ok(value)
    }

    /// Judges what a patch made of a document. `strict` is what strict decoding said of the patch itself. Refusals show
    /// the document, but of a strategic merge the patch, and speak of it as upstream's converter does.
    pub fn accept_patched(
        &mut self,
        mut value: Value,
        mut strict: Vec<String>,
        expected: Expected,
        strategic: Option<&Value>,
    ) -> Result<Value, ApiError> {
        identify(&mut value, expected)?;
        let name = text(&value["metadata"], "name");
        if !name.is_empty() && name != self.name {
            return Err(ApiError::bad_request(format!(
                "the name of the object ({name}) does not match the name on the URL ({})",
                self.name
            )));
        }
        let printed = strategic.map_or_else(|| value.to_string(), as_go_prints);
        let refused = |why: &str| {
            let found = invalid("patch", &printed.as_str().into(), why);
            ApiError::invalid("", "", "", vec![found])
        };
        let definition = expected.definition;
        let checked = match strategic {
            Some(_) => schema::check_conversion(&value, definition),
            None => schema::check_types(&value, definition),
        };
        checked.map_err(|why| refused(&why))?;
        let unknown = schema::prune(&mut value, definition);
        strict.extend(
            unknown
                .iter()
                .map(|path| format!("unknown field \"{path}\"")),
        );
        self.report(strict, |all| {
            refused(&format!("strict decoding error: {all}"))
        })?;
        schema::normalize(&mut value, definition);
        if !value["metadata"].is_object() {
            value["metadata"] = json!({});
        }
        Ok(value)
    }

    /// Refuses, warns about or ignores what strict decoding found.
    pub fn report(
        &mut self,
        mut findings: Vec<String>,
        refusal: impl FnOnce(&str) -> ApiError,
    ) -> Result<(), ApiError> {
        findings.truncate(FINDINGS_MAX);
        if findings.is_empty() {
            return Ok(());
        }
        match self.options.field_validation {
            FieldValidation::Ignore => {}
            FieldValidation::Warn => self.warnings.extend(findings),
            FieldValidation::Strict => return Err(refusal(&findings.join(", "))),
        }
        Ok(())
    }
}

/// `map[spec:map[replicas:x]]`.
fn as_go_prints(value: &Value) -> String {
    let list = |texts: Vec<String>| format!("[{}]", texts.join(" "));
    match value {
        Value::Null => "<nil>".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => list(items.iter().map(as_go_prints).collect()),
        Value::Object(map) => {
            let pair = |(key, value): (&String, &Value)| format!("{key}:{}", as_go_prints(value));
            format!("map{}", list(map.iter().map(pair).collect()))
        }
        other => other.to_string(),
    }
}

/// Fills in or checks `apiVersion` and `kind`, and makes sure that there is metadata.
pub(super) fn identify(value: &mut Value, expected: Expected) -> Result<(), ApiError> {
    let Expected {
        group,
        version,
        kind,
        ..
    } = expected;
    let Some(object) = value.as_object_mut() else {
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct"
        )));
    };
    let api_version = group_version(group, version);
    for (field, ours) in [("apiVersion", api_version.as_str()), ("kind", kind)] {
        let theirs = object.entry(field).or_insert(Value::Null);
        if theirs.is_null() || theirs == "" {
            *theirs = ours.into();
        }
    }
    let their_kind = text(value, "kind");
    let their_version = text(value, "apiVersion");
    if their_version != api_version {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({their_version}) does not match the expected API version ({api_version})"
        )));
    }
    if their_kind != kind {
        // Upstream converts to its unversioned type, which lives in a package named after the group.
        let package = match group.split('.').next() {
            None | Some("") => "core",
            Some(package) => package,
        };
        return Err(ApiError::bad_request(format!(
            "{their_kind} in version \"{version}\" cannot be handled as a {kind}: converting ({version}.{their_kind}) to ({package}.{kind}): unknown conversion"
        )));
    }
    let meta = &mut value["metadata"];
    if meta.is_null() {
        *meta = json!({});
    }
    if !meta.is_object() {
        return Err(ApiError::bad_request(format!(
            "{kind} in version \"{version}\" cannot be handled as a {kind}: json: cannot unmarshal into Go struct field {kind}.metadata of type v1.ObjectMeta"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_are_shown_as_maps() {
        let patch = json!({"spec": {"replicas": "x", "list": [1, null, {"a": true}]}});
        let expected = "map[spec:map[list:[1 <nil> map[a:true]] replicas:x]]";
        assert_eq!(as_go_prints(&patch), expected);
    }
}
