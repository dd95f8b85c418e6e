//! HTTP to registry to store: authentication, authorization, admission, verbs, subresources, codecs, discovery.

pub mod authorize;
pub mod registry;
pub mod subresource;
pub mod token;
