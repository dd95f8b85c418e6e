//! What the built-in kubectl understands: kubectl's own words for what it can do.

use clap::{Args, Parser, Subcommand, ValueEnum};

#[derive(Debug, Parser)]
#[command(
    name = "kubectl",
    about = "kubik's built-in kubectl, used because no kubectl is on PATH",
    disable_help_subcommand = true
)]
pub struct Builtin {
    /// Namespace; `default` if not given
    #[arg(short, long, global = true)]
    pub namespace: Option<String>,
    #[command(subcommand)]
    pub verb: Verb,
}

#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Print objects as a table, JSON, YAML or names
    Get(GetOptions),
    /// Create or change objects from files
    Apply(ApplyOptions),
    /// Delete objects
    Delete(DeleteOptions),
    /// Print an object with its events
    Describe(TargetOptions),
    /// Print a container's log
    Logs(LogOptions),
    /// Run a command in a container
    Exec(ExecOptions),
    /// Wait for a condition
    Wait(WaitOptions),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Json,
    Name,
    Wide,
    Yaml,
}

#[derive(Debug, Args)]
pub struct GetOptions {
    /// `pods`, `deploy,svc`, `pod/NAME`, or a type followed by names
    #[arg(required = true, value_name = "TYPE [NAME]")]
    pub targets: Vec<String>,
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,
    #[arg(short, long, value_enum)]
    pub output: Option<Output>,
    #[arg(short = 'l', long)]
    pub selector: Option<String>,
}

#[derive(Debug, Args)]
pub struct ApplyOptions {
    /// A file with one or several YAML or JSON documents; `-` reads standard input
    #[arg(short, long, required = true, value_name = "FILE")]
    pub filename: Vec<String>,
}

#[derive(Debug, Args)]
pub struct DeleteOptions {
    #[arg(required_unless_present = "filename", value_name = "TYPE NAME")]
    pub targets: Vec<String>,
    #[arg(short, long, value_name = "FILE")]
    pub filename: Vec<String>,
    /// Do not complain about objects that are not there
    #[arg(long)]
    pub ignore_not_found: bool,
}

#[derive(Debug, Args)]
pub struct TargetOptions {
    #[arg(required = true, value_name = "TYPE NAME")]
    pub targets: Vec<String>,
}

#[derive(Debug, Args)]
pub struct LogOptions {
    /// `NAME` or `pod/NAME`
    pub pod: String,
    #[arg(short, long)]
    pub container: Option<String>,
    #[arg(short, long)]
    pub follow: bool,
    #[arg(short, long)]
    pub previous: bool,
    #[arg(long)]
    pub tail: Option<u64>,
    #[arg(long)]
    pub timestamps: bool,
}

#[derive(Debug, Args)]
pub struct ExecOptions {
    /// `NAME` or `pod/NAME`
    pub pod: String,
    #[arg(short, long)]
    pub container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub stdin: bool,
    /// Give the command a terminal
    #[arg(short = 't', long)]
    pub tty: bool,
    #[arg(required = true, last = true, value_name = "CMD")]
    pub command: Vec<String>,
}

#[derive(Debug, Args)]
pub struct WaitOptions {
    /// `delete`, `create`, or `condition=NAME[=VALUE]`
    #[arg(long = "for", value_name = "WHAT", required = true)]
    pub what: String,
    #[arg(long, default_value = "30s")]
    pub timeout: String,
    #[arg(required = true, value_name = "TYPE NAME")]
    pub targets: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_table_of_verbs_is_consistent() {
        Builtin::command().debug_assert();
    }

    #[test]
    fn namespaces_may_stand_anywhere() {
        for words in [
            "kubectl -n x get pods",
            "kubectl get pods -n x",
            "kubectl get -n x pods",
        ] {
            let parsed = Builtin::try_parse_from(words.split(' ')).unwrap();
            assert_eq!(parsed.namespace.as_deref(), Some("x"), "{words}");
        }
    }
}
