//! Field selectors, and the fields of documents they look at.

use serde_json::Value;
use std::{borrow::Cow, fmt};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldRequirement {
    pub field: String,
    pub value: String,
    /// `!=`.
    pub is_negated: bool,
}

/// All requirements must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FieldSelector {
    requirements: Vec<FieldRequirement>,
}

impl FieldSelector {
    /// The text of a `fieldSelector` parameter. The error is upstream's text.
    pub fn parse(text: &str) -> Result<FieldSelector, String> {
        let mut requirements = Vec::new();
        for term in terms(text).into_iter().filter(|term| !term.is_empty()) {
            let Some((field, operator, value)) = split(term) else {
                return Err(format!(
                    "invalid selector: '{text}'; can't understand '{term}'"
                ));
            };
            requirements.push(FieldRequirement {
                field: field.to_owned(),
                value: unescape(value)?,
                is_negated: operator == "!=",
            });
        }
        requirements.sort_by(|left, right| left.field.cmp(&right.field));
        Ok(FieldSelector { requirements })
    }

    pub fn requirements(&self) -> &[FieldRequirement] {
        &self.requirements
    }

    pub fn is_everything(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The value that `field` must have, when the selector says so: the name of the one object a watch is about.
    pub fn exact(&self, field: &str) -> Option<&str> {
        let found = self
            .requirements
            .iter()
            .find(|requirement| requirement.field == field && !requirement.is_negated);
        found.map(|requirement| requirement.value.as_str())
    }

    /// The first field that is not among `known`.
    pub fn unknown_field(&self, known: &[&str]) -> Option<&str> {
        let fields = self.requirements.iter().map(|one| one.field.as_str());
        fields.into_iter().find(|field| !known.contains(field))
    }

    /// `text` gives the value of a field as text, empty when it is absent.
    pub fn matches<'a>(&self, text: impl Fn(&str) -> Cow<'a, str>) -> bool {
        self.requirements.iter().all(|requirement| {
            (text(&requirement.field) == requirement.value) != requirement.is_negated
        })
    }

    pub fn matches_document(&self, document: &Value) -> bool {
        self.matches(|field| selectable(document, field))
    }
}

/// Fields that are not simply found at their name: the places looked at in turn, and the text when all are absent.
/// Events are one kind under two groups, so a selector of either spelling finds both.
const PLACES: &[(&str, &[&str], &str)] = &[
    ("spec.hostNetwork", &["/spec/hostNetwork"], "false"),
    ("spec.unschedulable", &["/spec/unschedulable"], "false"),
    ("status.replicas", &["/status/replicas"], "0"),
    ("status.successful", &["/status/succeeded"], "0"),
    (
        "source",
        &[
            "/source/component",
            "/deprecatedSource/component",
            "/reportingComponent",
            "/reportingController",
        ],
        "",
    ),
    (
        "reportingComponent",
        &["/reportingComponent", "/reportingController"],
        "",
    ),
    (
        "reportingController",
        &["/reportingController", "/reportingComponent"],
        "",
    ),
];

/// The text of a document's field as selectors see it: booleans and numbers printed, empty when absent.
pub fn selectable<'a>(document: &'a Value, field: &str) -> Cow<'a, str> {
    if let Some((_, places, absent)) = PLACES.iter().find(|(name, _, _)| *name == field) {
        let texts = places.iter().map(|place| text(document.pointer(place)));
        let found = texts.into_iter().find(|text| !text.is_empty());
        return found.unwrap_or(Cow::Borrowed(absent));
    }
    let direct = text(at(document, field.split('.')));
    let other = match field.split_once('.') {
        Some(("involvedObject", rest)) => ("regarding", rest),
        Some(("regarding", rest)) => ("involvedObject", rest),
        _ => return direct,
    };
    if direct.is_empty() {
        text(at(document, [other.0, other.1].into_iter()))
    } else {
        direct
    }
}

fn at<'a, 'b>(document: &'a Value, mut path: impl Iterator<Item = &'b str>) -> Option<&'a Value> {
    path.try_fold(document, |value, name| value.get(name))
}

fn text(value: Option<&Value>) -> Cow<'_, str> {
    match value {
        Some(Value::String(text)) => Cow::Borrowed(text),
        Some(Value::Bool(true)) => Cow::Borrowed("true"),
        Some(Value::Bool(false)) => Cow::Borrowed("false"),
        Some(Value::Number(number)) => Cow::Owned(number.to_string()),
        _ => Cow::Borrowed(""),
    }
}

/// Splits at commas that no backslash protects.
fn terms(text: &str) -> Vec<&str> {
    let mut terms = Vec::new();
    let mut start = 0;
    let mut is_escaped = false;
    for (at, c) in text.char_indices() {
        match c {
            _ if is_escaped => is_escaped = false,
            '\\' => is_escaped = true,
            ',' => {
                terms.push(&text[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    terms.push(&text[start..]);
    terms
}

/// At the first operator, wherever it stands.
fn split(term: &str) -> Option<(&str, &'static str, &str)> {
    term.char_indices().find_map(|(at, _)| {
        let rest = &term[at..];
        let operator = ["!=", "==", "="]
            .into_iter()
            .find(|operator| rest.starts_with(operator))?;
        Some((&term[..at], operator, &rest[operator.len()..]))
    })
}

fn unescape(text: &str) -> Result<String, String> {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match c {
            '\\' => match letters.next() {
                Some(c @ ('\\' | ',' | '=')) => plain.push(c),
                Some(c) => {
                    return Err(format!(
                        "invalid field selector: invalid escape sequence: \\{c}"
                    ));
                }
                None => {
                    return Err("invalid field selector: invalid escape sequence: \\".to_owned());
                }
            },
            ',' | '=' => {
                return Err(format!(
                    "invalid field selector: unescaped character in value: {c}"
                ));
            }
            c => plain.push(c),
        }
    }
    Ok(plain)
}

fn escape(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace(',', "\\,")
        .replace('=', "\\=")
}

impl fmt::Display for FieldSelector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, requirement) in self.requirements.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let operator = if requirement.is_negated { "!=" } else { "=" };
            let value = escape(&requirement.value);
            write!(f, "{comma}{}{operator}{value}", requirement.field)?;
        }
        Ok(())
    }
}
