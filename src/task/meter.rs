//! Counters and gauges of this process, in Prometheus' text form and under upstream's names.
//!
//! One process is one cluster's control plane, so they are process-wide, as upstream's are. Labels come from small
//! fixed sets. Counting costs one short lock.

use std::{collections::BTreeMap, fmt::Write as _, sync::Mutex};

pub struct Meter {
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    /// By labels, as they are printed.
    values: Mutex<BTreeMap<String, i64>>,
}

pub static QUEUE_ADDS: Meter = Meter::new(
    "workqueue_adds_total",
    "counter",
    "Total number of adds handled by workqueue",
);
pub static QUEUE_DEPTH: Meter =
    Meter::new("workqueue_depth", "gauge", "Current depth of workqueue");
pub static QUEUE_RETRIES: Meter = Meter::new(
    "workqueue_retries_total",
    "counter",
    "Total number of retries handled by workqueue",
);
pub static SCHEDULE_ATTEMPTS: Meter = Meter::new(
    "scheduler_schedule_attempts_total",
    "counter",
    "Number of attempts to schedule pods, by the result. 'unschedulable' means a pod could not be scheduled, while 'error' means an internal scheduler problem.",
);

const ALL: &[&Meter] = &[
    &SCHEDULE_ATTEMPTS,
    &QUEUE_ADDS,
    &QUEUE_DEPTH,
    &QUEUE_RETRIES,
];

impl Meter {
    const fn new(name: &'static str, kind: &'static str, help: &'static str) -> Meter {
        Meter {
            name,
            kind,
            help,
            values: Mutex::new(BTreeMap::new()),
        }
    }

    /// `labels` as they are printed: `name="deployment"`.
    pub fn add(&self, labels: &str, amount: i64) {
        self.change(labels, |value| *value += amount);
    }

    pub fn set(&self, labels: &str, to: i64) {
        self.change(labels, |value| *value = to);
    }

    fn change(&self, labels: &str, work: impl FnOnce(&mut i64)) {
        let mut values = self.values.lock().expect("no panic while locked");
        match values.get_mut(labels) {
            Some(value) => work(value),
            None => work(values.entry(labels.to_owned()).or_default()),
        }
    }
}

/// Everything that was counted.
#[must_use]
pub fn text() -> String {
    let mut out = String::new();
    for meter in ALL {
        let Meter {
            name, kind, help, ..
        } = meter;
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in meter.values.lock().expect("no panic while locked").iter() {
            let _ = writeln!(out, "{name}{{{labels}}} {value}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_printed() {
        let labels = "name=\"meter-test\"";
        QUEUE_ADDS.add(labels, 1);
        QUEUE_ADDS.add(labels, 2);
        QUEUE_DEPTH.set(labels, 5);
        let text = text();
        for line in [
            "# TYPE workqueue_adds_total counter",
            "workqueue_adds_total{name=\"meter-test\"} 3",
            "workqueue_depth{name=\"meter-test\"} 5",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
