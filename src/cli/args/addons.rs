//! The words after `kubik addons`.

use super::Output;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum AddonsCommand {
    /// List the addons and whether they are on
    #[command(visible_alias = "ls", after_help = "Example:\n  kubik addons list")]
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Turn an addon on, now and for later starts
    #[command(after_help = "Example:\n  kubik addons enable registry")]
    Enable {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Turn an addon off, now and for later starts
    #[command(after_help = "Example:\n  kubik addons disable registry")]
    Disable {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}
