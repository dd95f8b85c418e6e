//! The real API server in process, over a store in memory.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod admission;
mod apply;
mod server;
mod start;
mod subresources;
mod verbs;
mod watches;
mod webhooks;
