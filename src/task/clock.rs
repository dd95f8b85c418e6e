//! The wall clock. Deciding functions take `now` as an argument; only their callers read it here.

use jiff::Timestamp;

#[must_use]
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    Timestamp::now()
}
