//! When an ended container may run again.

use crate::node::observed::Seen;
use crate::task::backoff::Backoff;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

const CRASH: Backoff = Backoff {
    first: Duration::from_secs(10),
    cap: Duration::from_secs(300),
};

/// A run of this length ends a series of crashes (twice the longest delay).
const STEADY: SignedDuration = SignedDuration::from_secs(600);

/// The reason of an attempt that never ran.
pub const START_ERROR: &str = "StartError";

/// How long an error stands before it reads as back-off.
const ERROR_SHOWN: SignedDuration = SignedDuration::from_secs(2);

/// The pause before restart number `crashes + 1` of a series: the first one is immediate.
#[must_use]
pub fn crash_delay(crashes: u32) -> SignedDuration {
    match crashes {
        0 => SignedDuration::ZERO,
        crashes => SignedDuration::try_from(CRASH.delay(crashes)).unwrap_or(SignedDuration::MAX),
    }
}

/// The pause after a failed pull; counted from one.
#[must_use]
pub fn pull_delay(failures: u32) -> SignedDuration {
    crash_delay(failures.max(1))
}

/// The restarts of the present series, given how long the newest attempt ran.
fn crashes(seen: &Seen) -> u32 {
    let ended = seen.ended();
    let ran = ended.and_then(|ended| Some(ended.finished_at.duration_since(ended.started_at?)));
    if ran.is_some_and(|ran| ran >= STEADY) {
        0
    } else {
        seen.crashes
    }
}

/// The earliest moment of the next attempt of an ended container.
#[must_use]
pub fn restart_at(seen: &Seen) -> Option<Timestamp> {
    let ended = seen.ended()?;
    Some(ended.finished_at + crash_delay(crashes(seen)))
}

/// A container that could not be started reads by that error until this moment, as back-off after it.
#[must_use]
pub fn start_error_shown_until(seen: &Seen) -> Option<Timestamp> {
    let ended = seen.ended().filter(|ended| ended.reason == START_ERROR)?;
    Some(ended.finished_at + ERROR_SHOWN)
}

/// [`Seen::crashes`] once the next attempt has begun.
#[must_use]
pub fn crashes_after_next(seen: &Seen) -> u32 {
    match seen.ended() {
        Some(_) => crashes(seen) + 1,
        None => seen.crashes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::observed::{Ended, State};

    #[test]
    fn delays_are_upstreams() {
        let seconds: Vec<i64> = (0..8).map(|n| crash_delay(n).as_secs()).collect();
        assert_eq!(seconds, [0, 10, 20, 40, 80, 160, 300, 300]);
        assert_eq!(pull_delay(1).as_secs(), 10);
    }

    #[test]
    fn a_long_run_ends_the_series() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let seen = |ran: i64| Seen {
            crashes: 4,
            state: State::Ended(Ended {
                started_at: Some(at(1000)),
                finished_at: at(1000 + ran),
                ..Ended::default()
            }),
            ..Seen::default()
        };
        assert_eq!(restart_at(&seen(5)), Some(at(1085)));
        assert_eq!(crashes_after_next(&seen(5)), 5);
        assert_eq!(restart_at(&seen(600)), Some(at(1600)));
        assert_eq!(crashes_after_next(&seen(600)), 1);
    }
}
