//! Pods and the pod templates inside other kinds.

mod affinity;
mod container;
mod mount;
mod probe;
mod security;
mod update;
mod volume;

pub use probe::port;
pub use update::update;
pub use volume::{driver_name, host_path, nfs, no_backsteps};

use super::{
    finding::{Field, Findings},
    format, labels, metadata,
    resources::{self, Level},
};
use crate::api::error::Cause;
use serde_json::Value;

/// Whose specification it is: some rules hold for pods only, some for templates only.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Owner<'a> {
    /// A pod with its name.
    Pod(&'a str),
    Template,
}

pub fn pod(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    pod_spec(&root, &mut found);
    let spec = root.child("spec");
    // Ephemeral containers are added later, through their own subresource.
    if !spec.child("nodeName").is_empty() && !spec.child("schedulingGates").is_empty() {
        let path = spec.path_to("nodeName");
        let about = "cannot be set until all schedulingGates have been cleared";
        found.forbidden(&path, about);
    }
    found.into_causes()
}

/// What holds for a pod at any time.
fn pod_spec(root: &Field<'_>, found: &mut Findings) {
    let meta = root.child("metadata");
    let spec = root.child("spec");
    annotations(&meta.child("annotations"), &spec, found);
    self::spec(&spec, Owner::Pod(meta.child("name").text()), found);
    if spec.child("serviceAccountName").is_empty() {
        for volume in spec.child("volumes").items() {
            for source in volume.at(&["projected", "sources"]).items() {
                let token = source.child("serviceAccountToken");
                if token.is_set() {
                    let about = "must not be specified when serviceAccountName is not set";
                    found.forbidden(&token.path, about);
                }
            }
        }
    }
    for list in ["containers", "initContainers"] {
        for container in spec.child(list).items() {
            container::image_is_trimmed(&container, found);
        }
    }
}

fn annotations(field: &Field<'_>, spec: &Field<'_>, found: &mut Findings) {
    let mirror = field.key("kubernetes.io/config.mirror");
    if mirror.is_set() && spec.child("nodeName").is_empty() {
        let about = "must set spec.nodeName if mirror pod annotation is set";
        found.invalid(&mirror.path, mirror.text(), about);
    }
    let cost = field.key("controller.kubernetes.io/pod-deletion-cost");
    if cost.is_set() && cost.text().parse::<i32>().is_err() {
        found.invalid(&cost.path, cost.text(), "must be a 32bit integer");
    }
}

pub fn pod_template_object(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    template(&Field::root(object).child("template"), &mut found);
    found.into_causes()
}

pub fn template(field: &Field<'_>, found: &mut Findings) {
    // Upstream leaves `metadata` out of these paths.
    let meta = field.child("metadata");
    let list = meta.child("labels");
    labels::labels(
        &Field {
            path: field.path_to("labels"),
            ..list
        },
        found,
    );
    let notes = Field {
        path: field.path_to("annotations"),
        ..meta.child("annotations")
    };
    metadata::annotations(&notes, found);
    let spec = field.child("spec");
    annotations(&notes, &spec, found);
    self::spec(&spec, Owner::Template, found);
    let ephemeral = spec.child("ephemeralContainers");
    if !ephemeral.is_empty() {
        let about = "ephemeral containers not allowed in pod template";
        found.forbidden(&ephemeral.path, about);
    }
}

fn spec(spec: &Field<'_>, owner: Owner<'_>, found: &mut Findings) {
    let grace = spec.child("terminationGracePeriodSeconds");
    if !grace.is_set() {
        found.required(&grace.path, "");
    }
    let volumes = volume::volumes(&spec.child("volumes"), owner, found);
    claims(&spec.child("resourceClaims"), found);
    container::all(spec, &volumes, found);
    let resources = spec.child("resources");
    if resources.is_set() {
        resources::requirements(&resources, Level::Pod, &[], found);
    }
    host_network_ports(spec, owner, found);
    found.one_of(
        &spec.child("restartPolicy"),
        &["Always", "OnFailure", "Never"],
    );
    const POLICIES: &[&str] = &["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
    found.one_of(&spec.child("dnsPolicy"), POLICIES);
    labels::labels(&spec.child("nodeSelector"), found);
    security::pod(spec, found);
    affinity::affinity(&spec.child("affinity"), found);
    dns_config(spec, found);
    for gate in spec.child("readinessGates").items() {
        labels::label_name(&gate.child("conditionType"), found);
    }
    scheduling_gates(&spec.child("schedulingGates"), found);
    affinity::topology_spread(&spec.child("topologySpreadConstraints"), found);
    names(spec, found);
    numbers(spec, found);
    affinity::tolerations(&spec.child("tolerations"), found);
    host_aliases(&spec.child("hostAliases"), found);
    let policy = spec.child("preemptionPolicy");
    if policy.is_set() {
        found.one_of(&policy, &["PreemptLowerPriority", "Never"]);
    }
    let overhead = spec.child("overhead");
    for (name, quantity) in overhead.entries() {
        resources::container_name(&quantity, name, found);
        resources::amount(&quantity, name, found);
    }
    let system = spec.at(&["os", "name"]);
    if spec.child("os").is_set() {
        match system.text() {
            "" => found.required(&system.path, "cannot be empty"),
            "linux" | "windows" => {}
            other => found.not_supported(&spec.path_to("os"), other, &["linux", "windows"]),
        }
    }
}

fn names(spec: &Field<'_>, found: &mut Findings) {
    type Check = fn(&str) -> format::Complaints;
    const CHECKS: [(&str, Check); 6] = [
        ("serviceAccountName", format::dns_subdomain),
        ("nodeName", format::dns_subdomain),
        ("hostname", format::dns_label),
        ("subdomain", format::dns_label),
        ("priorityClassName", format::dns_subdomain),
        ("runtimeClassName", format::dns_subdomain),
    ];
    for (name, check) in CHECKS {
        let field = spec.child(name);
        if !field.is_empty() {
            found.invalid_each(&field.path, field.text(), check(field.text()));
        }
    }
}

fn numbers(spec: &Field<'_>, found: &mut Findings) {
    let deadline = spec.child("activeDeadlineSeconds");
    if let Some(seconds) = deadline.int() {
        let wrong = format::in_range(seconds, 1, i64::from(i32::MAX));
        found.invalid_each(&deadline.path, &seconds, wrong);
    }
    if spec.child("hostUsers").value == Some(&Value::Bool(false)) {
        let about = "when `pod.Spec.HostUsers` is false";
        for (name, shown) in [
            ("hostNetwork", "hostNetwork"),
            ("hostPID", "HostPID"),
            ("hostIPC", "HostIPC"),
        ] {
            if spec.child(name).is_true() {
                found.forbidden(&spec.path_to(shown), about);
            }
        }
    }
}

fn claims(field: &Field<'_>, found: &mut Findings) {
    let mut seen = Vec::new();
    for claim in field.items() {
        let name = claim.child("name");
        if name.is_empty() {
            found.required(&name.path, "");
        } else if seen.contains(&name.text()) {
            found.duplicate(&name.path, name.text());
        } else {
            found.invalid_each(&name.path, name.text(), format::dns_label(name.text()));
        }
        seen.push(name.text());
        let sources =
            ["resourceClaimName", "resourceClaimTemplateName"].map(|source| claim.child(source));
        match sources.iter().filter(|source| source.is_set()).count() {
            0 => {
                let about = "must specify one of: `resourceClaimName`, `resourceClaimTemplateName`";
                found.invalid(&claim.path, &claim.json(), about);
            }
            1 => {}
            _ => {
                let about = "at most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified";
                found.invalid(&claim.path, &claim.json(), about);
            }
        }
        for source in sources.iter().filter(|source| source.is_set()) {
            let wrong = format::dns_subdomain(source.text());
            found.invalid_each(&source.path, source.text(), wrong);
        }
    }
}

/// With the host's network a port of the container is a port of the host.
fn host_network_ports(spec: &Field<'_>, owner: Owner<'_>, found: &mut Findings) {
    if !spec.child("hostNetwork").is_true() {
        return;
    }
    for container in spec.child("containers").items() {
        for port in container.child("ports").items() {
            let host = port.child("hostPort");
            let number = host.int().unwrap_or(0);
            // In a template it may be left out: pods get it by default.
            let counts = owner != Owner::Template || number != 0;
            if counts && number != port.child("containerPort").int().unwrap_or(0) {
                let about = "must match `containerPort` when `hostNetwork` is true";
                found.invalid(&host.path, &number, about);
            }
        }
    }
}

fn scheduling_gates(field: &Field<'_>, found: &mut Findings) {
    let mut seen = Vec::new();
    for gate in field.items() {
        let name = gate.child("name").text();
        found.invalid_each(&gate.path, name, format::qualified_name(name));
        if seen.contains(&name) {
            found.duplicate(&gate.path, name);
        }
        seen.push(name);
    }
}

fn host_aliases(field: &Field<'_>, found: &mut Findings) {
    for alias in field.items() {
        let address = alias.child("ip");
        found.invalid_each(&address.path, address.text(), format::ip(address.text()));
        for name in alias.child("hostnames").items() {
            found.invalid_each(&name.path, name.text(), format::dns_subdomain(name.text()));
        }
    }
}

fn dns_config(spec: &Field<'_>, found: &mut Findings) {
    let config = spec.child("dnsConfig");
    let (servers, searches) = (config.child("nameservers"), config.child("searches"));
    if spec.child("dnsPolicy").text() == "None" {
        if !config.is_set() {
            let about = "must provide `dnsConfig` when `dnsPolicy` is None";
            return found.required(&config.path, about);
        }
        if servers.is_empty() {
            let about = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            return found.required(&servers.path, about);
        }
    }
    if servers.items().len() > 3 {
        let about = "must not have more than 3 nameservers";
        found.invalid(&servers.path, &servers.json(), about);
    }
    for server in servers.items() {
        found.invalid_each(&server.path, server.text(), format::ip(server.text()));
    }
    if searches.items().len() > 32 {
        let about = "must not have more than 32 search paths";
        found.invalid(&searches.path, &searches.json(), about);
    }
    let length: usize = searches.items().map(|search| search.text().len() + 1).sum();
    if length > 2049 {
        let about = "must not have more than 2048 characters (including spaces) in the search list";
        found.invalid(&searches.path, &searches.json(), about);
    }
    for search in searches.items().filter(|search| search.text() != ".") {
        let text = search.text().strip_suffix('.').unwrap_or(search.text());
        found.invalid_each(
            &search.path,
            text,
            format::dns_subdomain_with_underscore(text),
        );
    }
    for option in config.child("options").items() {
        if option.child("name").is_empty() {
            found.required(&option.path, "must not be empty");
        }
    }
}
