//! A namespace to play in: the cluster's network, the host as a client, and what must be gone at the end.

use crate::pod::Pod;
use ipnet::Ipv4Net;
use kubik::net::{
    Network, PacketRules,
    linux::{LinuxNetwork, NetConfig, destroy},
    model::{Attach, HostPort},
    rules::{Backend, Frontend, Place, Protocol, RuleSet, Target},
};
use nix::sched::{CloneFlags, unshare};
use std::{
    collections::BTreeMap,
    fs,
    future::Future,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::Mutex,
    thread,
    time::Duration,
};

/// Runs a test in a network namespace that ends with it.
pub fn in_own_namespace(test: impl FnOnce() + Send + 'static) {
    if !nix::unistd::geteuid().is_root() {
        skipped("network namespaces need root");
        return;
    }
    let inside = thread::spawn(|| {
        if let Err(error) = unshare(CloneFlags::CLONE_NEWNET) {
            skipped(&format!("no network namespace: {error}"));
            return;
        }
        if run("ip", &["link", "set", "lo", "up"]).is_none() {
            skipped("no ip(8) to bring loopback up");
            return;
        }
        test();
    });
    inside.join().unwrap();
}

pub struct World {
    pub network: LinuxNetwork,
    pub config: NetConfig,
    pub host: Pod,
    /// What was applied last.
    pub frontends: Mutex<BTreeMap<Frontend, Target>>,
    runtime: tokio::runtime::Runtime,
    before: BTreeMap<&'static str, String>,
    _directory: tempfile::TempDir,
}

impl World {
    pub fn new() -> World {
        let before = census();
        let directory = tempfile::tempdir().unwrap();
        let config = NetConfig {
            bridge: "kubik0".to_owned(),
            pod_cidr: "10.244.0.0/16".parse().unwrap(),
            node_ranges: vec![range()],
            service_ranges: ["10.96.0.0/16", "10.244.252.0/22"]
                .map(|range| range.parse().unwrap())
                .to_vec(),
            table: "kubik-test".to_owned(),
            directory: directory.path().join("net"),
            owner: "/var/lib/kubik/test".to_owned(),
        };
        let host = Pod::host();
        World {
            network: LinuxNetwork::open(config.clone()).unwrap(),
            config,
            host,
            frontends: Mutex::default(),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap(),
            before,
            _directory: directory,
        }
    }

    pub fn run<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    pub fn pod(&self, name: &str) -> Pod {
        self.pod_with(name, Vec::new())
    }

    pub fn pod_with(&self, name: &str, host_ports: Vec<HostPort>) -> Pod {
        Pod::new(name, |netns| {
            let request = Attach {
                sandbox: name.to_owned(),
                netns,
                range: range(),
                address: None,
                host_ports,
            };
            let attached = self.run(self.network.attach(request.clone())).unwrap();
            (request, attached.address)
        })
    }

    /// At an address of the test's choice.
    pub fn pod_at(&self, name: &str, range: Ipv4Net, address: Ipv4Addr) -> Pod {
        Pod::new(name, |netns| {
            let request = Attach {
                sandbox: name.to_owned(),
                netns,
                range,
                address: Some(address),
                host_ports: Vec::new(),
            };
            let attached = self.run(self.network.attach(request.clone())).unwrap();
            (request, attached.address)
        })
    }

    /// Something that answers as `server` at the gateway of the pods.
    pub fn listen_on_host(&self) -> SocketAddr {
        let listener = TcpListener::bind("10.244.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        crate::pod::serve_tcp("server", listener);
        address
    }

    pub fn detach(&self, name: &str) {
        self.run(self.network.detach(name)).unwrap();
        self.run(self.network.detach(name)).unwrap();
    }

    pub fn apply(&self, rules: &[(Frontend, Target)]) {
        let frontends: BTreeMap<Frontend, Target> = rules.iter().cloned().collect();
        self.frontends.lock().unwrap().clone_from(&frontends);
        self.apply_all(RuleSet {
            frontends,
            ..RuleSet::default()
        });
    }

    pub fn apply_all(&self, rules: RuleSet) {
        self.run(self.network.apply(rules)).unwrap();
    }

    /// Nothing may be left.
    pub fn end(self) {
        destroy(&self.config.traces()).unwrap();
        assert_eq!(census(), self.before);
    }
}

fn range() -> Ipv4Net {
    "10.244.0.0/24".parse().unwrap()
}

/// What a cluster could leave in this namespace.
pub fn census() -> BTreeMap<&'static str, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let links = read("/proc/thread-self/net/dev");
    let links: Vec<&str> = links
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim())
        .collect();
    let routes = read("/proc/thread-self/net/route");
    let routes: Vec<&str> = routes.lines().skip(1).collect();
    BTreeMap::from([
        ("links", links.join(" ")),
        ("routes", routes.join("\n")),
        ("forwarding", read("/proc/sys/net/ipv4/ip_forward")),
        (
            "redirects",
            read("/proc/sys/net/ipv4/conf/all/send_redirects"),
        ),
        ("rules", nft(&["list", "ruleset"])),
    ])
}

/// Prints the rules and checks that these words are among them.
pub fn listing(words: &[&str]) {
    let text = nft(&["list", "ruleset"]);
    if text == NO_NFT {
        skipped("no nft here to list the rules");
        return;
    }
    for word in words {
        assert!(text.contains(word), "`{word}` is missing in\n{text}");
    }
}

/// Loads a rule set of somebody else's; false when there is no nft to do it.
pub fn firewall(rules: &str) -> bool {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), rules).unwrap();
    nft(&["-f", file.path().to_str().unwrap()]) != NO_NFT
}

const NO_NFT: &str = "no nft";

pub fn nft(arguments: &[&str]) -> String {
    run("nft", arguments).unwrap_or_else(|| NO_NFT.to_owned())
}

/// `None` when there is no such program.
#[expect(
    clippy::disallowed_methods,
    reason = "the point is that strangers can read our rules"
)]
fn run(program: &str, arguments: &[&str]) -> Option<String> {
    let output = std::process::Command::new(program).args(arguments).output();
    let output = output.ok()?;
    let problem = String::from_utf8_lossy(&output.stderr);
    let status = output.status;
    assert!(
        status.success(),
        "{program} {arguments:?}: {status} {problem}"
    );
    Some(String::from_utf8_lossy(&output.stdout).into_owned())
}

pub fn address(ip: &str, port: u16) -> Frontend {
    Frontend {
        place: Place::Address(ip.parse().unwrap()),
        protocol: Protocol::Tcp,
        port,
    }
}

pub fn host(port: u16) -> Frontend {
    Frontend {
        place: Place::Host,
        protocol: Protocol::Tcp,
        port,
    }
}

pub fn udp(frontend: Frontend) -> Frontend {
    Frontend {
        protocol: Protocol::Udp,
        ..frontend
    }
}

pub fn tcp(backends: &[Backend], affinity: Option<Duration>) -> Target {
    Target::Backends {
        backends: backends.iter().copied().collect(),
        affinity,
    }
}

#[expect(
    clippy::print_stdout,
    reason = "who runs the tests should know what was not tested"
)]
fn skipped(why: &str) {
    println!("skipped: {why}");
}
