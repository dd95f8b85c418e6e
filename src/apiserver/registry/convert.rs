//! Kinds that are another view of objects stored in a different version.
//!
//! Most versions of a kind differ in `apiVersion` only. The few that do not have a pair of pure functions here.

use crate::{
    api::{ApiError, autoscaler, name::group_version},
    kinds::Kind,
};
use serde_json::Value;

struct View {
    group: &'static str,
    version: &'static str,
    plural: &'static str,
    /// Renames of selectable fields: as the view calls them, as they are stored.
    fields: &'static [(&'static str, &'static str)],
    to_stored: fn(&mut Value),
    from_stored: fn(&mut Value),
}

const VIEWS: &[View] = &[
    View {
        group: "events.k8s.io",
        version: "v1",
        plural: "events",
        fields: &[
            ("regarding", "involvedObject"),
            ("reportingController", "reportingComponent"),
        ],
        to_stored: |event| rename(event, EVENT_FIELDS, false),
        from_stored: |event| rename(event, EVENT_FIELDS, true),
    },
    View {
        group: "autoscaling",
        version: "v1",
        plural: "horizontalpodautoscalers",
        fields: &[],
        to_stored: autoscaler::to_v2,
        from_stored: autoscaler::to_v1,
    },
];

fn view(kind: &Kind) -> Option<&'static View> {
    VIEWS.iter().find(|view| {
        view.group == kind.group && view.version == kind.version && view.plural == kind.plural
    })
}

/// Whether objects of this kind are stored in another kind's version.
pub fn is_view(kind: &Kind) -> bool {
    view(kind).is_some()
}

/// What the stored form calls a selectable field of this kind.
pub fn stored_field(kind: &Kind, field: &str) -> String {
    let renames = view(kind).map_or(&[][..], |view| view.fields);
    for (ours, stored) in renames {
        match field.strip_prefix(ours) {
            Some("") => return (*stored).to_owned(),
            Some(rest) if rest.starts_with('.') => return format!("{stored}{rest}"),
            _ => {}
        }
    }
    field.to_owned()
}

/// From this kind's version to the stored one.
pub fn to_stored(document: &mut Value, kind: &Kind, stored: &Kind) {
    if let Some(view) = view(kind) {
        (view.to_stored)(document);
    }
    document["apiVersion"] = group_version(stored.group, stored.version).into();
}

/// From the stored version to this kind's.
pub fn from_stored(document: &mut Value, kind: &Kind) {
    if let Some(view) = view(kind) {
        (view.from_stored)(document);
    }
    document["apiVersion"] = group_version(kind.group, kind.version).into();
}

/// Parses stored bytes into this kind's version.
pub fn parse(bytes: &[u8], kind: &Kind) -> Result<Value, ApiError> {
    let mut document: Value = serde_json::from_slice(bytes).map_err(ApiError::internal)?;
    if is_view(kind) {
        from_stored(&mut document, kind);
    }
    Ok(document)
}

/// core/v1 and events.k8s.io/v1.
const EVENT_FIELDS: &[(&str, &str)] = &[
    ("count", "deprecatedCount"),
    ("firstTimestamp", "deprecatedFirstTimestamp"),
    ("involvedObject", "regarding"),
    ("lastTimestamp", "deprecatedLastTimestamp"),
    ("message", "note"),
    ("reportingComponent", "reportingController"),
    ("source", "deprecatedSource"),
];

fn rename(document: &mut Value, fields: &[(&str, &str)], forward: bool) {
    let Some(object) = document.as_object_mut() else {
        return;
    };
    for (left, right) in fields {
        let (from, to) = if forward {
            (left, right)
        } else {
            (right, left)
        };
        if let Some(value) = object.remove(*from) {
            object.insert((*to).to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_have_two_sets_of_names() {
        let core = json!({"message": "m", "involvedObject": {"kind": "Pod"}, "count": 2});
        let mut new = core.clone();
        rename(&mut new, EVENT_FIELDS, true);
        assert_eq!(
            new,
            json!({"note": "m", "regarding": {"kind": "Pod"}, "deprecatedCount": 2})
        );
        rename(&mut new, EVENT_FIELDS, false);
        assert_eq!(new, core);
    }
}
