//! Query options: their types and the rules that hold for them whatever the resource.
//!
//! Unknown parameters are ignored, as upstream does. Of a repeated one the first counts, except for `dryRun`.

use crate::api::{
    ApiError,
    call::{FieldValidation, Options, PatchKind, Propagation, Verb},
    error::Cause,
};
use serde_json::Value;
use std::time::Duration;

const MANAGER_MAX: usize = 128;

/// The decoded pairs of a query string.
#[derive(Clone, Debug, Default)]
pub struct Query(Vec<(String, String)>);

impl Query {
    pub fn parse(text: &str) -> Query {
        Query(
            form_urlencoded::parse(text.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> + 'a {
        let named = self.0.iter().filter(move |(key, _)| key == name);
        named.map(|(_, value)| value.as_str())
    }

    /// Present is true, unless it says `false` or `0`.
    pub fn flag(&self, name: &str) -> Option<bool> {
        let value = self.get(name)?;
        Some(!(value == "0" || value.eq_ignore_ascii_case("false")))
    }

    pub fn integer(&self, name: &str) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        let parsed: Result<i64, _> = text.parse();
        parsed.map(Some).map_err(|failure| {
            let why = match failure.kind() {
                std::num::IntErrorKind::PosOverflow | std::num::IntErrorKind::NegOverflow => {
                    "value out of range"
                }
                _ => "invalid syntax",
            };
            ApiError::bad_request(format!("strconv.ParseInt: parsing {text:?}: {why}"))
        })
    }

    fn text(&self, name: &str) -> Option<String> {
        self.get(name)
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    }
}

/// What the options of one request are judged by.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    pub verb: Verb,
    pub patch: Option<PatchKind>,
    pub user_agent: &'a str,
    /// `DeleteOptions` from the body; they stand in for the query as a whole.
    pub delete_body: Option<&'a Value>,
}

/// Options of a call, or the refusal upstream would give.
pub fn parse(query: &Query, context: Context<'_>) -> Result<Options, ApiError> {
    let mut options = Options {
        label_selector: query.text("labelSelector"),
        field_selector: query.text("fieldSelector"),
        limit: query
            .integer("limit")?
            .and_then(|limit| u64::try_from(limit).ok()),
        continue_token: query.text("continue"),
        resource_version: query.text("resourceVersion"),
        resource_version_match: query.text("resourceVersionMatch"),
        send_initial_events: query.flag("sendInitialEvents"),
        allow_watch_bookmarks: query.flag("allowWatchBookmarks").unwrap_or(false),
        timeout: seconds(query.integer("timeoutSeconds")?),
        ..Options::default()
    };
    match context.verb {
        Verb::Get | Verb::List | Verb::Watch => return Ok(options),
        Verb::Create | Verb::Update | Verb::Patch => write(query, context, &mut options)?,
        Verb::Delete | Verb::DeleteCollection => delete(query, context, &mut options)?,
    }
    Ok(options)
}

fn seconds(count: Option<i64>) -> Option<Duration> {
    let count = u64::try_from(count?).ok().filter(|&count| count > 0)?;
    Some(Duration::from_secs(count))
}

fn write(query: &Query, context: Context<'_>, options: &mut Options) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    options.dry_run = dry_run(&query.all("dryRun").collect::<Vec<_>>(), &mut wrong);
    let manager = query.get("fieldManager").unwrap_or_default();
    options.force = query.flag("force");
    if context.verb == Verb::Patch {
        match (context.patch, options.force) {
            (Some(PatchKind::Apply), _) if manager.is_empty() => wrong.push(cause(
                "FieldValueRequired",
                "Required value: is required for apply patch",
                "fieldManager",
            )),
            (Some(PatchKind::Apply), _) | (_, None) => {}
            (_, Some(_)) => wrong.push(cause(
                "FieldValueForbidden",
                "Forbidden: may not be specified for non-apply patch",
                "force",
            )),
        }
    }
    check_manager(manager, &mut wrong);
    options.field_validation = match query.get("fieldValidation").unwrap_or_default() {
        "" | "Warn" => FieldValidation::Warn,
        "Ignore" => FieldValidation::Ignore,
        "Strict" => FieldValidation::Strict,
        other => {
            let known = "supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"";
            let message = format!("Unsupported value: {other:?}: {known}");
            wrong.push(cause("FieldValueNotSupported", &message, "fieldValidation"));
            FieldValidation::Warn
        }
    };
    options.field_manager = Some(match manager {
        "" => manager_of(context.user_agent),
        manager => manager.to_owned(),
    });
    let kind = match context.verb {
        Verb::Create => "CreateOptions",
        Verb::Update => "UpdateOptions",
        _ => "PatchOptions",
    };
    refuse(kind, wrong)
}

fn delete(query: &Query, context: Context<'_>, options: &mut Options) -> Result<(), ApiError> {
    let mut wrong = Vec::new();
    let delete = &mut options.delete;
    let policy;
    match context.delete_body {
        Some(body) => {
            let text = |value: &Value| value.as_str().map(str::to_owned);
            delete.grace_period_seconds = body["gracePeriodSeconds"].as_i64();
            delete.orphan_dependents = body["orphanDependents"].as_bool();
            delete.uid = text(&body["preconditions"]["uid"]);
            delete.resource_version = text(&body["preconditions"]["resourceVersion"]);
            policy = text(&body["propagationPolicy"]);
            let runs = body["dryRun"]
                .as_array()
                .map(Vec::as_slice)
                .unwrap_or_default();
            let runs: Vec<&str> = runs.iter().filter_map(Value::as_str).collect();
            options.dry_run = dry_run(&runs, &mut wrong);
        }
        None => {
            delete.grace_period_seconds = query.integer("gracePeriodSeconds")?;
            delete.orphan_dependents = query.flag("orphanDependents");
            policy = query.text("propagationPolicy");
            options.dry_run = dry_run(&query.all("dryRun").collect::<Vec<_>>(), &mut wrong);
        }
    }
    if let Some(policy) = policy {
        if delete.orphan_dependents.is_some() {
            let why = "orphanDependents and deletionPropagation cannot be both set";
            let message = format!("Invalid value: {policy:?}: {why}");
            wrong.push(cause("FieldValueInvalid", &message, "propagationPolicy"));
        }
        delete.propagation = match policy.as_str() {
            "Foreground" => Some(Propagation::Foreground),
            "Background" => Some(Propagation::Background),
            "Orphan" => Some(Propagation::Orphan),
            other => {
                let known = "supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"";
                let message = format!("Unsupported value: {other:?}: {known}");
                wrong.push(cause(
                    "FieldValueNotSupported",
                    &message,
                    "propagationPolicy",
                ));
                None
            }
        };
    }
    refuse("DeleteOptions", wrong)
}

fn dry_run(values: &[&str], wrong: &mut Vec<Cause>) -> bool {
    let unknown = values
        .iter()
        .find(|&&value| value != "All" && !value.is_empty());
    if unknown.is_some() {
        let shown = format!(
            "[{}]",
            values
                .iter()
                .map(|v| format!("{v:?}"))
                .collect::<Vec<_>>()
                .join(",")
        );
        let message = format!("Unsupported value: {shown}: supported values: \"All\"");
        wrong.push(cause("FieldValueNotSupported", &message, "dryRun"));
    }
    values.contains(&"All")
}

fn check_manager(manager: &str, wrong: &mut Vec<Cause>) {
    if manager.len() > MANAGER_MAX {
        let message = format!("Too long: may not be more than {MANAGER_MAX} bytes");
        wrong.push(cause("FieldValueTooLong", &message, "fieldManager"));
    }
    if manager.chars().any(char::is_control) {
        let message =
            format!("Invalid value: {manager:?}: should only contain printable characters");
        wrong.push(cause("FieldValueInvalid", &message, "fieldManager"));
    }
}

/// A manager's name from the client's program name, which stands before the first slash.
fn manager_of(user_agent: &str) -> String {
    let program = user_agent.split('/').next().unwrap_or_default();
    let printable = program.chars().filter(|c| !c.is_control());
    printable.take(MANAGER_MAX).collect()
}

fn cause(reason: &str, message: &str, field: &str) -> Cause {
    Cause {
        reason: reason.to_owned(),
        message: message.to_owned(),
        field: field.to_owned(),
    }
}

fn refuse(kind: &str, wrong: Vec<Cause>) -> Result<(), ApiError> {
    if wrong.is_empty() {
        return Ok(());
    }
    Err(ApiError::invalid("meta.k8s.io", kind, "", wrong))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn context(verb: Verb) -> Context<'static> {
        Context {
            verb,
            patch: None,
            user_agent: "kubectl/v1.36.0 (linux/amd64)",
            delete_body: None,
        }
    }

    fn message(query: &str, context: Context<'_>) -> String {
        match parse(&Query::parse(query), context) {
            Ok(_) => String::new(),
            Err(refusal) => format!("{} {}", refusal.code, refusal.message),
        }
    }

    #[test]
    fn refusals_read_as_upstream() {
        let apply = Context {
            patch: Some(PatchKind::Apply),
            ..context(Verb::Patch)
        };
        let merge = Context {
            patch: Some(PatchKind::Merge),
            ..context(Verb::Patch)
        };
        let cases = [
            (
                "limit=x",
                context(Verb::List),
                "400 strconv.ParseInt: parsing \"x\": invalid syntax",
            ),
            ("unknown=1&limit=5", context(Verb::List), ""),
            (
                "dryRun=Some",
                context(Verb::Create),
                "422 CreateOptions.meta.k8s.io \"\" is invalid: dryRun: Unsupported value: [\"Some\"]: supported values: \"All\"",
            ),
            (
                "fieldValidation=x",
                context(Verb::Update),
                "422 UpdateOptions.meta.k8s.io \"\" is invalid: fieldValidation: Unsupported value: \"x\": supported values: \"\", \"Ignore\", \"Strict\", \"Warn\"",
            ),
            (
                "",
                apply,
                "422 PatchOptions.meta.k8s.io \"\" is invalid: fieldManager: Required value: is required for apply patch",
            ),
            ("fieldManager=me&force=true", apply, ""),
            (
                "force=true",
                merge,
                "422 PatchOptions.meta.k8s.io \"\" is invalid: force: Forbidden: may not be specified for non-apply patch",
            ),
            (
                "propagationPolicy=x",
                context(Verb::Delete),
                "422 DeleteOptions.meta.k8s.io \"\" is invalid: propagationPolicy: Unsupported value: \"x\": supported values: \"Foreground\", \"Background\", \"Orphan\", \"nil\"",
            ),
        ];
        for (query, context, expected) in cases {
            assert_eq!(message(query, context), expected, "{query}");
        }
    }

    #[test]
    fn delete_options_come_from_the_body_if_there_is_one() {
        let body = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Orphan", "preconditions": {"uid": "u"}, "dryRun": ["All"]});
        let with_body = Context {
            delete_body: Some(&body),
            ..context(Verb::Delete)
        };
        let query = Query::parse("gracePeriodSeconds=7");
        let options = parse(&query, with_body).unwrap();
        assert_eq!(options.delete.grace_period_seconds, Some(0));
        assert_eq!(options.delete.propagation, Some(Propagation::Orphan));
        assert_eq!(options.delete.uid.as_deref(), Some("u"));
        assert!(options.dry_run);
        let options = parse(&query, context(Verb::Delete)).unwrap();
        assert_eq!(options.delete.grace_period_seconds, Some(7));
    }

    #[test]
    fn the_manager_is_the_program() {
        let options = parse(&Query::default(), context(Verb::Create)).unwrap();
        assert_eq!(options.field_manager.as_deref(), Some("kubectl"));
    }

    #[test]
    fn flags_are_true_unless_they_say_otherwise() {
        let query = Query::parse("a=&b=false&c=0&d=FALSE&e=yes");
        let flags: Vec<Option<bool>> = ["a", "b", "c", "d", "e", "f"]
            .map(|name| query.flag(name))
            .to_vec();
        assert_eq!(
            flags,
            [
                Some(true),
                Some(false),
                Some(false),
                Some(false),
                Some(true),
                None
            ]
        );
    }
}
