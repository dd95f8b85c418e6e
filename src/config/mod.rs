//! One typed configuration per cluster, and where its files lie.

mod addon;
mod cluster;
mod kubelet;
mod layout;

pub use addon::{ADDONS, Addon, BUILT_IN, Switch, find_addon};
pub use cluster::{ClusterConfig, IngressConfig, NodeConfig, cgroup, nft_table, plan_cluster};
pub use kubelet::{Amount, KubeletConfig};
pub use layout::{Layout, RUN_ROOT, STATE_ROOT, home_mark};

/// The version of Kubernetes whose behavior this is.
pub const KUBERNETES: &str = "v1.36.2";
