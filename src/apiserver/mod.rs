//! HTTP to registry to store: authentication, authorization, admission, verbs, subresources, codecs, discovery.
//!
//! `listen` takes a request apart (`request`), asks who it is (`authenticate`), lets `registry` answer and writes the
//! answer down (`codec`). What is no resource is `discovery`, `openapi`, `health` and `metrics`; what becomes a
//! conversation with a node is `stream`.

pub mod listen;
pub mod request;

mod admission;
pub mod authenticate;
pub mod authorize;
pub mod bootstrap;
pub mod registry;
pub mod subresource;
pub mod token;

pub mod codec;
pub mod stream;

pub mod discovery;
pub mod health;
pub mod metrics;
pub mod openapi;

pub use listen::{Handler, Server, ServerConfig};
pub use stream::NodeDirectory;
