//! Supervised tasks, the clock, back-off, counters, random identities: the foundations every running part stands on.

mod accept;
pub mod backoff;
pub mod clock;
pub mod meter;
mod tasks;
mod uuid;

pub use tasks::{Stop, Tasks};
pub use uuid::uuid;
