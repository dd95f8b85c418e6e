//! Fences in the kernel: who reaches whom, in what order things happen, and what it costs when there are none.

use crate::{
    pod::Pod,
    world::{self, World, address, in_own_namespace, listing, tcp},
};
use kubik::net::rules::{
    Protocol, RuleSet,
    fence::{Fences, Gate, Membership, Peers, PortRange, Way},
};
use std::{collections::BTreeMap, sync::Arc};

const VIP: &str = "10.96.0.20";
const GROUP: u64 = 1;

/// A gate for these sandboxes and addresses, at these TCP ports; none: all.
fn gate(sandboxes: &[&str], nets: &[&str], ports: &[(u16, u16)]) -> Gate {
    let range = |net: &&str| {
        let net: ipnet::Ipv4Net = net.parse().unwrap();
        u32::from(net.network())..=u32::from(net.broadcast())
    };
    Gate {
        peers: Peers {
            sandboxes: Arc::new(sandboxes.iter().map(|&name| name.into()).collect()),
            ranges: nets.iter().map(range).collect(),
        },
        ports: ports
            .iter()
            .map(|(first, last)| PortRange {
                protocol: Protocol::Tcp,
                ports: *first..=*last,
            })
            .collect(),
    }
}

/// The fence of one sandbox in one way; all others are known and open.
fn fence(world: &World, way: Way, fenced: &str, gates: Vec<Gate>) -> RuleSet {
    let member = Membership {
        ingress: (way == Way::In).then_some(GROUP),
        egress: (way == Way::Out).then_some(GROUP),
    };
    let mut members: BTreeMap<_, _> = ["server", "friend", "other"]
        .map(|name| (name.into(), Membership::default()))
        .into();
    members.insert(fenced.into(), member);
    RuleSet {
        frontends: world.frontends.lock().unwrap().clone(),
        fences: Some(Arc::new(Fences {
            members,
            groups: [((way, GROUP), gates)].into(),
        })),
        ..RuleSet::default()
    }
}

fn reaches(pod: &Pod, to: &str) -> bool {
    match pod.refusal(to).as_str() {
        "answered by server" | "answered by friend" => true,
        "TimedOut" => false,
        other => panic!("{} to {to}: {other}", pod.name),
    }
}

#[test]
fn gates_decide_who_comes_in() {
    in_own_namespace(|| {
        let world = World::new();
        let (server, friend, other) =
            (world.pod("server"), world.pod("friend"), world.pod("other"));
        world.apply(&[(address(VIP, 80), tcp(&[server.backend(8080)], None))]);
        let direct = format!("{}:8080", server.address);
        let service = format!("{VIP}:80");
        let outside = format!("{}/32", other.address);
        type Case = (&'static str, Vec<Gate>, bool, bool);
        let cases: Vec<Case> = vec![
            ("nobody", vec![], false, false),
            ("a friend", vec![gate(&["friend"], &[], &[])], true, false),
            (
                "at its port",
                vec![gate(&["friend"], &[], &[(8080, 8080)])],
                true,
                false,
            ),
            (
                "at another port",
                vec![gate(&["friend"], &[], &[(80, 90)])],
                false,
                false,
            ),
            (
                "a range of ports",
                vec![gate(&["friend"], &[], &[(8000, 8100), (1, 9)])],
                true,
                false,
            ),
            ("a block", vec![gate(&[], &[&outside], &[])], false, true),
            (
                "everybody",
                vec![gate(&[], &["0.0.0.0/0"], &[(8080, 8080)])],
                true,
                true,
            ),
            (
                "gates add up",
                vec![
                    gate(&["friend"], &[], &[(1, 2)]),
                    gate(&["friend", "other"], &["10.0.0.0/8"], &[(8080, 8080)]),
                    gate(&[], &["10.244.0.0/16"], &[(80, 9000)]),
                ],
                true,
                true,
            ),
        ];
        for (name, gates, for_friend, for_other) in cases {
            world.apply_all(fence(&world, Way::In, "server", gates));
            for to in [&direct, &service] {
                assert_eq!(reaches(&friend, to), for_friend, "{name}: friend to {to}");
                assert_eq!(reaches(&other, to), for_other, "{name}: other to {to}");
            }
            assert!(reaches(&world.host, &direct), "{name}: the host");
            assert!(reaches(&server, &service), "{name}: itself");
            assert!(
                reaches(&server, &format!("{}:8080", friend.address)),
                "{name}: and goes out"
            );
        }
        listing(&["fenced-in", "ct original ip saddr"]);
        world.end();
    });
}

#[test]
fn gates_decide_who_goes_out() {
    in_own_namespace(|| {
        let world = World::new();
        let (server, friend) = (world.pod("server"), world.pod("friend"));
        let gateway = world.listen_on_host();
        world.apply(&[(address(VIP, 80), tcp(&[server.backend(8080)], None))]);
        let service = format!("{VIP}:80");
        let host_block = format!("{}/32", gateway.ip());
        type Case = (&'static str, Vec<Gate>, bool, bool);
        let cases: Vec<Case> = vec![
            ("nowhere", vec![], false, false),
            (
                "to a pod",
                vec![gate(&["server"], &[], &[(8080, 8080)])],
                true,
                false,
            ),
            (
                "behind a Service its own port counts",
                vec![gate(&["server"], &[], &[(80, 80)])],
                false,
                false,
            ),
            (
                "to the host",
                vec![gate(&[], &[&host_block], &[])],
                false,
                true,
            ),
        ];
        for (name, gates, to_server, to_host) in cases {
            world.apply_all(fence(&world, Way::Out, "friend", gates));
            assert_eq!(reaches(&friend, &service), to_server, "{name}");
            let refusal = friend.refusal(&gateway.to_string());
            assert_eq!(
                refusal == "answered by server",
                to_host,
                "{name}: {refusal}"
            );
            assert!(
                reaches(&server, &format!("{}:8080", friend.address)),
                "{name}: answers go out"
            );
            assert!(reaches(&world.host, &format!("{}:8080", friend.address)));
        }
        world.end();
    });
}

#[test]
fn a_connection_that_is_no_longer_allowed_stops_and_may_go_on_later() {
    in_own_namespace(|| {
        let world = World::new();
        let (server, friend) = (world.pod("server"), world.pod("friend"));
        world.apply(&[(address(VIP, 80), tcp(&[server.backend(8080)], None))]);
        let to = format!("{}:5353", server.address);
        let udp = friend.udp(&to);
        let stream = friend.stream(&format!("{}:8081", server.address));
        assert_eq!(udp.ask(), "server");
        assert!(stream.echoes("one"));
        world.apply_all(fence(&world, Way::In, "server", vec![]));
        assert!(!udp.is_answered());
        assert!(!stream.echoes("two"));
        world.apply_all(fence(
            &world,
            Way::In,
            "server",
            vec![gate(&["friend"], &[], &[])],
        ));
        assert_eq!(udp.ask(), "server");
        assert!(stream.hears("two"), "sent again by the kernel");
        world.end();
    });
}

#[test]
fn a_newcomer_is_fenced_before_it_has_a_link() {
    in_own_namespace(|| {
        let world = World::new();
        let (server, friend) = (world.pod("server"), world.pod("friend"));
        world.apply(&[]);
        let mut rules = fence(&world, Way::In, "late", vec![]);
        world.apply_all(rules.clone());
        // Known before it comes: fenced from its first moment.
        let late = world.pod("late");
        assert!(!reaches(&friend, &format!("{}:8080", late.address)));
        assert!(reaches(&late, &format!("{}:8080", server.address)));
        // Not known: cut off, but for the host, until it is.
        let stranger = world.pod("stranger");
        assert!(!reaches(&stranger, &format!("{}:8080", server.address)));
        assert!(!reaches(&friend, &format!("{}:8080", stranger.address)));
        assert_eq!(
            world.host.ask(&format!("{}:8080", stranger.address)).name,
            "stranger"
        );
        let fences = Arc::make_mut(rules.fences.as_mut().unwrap());
        fences
            .members
            .insert("stranger".into(), Membership::default());
        world.apply_all(rules);
        assert!(reaches(&stranger, &format!("{}:8080", server.address)));
        // The address of one that left means nothing for the next who gets it.
        world.detach("late");
        let request = late.request.clone();
        drop(late);
        let next = world.pod_at("other", request.range, friend.address);
        assert!(reaches(&next, &format!("{}:8080", server.address)));
        world.end();
    });
}

#[test]
fn no_fences_no_rules() {
    in_own_namespace(|| {
        let world = World::new();
        let server = world.pod("server");
        world.apply(&[(address(VIP, 80), tcp(&[server.backend(8080)], None))]);
        let bare = world::nft(&["list", "ruleset"]);
        world.apply_all(fence(
            &world,
            Way::In,
            "server",
            vec![gate(&["friend"], &[], &[])],
        ));
        assert_ne!(world::nft(&["list", "ruleset"]), bare);
        world.apply_all(fence(&world, Way::Out, "server", vec![]));
        world.apply(&[(address(VIP, 80), tcp(&[server.backend(8080)], None))]);
        assert_eq!(world::nft(&["list", "ruleset"]), bare);
        world.end();
    });
}
