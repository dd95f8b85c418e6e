//! The `Accept` header: what form of answer a client wants.

use crate::api::ApiError;

/// More clauses than this are not looked at.
const CLAUSES_MAX: usize = 64;

/// One entry of the header.
#[derive(Clone, Debug, PartialEq)]
pub struct Clause<'a> {
    pub media: &'a str,
    params: Vec<(&'a str, &'a str)>,
    quality: f32,
}

impl Clause<'_> {
    pub fn param(&self, name: &str) -> &str {
        let found = self.params.iter().find(|(key, _)| *key == name);
        found.map_or("", |(_, value)| value)
    }

    pub fn is_json(&self) -> bool {
        matches!(self.media, "application/json" | "*/*" | "application/*")
    }
}

/// Entries from the most wanted to the least. A missing header wants anything.
pub fn clauses(header: Option<&str>) -> Vec<Clause<'_>> {
    let text = match header.map(str::trim) {
        None | Some("") => "*/*",
        Some(text) => text,
    };
    let mut all: Vec<Clause<'_>> = text.split(',').take(CLAUSES_MAX).map(clause).collect();
    // Stable: equal wishes keep their order.
    all.sort_by(|a, b| b.quality.total_cmp(&a.quality));
    all.retain(|clause| clause.quality > 0.0);
    all
}

fn clause(text: &str) -> Clause<'_> {
    let mut parts = text.split(';').map(str::trim);
    let media = parts.next().unwrap_or_default();
    let pairs = parts.filter_map(|part| part.split_once('='));
    let mut params: Vec<(&str, &str)> = pairs
        .map(|(key, value)| (key.trim(), value.trim_matches(['"', ' '])))
        .collect();
    let quality = params.iter().find(|(key, _)| *key == "q");
    let quality = quality
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(1.0);
    params.retain(|(key, _)| *key != "q");
    Clause {
        media,
        params,
        quality,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Json,
    Yaml,
    Protobuf,
}

/// Another document made of the stored one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    Whole,
    /// A Table of this version of `meta.k8s.io`.
    Table(&'static str),
    /// `PartialObjectMetadata`, or a list of them.
    Metadata(&'static str),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub format: Format,
    pub shape: Shape,
    pub is_pretty: bool,
}

/// What is known about a request besides its `Accept` header.
#[derive(Clone, Copy, Debug, Default)]
pub struct Circumstances<'a> {
    pub user_agent: &'a str,
    /// The query's `pretty`.
    pub pretty: Option<bool>,
    pub allows_protobuf: bool,
    /// There are no columns and no metadata to show: of answers to questions, and of what is done to an object.
    pub only_whole: bool,
}

/// The first form we serve, or 406.
pub fn negotiate(header: Option<&str>, about: Circumstances<'_>) -> Result<Wanted, ApiError> {
    let found = clauses(header).iter().find_map(|clause| {
        let format = match clause.media {
            _ if clause.is_json() => Format::Json,
            "application/yaml" => Format::Yaml,
            "application/vnd.kubernetes.protobuf" if about.allows_protobuf => Format::Protobuf,
            _ => return None,
        };
        let shape = shape(clause)?;
        if shape != Shape::Whole && about.only_whole {
            return None;
        }
        if matches!(shape, Shape::Table(_)) && format == Format::Protobuf {
            return None;
        }
        let asked = about
            .pretty
            .or_else(|| (clause.param("pretty") == "1").then_some(true));
        Some(Wanted {
            format,
            shape,
            is_pretty: asked.unwrap_or_else(|| is_person(about.user_agent)),
        })
    });
    found.ok_or_else(|| not_acceptable(about.allows_protobuf))
}

fn shape(clause: &Clause<'_>) -> Option<Shape> {
    let kind = clause.param("as");
    if kind.is_empty() {
        return Some(Shape::Whole);
    }
    let version = match (clause.param("g"), clause.param("v")) {
        ("meta.k8s.io", "v1") => "meta.k8s.io/v1",
        ("meta.k8s.io", "v1beta1") => "meta.k8s.io/v1beta1",
        _ => return None,
    };
    match kind {
        "Table" => Some(Shape::Table(version)),
        "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Shape::Metadata(version)),
        _ => None,
    }
}

/// Programs people look at output with; upstream indents for them unasked.
pub fn is_person(user_agent: &str) -> bool {
    ["curl", "Wget", "Mozilla/5.0"]
        .iter()
        .any(|program| user_agent.starts_with(program))
}

pub fn not_acceptable(allows_protobuf: bool) -> ApiError {
    let protobuf = if allows_protobuf {
        ", application/vnd.kubernetes.protobuf"
    } else {
        ""
    };
    let message = format!(
        "only the following media types are accepted: application/json, application/yaml{protobuf}"
    );
    ApiError::new(406, "NotAcceptable", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(header: &str) -> String {
        let about = Circumstances {
            allows_protobuf: true,
            ..Circumstances::default()
        };
        match negotiate(Some(header), about) {
            Ok(wanted) => format!("{:?} {:?}", wanted.format, wanted.shape),
            Err(refusal) => refusal.code.to_string(),
        }
    }

    #[test]
    fn the_first_served_form_wins() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let cases = [
            ("", "Json Whole"),
            ("*/*", "Json Whole"),
            ("text/html, application/*;q=0.8", "Json Whole"),
            ("application/yaml", "Yaml Whole"),
            ("application/json;q=0.1, application/yaml", "Yaml Whole"),
            ("application/cbor", "406"),
            (
                "application/vnd.kubernetes.protobuf,application/json",
                "Protobuf Whole",
            ),
            (table, "Json Table(\"meta.k8s.io/v1\")"),
            (
                "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io",
                "406",
            ),
            (
                "application/json;as=Table;v=v2;g=meta.k8s.io,application/json",
                "Json Whole",
            ),
            (
                "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
                "Json Metadata(\"meta.k8s.io/v1\")",
            ),
        ];
        for (header, expected) in cases {
            assert_eq!(shown(header), expected, "{header}");
        }
    }

    #[test]
    fn answers_without_columns_are_no_tables() {
        let about = Circumstances {
            only_whole: true,
            ..Circumstances::default()
        };
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(negotiate(Some(table), about).unwrap_err().code, 406);
        let either = format!("{table},application/json");
        let found = negotiate(Some(&either), about).unwrap();
        assert_eq!(found.shape, Shape::Whole);
    }

    #[test]
    fn people_get_indented_text() {
        let pretty = |user_agent, pretty| {
            let about = Circumstances {
                user_agent,
                pretty,
                ..Circumstances::default()
            };
            negotiate(None, about).unwrap().is_pretty
        };
        assert!(pretty("curl/8.5.0", None));
        assert!(!pretty("curl/8.5.0", Some(false)));
        assert!(!pretty("kubectl/v1.36.0", None));
        assert!(pretty("kubectl/v1.36.0", Some(true)));
    }
}
