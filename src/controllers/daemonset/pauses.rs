//! How long a daemon that keeps failing is left alone on its node.
//!
//! Kept in memory, as upstream keeps it: a restart forgives. Without it a pod that its node refuses, or that is evicted
//! again and again, would be made anew as fast as the cluster can.

use jiff::{SignedDuration, Timestamp};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

const FIRST: SignedDuration = SignedDuration::from_secs(1);
const LONGEST: SignedDuration = SignedDuration::from_mins(15);

/// By the uid of the set and the name of the node.
#[derive(Default)]
pub struct Pauses(Mutex<HashMap<(String, String), Pause>>);

#[derive(Clone, Copy)]
struct Pause {
    began: Timestamp,
    length: SignedDuration,
}

impl Pauses {
    /// A failed pod may be replaced now, which starts the next, longer pause; or else the time left.
    pub fn begin(&self, set: &str, node: &str, now: Timestamp) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Who behaved for twice the longest pause starts anew.
        all.retain(|_, pause| now.duration_since(pause.began) < LONGEST * 2);
        let key = (set.to_owned(), node.to_owned());
        let length = match all.get(&key) {
            None => FIRST,
            Some(pause) => {
                let left = pause.length - now.duration_since(pause.began);
                if left > SignedDuration::ZERO {
                    return Err(left.unsigned_abs());
                }
                (pause.length * 2).min(LONGEST)
            }
        };
        all.insert(key, Pause { began: now, length });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_and_are_forgotten() {
        let pauses = Pauses::default();
        let start: Timestamp = "2026-11-21T05:00:00Z".parse().unwrap();
        let at = |seconds| start + SignedDuration::from_secs(seconds);
        let left = |seconds| pauses.begin("set", "node", at(seconds));
        assert_eq!(left(0), Ok(()));
        assert_eq!(left(0), Err(Duration::from_secs(1)));
        assert_eq!(left(1), Ok(()));
        assert_eq!(left(2), Err(Duration::from_secs(1)));
        assert_eq!(left(3), Ok(()));
        assert_eq!(left(4), Err(Duration::from_secs(3)));
        assert_eq!(pauses.begin("set", "other", at(4)), Ok(()));
        assert_eq!(left(3 + 1800), Ok(()));
        assert_eq!(left(3 + 1801), Ok(()));
    }
}
