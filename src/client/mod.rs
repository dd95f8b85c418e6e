//! The only way to the API for everybody: verbs over a transport, informers, caches, queues, events.
//!
//! Does not know `apiserver`: a [`Transport`] is the registry in the same process or HTTPS; `daemon` joins them.
//! Caches are shared and read-only; handlers only enqueue keys; what happened is read from the caches.

mod correlate;
mod decode;
mod events;
mod informer;
mod queue;
mod reflector;
mod snapshot;
mod verbs;

#[cfg(test)]
mod fake;

pub use events::{EventKind, Recorder, reference};
pub use informer::{Cache, Informers};
pub use queue::WorkQueue;
pub use reflector::{Sink, follow};
pub use snapshot::Snapshot;
pub use verbs::{Client, Transport};
