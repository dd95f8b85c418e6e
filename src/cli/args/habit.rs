//! The words after commands that people know from minikube.

use super::Output;
use clap::{Args, Subcommand};

/// Whatever another program would take: it changes nothing here.
#[derive(Debug, Args)]
pub struct Ignored {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub words: Vec<String>,
}

#[derive(Debug, Args)]
pub struct PauseOptions {
    /// Only these namespaces
    #[arg(
        short,
        long,
        alias = "namespaces",
        value_name = "NAMES",
        value_delimiter = ','
    )]
    pub namespace: Vec<String>,
    /// Every namespace, which is also meant when none is named
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    pub all_namespaces: bool,
}

#[derive(Debug, Args)]
pub struct ShellOptions {
    /// Accepted for minikube's sake: all nodes are this machine
    #[arg(short, long, hide = true)]
    pub node: Option<String>,
    /// A command instead of a shell; its exit code is passed on
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct CopyOptions {
    /// The file, with `NODE:` in front if it is to be read as the node's
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Where to, with or without `NODE:` in front
    #[arg(value_name = "TO")]
    pub to: String,
}

#[derive(Debug, Args)]
pub struct MountOptions {
    /// A directory of this machine, and the path that pods are to see
    #[arg(value_name = "DIRECTORY[:PATH]")]
    pub directories: String,
    #[command(flatten)]
    pub ignored: Ignored,
}

#[derive(Debug, Args)]
pub struct ServiceOptions {
    #[command(subcommand)]
    pub command: Option<ServiceCommand>,
    /// Names of Services
    #[arg(required_unless_present = "all", value_name = "NAME")]
    pub names: Vec<String>,
    /// Every Service of the namespace
    #[arg(long, conflicts_with = "names")]
    pub all: bool,
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Print https instead of http
    #[arg(long)]
    pub https: bool,
    /// Accepted for minikube's sake: the URL is always what is printed
    #[arg(long)]
    pub url: bool,
}

#[derive(Debug, Subcommand)]
pub enum ServiceCommand {
    /// List the Services of all namespaces with their URLs
    #[command(after_help = "Example:\n  kubik service list -n default")]
    List {
        /// Only this namespace
        #[arg(short, long)]
        namespace: Option<String>,
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct ProfileOptions {
    #[command(subcommand)]
    pub command: Option<ProfileCommand>,
    /// The cluster that commands without -p act on from now on
    #[arg(value_name = "NAME", value_parser = super::super::place::profile_name)]
    pub name: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the clusters on this machine
    #[command(
        visible_alias = "ls",
        after_help = "Example:\n  kubik profile list -o json"
    )]
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Keep a value
    #[command(after_help = "Example:\n  kubik config set nodes 3")]
    Set {
        #[arg(value_name = "OPTION")]
        key: String,
        #[arg(value_name = "VALUE")]
        value: String,
    },
    /// Print a value
    #[command(after_help = "Example:\n  kubik config get nodes")]
    Get {
        #[arg(value_name = "OPTION")]
        key: String,
    },
    /// Forget a value
    #[command(after_help = "Example:\n  kubik config unset nodes")]
    Unset {
        #[arg(value_name = "OPTION")]
        key: String,
    },
    /// Print all values
    #[command(after_help = "Example:\n  kubik config view -o json")]
    View {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}
