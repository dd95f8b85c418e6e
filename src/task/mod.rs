//! Supervised tasks, the clock, back-off: the foundations every running part stands on.

pub mod backoff;
pub mod clock;
mod tasks;

pub use tasks::{Stop, Tasks};
