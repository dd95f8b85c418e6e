//! What can be typed. Help texts are read by people who met kubik a minute ago.

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
    /// Load, list, pull and remove container images
    #[command(subcommand)]
    Image(ImageCommand),
    /// Run kubectl against this cluster (the one on PATH, otherwise a small built-in one)
    Kubectl(KubectlOptions),
    /// Print the URLs of a Service
    Service(ServiceOptions),
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

#[derive(Clone, Debug, Default, Args)]
pub struct StartOptions {
    /// Number of nodes; each is simulated on this machine with its own address and pods
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=32))]
    pub nodes: Option<u8>,
    /// Keep all state in memory: nothing is written to disk, nothing survives `stop`
    #[arg(long)]
    pub ephemeral: bool,
    /// Stay in the foreground (for service managers and containers); Ctrl-C stops the cluster
    #[arg(long)]
    pub foreground: bool,
    /// Port of the API server; the first free one from 8443 if not given
    #[arg(long, value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Ask this mirror before a registry: `docker.io=http://127.0.0.1:5000` (a bare address is for docker.io)
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,
    /// Accept plain HTTP and unknown certificates from this registry
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
    /// Write the cluster's credentials to this kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Do not touch any kubeconfig file
    #[arg(long, conflicts_with = "kubeconfig")]
    pub no_kubeconfig: bool,
    /// Do not make the cluster kubectl's current context
    #[arg(long)]
    pub keep_context: bool,
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

#[derive(Debug, Subcommand)]
pub enum ImageCommand {
    /// Load images from an archive (`docker save`, OCI layout; `-` reads standard input)
    Load {
        #[arg(required = true, value_name = "FILE")]
        files: Vec<PathBuf>,
    },
    /// List images
    #[command(visible_alias = "list")]
    Ls {
        #[arg(short, long, value_enum, default_value_t)]
        output: Output,
    },
    /// Remove images
    Rm {
        #[arg(required = true, value_name = "IMAGE")]
        images: Vec<String>,
    },
    /// Pull an image from its registry
    Pull {
        #[arg(value_name = "IMAGE")]
        image: String,
    },
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
