//! The words after `kubik node`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes with their addresses
    #[command(visible_alias = "ls", after_help = "Example:\n  kubik node list")]
    List,
    /// Add a node to the cluster
    #[command(after_help = "Example:\n  kubik node add")]
    Add,
    /// Remove a node from the cluster, with its pods
    #[command(after_help = "Example:\n  kubik node delete kubik-m02")]
    Delete {
        /// The node's name, as `kubik node list` tells it
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Start a stopped node
    #[command(after_help = "Example:\n  kubik node start kubik-m02")]
    Start {
        /// The node's name, as `kubik node list` tells it
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Stop a node as if its machine went away, until `node start`
    #[command(after_help = "Example:\n  kubik node stop kubik-m02")]
    Stop {
        /// The node's name, as `kubik node list` tells it
        #[arg(value_name = "NAME")]
        name: String,
    },
}
