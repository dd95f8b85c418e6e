//! From what the metrics ask for to what is done: bounds, rates and stabilization windows. Pure but for the memory of
//! what was recommended and done of late, which is handed in.

use crate::api::selector::LabelSelector;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerBehavior,
};

/// Without a window of its own, shrinking waits that long.
const DOWN_WINDOW: i32 = 300;
/// Longest window and period that validation allows.
const REMEMBERED: SignedDuration = SignedDuration::from_secs(3600);

/// What one autoscaler recommended and did.
#[derive(Default)]
pub struct Memory {
    pub selector: Option<LabelSelector>,
    recommendations: Vec<(Timestamp, i32)>,
    /// Replicas added (positive) or removed.
    changes: Vec<(Timestamp, i32)>,
}

/// The outcome, and what to say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal {
    pub replicas: i32,
    /// Reason and message of `AbleToScale`.
    pub able: (&'static str, &'static str),
    pub is_limited: bool,
    /// Reason and message of `ScalingLimited`.
    pub limit: (&'static str, &'static str),
}

const READY: (&str, &str) = ("ReadyForNewScale", "recommended size matches current size");
const UP_STABILIZED: (&str, &str) = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
);
const DOWN_STABILIZED: (&str, &str) = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent recommendation",
);
const WITHIN: (&str, &str) = (
    "DesiredWithinRange",
    "the desired count is within the acceptable range",
);
const TOO_FEW: (&str, &str) = (
    "TooFewReplicas",
    "the desired replica count is less than the minimum replica count",
);
const TOO_MANY: (&str, &str) = (
    "TooManyReplicas",
    "the desired replica count is more than the maximum replica count",
);
const UP_LIMIT: (&str, &str) = (
    "ScaleUpLimit",
    "the desired replica count is increasing faster than the maximum scale rate",
);
const DOWN_LIMIT: (&str, &str) = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
);

impl Memory {
    /// The first look counts as a recommendation of what is there.
    pub fn begin(&mut self, current: i32, now: Timestamp) {
        if self.recommendations.is_empty() {
            self.recommendations.push((now, current));
        }
        let is_recent = |at: &Timestamp| now.duration_since(*at) <= REMEMBERED;
        self.recommendations.retain(|(at, _)| is_recent(at));
        self.changes.retain(|(at, _)| is_recent(at));
    }

    pub fn scaled(&mut self, from: i32, to: i32, now: Timestamp) {
        self.changes.push((now, to - from));
    }

    fn recommended(&self, seconds: i32, now: Timestamp) -> impl Iterator<Item = i32> {
        let window = SignedDuration::from_secs(i64::from(seconds));
        let all = self.recommendations.iter();
        all.filter(move |(at, _)| now.duration_since(*at) < window)
            .map(|(_, replicas)| *replicas)
    }

    /// How many replicas there were a period ago.
    fn at_start(&self, seconds: i32, current: i32, now: Timestamp) -> i32 {
        let period = SignedDuration::from_secs(i64::from(seconds));
        let all = self.changes.iter();
        let recent = all.filter(|(at, _)| now.duration_since(*at) < period);
        current - recent.map(|(_, change)| change).sum::<i32>()
    }
}

pub fn normalize(
    autoscaler: &HorizontalPodAutoscaler,
    current: i32,
    desired: i32,
    memory: &mut Memory,
    now: Timestamp,
) -> Normal {
    let low = autoscaler.spec.min_replicas.unwrap_or(1);
    let high = autoscaler.spec.max_replicas;
    let behavior = autoscaler.spec.behavior.as_ref();
    let (stable, able) = match behavior {
        None => {
            let highest = memory.recommended(DOWN_WINDOW, now).max();
            let stable = highest.unwrap_or(desired).max(desired);
            (stable, DOWN_STABILIZED)
        }
        Some(behavior) => stabilize(behavior, current, desired, memory, now),
    };
    memory.recommendations.push((now, desired));
    let able = if stable == desired { READY } else { able };
    let (least, most, down_reason, up_reason) = match behavior {
        None => {
            let fast = current.saturating_mul(2).max(4);
            let reason = if high > fast { UP_LIMIT } else { TOO_MANY };
            (low, high.min(fast), TOO_FEW, reason)
        }
        Some(behavior) => {
            let fast = grown(behavior.scale_up.as_ref(), current, memory, now).max(current);
            let slow = shrunk(behavior.scale_down.as_ref(), current, memory, now).min(current);
            let up = if high > fast { UP_LIMIT } else { TOO_MANY };
            let down = if low < slow { DOWN_LIMIT } else { TOO_FEW };
            // A rate holds back only who moves its way.
            let least = if stable < current { low.max(slow) } else { low };
            let most = if stable > current {
                high.min(fast)
            } else {
                high
            };
            (least, most, down, up)
        }
    };
    let (replicas, limit) = if stable < least {
        (least, down_reason)
    } else if stable > most {
        (most, up_reason)
    } else {
        (stable, WITHIN)
    };
    Normal {
        replicas,
        able,
        is_limited: replicas != stable,
        limit,
    }
}

fn stabilize(
    behavior: &HorizontalPodAutoscalerBehavior,
    current: i32,
    desired: i32,
    memory: &Memory,
    now: Timestamp,
) -> (i32, (&'static str, &'static str)) {
    let window = |rules: &Option<HPAScalingRules>, otherwise| {
        let own = rules
            .as_ref()
            .and_then(|rules| rules.stabilization_window_seconds);
        own.unwrap_or(otherwise)
    };
    let lowest = memory.recommended(window(&behavior.scale_up, 0), now).min();
    let highest = memory
        .recommended(window(&behavior.scale_down, DOWN_WINDOW), now)
        .max();
    let lowest = lowest.unwrap_or(desired).min(desired);
    let highest = highest.unwrap_or(desired).max(desired);
    let stable = current.max(lowest).min(highest);
    let reason = match desired >= current {
        true => UP_STABILIZED,
        false => DOWN_STABILIZED,
    };
    (stable, reason)
}

/// The most that rates of growth allow.
fn grown(rules: Option<&HPAScalingRules>, current: i32, memory: &Memory, now: Timestamp) -> i32 {
    let Some(rules) = rules else { return i32::MAX };
    let proposals = rules.policies.iter().flatten().map(|policy| {
        let start = memory.at_start(policy.period_seconds, current, now);
        match policy.type_.as_str() {
            "Pods" => start.saturating_add(policy.value),
            _ => {
                let factor = 1.0 + f64::from(policy.value) / 100.0;
                (f64::from(start) * factor).ceil() as i32
            }
        }
    });
    let chosen = match rules.select_policy.as_deref() {
        Some("Disabled") => return current,
        Some("Min") => proposals.min(),
        _ => proposals.max(),
    };
    chosen.unwrap_or(i32::MAX)
}

/// The least that rates of shrinking allow. The greatest change is the smallest count.
fn shrunk(rules: Option<&HPAScalingRules>, current: i32, memory: &Memory, now: Timestamp) -> i32 {
    let Some(rules) = rules else { return i32::MIN };
    let proposals = rules.policies.iter().flatten().map(|policy| {
        let start = memory.at_start(policy.period_seconds, current, now);
        match policy.type_.as_str() {
            "Pods" => start.saturating_sub(policy.value),
            _ => {
                let factor = 1.0 - f64::from(policy.value) / 100.0;
                (f64::from(start) * factor) as i32
            }
        }
    });
    let chosen = match rules.select_policy.as_deref() {
        Some("Disabled") => return current,
        Some("Min") => proposals.max(),
        _ => proposals.min(),
    };
    chosen.unwrap_or(i32::MIN)
}
