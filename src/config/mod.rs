//! One typed configuration per cluster, and where its files lie.

mod cluster;
mod layout;

pub use cluster::{ClusterConfig, NodeConfig, plan_cluster};
pub use layout::{Layout, RUN_ROOT, STATE_ROOT};
