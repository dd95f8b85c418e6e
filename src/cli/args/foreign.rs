//! Options of `minikube start` that mean nothing here, or something that cannot be had: one table.
//!
//! Scripts and habits bring them along. None is swallowed silently unless what it asks for is so anyway.

use clap::{Arg, ArgAction, ArgMatches, Command};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// What it asks for is so anyway.
    Granted,
    /// The start goes on; the text says what it means here.
    Note(&'static str),
    /// The start would not give what was asked for.
    Refused(&'static str),
}
use Effect::{Granted, Note, Refused};

pub struct Flag {
    pub name: &'static str,
    /// Takes no value, or one after `=`.
    is_switch: bool,
    pub effect: Effect,
}

const fn value(name: &'static str, effect: Effect) -> Flag {
    Flag {
        name,
        is_switch: false,
        effect,
    }
}

const fn switch(name: &'static str, effect: Effect) -> Flag {
    Flag {
        name,
        is_switch: true,
        effect,
    }
}

const NO_DRIVER: Effect = Note("there is no driver: pods run on this machine itself");
const WHOLE_MACHINE: Effect = Note("not a limit here: a node may use what the machine has");
const NO_IMAGES: Effect = Note("nothing is downloaded to start a cluster");
const OWN_NETWORK: Effect = Note("the pod network is part of kubik");
const OWN_PATHS: Effect = Note("paths are this machine's own: use a hostPath volume");
const REACHABLE: Effect = Note("ports are reachable from this machine as they are");

pub const FOREIGN: &[Flag] = &[
    value("driver", NO_DRIVER),
    value("vm-driver", NO_DRIVER),
    value("memory", WHOLE_MACHINE),
    value("cpus", WHOLE_MACHINE),
    value("disk-size", WHOLE_MACHINE),
    value(
        "container-runtime",
        Note("the container runtime is part of kubik"),
    ),
    value("cri-socket", Note("the container runtime is part of kubik")),
    value("cni", OWN_NETWORK),
    value("network-plugin", OWN_NETWORK),
    switch("enable-default-cni", OWN_NETWORK),
    value("network", OWN_NETWORK),
    value("base-image", NO_IMAGES),
    value("iso-url", NO_IMAGES),
    value("binary-mirror", NO_IMAGES),
    value("image-repository", NO_IMAGES),
    value("image-mirror-country", NO_IMAGES),
    switch("cache-images", NO_IMAGES),
    switch("preload", NO_IMAGES),
    value(
        "feature-gates",
        Note("what is generally available is on; gates are not applied"),
    ),
    value(
        "apiserver-ips",
        Note("the API listens on this machine only"),
    ),
    value(
        "apiserver-names",
        Note("the API listens on this machine only"),
    ),
    value(
        "apiserver-name",
        Note("the API listens on this machine only"),
    ),
    value(
        "listen-address",
        Note("the API listens on this machine only"),
    ),
    value("ports", REACHABLE),
    switch("mount", OWN_PATHS),
    value("mount-string", OWN_PATHS),
    value(
        "docker-env",
        Note("set HTTP_PROXY, HTTPS_PROXY and NO_PROXY in kubik's environment"),
    ),
    value(
        "docker-opt",
        Note("there is no Docker; see --registry-mirror, --insecure-registry"),
    ),
    switch(
        "ha",
        Note("the control plane is one process, restarted in milliseconds"),
    ),
    switch("no-vtx-check", NO_DRIVER),
    value(
        "wait-timeout",
        Note("a start that is not ready after 30 s fails by itself"),
    ),
    value(
        "service-cluster-ip-range",
        Refused("kubik chooses the range, 10.96.0.0/16 for the first cluster"),
    ),
    value(
        "subnet",
        Refused("kubik chooses the ranges so that clusters do not meet"),
    ),
    value(
        "static-ip",
        Refused("kubik chooses the node's address; `kubik ip` prints it"),
    ),
    value("gpus", Refused("GPUs are not offered to pods")),
    switch("rootless", Refused("kubik needs root")),
    switch(
        "no-kubernetes",
        Refused("kubik is Kubernetes and nothing else"),
    ),
    switch("embed-certs", Granted),
    switch("interactive", Granted),
    switch("force", Granted),
    switch("install-addons", Granted),
    switch("auto-update-drivers", Granted),
    switch("native-ssh", Granted),
    switch("alsologtostderr", Granted),
    switch("logtostderr", Granted),
    value("v", Granted),
    value("wait", Granted),
];

/// Those that were given, with their values.
#[derive(Clone, Debug, Default)]
pub struct Foreign(pub Vec<(&'static str, String)>);

impl clap::Args for Foreign {
    fn augment_args(command: Command) -> Command {
        FOREIGN.iter().fold(command, |command, flag| {
            let arg = Arg::new(flag.name)
                .long(flag.name)
                .hide(true)
                .action(ArgAction::Append);
            command.arg(if flag.is_switch {
                arg.num_args(0..=1)
                    .require_equals(true)
                    .default_missing_value("true")
            } else {
                arg.num_args(1)
            })
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Foreign::augment_args(command)
    }
}

impl clap::FromArgMatches for Foreign {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Foreign, clap::Error> {
        let given = FOREIGN.iter().flat_map(|flag| {
            let values = matches.get_many::<String>(flag.name).into_iter().flatten();
            values.map(|value| (flag.name, value.clone()))
        });
        Ok(Foreign(given.collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Foreign::from_arg_matches(matches)?;
        Ok(())
    }
}
