//! A mirror of Docker's registry on loopback with the images that the user's study notes name.

use crate::{
    cluster::{Place, run},
    images::Image,
    stories::apps::nginx,
};
use std::{
    fs,
    process::{Child, Command, Stdio},
};

const MIRROR_PORT: u16 = 5080;

pub struct Mirror(Child);

impl Drop for Mirror {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start_mirror(place: &Place) -> Mirror {
    let folder = place.home.path().join("mirror");
    fs::create_dir_all(&folder).unwrap();
    let config = format!(
        "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}/data}}}}\n\
         http: {{addr: '127.0.0.1:{MIRROR_PORT}'}}\n",
        folder.display()
    );
    fs::write(folder.join("config.yml"), config).unwrap();
    let child = Command::new("docker-registry")
        .arg("serve")
        .arg(folder.join("config.yml"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mirror = Mirror(child);
    let url = format!("http://127.0.0.1:{MIRROR_PORT}/v2/");
    place.eventually("the mirror", || {
        let output = Command::new("curl")
            .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url])
            .output()
            .unwrap();
        (output.stdout == b"200").then_some(())
    });
    mirror
}

fn push(place: &Place, image: &Image, name: &str) {
    let archive = place.home.path().join("push.tar");
    image.save(&archive);
    run(
        "skopeo",
        &[
            "copy",
            "--dest-tls-verify=false",
            &format!("docker-archive:{}", archive.display()),
            &format!("docker://127.0.0.1:{MIRROR_PORT}/{name}"),
        ],
    );
}

pub fn mirror_url() -> String {
    format!("http://127.0.0.1:{MIRROR_PORT}")
}

/// A mirror of Docker's registry with every image that the notes name.
pub fn mirror_of_the_notes(place: &Place) -> Mirror {
    let mirror = start_mirror(place);
    for tag in ["nginx:1.14.2", "nginx:1.17", "nginx:1.7.9", "nginx:latest"] {
        push(place, &nginx(tag), &format!("library/{tag}"));
    }
    for name in ["prom/node-exporter:latest", "yoonjeong/red-app:1.0"] {
        push(place, &nginx(name), name);
    }
    let busybox = Image::new("busybox:latest").cmd(&["sh"]);
    push(place, &busybox, "library/busybox:latest");
    let curl = Image::new("curl:latest")
        .program("/usr/bin/curl")
        .text("/etc/nsswitch.conf", "hosts: files dns\n")
        .cmd(&["sleep", "100000"]);
    push(place, &curl, "library/curl:latest");
    let redis = Image::new("redis:3.2")
        .program("/usr/bin/redis-server")
        .program("/usr/bin/redis-cli")
        .entrypoint(&["/usr/bin/redis-server", "--protected-mode", "no"]);
    push(place, &redis, "library/redis:3.2");
    // Debian's perl 5.36 fails to compute pi to 2,000 digits with its own `bignum`; this one asks the same library.
    let perl = Image::new("perl:5.34.0")
        .program("/usr/bin/perl")
        .text(
            "/etc/perl/bignum.pm",
            "package bignum; use Math::BigFloat;\n\
             sub import { *{caller() . '::bpi'} = sub { Math::BigFloat->bpi(@_) } } 1;\n",
        )
        .tree("/usr/share/perl/5.36/Math")
        .tree("/usr/lib/x86_64-linux-gnu/perl-base");
    push(place, &perl, "library/perl:5.34.0");
    mirror
}
