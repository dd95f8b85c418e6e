//! kubik: a conformant Kubernetes cluster in one Linux program.
//!
//! This page is the project's architecture text; what it says must be true of the code.
//!
//! # Processes
//!
//! `kubik start` spawns one *daemon* per cluster: API server, store, scheduler, controllers, node agents, service
//! proxy and DNS in one process. Every pod has one *shim*, a re-exec of the same binary: small, single-threaded, the
//! owner of the pod's namespaces and containers. Shims survive the daemon; the next daemon adopts them.
//!
//! # Layers
//!
//! Modules are declared below from the bottom up; `tests/architecture.rs` holds the table of who may use whom.
//!
//! # Decisions worth knowing first
//!
//! - **An object is a JSON document, a kind is a row** (`kinds`). One code path per verb serves them all.
//! - **Everybody is an API client.** A component talks through `client` verbs under its own identity. In process a
//!   [`api::call::Call`] goes straight to the registry; outside it is HTTPS. Caches are shared: one informer per kind
//!   and process ([`client::Informers`]), read under the identity `system:kubik:informers`, because eight private
//!   caches of the same pods would cost eight decodings of every event. Writes keep their writer's identity.
//! - **Service account tokens are ES256** (ECDSA P-256), not RS256: generating an RSA key costs more than the rest
//!   of a start, and upstream accepts both.
//! - **One ordered store** (`store`). Live objects and the recent past are in memory; the disk holds the live objects
//!   and the revision, in one atomic batch per group of writes. The past is not written: a restart answers older
//!   revisions with 410, as an upstream API server's watch cache does, and every value is written once. Heartbeats
//!   are lazy writes ([`store::Durability`]): an idle cluster leaves the disk alone.
//! - **Our own components act under upstream's identities.** Controllers, scheduler and node agents have
//!   their bootstrap roles and nothing else. Only the shared informers are in `system:masters`: one set of caches for
//!   everybody reads more than any one of upstream's roles allows.
//! - **Names on the host are the home's own.** Clusters of one profile in several homes (`KUBIK_HOME`) are different
//!   clusters: their cgroups and tables carry a mark of the home, and a bridge says in its alias whose it is, because links
//!   are numbered and two homes that do not know of each other may choose one number.
//! - **A start is its command's until it is ready.** Ctrl-C or `kill -9` of `kubik start` gives it up: the daemon holds the
//!   other end of a pipe. Commands that meet wait for each other.
//! - **`delete` trusts no process and no memory.** `daemon::erase` works from names on the host: shims by their command
//!   line, one cgroup, one packet rule table, links by their prefix, mounts below two directories.
//! - **The cluster's own registry keeps blobs as they came** (`distribution`) beside the unpacked layers of the image
//!   store: digests stay true and images can be pulled out again, at the price of their compressed size on disk. It
//!   listens on loopback only and asks for no password, as clients expect there; it is an addon that can be off.
//! - **A pause freezes pods, not the cluster** (`node::pause`): the API goes on, probes wait.
//! - **The ingress proxy is part of the daemon** (`ingress`): on the nodes' own addresses and loopback, ports 80 and 443,
//!   while there is an Ingress of class `nginx`. Its crate page says where it listens and where it differs from nginx.
//! - **The dashboard is the API with a page in front** (`dashboard`): no endpoint of its own but a session's, no build step, no
//!   dependency. It remembers its ports and hashes of its sessions, so that open pages outlive the daemon.
//! - **Usage is measured when somebody asks** (`node::serve`): nothing samples in the background, rates are between two
//!   questions.
//! - **Decide apart from doing.** `reconcile`, `plan`, `filter`, `rules`, `answer` are pure; drivers act.
//! - **A container's root file system is not mounted on the host** (but for the moment in which one with a
//!   bidirectional mount is made). Its shim mounts the overlay in a mount namespace
//!   that lives only while the container is made; it ends with the container, however everything else dies.
//! - **libcontainer makes containers, not further processes.** Its exec loses the seccomp profile and is slow for
//!   probes, so the shim enters the container itself.
//! - **A load balancer is an address that nobody has.** Addresses of Services of type LoadBalancer come from the end of
//!   the pods' range, which is routed to the bridge and answered by packet rules alone, as ClusterIPs are: no foreign link
//!   is touched, and the host needs no tunnel.
//! - **A fence judges connections, not packets.** NetworkPolicies become one lookup by what conntrack knows of a packet's
//!   connection, in both directions: replies need no rule, and a forbidden connection stops at once. Fences name
//!   sandboxes; they stand before a pod has its link, and without a policy there is no rule at all. The host always passes,
//!   and so does what the built-in ingress proxy sends.
//! - **On cgroup v2 devices are filtered by an eBPF program of ours** (`runtime::device`): libcontainer's needs libbpf.
//! - **In a container the root of the cgroups makes room** (`runtime::cgroup`): a group that hands controllers down may have
//!   no processes, so those of a root that is not the machine's go to `kubik.host`, and back when the last cluster goes.

pub mod api;
pub mod kinds;
pub mod store;

pub mod config;
pub mod pki;
pub mod task;

pub mod apiserver;
pub mod client;

pub mod controllers;
pub mod scheduler;

pub mod net;
pub mod runtime;

pub mod distribution;
pub mod node;

pub mod dns;
pub mod ingress;
pub mod proxy;

pub mod dashboard;

pub mod cli;
pub mod daemon;
