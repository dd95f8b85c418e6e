//! A mirror of Docker's registry with every image that the notes name, made of Debian's programs.

use crate::{
    cluster::Place,
    images::{Image, busybox, curl, nginx},
    registry::{Registry, start_mirror},
};

pub fn mirror_of_the_notes(place: &Place) -> Registry {
    let mirror = start_mirror(place);
    for tag in ["nginx:1.14.2", "nginx:1.17", "nginx:1.7.9", "nginx:latest"] {
        mirror.push(&nginx(tag), &format!("library/{tag}"));
    }
    for name in ["prom/node-exporter:latest", "yoonjeong/red-app:1.0"] {
        mirror.push(&nginx(name), name);
    }
    mirror.push(&busybox("busybox:latest"), "library/busybox:latest");
    mirror.push(&curl("curl:latest"), "library/curl:latest");
    mirror.push(&redis(), "library/redis:3.2");
    mirror.push(&perl(), "library/perl:5.34.0");
    mirror
}

fn redis() -> Image {
    Image::new("redis:3.2")
        .program("/usr/bin/redis-server")
        .program("/usr/bin/redis-cli")
        .entrypoint(&["/usr/bin/redis-server", "--protected-mode", "no"])
}

/// Debian's perl 5.36 fails to compute pi to 2,000 digits with its own `bignum`; this one asks the same library.
fn perl() -> Image {
    Image::new("perl:5.34.0")
        .program("/usr/bin/perl")
        .text(
            "/etc/perl/bignum.pm",
            "package bignum; use Math::BigFloat;\n\
             sub import { *{caller() . '::bpi'} = sub { Math::BigFloat->bpi(@_) } } 1;\n",
        )
        .tree("/usr/share/perl/5.36/Math")
        .tree("/usr/lib/x86_64-linux-gnu/perl-base")
}
