//! A laptop's day: the host has one address, then another, then none. The cluster does not care.

use crate::{
    Story,
    cluster::{Place, run},
};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

pub const STORIES: &[Story] = &[(
    "moving::a_host_whose_addresses_change_and_go",
    a_host_whose_addresses_change_and_go,
)];

const PORT: &str = "8099";

/// A machine beside ours: a network namespace with a web server, at the other end of the link `outside`.
struct Neighbor {
    server: Child,
}

impl Neighbor {
    fn new(place: &Place) -> Neighbor {
        let folder = place.home.path().join("neighbor");
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("word"), "from the neighbor\n").unwrap();
        let server = Command::new("unshare")
            .args(["--net", "busybox", "httpd", "-f", "-p", PORT, "-h"])
            .arg(&folder)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let neighbor = Neighbor { server };
        let process = neighbor.server.id().to_string();
        place.eventually("the neighbor's own network", || {
            let of = |id: &str| fs::read_link(format!("/proc/{id}/ns/net")).ok();
            (of(&process)? != of("self")?).then_some(())
        });
        ip("link add outside type veth peer name inside");
        ip(&format!("link set inside netns {process}"));
        ip("link set outside up");
        for words in [
            "link set inside up",
            "addr add 192.168.77.1/24 dev inside",
            "addr add 192.168.78.1/24 dev inside",
        ] {
            let mut arguments = vec!["-t", &process, "-n", "ip"];
            arguments.extend(words.split(' '));
            run("nsenter", &arguments);
        }
        neighbor
    }
}

impl Drop for Neighbor {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = Command::new("ip").args(["link", "del", "outside"]).output();
    }
}

fn ip(words: &str) {
    run("ip", &words.split(' ').collect::<Vec<_>>());
}

fn a_host_whose_addresses_change_and_go() {
    let place = Place::new();
    let _neighbor = Neighbor::new(&place);
    ip("addr add 192.168.77.2/24 dev outside");
    ip("route add default via 192.168.77.1");
    place.must(&["start"]);
    place.kubectl(&["create", "deployment", "web", "--image=kubik/hello"]);
    place.kubectl(&[
        "expose",
        "deployment",
        "web",
        "--port=80",
        "--target-port=8080",
    ]);
    let settled = || place.kubectl(&["rollout", "status", "deployment/web", "--timeout=60s"]);
    settled();
    let fetch = |url: &str, expected: &str| {
        let words = ["exec", "deploy/web", "--", "/kubik-hello", "fetch", url];
        place.eventually(url, || {
            let output = place.kubectl_command(&words).output().unwrap();
            String::from_utf8_lossy(&output.stdout)
                .contains(expected)
                .then_some(())
        });
    };
    let within = || fetch("http://web.default.svc.cluster.local/", "pod: web-");
    within();
    fetch("http://192.168.77.1:8099/word", "from the neighbor");
    let node = place.field(&["nodes"], ".items[0].status.addresses[0].address");

    ip("addr del 192.168.77.2/24 dev outside");
    ip("addr add 192.168.78.2/24 dev outside");
    ip("route add default via 192.168.78.1");
    within();
    fetch("http://192.168.78.1:8099/word", "from the neighbor");

    // Offline: pods start, names resolve, and the cluster itself starts again.
    ip("link set outside down");
    place.kubectl(&["scale", "deployment", "web", "--replicas=2"]);
    settled();
    within();
    place.must(&["stop"]);
    place.must(&["start"]);
    settled();
    within();
    let now = place.field(&["nodes"], ".items[0].status.addresses[0].address");
    assert_eq!(now, node);
}
