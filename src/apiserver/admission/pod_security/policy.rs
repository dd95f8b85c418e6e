//! The labels of a namespace that choose its standards.

use crate::apiserver::registry::metadata::text;
use serde_json::Value;
use std::fmt;

pub const ENFORCE: &str = "enforce";
const PREFIX: &str = "pod-security.kubernetes.io/";
/// `latest`.
const NEWEST: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    Privileged,
    Baseline,
    Restricted,
}

/// A level, as a version of Kubernetes defined it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standard {
    pub level: Level,
    pub minor: u32,
}

impl Standard {
    const NONE: Standard = Standard {
        level: Level::Privileged,
        minor: NEWEST,
    };
}

impl fmt::Display for Standard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = match self.level {
            Level::Privileged => "privileged",
            Level::Baseline => "baseline",
            Level::Restricted => "restricted",
        };
        match self.minor {
            NEWEST => write!(f, "{level}:latest"),
            minor => write!(f, "{level}:v1.{minor}"),
        }
    }
}

pub struct Policy {
    pub enforce: Standard,
    pub warn: Standard,
}

/// A label, its value, and why it is not valid.
pub type Wrong = (String, String, &'static str);

impl Policy {
    /// Labels that are not valid count as the strictest.
    pub fn parse(labels: &Value) -> (Policy, Vec<Wrong>) {
        let mut wrong = Vec::new();
        let enforce = standard(labels, ENFORCE, &mut wrong);
        standard(labels, "audit", &mut wrong);
        let mut warn = standard(labels, "warn", &mut wrong);
        // Who enforces without saying when to warn, wants templates to be warned of the same.
        if labels[format!("{PREFIX}warn")].is_null() && enforce.level > warn.level {
            warn = enforce;
        }
        (Policy { enforce, warn }, wrong)
    }
}

fn standard(labels: &Value, mode: &str, wrong: &mut Vec<Wrong>) -> Standard {
    let mut standard = Standard::NONE;
    let label = format!("{PREFIX}{mode}");
    let mut refuse = |label: &str, value: &str, why| {
        wrong.push((label.to_owned(), value.to_owned(), why));
    };
    if !labels[&label].is_null() {
        standard.level = match text(labels, &label) {
            "privileged" => Level::Privileged,
            "baseline" => Level::Baseline,
            "restricted" => Level::Restricted,
            other => {
                let why = "must be one of privileged, baseline, restricted";
                refuse(&label, other, why);
                Level::Restricted
            }
        };
    }
    let label = format!("{label}-version");
    match text(labels, &label) {
        "" | "latest" => {}
        version => match version.strip_prefix("v1.").map(str::parse) {
            Some(Ok(minor)) => standard.minor = minor,
            _ => refuse(&label, version, "must be \"latest\" or \"v1.x\""),
        },
    }
    standard
}
