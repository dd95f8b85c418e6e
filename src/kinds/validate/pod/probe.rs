//! Probes and life cycle handlers.

use crate::kinds::validate::{
    finding::{Field, Findings},
    format,
};
use serde_json::Value;

/// The hooks and probes of a container that keeps running.
pub fn of_container(container: &Field<'_>, spec: &Field<'_>, found: &mut Findings) {
    let grace = spec.child("terminationGracePeriodSeconds").int();
    for hook in ["postStart", "preStop"] {
        let hook = container.at(&["lifecycle", hook]);
        if hook.is_set() {
            handler(
                &hook,
                &["exec", "httpGet", "tcpSocket", "sleep"],
                grace,
                found,
            );
        }
    }
    for name in ["livenessProbe", "readinessProbe", "startupProbe"] {
        let probe = container.child(name);
        if !probe.is_set() {
            continue;
        }
        self::probe(&probe, found);
        let successes = probe.child("successThreshold");
        let own_grace = probe.child("terminationGracePeriodSeconds");
        if name == "readinessProbe" {
            if own_grace.is_set() {
                let about = "must not be set for readinessProbes";
                found.invalid(&own_grace.path, &own_grace.json(), about);
            }
        } else if successes.int() != Some(1) {
            found.invalid(&successes.path, &successes.int().unwrap_or(0), "must be 1");
        }
    }
}

fn probe(probe: &Field<'_>, found: &mut Findings) {
    handler(
        probe,
        &["exec", "httpGet", "tcpSocket", "grpc"],
        None,
        found,
    );
    for name in [
        "initialDelaySeconds",
        "timeoutSeconds",
        "periodSeconds",
        "successThreshold",
        "failureThreshold",
    ] {
        found.non_negative(&probe.child(name));
    }
    let grace = probe.child("terminationGracePeriodSeconds");
    if let Some(seconds) = grace.int().filter(|seconds| *seconds <= 0) {
        found.invalid(&grace.path, &seconds, "must be greater than 0");
    }
}

fn handler(field: &Field<'_>, kinds: &[&str], grace: Option<i64>, found: &mut Findings) {
    let mut count = 0;
    for kind in kinds {
        let action = field.child(kind);
        if !action.is_set() {
            continue;
        }
        count += 1;
        if count > 1 {
            let about = "may not specify more than 1 handler type";
            found.forbidden(&action.path, about);
            continue;
        }
        match *kind {
            "exec" => {
                let command = action.child("command");
                if command.is_empty() {
                    found.required(&command.path, "");
                }
            }
            "httpGet" => http_get(&action, found),
            "sleep" => sleep(&action, grace, found),
            _ => port(&action.child("port"), found),
        }
    }
    if count == 0 {
        found.required(&field.path, "must specify a handler type");
    }
}

fn http_get(action: &Field<'_>, found: &mut Findings) {
    found.required_text(&action.child("path"));
    port(&action.child("port"), found);
    let scheme = action.child("scheme");
    if !["HTTP", "HTTPS"].contains(&scheme.text()) {
        found.not_supported(&scheme.path, scheme.text(), &["HTTP", "HTTPS"]);
    }
    let headers = action.child("httpHeaders");
    for header in headers.items() {
        let name = header.child("name").text();
        found.invalid_each(&headers.path, name, format::header_name(name));
    }
}

fn sleep(action: &Field<'_>, grace: Option<i64>, found: &mut Findings) {
    let seconds = action.child("seconds").int().unwrap_or(0);
    if let Some(grace) = grace.filter(|grace| !(0..=*grace).contains(&seconds)) {
        let about =
            format!("must be non-negative and less than terminationGracePeriodSeconds ({grace})");
        found.invalid(&action.path, &seconds, &about);
    }
}

/// A number, or the name of a port.
pub fn port(field: &Field<'_>, found: &mut Findings) {
    match field.value {
        Some(Value::String(name)) => {
            found.invalid_each(&field.path, name, format::port_name(name));
        }
        _ => {
            let number = field.int().unwrap_or(0);
            found.invalid_each(&field.path, &number, format::port_number(number));
        }
    }
}
