//! Delays between attempts: exponential, capped, with jitter.

use std::time::Duration;

#[derive(Clone, Copy, Debug)]
pub struct Backoff {
    pub first: Duration,
    pub cap: Duration,
}

impl Backoff {
    /// The pause after the `failures`-th failure in a row (counted from one), without jitter.
    #[must_use]
    pub fn delay(&self, failures: u32) -> Duration {
        let doublings = failures.saturating_sub(1).min(31);
        self.first.saturating_mul(1 << doublings).min(self.cap)
    }

    /// [`Backoff::delay`] lengthened by up to a tenth, so that many waiters do not wake together.
    #[must_use]
    pub fn jittered(&self, failures: u32) -> Duration {
        let mut byte = [0u8; 1];
        let _ = getrandom::fill(&mut byte);
        let delay = self.delay(failures);
        delay + delay.mul_f64(f64::from(byte[0]) / 2560.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap() {
        let backoff = Backoff {
            first: Duration::from_millis(5),
            cap: Duration::from_millis(50),
        };
        let delays: Vec<u128> = (1..=6).map(|n| backoff.delay(n).as_millis()).collect();
        assert_eq!(delays, [5, 10, 20, 40, 50, 50]);
        assert_eq!(backoff.delay(u32::MAX), Duration::from_millis(50));
    }
}
