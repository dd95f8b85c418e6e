//! Which objects of a kind a list, a watch or a deletecollection is about.

use super::{
    convert,
    document::{index, storage_kind},
    place,
};
use crate::{
    api::{
        ApiError,
        call::Options,
        name::group_version,
        selector::{FieldSelector, LabelSelector},
    },
    kinds::Kind,
    store::Entry,
};

/// Namespace, label selector and field selector.
#[derive(Clone, Debug)]
pub struct Selection {
    /// Empty: all.
    namespace: String,
    /// Set when the selection is narrowed to one name.
    name: Option<String>,
    labels: LabelSelector,
    fields: Vec<Test>,
}

#[derive(Clone, Debug)]
struct Test {
    field: Field,
    value: String,
    is_negated: bool,
}

#[derive(Clone, Copy, Debug)]
enum Field {
    Name,
    Namespace,
    /// Position in the index.
    At(usize),
}

impl Selection {
    pub fn parse(kind: &Kind, namespace: &str, options: &Options) -> Result<Selection, ApiError> {
        let labels = match options.label_selector.as_deref() {
            None | Some("") => LabelSelector::everything(),
            Some(text) => LabelSelector::parse(text).map_err(ApiError::bad_request)?,
        };
        let fields = match options.field_selector.as_deref() {
            None | Some("") => FieldSelector::default(),
            Some(text) => FieldSelector::parse(text).map_err(ApiError::bad_request)?,
        };
        let mut tests = Vec::new();
        for requirement in fields.requirements() {
            let Some(field) = locate(kind, &requirement.field) else {
                let resource = group_version(kind.group, kind.version);
                let unknown = &requirement.field;
                return Err(ApiError::bad_request(format!(
                    "Unable to find \"{resource}, Resource={}\" that match label selector {:?}, field selector {:?}: field label not supported: {unknown}",
                    kind.plural,
                    options.label_selector.as_deref().unwrap_or_default(),
                    options.field_selector.as_deref().unwrap_or_default(),
                )));
            };
            tests.push(Test {
                field,
                value: requirement.value.clone(),
                is_negated: requirement.is_negated,
            });
        }
        Ok(Selection {
            namespace: namespace.to_owned(),
            name: fields.exact("metadata.name").map(str::to_owned),
            labels,
            fields: tests,
        })
    }

    /// Narrows to one object.
    #[must_use]
    pub fn only(mut self, name: &str) -> Selection {
        self.name = Some(name.to_owned());
        self
    }

    /// Whether it depends on more than the namespace.
    pub fn is_filtered(&self) -> bool {
        self.name.is_some() || !self.fields.is_empty() || !self.labels.is_everything()
    }

    /// What the keys of all selected objects begin with.
    pub fn prefix(&self, kind: &Kind) -> String {
        let mut prefix = place::prefix(kind, &self.namespace);
        if let Some(name) = &self.name
            && (!kind.is_namespaced() || !self.namespace.is_empty())
        {
            prefix.push_str(name);
        }
        prefix
    }

    pub fn matches(&self, entry: &Entry) -> bool {
        if !self.is_filtered() {
            return true;
        }
        let (namespace, name) = place::parts(&entry.key);
        let index = index(&entry.note);
        let has_fields = || {
            self.fields.iter().all(|test| {
                let value = match test.field {
                    Field::Name => name,
                    Field::Namespace => namespace,
                    Field::At(at) => index.fields.get(at).map_or("", |value| &**value),
                };
                (value == test.value) != test.is_negated
            })
        };
        self.name.as_ref().is_none_or(|wanted| wanted == name)
            && self.labels.matches(index)
            && has_fields()
    }
}

/// Finds where the index keeps a field of this kind.
fn locate(kind: &Kind, name: &str) -> Option<Field> {
    match name {
        "metadata.name" => Some(Field::Name),
        "metadata.namespace" if kind.is_namespaced() => Some(Field::Namespace),
        name if !kind.selectable_fields.contains(&name) => None,
        name => {
            let stored = storage_kind(kind.storage)?;
            let stored_name = convert::stored_field(kind, name);
            let mut fields = stored.selectable_fields.iter();
            fields
                .position(|field| *field == stored_name)
                .map(Field::At)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{apiserver::registry::document::annotate, kinds};

    fn check(labels: &str, fields: &str, expected: bool) {
        let pod = br#"{"apiVersion":"v1","kind":"Pod","metadata":{"labels":{"app":"web","z":"1"},"name":"p","namespace":"ns"},"spec":{"nodeName":"n1"}}"#;
        let entry = Entry {
            key: "/pods/ns/p".into(),
            bytes: bytes::Bytes::from_static(pod),
            created: 1,
            modified: 1,
            note: annotate("/pods/ns/p", pod),
        };
        let options = Options {
            label_selector: Some(labels.to_owned()),
            field_selector: Some(fields.to_owned()),
            ..Options::default()
        };
        let kind = kinds::find("", "v1", "pods").unwrap();
        let selection = Selection::parse(kind, "ns", &options).unwrap();
        assert_eq!(selection.matches(&entry), expected, "{labels} {fields}");
    }

    #[test]
    fn selections_look_at_the_index_only() {
        check("", "", true);
        check("app=web,z", "", true);
        check("app!=web", "", false);
        check("", "spec.nodeName=n1,metadata.namespace=ns", true);
        check("", "spec.nodeName!=n1", false);
        check("app in (web)", "metadata.name=p", true);
        check("", "metadata.name=pp", false);
        check("", "spec.restartPolicy=", true);
    }

    #[test]
    fn unknown_fields_are_named() {
        let options = Options {
            field_selector: Some("foo=bar".to_owned()),
            ..Options::default()
        };
        let kind = kinds::find("", "v1", "pods").unwrap();
        let error = Selection::parse(kind, "", &options).unwrap_err();
        assert_eq!(error.code, 400);
        assert!(
            error.message.ends_with("field label not supported: foo"),
            "{error}"
        );
    }
}
