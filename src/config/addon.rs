//! The parts of a cluster that people know as addons: which there are, and which can be turned off.

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Addon {
    pub name: &'static str,
    pub about: &'static str,
    pub switch: Switch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Switch {
    /// Can be turned on and off while the cluster runs.
    Live { by_default: bool },
    /// Part of every cluster; the text says why.
    Always(&'static str),
}

const ON: Switch = Switch::Live { by_default: true };
const ALWAYS: Switch = Switch::Always("it is part of the program and costs nothing while unused");

/// In the order of names.
pub const ADDONS: &[Addon] = &[
    Addon {
        name: "dashboard",
        about: "the cluster in a browser: kubik dashboard",
        switch: ALWAYS,
    },
    Addon {
        name: "default-storageclass",
        about: "the StorageClass \"standard\" is the default one",
        switch: ON,
    },
    Addon {
        name: "dns",
        about: "names of Services and pods",
        switch: ALWAYS,
    },
    Addon {
        name: "ingress",
        about: "Ingresses of class nginx, served by the cluster itself",
        switch: ON,
    },
    Addon {
        name: "metrics-server",
        about: "kubectl top, and autoscaling by it",
        switch: ALWAYS,
    },
    Addon {
        name: "registry",
        about: "docker push to the cluster",
        switch: ON,
    },
    Addon {
        name: "storage-provisioner",
        about: "volumes for claims, made on demand",
        switch: ALWAYS,
    },
];

/// Names of other distributions' addons whose work is done here without one, with what to know.
pub const BUILT_IN: &[(&str, &str)] = &[
    (
        "coredns",
        "the cluster's DNS is the addon \"dns\", always there",
    ),
    (
        "metallb",
        "Services of type LoadBalancer get an address that works from this machine, without an addon",
    ),
    (
        "registry-aliases",
        "localhost:PORT names the registry on this machine and in pod specs alike",
    ),
    (
        "registry-creds",
        "use imagePullSecrets, as Kubernetes has them",
    ),
    (
        "storage-provisioner-rancher",
        "the addon \"storage-provisioner\" does this, always",
    ),
];

#[must_use]
pub fn find_addon(name: &str) -> Option<&'static Addon> {
    ADDONS.iter().find(|addon| addon.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_in_order_and_names_are_told_apart() {
        let names: Vec<&str> = ADDONS.iter().map(|addon| addon.name).collect();
        assert!(names.is_sorted());
        assert!(BUILT_IN.iter().all(|(name, _)| find_addon(name).is_none()));
    }
}
