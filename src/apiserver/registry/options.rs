//! Query options that only make sense together, and resource versions.

use super::finding::{forbidden, unsupported};
use crate::api::{
    ApiError,
    call::Options,
    error::{Cause, Details},
};

const NOT_OLDER_THAN: &str = "NotOlderThan";
const EXACT: &str = "Exact";

/// Which state a list asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Newest,
    NotOlderThan(u64),
    Exactly(u64),
}

/// Judges the options of a list.
pub fn list_moment(options: &Options) -> Result<Moment, ApiError> {
    let version = options.resource_version.as_deref().unwrap_or_default();
    let matching = options
        .resource_version_match
        .as_deref()
        .unwrap_or_default();
    let has_token = options.continue_token.is_some();
    let field = "resourceVersionMatch";
    let mut found = Vec::new();
    if !matching.is_empty() {
        if version.is_empty() {
            found.push(forbidden(
                field,
                "resourceVersionMatch is forbidden unless resourceVersion is provided",
            ));
        }
        if has_token {
            found.push(forbidden(
                field,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
        if ![EXACT, NOT_OLDER_THAN].contains(&matching) {
            found.push(unsupported(field, matching, &[EXACT, NOT_OLDER_THAN, ""]));
        }
        if matching == EXACT && version == "0" {
            found.push(forbidden(
                field,
                "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
            ));
        }
    }
    if options.send_initial_events.is_some() {
        found.push(forbidden(
            "sendInitialEvents",
            "sendInitialEvents is forbidden for list",
        ));
    }
    refuse(found)?;
    if has_token && !matches!(version, "" | "0") {
        return Err(ApiError::bad_request(
            "specifying resource version is not allowed when using continue",
        ));
    }
    let limited = options.limit.is_some_and(|limit| limit > 0);
    Ok(match (parse_version(version)?, matching) {
        (None | Some(0), _) => Moment::Newest,
        (Some(revision), EXACT) => Moment::Exactly(revision),
        (Some(revision), NOT_OLDER_THAN) => Moment::NotOlderThan(revision),
        (Some(revision), _) if limited => Moment::Exactly(revision),
        (Some(revision), _) => Moment::NotOlderThan(revision),
    })
}

/// How a watch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Beginning {
    /// With what is there, as of the revision at least.
    Initial(u64),
    /// With what happens after the revision.
    After(u64),
    /// With what happens from now on.
    Now,
}

/// Judges the options of a watch.
pub fn watch_beginning(options: &Options) -> Result<Beginning, ApiError> {
    let matching = options
        .resource_version_match
        .as_deref()
        .unwrap_or_default();
    let field = "resourceVersionMatch";
    let mut found = Vec::new();
    if options.send_initial_events.is_some() && matching != NOT_OLDER_THAN {
        found.push(forbidden(
            field,
            "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ));
    }
    if !matching.is_empty() {
        if options.send_initial_events.is_none() {
            found.push(forbidden(
                field,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            ));
        }
        if matching != NOT_OLDER_THAN {
            found.push(unsupported(field, matching, &[NOT_OLDER_THAN]));
        }
        if options.continue_token.is_some() {
            found.push(forbidden(
                field,
                "resourceVersionMatch is forbidden when continue is provided",
            ));
        }
    }
    refuse(found)?;
    let version = parse_version(options.resource_version.as_deref().unwrap_or_default())?;
    Ok(match (options.send_initial_events, version) {
        (Some(true), version) => Beginning::Initial(version.unwrap_or(0)),
        (Some(false), None | Some(0)) => Beginning::Now,
        (None, None | Some(0)) => Beginning::Initial(0),
        (_, Some(revision)) => Beginning::After(revision),
    })
}

fn refuse(found: Vec<Cause>) -> Result<(), ApiError> {
    if found.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", "ListOptions", "", found))
}

/// `None` for the empty text.
pub fn parse_version(text: &str) -> Result<Option<u64>, ApiError> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map_err(|_| {
        ApiError::bad_request(format!(
            "Invalid value: {text:?}: strconv.ParseUint: parsing {text:?}: invalid syntax"
        ))
    });
    parsed.map(Some)
}

/// The client knows a revision that this server has not reached.
pub fn too_large(wanted: u64, current: u64) -> ApiError {
    let message = format!("Timeout: Too large resource version: {wanted}, current: {current}");
    ApiError::new(504, "Timeout", message)
        .with_details(Details {
            retry_after_seconds: 1,
            ..Details::default()
        })
        .with_cause("ResourceVersionTooLarge", "Too large resource version", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(version: &str, matching: &str, initial: Option<bool>, limit: u64) -> Options {
        let text = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Options {
            resource_version: text(version),
            resource_version_match: text(matching),
            send_initial_events: initial,
            limit: (limit > 0).then_some(limit),
            ..Options::default()
        }
    }

    #[test]
    fn list_moments() {
        let cases = [
            ("", "", 0, Ok(Moment::Newest)),
            ("0", "", 5, Ok(Moment::Newest)),
            ("7", "", 0, Ok(Moment::NotOlderThan(7))),
            ("7", "", 5, Ok(Moment::Exactly(7))),
            ("7", "NotOlderThan", 5, Ok(Moment::NotOlderThan(7))),
            ("7", "Exact", 0, Ok(Moment::Exactly(7))),
            ("0", "Exact", 0, Err(422)),
            ("", "Exact", 0, Err(422)),
            ("7", "Maybe", 0, Err(422)),
            ("x", "", 0, Err(400)),
        ];
        for (version, matching, limit, expected) in cases {
            let moment = list_moment(&options(version, matching, None, limit));
            assert_eq!(moment.map_err(|e| e.code), expected, "{version} {matching}");
        }
    }

    #[test]
    fn watch_beginnings() {
        let cases = [
            ("", "", None, Ok(Beginning::Initial(0))),
            ("0", "", None, Ok(Beginning::Initial(0))),
            ("7", "", None, Ok(Beginning::After(7))),
            ("7", "NotOlderThan", Some(true), Ok(Beginning::Initial(7))),
            ("7", "NotOlderThan", Some(false), Ok(Beginning::After(7))),
            ("", "NotOlderThan", Some(false), Ok(Beginning::Now)),
            ("", "", Some(true), Err(422)),
            ("", "NotOlderThan", None, Err(422)),
        ];
        for (version, matching, initial, expected) in cases {
            let beginning = watch_beginning(&options(version, matching, initial, 0));
            assert_eq!(
                beginning.map_err(|e| e.code),
                expected,
                "{version} {matching}"
            );
        }
    }
}
