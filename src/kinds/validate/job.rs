//! Jobs and CronJobs.

use super::{
    finding::{Field, Findings, same},
    format, labels, pod, workload,
};
use crate::{
    api::{
        cron::{self, Schedule},
        error::Cause,
    },
    kinds::UpdateContext,
};
use jiff::tz::TimeZone;
use serde_json::Value;

const CHARACTERS: &str = "_-.+";

pub fn job(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let spec = root.child("spec");
    generated_selector(&root, &mut found);
    job_spec(&spec, &mut found);
    let selector = spec.child("selector");
    if !selector.is_set() {
        found.required(&selector.path, "");
    }
    labels::label_selector(&selector, &mut found);
    let template_labels = spec.at(&["template", "metadata", "labels"]);
    if selector.is_set() && !labels::matches(&selector, &template_labels) {
        workload::mismatch(&template_labels, &mut found);
    }
    let completions = spec.child("completions").int().unwrap_or(0);
    if spec.child("completionMode").text() == "Indexed" && completions > 0 {
        let name = root.at(&["metadata", "name"]);
        let host = format!("{}-{}", name.text(), completions - 1);
        if !format::dns_label(&host).is_empty() {
            let about = format!("will not able to create pod with invalid DNS label: {host}");
            found.invalid(&name.path, name.text(), &about);
        }
    }
    found.into_causes()
}

/// The labels that tie pods to this job must be the generated ones.
fn generated_selector(root: &Field<'_>, found: &mut Findings) {
    let spec = root.child("spec");
    if spec.child("manualSelector").is_true() || !spec.child("selector").is_set() {
        return;
    }
    let (uid, name) = (
        root.at(&["metadata", "uid"]),
        root.at(&["metadata", "name"]),
    );
    let list = spec.at(&["template", "metadata", "labels"]);
    for (key, expected) in [
        ("controller-uid", uid.text()),
        ("job-name", name.text()),
        ("batch.kubernetes.io/controller-uid", uid.text()),
        ("batch.kubernetes.io/job-name", name.text()),
    ] {
        let label = list.key(key);
        let about = format!("must be '{expected}'");
        if !label.is_set() {
            found.required(&label.path, &about);
        } else if label.text() != expected {
            found.invalid(&label.path, &list.json(), &about);
        }
    }
    let selector = spec.child("selector");
    let wanted = [
        ("batch.kubernetes.io/controller-uid", uid.text()),
        ("controller-uid", uid.text()),
        ("batch.kubernetes.io/job-name", name.text()),
        ("job-name", name.text()),
    ];
    let expected: Value = wanted
        .iter()
        .map(|(key, value)| ((*key).to_owned(), Value::from(*value)))
        .collect();
    if !labels::matches(&selector, &Field::root(&expected)) {
        found.invalid(
            &selector.path,
            &selector.json(),
            "`selector` not auto-generated",
        );
    }
}

fn job_spec(spec: &Field<'_>, found: &mut Findings) {
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
        "backoffLimitPerIndex",
        "maxFailedIndexes",
    ] {
        found.non_negative(&spec.child(name));
    }
    let per_index = spec.child("backoffLimitPerIndex");
    if spec.child("maxFailedIndexes").is_set() && !per_index.is_set() {
        found.required(&per_index.path, "when maxFailedIndexes is specified");
    }
    let manager = spec.child("managedBy");
    if manager.is_set() {
        let wrong = format::domain_prefixed_path(manager.text());
        found.invalid_each(&manager.path, manager.text(), wrong);
        if manager.text().len() > 63 {
            found.too_long(&manager.path, 63);
        }
    }
    indexes(spec, found);
    failure_policy(spec, found);
    let replacement = spec.child("podReplacementPolicy");
    match spec.child("podFailurePolicy").is_set() {
        true => found.one_of_if_set(&replacement, &["Failed"]),
        false => found.one_of_if_set(&replacement, &["Failed", "TerminatingOrFailed"]),
    }
    pod::template(&spec.child("template"), found);
    let restart = spec.at(&["template", "spec", "restartPolicy"]);
    match restart.text() {
        "" | "Always" => found.required(&restart.path, "valid values: \"OnFailure\", \"Never\""),
        "Never" => {}
        "OnFailure" => {
            if spec.child("podFailurePolicy").is_set() {
                let about = "only \"Never\" is supported when podFailurePolicy is specified";
                found.invalid(&restart.path, restart.text(), about);
            }
        }
        other => found.not_supported(&restart.path, other, &["OnFailure", "Never"]),
    }
}

fn indexes(spec: &Field<'_>, found: &mut Findings) {
    let mode = spec.child("completionMode");
    found.one_of_if_set(&mode, &["NonIndexed", "Indexed"]);
    let (completions, failed) = (spec.child("completions"), spec.child("maxFailedIndexes"));
    let parallelism = spec.child("parallelism");
    if mode.text() != "Indexed" {
        for name in ["backoffLimitPerIndex", "maxFailedIndexes"] {
            let field = spec.child(name);
            if let Some(number) = field.int() {
                found.invalid(&field.path, &number, "requires indexed completion mode");
            }
        }
        let success = spec.child("successPolicy");
        if success.is_set() {
            found.invalid(
                &success.path,
                &success.json(),
                "requires indexed completion mode",
            );
        }
        return;
    }
    if !completions.is_set() {
        found.required(&completions.path, "when completion mode is Indexed");
    }
    if let Some(number) = parallelism.int().filter(|number| *number > 100_000) {
        let about = "must be less than or equal to 100000 when completion mode is Indexed";
        found.invalid(&parallelism.path, &number, about);
    }
    if let Some(number) = failed.int() {
        if completions
            .int()
            .is_some_and(|completions| number > completions)
        {
            found.invalid(
                &failed.path,
                &number,
                "must be less than or equal to completions",
            );
        }
        if number > 100_000 {
            found.invalid(
                &failed.path,
                &number,
                "must be less than or equal to 100000",
            );
        }
    }
    let rules = spec.at(&["successPolicy", "rules"]);
    if spec.child("successPolicy").is_set() && rules.is_empty() {
        let about = "at least one rules must be specified when the successPolicy is specified";
        found.required(&rules.path, about);
    }
    for rule in rules.items() {
        if !rule.child("succeededIndexes").is_set() && !rule.child("succeededCount").is_set() {
            let about = "at least one of succeededCount or succeededIndexes must be specified";
            found.required(&rule.path, about);
        }
    }
}

fn failure_policy(spec: &Field<'_>, found: &mut Findings) {
    const ACTIONS: &[&str] = &["Count", "FailIndex", "FailJob", "Ignore"];
    let rules = spec.at(&["podFailurePolicy", "rules"]);
    if rules.items().len() > 20 {
        found.too_many(&rules.path, rules.items().len(), 20);
    }
    for rule in rules.items() {
        let action = rule.child("action");
        match action.text() {
            "" => {
                let about = "valid values: [\"Count\" \"FailIndex\" \"FailJob\" \"Ignore\"]";
                found.required(&action.path, about);
            }
            "FailIndex" if !spec.child("backoffLimitPerIndex").is_set() => {
                let about = "requires the backoffLimitPerIndex to be set";
                found.invalid(&action.path, action.text(), about);
            }
            text if ACTIONS.contains(&text) => {}
            text => found.not_supported(&action.path, text, ACTIONS),
        }
        let (codes, conditions) = (rule.child("onExitCodes"), rule.child("onPodConditions"));
        match (codes.is_set(), !conditions.is_empty()) {
            (true, true) => {
                let about = "specifying both OnExitCodes and OnPodConditions is not supported";
                found.invalid(&rule.path, &rule.json(), about);
            }
            (false, false) => {
                let about = "specifying one of OnExitCodes and OnPodConditions is required";
                found.invalid(&rule.path, &rule.json(), about);
            }
            _ => {}
        }
        if codes.is_set() {
            exit_codes(&codes, found);
        }
    }
}

fn exit_codes(codes: &Field<'_>, found: &mut Findings) {
    let (operator, values) = (codes.child("operator"), codes.child("values"));
    match operator.text() {
        "" => found.required(&operator.path, "valid values: [\"In\" \"NotIn\"]"),
        "In" | "NotIn" => {}
        other => found.not_supported(&operator.path, other, &["In", "NotIn"]),
    }
    if values.is_empty() {
        found.invalid(
            &values.path,
            &values.json(),
            "at least one value is required",
        );
    } else if values.items().len() > 255 {
        found.too_many(&values.path, values.items().len(), 255);
    }
    let mut last = i64::MIN;
    let mut is_ordered = true;
    for value in values.items() {
        let number = value.int().unwrap_or(0);
        if operator.text() == "In" && number == 0 {
            found.invalid(&value.path, &number, "must not be 0 for the In operator");
        }
        is_ordered &= last <= number;
        if last == number {
            found.duplicate(&value.path, &number);
        }
        last = number;
    }
    if !is_ordered {
        found.invalid(&values.path, &values.json(), "must be ordered");
    }
}

pub fn job_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    if context.subresource == Some("status") {
        status_update(&new.child("status"), &old.child("status"), &mut found);
        return found.into_causes();
    }
    let (new, old) = (new.child("spec"), old.child("spec"));
    completions_update(&new, &old, &mut found);
    found.immutable(&new.child("selector"), &old.child("selector"));
    template_update(context.old, &new, &old, &mut found);
    for name in [
        "completionMode",
        "podFailurePolicy",
        "backoffLimitPerIndex",
        "managedBy",
        "successPolicy",
    ] {
        found.immutable(&new.child(name), &old.child(name));
    }
    found.into_causes()
}

/// Indexed jobs may grow and shrink together with their parallelism.
fn completions_update(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let (now, before) = (new.child("completions"), old.child("completions"));
    if same(now.value, before.value) {
        return;
    }
    let is_indexed = new.child("completionMode").text() == "Indexed";
    if !is_indexed || !now.is_set() || !before.is_set() {
        return found.immutable(&now, &before);
    }
    if now.int() != new.child("parallelism").int() {
        let about = "can only be modified in tandem with parallelism";
        let about = format!("{about}, so that completions and parallelism are equal");
        found.invalid(&now.path, &now.int().unwrap_or(0), &about);
    }
}

fn template_update(job: &Value, new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    let (now, mut before) = (new.child("template"), old.child("template").json());
    let not_started = old.child("suspend").is_true() && job["status"]["startTime"].is_null();
    if not_started {
        let template = now.json();
        for name in ["nodeSelector", "tolerations", "schedulingGates"] {
            before["spec"][name] = template["spec"][name].clone();
        }
        for name in ["labels", "annotations"] {
            before["metadata"][name] = template["metadata"][name].clone();
        }
        let affinity = template["spec"]["affinity"]["nodeAffinity"].clone();
        if !affinity.is_null() || !before["spec"]["affinity"].is_null() {
            before["spec"]["affinity"]["nodeAffinity"] = affinity;
        }
    }
    if !same(now.value, Some(&before)) {
        found.invalid(&now.path, &now.json(), "field is immutable");
    }
}

fn status_update(new: &Field<'_>, old: &Field<'_>, found: &mut Findings) {
    for name in ["active", "succeeded", "failed", "ready", "terminating"] {
        found.non_negative(&new.child(name));
    }
    let is_true = |status: &Field<'_>, kind: &str| {
        status.child("conditions").items().any(|condition| {
            condition.child("type").text() == kind && condition.child("status").text() == "True"
        })
    };
    let path = new.path_to("conditions");
    for kind in ["Failed", "Complete", "FailureTarget"] {
        if is_true(old, kind) && !is_true(new, kind) {
            let about = format!("cannot disable the terminal {kind}=True condition");
            found.invalid(&path, &new.child("conditions").json(), &about);
        }
    }
    if is_true(new, "Failed") && is_true(new, "Complete") {
        let about = "cannot set Complete=True and Failed=true conditions";
        found.invalid(&path, &new.child("conditions").json(), about);
    }
    let number = |status: &Field<'_>, name: &str| status.child(name).int().unwrap_or(0);
    for name in ["failed", "succeeded"] {
        if number(new, name) < number(old, name) {
            let about = format!("cannot decrease the {name} counter");
            found.invalid(&new.path_to(name), &number(new, name), &about);
        }
    }
    let finished = is_true(new, "Failed") || is_true(new, "Complete");
    if finished && number(new, "active") > 0 {
        let about = "active>0 is invalid for finished job";
        found.invalid(&new.path_to("active"), &number(new, "active"), about);
    }
    if number(new, "ready") > number(new, "active") {
        let about = "cannot set more ready pods than active";
        found.invalid(&new.path_to("ready"), &number(new, "ready"), about);
    }
}

pub fn cron_job(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let schedule = spec.child("schedule");
    if schedule.is_empty() {
        found.required(&schedule.path, "");
    } else {
        if let Err(about) = Schedule::parse(schedule.text(), TimeZone::UTC) {
            found.invalid(&schedule.path, schedule.text(), &about);
        }
        if schedule.text().contains("TZ") {
            let about = "cannot use TZ or CRON_TZ in schedule, use timeZone field instead";
            found.invalid(&schedule.path, schedule.text(), about);
        }
    }
    found.non_negative(&spec.child("startingDeadlineSeconds"));
    time_zone(&spec.child("timeZone"), &mut found);
    const POLICIES: &[&str] = &["Allow", "Forbid", "Replace"];
    found.one_of(&spec.child("concurrencyPolicy"), POLICIES);
    let job = spec.at(&["jobTemplate", "spec"]);
    job_spec(&job, &mut found);
    let selector = job.child("selector");
    if selector.is_set() {
        found.invalid(
            &selector.path,
            &selector.json(),
            "`selector` will be auto-generated",
        );
    }
    let manual = job.child("manualSelector");
    if manual.is_true() {
        found.not_supported(&manual.path, &true, &["nil", "false"]);
    }
    found.non_negative(&spec.child("successfulJobsHistoryLimit"));
    found.non_negative(&spec.child("failedJobsHistoryLimit"));
    found.into_causes()
}

fn time_zone(field: &Field<'_>, found: &mut Findings) {
    if !field.is_set() {
        return;
    }
    let name = field.text();
    if name.is_empty() {
        let about = "timeZone must be nil or non-empty string";
        return found.invalid(&field.path, name, about);
    }
    let is_part = |part: &str| {
        let is_fine = |sign: char| sign.is_ascii_alphanumeric() || CHARACTERS.contains(sign);
        let is_short = (1..=14).contains(&part.len());
        is_short
            && !part.starts_with('-')
            && part != "."
            && part != ".."
            && part.chars().all(is_fine)
    };
    if !name.split('/').all(is_part) {
        return found.invalid(&field.path, name, &format!("unknown time zone {name}"));
    }
    if name.eq_ignore_ascii_case("Local") {
        let about =
            "timeZone must be an explicit time zone as defined in https://www.iana.org/time-zones";
        found.invalid(&field.path, name, about);
    }
    if cron::zone(name).is_none() {
        found.invalid(&field.path, name, &format!("unknown time zone {name}"));
    }
}
