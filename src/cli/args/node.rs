//! The words after `kubik node`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes with their addresses
    #[command(visible_alias = "ls", after_help = "Example:\n  kubik node list")]
    List,
    /// Start a stopped node
    #[command(after_help = "Example:\n  kubik node start kubik-m02")]
    Start {
        /// The node's name, as `kubik node list` tells it
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Stop a node as if its machine went away, until `node start` or the next start of the cluster
    #[command(after_help = "Example:\n  kubik node stop kubik-m02")]
    Stop {
        /// The node's name, as `kubik node list` tells it
        #[arg(value_name = "NAME")]
        name: String,
    },
}
