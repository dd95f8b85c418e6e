//! The words after `kubik addons`.

use super::Output;
use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum AddonsCommand {
    /// List the addons and whether they are on
    #[command(visible_alias = "ls")]
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Turn an addon on, now and for later starts
    Enable {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
    /// Turn an addon off, now and for later starts
    Disable {
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,
    },
}
