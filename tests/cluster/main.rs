//! The whole control plane in one process over a store in memory: every controller, no node.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod deletion;
mod node;
mod plane;
mod workload;
