//! What can be typed. Help texts are read by people who met kubik a minute ago.

mod addons;
mod image;
mod start;

pub use addons::AddonsCommand;
pub use image::{ImageCommand, ListFormat};
pub use start::StartOptions;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "kubik",
    version,
    about = "A Kubernetes 1.36 cluster in one program: real pods, ready in under a second",
    after_help = "Start here:\n  kubik start                 a cluster, and kubectl set up for it\n  kubectl get pods -A         use it with any Kubernetes tool\n  kubik delete                remove every trace of it",
    disable_help_subcommand = true
)]
pub struct Arguments {
    /// The cluster to act on; several can run side by side
    #[arg(
        short,
        long,
        visible_alias = "name",
        global = true,
        default_value = "kubik",
        env = "KUBIK_PROFILE",
        value_parser = super::place::profile_name
    )]
    pub profile: String,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the cluster, creating it first if need be
    Start(StartOptions),
    /// Stop the cluster; everything stays on disk for the next start
    Stop,
    /// Remove the cluster and every trace of it
    Delete(DeleteOptions),
    /// Show whether the cluster runs (exit code: 1 host, 2 API, 4 kubeconfig; added up)
    Status(StatusOptions),
    /// Show the daemon's log
    Logs(LogsOptions),
    /// Start a throwaway cluster for one command and remove it afterwards
    #[command(
        after_help = "Example:\n  kubik run -- kubectl get nodes\n\nThe command finds the cluster through KUBECONFIG; its exit code is passed on."
    )]
    Run(RunOptions),
    /// Load, list, pull, save, tag and remove container images
    #[command(
        subcommand,
        after_help = "Example:\n  docker build -t app:1 . && docker save app:1 | kubik image load -\n\nOr push straight into the cluster's own registry: `kubik addons list` shows where."
    )]
    Image(ImageCommand),
    /// List the cluster's addons, turn them on and off
    #[command(subcommand, after_help = "Example:\n  kubik addons disable registry")]
    Addons(AddonsCommand),
    /// Run kubectl against this cluster (the one on PATH, otherwise a small built-in one)
    Kubectl(KubectlOptions),
    /// Print the URLs of a Service
    Service(ServiceOptions),
    /// Open the dashboard in a browser, or print its link
    Dashboard(DashboardOptions),
    /// Print the node's address
    Ip,
    /// List the clusters on this machine
    #[command(subcommand)]
    Profile(ProfileCommand),
    /// Check what this machine offers before you start
    Doctor,
    /// Print the version
    Version(VersionOptions),
    /// Print a completion script for your shell
    Completion(CompletionOptions),
}

#[derive(Debug, Args)]
pub struct DeleteOptions {
    /// Remove all clusters
    #[arg(long)]
    pub all: bool,
    /// Remove kubik's directories as well
    #[arg(long)]
    pub purge: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Output {
    #[default]
    Text,
    Json,
}

#[derive(Debug, Args)]
pub struct StatusOptions {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
}

#[derive(Debug, Args)]
pub struct LogsOptions {
    /// Keep printing new lines
    #[arg(short, long)]
    pub follow: bool,
    /// Print the last N lines only
    #[arg(short = 'n', long, default_value_t = 200, value_name = "N")]
    pub lines: usize,
    /// Write the log to a file instead
    #[arg(long, value_name = "FILE")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct RunOptions {
    /// Number of nodes
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub nodes: Option<u8>,
    /// Image archives to load before the command runs
    #[arg(long, value_name = "FILE")]
    pub image: Vec<PathBuf>,
    /// The command and its arguments
    #[arg(
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "CMD"
    )]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct KubectlOptions {
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARGS"
    )]
    pub arguments: Vec<String>,
}

#[derive(Debug, Args)]
pub struct ServiceOptions {
    /// Name of the Service
    pub name: String,
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
    /// Accepted for minikube's sake: the URL is always what is printed
    #[arg(long)]
    pub url: bool,
}

#[derive(Debug, Args)]
pub struct DashboardOptions {
    /// Print the link only; open no browser
    #[arg(long)]
    pub url: bool,
    /// Port on 127.0.0.1 (default: 7070, or any free one if it is taken)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
}

#[derive(Debug, Subcommand)]
pub enum ProfileCommand {
    /// List the clusters on this machine
    List {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub struct VersionOptions {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    /// Print the bare version only
    #[arg(long)]
    pub short: bool,
}

#[derive(Debug, Args)]
pub struct CompletionOptions {
    #[arg(value_enum)]
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_of_commands_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn options_of_the_wrapped_command_are_its_own() {
        let words = [
            "kubik", "run", "--nodes", "2", "--", "kubectl", "get", "-o", "json",
        ];
        let Command::Run(options) = Arguments::try_parse_from(words).unwrap().command else {
            panic!("not a run");
        };
        assert_eq!(options.nodes, Some(2));
        assert_eq!(options.command, ["kubectl", "get", "-o", "json"]);
    }
}
