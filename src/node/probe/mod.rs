//! Startup, liveness and readiness probes: one task per probe of a running container.
//!
//! [`Counter`] turns single results into verdicts (pure); [`check`] asks the container. Only changes of a verdict reach
//! the pod's worker. Times are deadlines: between two checks nothing runs.

pub mod check;
mod grpc;
mod http;

use super::{
    host::Host,
    mailbox::{Mailbox, ProbeReport},
};
use crate::client::EventKind;
use check::Checked;
use k8s_openapi::api::core::v1::{Container, Pod, Probe};
use std::{net::Ipv4Addr, sync::Arc, time::Duration};

pub use http::{dial_text, fetch};

/// Pauses of the extra checks right after a start; see [`watch`].
const EAGER_FIRST: Duration = Duration::from_millis(20);
const EAGER_CHECKS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Startup,
    Liveness,
    Readiness,
}

impl Kind {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Startup => "Startup",
            Kind::Liveness => "Liveness",
            Kind::Readiness => "Readiness",
        }
    }

    /// As `Container c failed liveness probe` spells it.
    #[must_use]
    pub fn lower(self) -> &'static str {
        match self {
            Kind::Startup => "startup",
            Kind::Liveness => "liveness",
            Kind::Readiness => "readiness",
        }
    }

    #[must_use]
    pub fn of(self, container: &Container) -> Option<&Probe> {
        match self {
            Kind::Startup => container.startup_probe.as_ref(),
            Kind::Liveness => container.liveness_probe.as_ref(),
            Kind::Readiness => container.readiness_probe.as_ref(),
        }
    }
}

/// One attempt of a container, as probes see it.
#[derive(Clone)]
pub struct Target {
    pub host: Arc<Host>,
    pub pod: Arc<Pod>,
    pub container: Arc<Container>,
    pub field: String,
    /// The container's id.
    pub id: String,
    pub address: Ipv4Addr,
}

/// Thresholds: so many equal results in a row make a verdict.
#[derive(Clone, Debug)]
pub struct Counter {
    success_threshold: u32,
    failure_threshold: u32,
    streak: u32,
    last: Option<bool>,
    verdict: Option<bool>,
}

impl Counter {
    #[must_use]
    pub fn new(kind: Kind, probe: &Probe) -> Counter {
        let threshold = |count: Option<i32>, default| {
            count
                .and_then(|count| u32::try_from(count).ok())
                .filter(|&count| count > 0)
                .unwrap_or(default)
        };
        Counter {
            success_threshold: threshold(probe.success_threshold, 1),
            failure_threshold: threshold(probe.failure_threshold, 3),
            streak: 0,
            last: None,
            verdict: match kind {
                Kind::Startup => None,
                Kind::Liveness => Some(true),
                Kind::Readiness => Some(false),
            },
        }
    }

    /// The new verdict, if this result changes it.
    pub fn observe(&mut self, success: bool) -> Option<bool> {
        self.streak = if self.last == Some(success) {
            self.streak + 1
        } else {
            1
        };
        self.last = Some(success);
        let needed = if success {
            self.success_threshold
        } else {
            self.failure_threshold
        };
        if self.streak < needed || self.verdict == Some(success) {
            return None;
        }
        self.verdict = Some(success);
        self.verdict
    }
}

/// Probes until the verdict is final (startup, failed liveness) or the task is aborted.
///
/// Right after a start, a server usually listens within milliseconds, while the next regular check is `periodSeconds`
/// away. Until the first period is over, readiness and startup probes therefore check more often, at growing pauses;
/// of these extra checks only successes count.
pub async fn watch(target: Target, kind: Kind, mailbox: Arc<Mailbox>) {
    let Some(probe) = kind.of(&target.container).cloned() else {
        return;
    };
    let seconds = |seconds: Option<i32>, default: u64| {
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Duration::from_secs(seconds.unwrap_or(default))
    };
    let period = seconds(probe.period_seconds, 10).max(Duration::from_secs(1));
    let timeout = seconds(probe.timeout_seconds, 1).max(Duration::from_secs(1));
    let mut delay = seconds(probe.initial_delay_seconds, 0);
    if kind == Kind::Liveness && delay.is_zero() {
        // A start deserves a second before its first chance to fail.
        delay = Duration::from_secs(1);
    }
    let mut counter = Counter::new(kind, &probe);
    let mut eager = if kind == Kind::Liveness {
        0
    } else {
        EAGER_CHECKS
    };
    let mut regular = tokio::time::Instant::now() + delay;
    let mut next = regular;
    loop {
        tokio::time::sleep_until(next).await;
        let namespace = target.pod.metadata.namespace.as_deref().unwrap_or_default();
        if target.host.pauses.until_running(namespace).await {
            // Let go a moment ago: it deserves a period, as after a start.
            regular = tokio::time::Instant::now() + period;
            next = regular;
            continue;
        }
        let checked = check::check(&target, &probe, timeout).await;
        if target.host.pauses.is_paused(namespace) {
            // Frozen in the middle: it says nothing.
            continue;
        }
        let is_regular = next >= regular;
        if is_regular {
            regular += period;
        }
        let success = checked.is_success();
        let counts = success || eager == 0;
        if success || eager == 0 {
            eager = 0;
            next = regular;
        } else {
            let pause = EAGER_FIRST * 2_u32.pow(EAGER_CHECKS - eager);
            eager -= 1;
            next = (tokio::time::Instant::now() + pause).min(regular);
            if next == regular {
                eager = 0;
            }
        }
        let now = tokio::time::Instant::now();
        next = next.max(now);
        regular = regular.max(now);
        if !counts {
            continue;
        }
        tell(&target, kind, &checked);
        if let Some(success) = counter.observe(success) {
            mailbox.tell(|mail| {
                mail.probe(ProbeReport {
                    container: target.container.name.clone(),
                    id: target.id.clone(),
                    kind,
                    success,
                    grace_seconds: probe.termination_grace_period_seconds,
                });
            });
            if kind == Kind::Startup || (kind == Kind::Liveness && !success) {
                return;
            }
        }
    }
}

fn tell(target: &Target, kind: Kind, checked: &Checked) {
    let kind = kind.as_str();
    let (reason, text) = match checked {
        Checked::Success => return,
        Checked::Warning(text) => ("ProbeWarning", format!("{kind} probe warning: {text}")),
        Checked::Failure(text) => ("Unhealthy", format!("{kind} probe failed: {text}")),
        Checked::Error(text) => ("Unhealthy", format!("{kind} probe errored: {text}")),
    };
    let field = Some(target.field.as_str());
    target
        .host
        .event(&target.pod, field, EventKind::Warning, reason, &text);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `+`/`-` are results, the expectation names the verdict after each.
    fn verdicts(kind: Kind, success: i32, failure: i32, results: &str) -> String {
        let probe = Probe {
            success_threshold: Some(success),
            failure_threshold: Some(failure),
            ..Probe::default()
        };
        let mut counter = Counter::new(kind, &probe);
        let verdict = |result: char| match counter.observe(result == '+') {
            None => '.',
            Some(true) => '+',
            Some(false) => '-',
        };
        results.chars().map(verdict).collect()
    }

    #[test]
    fn thresholds() {
        let cases = [
            (Kind::Readiness, 1, 3, "-+---+", ".+..-+"),
            (Kind::Readiness, 2, 1, "++-+", ".+-."),
            (Kind::Liveness, 1, 3, "+--+---", "......-"),
            (Kind::Liveness, 1, 1, "-", "-"),
            (Kind::Startup, 1, 3, "--+", "..+"),
            (Kind::Startup, 1, 2, "--", ".-"),
        ];
        for (kind, success, failure, results, expected) in cases {
            let found = verdicts(kind, success, failure, results);
            assert_eq!(found, expected, "{kind:?} {success}/{failure} {results}");
        }
    }
}
