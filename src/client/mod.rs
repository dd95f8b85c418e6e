//! The only way to the API for everybody: verbs over a transport, informers, caches, queues.
//!
//! Does not know `apiserver`: a [`Transport`] is the registry in the same process or HTTPS; `daemon` joins them.

mod verbs;

pub use verbs::{Client, Transport};
