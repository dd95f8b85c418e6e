//! Requests that become a conversation with a node: logs, exec, attach, port-forward, proxy.

use super::listen::answer::{self, Answer};
use crate::api::{ApiError, stream::NodeApi};
use std::sync::Arc;

/// Finds node agents by the name of their Node.
pub trait NodeDirectory: Send + Sync {
    fn node(&self, name: &str) -> Option<Arc<dyn NodeApi>>;
}

/// Whether requests for this subresource come here.
pub fn is_stream(subresource: &str) -> bool {
    matches!(
        subresource,
        "log" | "exec" | "attach" | "portforward" | "proxy"
    )
}

pub async fn serve(is_served: bool) -> Result<Answer, ApiError> {
    if !is_served {
        return Ok(answer::page_not_found());
    }
    Err(ApiError::not_implemented("streaming"))
}
