//! The words after `kubik node`.

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum NodeCommand {
    /// List the nodes with their addresses
    #[command(visible_alias = "ls")]
    List,
    /// Start a stopped node
    Start {
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Stop a node as if its machine went away, until `node start` or the next start of the cluster
    Stop {
        #[arg(value_name = "NAME")]
        name: String,
    },
}
