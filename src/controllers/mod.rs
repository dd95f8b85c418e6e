//! Controllers: each decides in a pure function; the driver does the talking.
//!
//! [`ALL`] is the list. Every controller writes under its own identity, with the rights its bootstrap role gives it.
//! An idle cluster does nothing here: there is no periodic resync, only watches and deadlines computed from state.

pub mod framework;

mod hash;
pub mod inventory;
mod pods;
mod revision;
mod share;

mod autoscaler;
mod certificate;
mod collector;
mod cronjob;
mod daemonset;
mod deployment;
mod disruption;
mod endpoint;
mod flow;
mod job;
mod load_balancer;
mod namespace;
mod node;
mod replicaset;
mod role;
mod service_account;
mod service_address;
mod statefulset;
mod token;
mod ttl;
pub mod volume;

use crate::{
    api::call::User,
    client::{Client, Informers, Recorder},
    pki::Pki,
    task::Tasks,
};
use framework::Actor;
use inventory::Inventory;
use ipnet::Ipv4Net;
use std::{path::PathBuf, sync::Arc};

/// What controllers need besides the API.
#[derive(Clone, Default)]
pub struct Settings {
    /// PEM of the certificate authority that signs the API server's certificate.
    pub root_ca: String,
    /// Where the built-in provisioner makes the directories of volumes.
    pub volumes: PathBuf,
    /// What certificates and tokens are signed with. Without it none are.
    pub keys: Option<Arc<Pki>>,
    /// Addresses for Services of type LoadBalancer; `None`: somebody else gives them.
    pub load_balancers: Option<Ipv4Net>,
}

/// What a controller is started with. Cheap to clone.
#[derive(Clone)]
pub struct ControllerContext {
    /// Identity does not matter: each controller acts under its own.
    pub client: Client,
    pub informers: Informers,
    pub inventory: Inventory,
    pub tasks: Tasks,
    pub settings: Arc<Settings>,
}

impl ControllerContext {
    /// The API as the controller's own service account in `kube-system` sees it, or a `system:` user.
    #[must_use]
    pub fn client_of(&self, identity: &str) -> Client {
        if identity == SERVER {
            let server = User::component(identity, &["system:masters"]);
            return self.client.acting_as(server);
        }
        if identity.starts_with("system:") {
            return self.client.acting_as(User::component(identity, &[]));
        }
        let name = format!("system:serviceaccount:kube-system:{identity}");
        let groups = [
            "system:serviceaccounts",
            "system:serviceaccounts:kube-system",
        ];
        self.client.acting_as(User::component(&name, &groups))
    }

    fn actor(&self, identity: &str, component: &'static str) -> Actor {
        let client = self.client_of(identity);
        Actor {
            recorder: Recorder::new(client.clone(), &self.tasks, component, None),
            client,
            keys: self.settings.keys.clone(),
        }
    }
}

type Start = fn(&ControllerContext);

/// Upstream's API server, for what it controls itself: it may everything.
const SERVER: &str = "system:apiserver";

/// One line per controller.
pub const ALL: &[(&str, Start)] = &[
    ("namespace", namespace::start),
    ("garbage-collector", collector::start),
    ("serviceaccount", service_account::start_accounts),
    ("root-ca-cert-publisher", service_account::start_root_ca),
    ("serviceaccount-token", token::start),
    (
        "certificatesigningrequest-approving",
        certificate::start_approving,
    ),
    (
        "certificatesigningrequest-signing",
        certificate::start_signing,
    ),
    (
        "certificatesigningrequest-cleaner",
        certificate::start_cleaning,
    ),
    ("deployment", deployment::start),
    ("replicaset", replicaset::start_replica_sets),
    (
        "replicationcontroller",
        replicaset::start_replication_controllers,
    ),
    ("flowschema", flow::start),
    ("endpointslice", endpoint::start_slices),
    ("endpoint", endpoint::start_endpoints),
    ("endpointslicemirroring", endpoint::start_mirroring),
    ("service", load_balancer::start),
    ("service-ipaddress", service_address::start_addresses),
    ("service-cidr", service_address::start_ranges),
    ("job", job::start),
    ("cronjob", cronjob::start),
    ("horizontalpodautoscaler", autoscaler::start),
    ("node-lifecycle", node::start_lifecycle),
    ("taint-eviction", node::start_eviction),
    ("pod-garbage-collector", node::start_pod_collection),
    ("persistentvolumeclaim-binder", volume::start_claims),
    ("persistentvolume-binder", volume::start_volumes),
    (
        "persistentvolumeclaim-protection",
        volume::start_claim_protection,
    ),
    (
        "persistentvolume-protection",
        volume::start_volume_protection,
    ),
    ("ephemeral-volume", volume::start_ephemeral),
    ("daemonset", daemonset::start),
    ("statefulset", statefulset::start),
    ("disruption", disruption::start),
    ("ttl-after-finished", ttl::start),
    ("clusterrole-aggregation", role::start),
];

/// Starts every controller; they run until the tasks of the context are shut down.
pub fn start(ctx: &ControllerContext) {
    for (_, start) in ALL {
        start(ctx);
    }
}
