//! The options of `kubik start`.

use super::{Output, foreign::Foreign};
use clap::Args;
use std::{net::IpAddr, path::PathBuf, str::FromStr};

#[derive(Clone, Debug, Default, Args)]
pub struct StartOptions {
    /// Number of nodes; each is simulated on this machine with its own address and pods
    #[arg(
        short,
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u8).range(1..=32)
    )]
    pub nodes: Option<u8>,
    /// Checked only: this program serves one version of Kubernetes
    #[arg(long, value_name = "VERSION")]
    pub kubernetes_version: Option<String>,
    /// Domain of the cluster's DNS, for a new cluster [default: cluster.local]
    #[arg(long, value_name = "DOMAIN")]
    pub dns_domain: Option<String>,
    /// Keep all state in memory: nothing is written to disk, nothing survives `stop`
    #[arg(long)]
    pub ephemeral: bool,
    /// Stay in the foreground (for service managers and containers); Ctrl-C stops the cluster
    #[arg(long)]
    pub foreground: bool,
    /// Port of the API server; the first free one from 8443 if not given
    #[arg(long, alias = "apiserver-port", value_name = "PORT")]
    pub api_port: Option<u16>,
    /// Ask this mirror before a registry; without a host it is Docker's own
    #[arg(long, value_name = "HOST=URL")]
    pub registry_mirror: Vec<String>,
    /// Believe registries that this certificate (PEM) vouches for, beside those the machine trusts
    #[arg(long, value_name = "FILE")]
    pub registry_ca: Vec<PathBuf>,
    /// Port of the cluster's own registry; the first free one from 5000 if not given
    #[arg(long, value_name = "PORT")]
    pub registry_port: Option<u16>,
    /// Port on which Ingresses are served over HTTP; 80 if not given
    #[arg(long, value_name = "PORT")]
    pub ingress_http_port: Option<u16>,
    /// Port on which Ingresses are served over HTTPS; 443 if not given
    #[arg(long, value_name = "PORT")]
    pub ingress_https_port: Option<u16>,
    /// Serve Ingresses on these addresses of this machine too: 127.0.0.1 if not given, `none` for the nodes' own alone
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',')]
    pub ingress_listen: Vec<IngressListen>,
    /// Turn these addons on (`kubik addons list` shows them)
    #[arg(long, value_name = "NAME", value_delimiter = ',')]
    pub addons: Vec<String>,
    /// Accept plain HTTP and unknown certificates from this registry
    #[arg(long, value_name = "HOST")]
    pub insecure_registry: Vec<String>,
    /// Set a value of the node agents, under its kubelet flag's name: `kubelet.eviction-hard=memory.available<500Mi`
    #[arg(long, value_name = "COMPONENT.KEY=VALUE")]
    pub extra_config: Vec<String>,
    /// Write the cluster's credentials to this kubeconfig file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// Do not touch any kubeconfig file
    #[arg(long, conflicts_with = "kubeconfig")]
    pub no_kubeconfig: bool,
    /// Do not make the cluster kubectl's current context
    #[arg(long)]
    pub keep_context: bool,
    /// Say what would be done, and do nothing
    #[arg(long, alias = "download-only")]
    pub dry_run: bool,
    /// Remove the cluster when it cannot be started
    #[arg(long)]
    pub delete_on_failure: bool,
    /// `json` prints the events that minikube's users read, one per line
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Output,
    #[command(flatten)]
    pub foreign: Foreign,
}

/// An address of this machine, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IngressListen(pub Option<IpAddr>);

impl FromStr for IngressListen {
    type Err = String;

    fn from_str(text: &str) -> Result<IngressListen, String> {
        if text == "none" {
            return Ok(IngressListen(None));
        }
        let address = text.parse();
        let address = address.map_err(|_| "neither an address nor \"none\"".to_owned())?;
        Ok(IngressListen(Some(address)))
    }
}
