//! Supervised tasks, the clock, back-off, counters: the foundations every running part stands on.

pub mod backoff;
pub mod clock;
pub mod meter;
mod tasks;

pub use tasks::{Stop, Tasks};
