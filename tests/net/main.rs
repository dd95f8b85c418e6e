//! The real network in network namespaces of its own: pods, Services, what is left afterwards.
//!
//! Every test thread leaves the host's namespace first, so nothing here can be seen by, or depend on, the host.
//! Needs root; says so and passes otherwise.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fence;
mod pod;
mod world;

use kubik::net::{
    Network, PacketRules,
    linux::{LinuxNetwork, destroy},
    model::{Attach, HostPort},
    rules::{Frontend, Place, Protocol, RuleSet, Target},
};
use pod::Pod;
use std::{collections::BTreeSet, time::Duration};
use world::{World, address, host, in_own_namespace, listing, tcp, udp};

const VIP: &str = "10.96.0.20";

#[test]
fn services_reach_their_backends() {
    in_own_namespace(|| {
        let world = World::new();
        let (first, second) = (world.pod("first"), world.pod("second"));
        let both = [first.backend(8080), second.backend(8080)];
        world.apply(&[
            (address(VIP, 80), tcp(&both, None)),
            (host(30080), tcp(&both, None)),
            (address("203.0.113.7", 80), tcp(&both, None)),
        ]);
        let all: BTreeSet<String> = ["first", "second"].map(str::to_owned).into();
        let client = world.pod("client");
        assert_eq!(client.names(&format!("{VIP}:80"), 40), all, "from a pod");
        assert_eq!(
            world.host.names(&format!("{VIP}:80"), 40),
            all,
            "from the host"
        );
        for node_port in ["127.0.0.1:30080", "10.244.0.1:30080"] {
            assert_eq!(
                world.host.names(node_port, 40),
                all,
                "{node_port} from the host"
            );
        }
        assert_eq!(
            client.names("10.244.0.1:30080", 40),
            all,
            "node port from a pod"
        );
        assert_eq!(client.names("203.0.113.7:80", 40), all, "external address");
        // The source address of pods is kept.
        assert_eq!(client.ask(&format!("{VIP}:80")).peer, client.address);
        world.end();
    });
}

#[test]
fn a_pod_reaches_itself_through_a_service() {
    in_own_namespace(|| {
        let world = World::new();
        let pod = world.pod("alone");
        world.apply(&[
            (address(VIP, 80), tcp(&[pod.backend(8080)], None)),
            (host(30080), tcp(&[pod.backend(8080)], None)),
        ]);
        assert_eq!(pod.ask(&format!("{VIP}:80")).name, "alone");
        assert_eq!(pod.ask("10.244.0.1:30080").name, "alone");
        assert_eq!(pod.ask("127.0.0.1:8080").name, "alone", "loopback is up");
        world.end();
    });
}

#[test]
fn closed_frontends_refuse_and_foreign_addresses_are_silent() {
    in_own_namespace(|| {
        let world = World::new();
        let pod = world.pod("pod");
        world.apply(&[
            (address(VIP, 80), Target::Reject),
            (address("10.96.0.21", 80), Target::Drop),
            (host(30081), Target::Reject),
            (host(30082), tcp(&[pod.backend(8080)], None)),
            (address("10.244.0.1", 30082), Target::Drop),
        ]);
        assert_eq!(world.host.ask("127.0.0.1:30082").name, "pod");
        for client in [&pod, &world.host] {
            let refusal = client.refusal("10.244.0.1:30082");
            assert_eq!(refusal, "TimedOut", "closed at one address of the host");
        }
        for refused in [
            &format!("{VIP}:80"),
            &format!("{VIP}:81"),
            "10.244.0.1:30081",
        ] {
            assert_eq!(
                pod.refusal(refused),
                "ConnectionRefused",
                "{refused} from a pod"
            );
            assert_eq!(
                world.host.refusal(refused),
                "ConnectionRefused",
                "{refused} from the host"
            );
        }
        // ICMP would be rationed: after a few of them clients had to wait for their next attempt.
        for number in 0..20 {
            let refusal = pod.refusal(&format!("{VIP}:80"));
            assert_eq!(refusal, "ConnectionRefused", "attempt {number}");
        }
        for silent in ["10.96.0.21:80", "10.96.0.99:80"] {
            assert_eq!(pod.refusal(silent), "TimedOut", "{silent}");
        }
        world.end();
    });
}

#[test]
fn clients_stay_with_their_backend_until_it_leaves() {
    in_own_namespace(|| {
        let world = World::new();
        let pods = ["a", "b", "c"].map(|name| world.pod(name));
        let backends: Vec<_> = pods.iter().map(|pod| pod.backend(8080)).collect();
        let hour = Some(Duration::from_secs(3600));
        let client = world.pod("client");
        for (frontend, to) in [
            (address(VIP, 80), format!("{VIP}:80")),
            (host(30080), "10.244.0.1:30080".to_owned()),
        ] {
            world.apply(&[(frontend, tcp(&backends, hour))]);
            let stuck = client.names(&to, 20);
            assert_eq!(stuck.len(), 1, "{to}");
            let name = stuck.first().unwrap();
            let left: Vec<_> = pods.iter().filter(|pod| pod.name != *name).collect();
            let rest: Vec<_> = left.iter().map(|pod| pod.backend(8080)).collect();
            world.apply(&[(frontend, tcp(&rest, hour))]);
            let moved = client.names(&to, 20);
            assert_eq!(moved.len(), 1, "{to}");
            assert_ne!(moved.first(), Some(name));
            world.apply(&[(frontend, tcp(&backends, hour))]);
            assert_eq!(
                client.names(&to, 20),
                moved,
                "others coming back changes nothing"
            );
            world.apply(&[(frontend, tcp(&backends, None))]);
            assert_eq!(client.names(&to, 60).len(), 3, "affinity switched off");
        }
        listing(&["sticky-3600-3-3", "clients-0", "node-pick-3600-1"]);
        world.end();
    });
}

#[test]
fn udp_clients_follow_to_the_new_backend() {
    in_own_namespace(|| {
        let world = World::new();
        let (old, new) = (world.pod("old"), world.pod("new"));
        let client = world.pod("client");
        for (frontend, to) in [
            (udp(address(VIP, 53)), format!("{VIP}:53")),
            (udp(host(30053)), "10.244.0.1:30053".to_owned()),
        ] {
            world.apply(&[(frontend, tcp(&[old.backend(5353)], None))]);
            let socket = client.udp(&to);
            assert_eq!(socket.ask(), "old", "{to}");
            world.apply(&[(frontend, tcp(&[new.backend(5353)], None))]);
            assert_eq!(socket.ask(), "new", "{to}: same socket, other backend");
        }
        world.end();
    });
}

#[test]
fn host_ports_come_and_go_with_their_pod() {
    in_own_namespace(|| {
        let world = World::new();
        let port = |ip: Option<&str>, host_port| HostPort {
            host_ip: ip.map(|ip| ip.parse().unwrap()),
            protocol: Protocol::Tcp,
            host_port,
            container_port: 8080,
        };
        let first = world.pod_with(
            "first",
            vec![port(None, 8081), port(Some("127.0.0.1"), 8082)],
        );
        let second = world.pod_with("second", vec![port(Some("10.244.0.1"), 8082)]);
        assert_eq!(world.host.ask("127.0.0.1:8081").name, "first");
        assert_eq!(second.ask("10.244.0.1:8081").name, "first");
        assert_eq!(world.host.ask("127.0.0.1:8082").name, "first");
        assert_eq!(first.ask("10.244.0.1:8082").name, "second");
        world.detach("first");
        assert_eq!(second.refusal("10.244.0.1:8081"), "ConnectionRefused");
        world.end();
    });
}

#[test]
fn a_second_daemon_takes_over() {
    in_own_namespace(|| {
        let world = World::new();
        let pod = world.pod("pod");
        world.apply(&[(address(VIP, 80), tcp(&[pod.backend(8080)], None))]);
        let again = LinuxNetwork::open(world.config.clone()).unwrap();
        let attached = world.run(again.attached()).unwrap();
        assert_eq!(attached.len(), 1);
        assert_eq!(attached[0].address, pod.address);
        assert_eq!(
            world.host.ask(&format!("{VIP}:80")).name,
            "pod",
            "rules stay"
        );
        let repeated = world.run(again.attach(pod.request.clone())).unwrap();
        assert_eq!(repeated, attached[0]);
        world.run(again.apply(RuleSet::default())).unwrap();
        assert_eq!(pod.refusal(&format!("{VIP}:80")), "TimedOut");
        let newcomer = Pod::new("newcomer", |netns| {
            let request = Attach {
                sandbox: "newcomer".to_owned(),
                netns,
                ..pod.request.clone()
            };
            let attached = world.run(again.attach(request.clone())).unwrap();
            (request, attached.address)
        });
        assert_ne!(newcomer.address, pod.address);
        world.end();
    });
}

#[test]
fn nft_prints_everything() {
    in_own_namespace(|| {
        let world = World::new();
        let pod = world.pod("pod");
        world.apply(&[
            (address(VIP, 80), tcp(&[pod.backend(8080)], None)),
            (host(30080), tcp(&[pod.backend(8080)], None)),
            (
                udp(host(30053)),
                tcp(&[pod.backend(53)], Some(Duration::from_secs(10))),
            ),
            (address("10.96.0.21", 80), Target::Drop),
            (address("10.96.0.22", 80), Target::Reject),
        ]);
        listing(&[
            "map services {",
            "10.96.0.20 . tcp . 80 : goto spread-1",
            "10.96.0.21 . tcp . 80 : drop",
            "dnat",
            "masquerade",
            "reject",
        ]);
        world.end();
    });
}

#[test]
fn rules_are_made_anew_when_somebody_removed_them() {
    in_own_namespace(|| {
        let world = World::new();
        let pod = world.pod("pod");
        world.apply(&[(address(VIP, 80), tcp(&[pod.backend(8080)], None))]);
        world::nft(&["delete", "table", "ip", &world.config.table]);
        world.apply(&[(address(VIP, 81), tcp(&[pod.backend(8080)], None))]);
        assert_eq!(world.host.ask(&format!("{VIP}:81")).name, "pod");
        world.end();
    });
}

#[test]
fn destroy_needs_no_memory_and_no_success_before() {
    in_own_namespace(|| {
        let before = world::census();
        let world = World::new();
        destroy(&world.config.traces()).unwrap();
        destroy(&world.config.traces()).unwrap();
        assert_eq!(world::census(), before);
    });
}

#[test]
fn a_bridge_belongs_to_one_owner() {
    in_own_namespace(|| {
        let world = World::new();
        let pod = world.pod("pod");
        let mut theirs = world.config.clone();
        theirs.owner = "/srv/other/kubik".to_owned();
        theirs.table = "kubik-other".to_owned();
        let refused = LinuxNetwork::open(theirs.clone()).err().unwrap();
        assert!(
            refused.to_string().contains("/var/lib/kubik/test"),
            "{refused}"
        );
        let mut traces = theirs.traces();
        traces.directory = world.config.directory.with_file_name("other");
        destroy(&traces).unwrap();
        assert_eq!(world.host.ask(&format!("{}:8080", pod.address)).name, "pod");
        // Whoever has lost the name finds the bridge by its owner.
        traces = world.config.traces();
        traces.bridge = None;
        destroy(&traces).unwrap();
        world.end();
    });
}

#[test]
fn pods_pass_a_firewall_that_drops_and_leave_it_as_it_was() {
    in_own_namespace(|| {
        // What Docker (FORWARD) and ufw (INPUT) do to a host.
        let closed = "table ip filter {
            chain FORWARD { type filter hook forward priority filter; policy drop; oifname \"docker0\" accept comment \"theirs\"; }
            chain INPUT { type filter hook input priority filter; policy drop; iifname \"lo\" accept; ct state established accept; }
        }";
        if !world::firewall(closed) {
            return;
        }
        let world = World::new();
        let pod = world.pod("pod");
        world.apply(&[(address(VIP, 80), tcp(&[pod.backend(8080)], None))]);
        let client = world.pod("client");
        assert_eq!(
            client.ask(&format!("{VIP}:80")).name,
            "pod",
            "through FORWARD"
        );
        assert_eq!(
            client.refusal("10.244.0.1:9"),
            "ConnectionRefused",
            "through INPUT"
        );
        listing(&["comment \"kubik: kubik0\"", "comment \"theirs\""]);
        world.end();
    });
}

#[test]
fn sources_and_ranges_of_clients_decide() {
    in_own_namespace(|| {
        let world = World::new();
        let (near, far) = (world.pod("near"), world.pod("far"));
        let client = world.pod("client");
        let everybody = address(VIP, 80);
        let mut rules = RuleSet::default();
        let only = |pod: &Pod| tcp(&[pod.backend(8080)], None);
        rules.frontends.insert(everybody, only(&far));
        let of_node = Frontend {
            place: Place::From("10.244.0.0/24".parse().unwrap(), VIP.parse().unwrap()),
            ..everybody
        };
        rules.frontends.insert(of_node, only(&near));
        let balancer = address("10.244.252.1", 80);
        rules.frontends.insert(balancer, only(&far));
        world.apply_all(rules.clone());
        assert_eq!(client.ask(&format!("{VIP}:80")).name, "near");
        assert_eq!(world.host.ask(&format!("{VIP}:80")).name, "far");
        assert_eq!(client.ask("10.244.252.1:80").name, "far");
        assert_eq!(world.host.ask("10.244.252.1:80").name, "far");
        assert_eq!(client.refusal("10.244.252.1:81"), "ConnectionRefused");
        assert_eq!(client.refusal("10.244.252.2:80"), "TimedOut");

        let open_to = |text: &[&str]| -> Vec<ipnet::Ipv4Net> {
            text.iter().map(|net| net.parse().unwrap()).collect()
        };
        let cases: &[(&[&str], bool, bool)] = &[
            (&["10.244.0.1/32", "10.244.0.0/31"], true, false),
            (&["192.0.2.0/24"], false, false),
            (&["10.0.0.0/8", "10.244.0.0/24"], true, true),
        ];
        for (sources, for_host, for_client) in cases {
            rules.sources = [(balancer, open_to(sources))].into();
            world.apply_all(rules.clone());
            let is_open = |pod: &Pod| pod.refusal("10.244.252.1:80") == "answered by far";
            assert_eq!(is_open(&world.host), *for_host, "{sources:?}");
            assert_eq!(is_open(&client), *for_client, "{sources:?}");
            assert_eq!(client.ask(&format!("{VIP}:80")).name, "near");
        }
        listing(&["@sources", "near-10.244.0.0"]);
        rules.sources.clear();
        rules.frontends.remove(&of_node);
        world.apply_all(rules);
        assert_eq!(client.ask(&format!("{VIP}:80")).name, "far");
        let left = world::nft(&["list", "ruleset"]);
        assert!(
            !left.contains("sources") && !left.contains("near"),
            "{left}"
        );
        world.end();
    });
}
