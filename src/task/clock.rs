//! The wall clock. Deciding functions take `now` as an argument; only their callers read it here.

use jiff::Timestamp;

#[must_use]
pub fn now() -> Timestamp {
    Timestamp::now()
}
