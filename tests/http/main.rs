//! The API server over TLS on loopback: raw requests and stock kubectl against the real thing.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod dashboard;
mod kubectl;
mod node;
mod raw;
mod server;
mod streams;
