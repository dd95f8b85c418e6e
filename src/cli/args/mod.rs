//! What can be typed. Help texts are read by people who met kubik a minute ago.

mod addons;
mod foreign;
mod habit;
mod image;
mod node;
mod start;

pub use addons::AddonsCommand;
pub use foreign::{Effect, FOREIGN};
pub use habit::{
    ConfigCommand, CopyOptions, Ignored, MountOptions, PauseOptions, ProfileCommand,
    ProfileOptions, ServiceCommand, ServiceOptions, ShellOptions,
};
pub use image::{ImageCommand, ListFormat};
pub use node::NodeCommand;
pub use start::StartOptions;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

#[derive(Debug, Parser)]
#[command(
    name = "kubik",
    version,
    about = "A Kubernetes 1.36 cluster in one program: real pods, ready in a second",
    after_help = "Start here:\n  kubik start             a cluster, and kubectl set up for it\n  kubectl get pods -A     use it with any Kubernetes tool\n  kubik delete            remove every trace of it",
    max_term_width = 80
)]
pub struct Arguments {
    /// The cluster to act on; several can run side by side [default: kubik, or
    /// what `kubik profile NAME` chose]
    #[arg(
        short,
        long,
        visible_alias = "name",
        global = true,
        env = "KUBIK_PROFILE",
        value_parser = super::place::profile_name
    )]
    pub profile: Option<String>,

    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Start the cluster, creating it first if need be
    #[command(
        after_help = "Examples:\n  kubik start\n  kubik start -p ci --nodes 3 --ephemeral\n\nOptions of `minikube start` are accepted; those without a meaning here say so."
    )]
    Start(Box<StartOptions>),
    /// Stop the cluster; everything stays on disk for the next start
    #[command(after_help = "Examples:\n  kubik stop && kubik start\n  kubik stop --all")]
    Stop(StopOptions),
    /// Freeze the cluster's containers where they are; the API goes on
    #[command(
        after_help = "Examples:\n  kubik pause                 every namespace\n  kubik pause -n shop,mail    these two\n\nFrozen containers use no CPU and keep their memory. Their probes wait. Pods made\nmeanwhile run. `kubik stop` ends a pause."
    )]
    Pause(PauseOptions),
    /// Let frozen containers go on
    #[command(after_help = "Example:\n  kubik unpause")]
    Unpause(PauseOptions),
    /// Remove the cluster and every trace of it
    #[command(after_help = "Example:\n  kubik delete --all --purge")]
    Delete(DeleteOptions),
    /// Show whether the cluster runs
    #[command(
        after_help = "Example:\n  kubik status -o json\n\nExit code, added up: 1 host, 2 API, 4 kubeconfig; 85 for an unknown profile."
    )]
    Status(StatusOptions),
    /// Show the daemon's log
    #[command(after_help = "Example:\n  kubik logs --problems --file logs.txt")]
    Logs(LogsOptions),
    /// Start a throwaway cluster for one command and remove it afterwards
    #[command(
        after_help = "Example:\n  kubik run -- kubectl get nodes\n\nThe cluster has a name of its own, whatever -p says. The command finds it through\nKUBECONFIG; its exit code is passed on."
    )]
    Run(RunOptions),
    /// Load, list, pull, save, tag and remove container images
    #[command(
        subcommand,
        after_help = "Example:\n  docker save app:1 | kubik image load -\n\nOr push into the cluster's own registry: `kubik addons list` shows where."
    )]
    Image(ImageCommand),
    /// List the cluster's addons, turn them on and off
    #[command(subcommand, after_help = "Example:\n  kubik addons disable registry")]
    Addons(AddonsCommand),
    /// Run kubectl against this cluster (yours, otherwise a small built-in one)
    #[command(after_help = "Example:\n  kubik kubectl -- get pods -A")]
    Kubectl(KubectlOptions),
    /// Print the URLs of a Service, or of all
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  curl $(kubik service web)\n  kubik service list"
    )]
    Service(ServiceOptions),
    /// Open the dashboard in a browser, or print its link
    #[command(after_help = "Example:\n  kubik dashboard --url")]
    Dashboard(DashboardOptions),
    /// Print a node's address
    #[command(after_help = "Example:\n  curl http://$(kubik ip):30080")]
    Ip(IpOptions),
    /// A root shell where the node is: this machine, as the cluster sees it
    #[command(
        visible_alias = "ssh",
        after_help = "Examples:\n  kubik shell\n  kubik ssh -- ip route\n\nIt joins the network and mounts of the cluster's daemon, which is the node."
    )]
    Shell(ShellOptions),
    /// Copy a file to the node or from it
    #[command(
        after_help = "Example:\n  kubik cp data.csv kubik:/srv/data.csv\n\nThe node is this machine: a copy is one between two paths of it."
    )]
    Cp(CopyOptions),
    /// Say how pods reach a directory of this machine
    #[command(after_help = "Example:\n  kubik mount $PWD:/data")]
    Mount(MountOptions),
    /// Say why no tunnel is needed
    #[command(after_help = "Example:\n  kubectl get services    the addresses work as they are")]
    Tunnel(Ignored),
    /// Choose the cluster that commands act on, or list the clusters
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "Examples:\n  kubik profile list\n  kubik profile ci"
    )]
    Profile(ProfileOptions),
    /// Keep options of `start` for clusters to come
    #[command(
        subcommand,
        after_help = "Example:\n  kubik config set registry-mirror http://127.0.0.1:5000"
    )]
    Config(ConfigCommand),
    /// Write the cluster's credentials to the kubeconfig again
    #[command(after_help = "Example:\n  kubik update-context")]
    UpdateContext,
    /// Say how Docker's images come into the cluster
    #[command(after_help = "Example:\n  kubik docker-env")]
    DockerEnv(Ignored),
    /// Say how Podman's images come into the cluster
    #[command(after_help = "Example:\n  kubik podman-env")]
    PodmanEnv(Ignored),
    /// List, stop and start the nodes of the cluster
    #[command(subcommand, after_help = "Example:\n  kubik node stop kubik-m02")]
    Node(NodeCommand),
    /// Check what this machine offers before you start
    #[command(after_help = "Example:\n  kubik doctor")]
    Doctor,
    /// Print the version
    #[command(after_help = "Example:\n  kubik version -o json")]
    Version(VersionOptions),
    /// Print a completion script for your shell
    #[command(after_help = "Example:\n  source <(kubik completion bash)")]
    Completion(CompletionOptions),
}

#[derive(Debug, Args)]
pub struct StopOptions {
    /// Stop all clusters
    #[arg(long)]
    pub all: bool,
    /// Leave kubectl's current context as it is
    #[arg(long)]
    pub keep_context_active: bool,
}

#[derive(Debug, Args)]
pub struct IpOptions {
    /// Of this node; the first one if not given
    #[arg(short, long, value_name = "NAME")]
    pub node: Option<String>,
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
    #[arg(
        short = 'n',
        long,
        visible_alias = "length",
        default_value_t = 200,
        value_name = "N"
    )]
    pub lines: usize,
    /// Only warnings and errors
    #[arg(long)]
    pub problems: bool,
    /// Write the whole log to a file instead
    #[arg(long, value_name = "FILE", conflicts_with = "follow")]
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
pub struct DashboardOptions {
    /// Print the link only; open no browser
    #[arg(long)]
    pub url: bool,
    /// Port on 127.0.0.1 (default: 7070, or any free one if it is taken)
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: Option<u16>,
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

    /// Every command shows how it is used, on a screen of 80 columns.
    #[test]
    fn help_has_examples_and_fits_the_screen() {
        let mut pending = vec![Arguments::command().term_width(80)];
        while let Some(mut command) = pending.pop() {
            let text = command.render_long_help().to_string();
            let wide = text.lines().find(|line| line.chars().count() > 80);
            assert_eq!(wide, None, "{}", command.get_name());
            let has_example = text.contains("Example") || text.contains("Start here");
            assert!(has_example, "{}: {text}", command.get_name());
            let visible = command
                .get_subcommands()
                .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help");
            pending.extend(visible.map(|sub| sub.clone().term_width(80)));
        }
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
