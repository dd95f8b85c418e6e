//! The real runtime: the daemon's side of shims and images.

mod connection;
mod events;
mod removal;
mod shims;
mod spawn;
mod streams;

pub use shims::{Shims, short_layers};
