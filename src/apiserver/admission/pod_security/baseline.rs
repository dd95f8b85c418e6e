//! The rules of the level `baseline`: no known ways out of a container.

use super::{
    Check, Pod, Violation,
    setters::{Setters, containers, names, plural, quoted, unless},
};
use crate::apiserver::registry::metadata::{strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

pub const CHECKS: &[Check] = &[
    Check::new(0, None, app_armor),
    Check::new(0, Some(22), capabilities),
    Check::new(0, None, host_namespaces),
    Check::new(0, Some(0), host_paths),
    Check::new(0, None, host_ports),
    Check::new(34, None, hosts),
    Check::new(0, None, privileged),
    Check::new(0, Some(35), proc_mount),
    Check::new(0, None, se_linux),
    Check::new(19, Some(19), seccomp),
    Check::new(0, None, sysctls),
    Check::new(0, None, windows_host_process),
];

const CAPABILITIES: &[&str] = &[
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// Kernel parameters that end at the pod, and since when they are allowed.
const SYSCTLS: &[(&str, u32)] = &[
    ("kernel.shm_rmid_forced", 0),
    ("net.ipv4.ip_local_port_range", 0),
    ("net.ipv4.tcp_syncookies", 0),
    ("net.ipv4.ping_group_range", 0),
    ("net.ipv4.ip_unprivileged_port_start", 0),
    ("net.ipv4.ip_local_reserved_ports", 27),
    ("net.ipv4.tcp_keepalive_time", 29),
    ("net.ipv4.tcp_fin_timeout", 29),
    ("net.ipv4.tcp_keepalive_intvl", 29),
    ("net.ipv4.tcp_keepalive_probes", 29),
    ("net.ipv4.tcp_rmem", 32),
    ("net.ipv4.tcp_wmem", 32),
];

const SE_LINUX_TYPES: &[&str] = &["container_t", "container_init_t", "container_kvm_t"];
const APP_ARMOR_NOTE: &str = "container.apparmor.security.beta.kubernetes.io/";

impl Check {
    pub const fn new(
        since: u32,
        replaced: Option<u32>,
        run: fn(&Pod<'_>, u32) -> Option<Violation>,
    ) -> Check {
        Check {
            since,
            replaced,
            run,
        }
    }
}

fn app_armor(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let allowed = ["RuntimeDefault", "Localhost"];
    let mut found = Setters::find(pod, |context| {
        unless(&context["appArmorProfile"]["type"], &allowed)
    });
    let notes = pod.annotations.as_object().into_iter().flatten();
    let bad: Vec<String> = notes
        .filter(|(key, value)| {
            let value = value.as_str().unwrap_or_default();
            let is_good =
                value.is_empty() || value == "runtime/default" || value.starts_with("localhost/");
            key.starts_with(APP_ARMOR_NOTE) && !is_good
        })
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    if !bad.is_empty() {
        let word = plural("annotation", "annotations", bad.len());
        found.who.push(word.to_owned());
        found.values.extend(bad);
    }
    if found.is_empty() {
        return None;
    }
    let reason = plural(
        "forbidden AppArmor profile",
        "forbidden AppArmor profiles",
        found.values.len(),
    );
    let values = quoted(&found.values);
    let detail = format!(
        "{} must not set AppArmor profile type to {values}",
        found.who()
    );
    Violation::new(reason, detail)
}

fn capabilities(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let mut who = Vec::new();
    for container in pod.containers() {
        let added = strings(&container["securityContext"]["capabilities"]["add"]);
        let bad: Vec<&str> = added
            .into_iter()
            .filter(|name| !CAPABILITIES.contains(name))
            .collect();
        if !bad.is_empty() {
            who.push(text(container, "name"));
            values.extend(bad);
        }
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<&str> = values.into_iter().collect();
    let detail = format!(
        "{} must not include {} in securityContext.capabilities.add",
        containers(&who),
        quoted(&values)
    );
    Violation::new("non-default capabilities", detail)
}

fn host_namespaces(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let set: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .iter()
        .filter(|field| pod.spec[**field] == true)
        .map(|field| format!("{field}=true"))
        .collect();
    if set.is_empty() {
        return None;
    }
    Violation::new("host namespaces", set.join(", "))
}

fn host_paths(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let volumes = pod.spec["volumes"].as_array().into_iter().flatten();
    let names: Vec<&str> = volumes
        .filter(|volume| !volume["hostPath"].is_null())
        .map(|volume| text(volume, "name"))
        .collect();
    if names.is_empty() {
        return None;
    }
    let word = plural("volume", "volumes", names.len());
    Violation::new("hostPath volumes", format!("{word} {}", quoted(&names)))
}

fn host_ports(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mut ports = BTreeSet::new();
    let mut who = Vec::new();
    for container in pod.containers() {
        let declared = container["ports"].as_array().into_iter().flatten();
        let bad: Vec<u64> = declared
            .filter_map(|port| port["hostPort"].as_u64())
            .filter(|port| *port != 0)
            .collect();
        if !bad.is_empty() {
            who.push(text(container, "name"));
            // Sorted as texts are.
            ports.extend(bad.iter().map(u64::to_string));
        }
    }
    if who.is_empty() {
        return None;
    }
    let ports: Vec<String> = ports.into_iter().collect();
    let detail = format!(
        "{} {} {} {}",
        containers(&who),
        plural("uses", "use", who.len()),
        plural("hostPort", "hostPorts", ports.len()),
        ports.join(", ")
    );
    Violation::new("hostPort", detail)
}

/// Probes and hooks that the node would send elsewhere than to the pod.
fn hosts(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mut found = BTreeSet::new();
    let mut who = BTreeSet::new();
    for container in pod.containers() {
        let handlers = [
            &container["livenessProbe"],
            &container["readinessProbe"],
            &container["startupProbe"],
            &container["lifecycle"]["postStart"],
            &container["lifecycle"]["preStop"],
        ];
        for handler in handlers {
            for way in ["httpGet", "tcpSocket"] {
                let host = text(&handler[way], "host");
                if !host.is_empty() {
                    who.insert(text(container, "name"));
                    found.insert(host);
                }
            }
        }
    }
    if who.is_empty() {
        return None;
    }
    let (who, found): (Vec<&str>, Vec<&str>) =
        (who.into_iter().collect(), found.into_iter().collect());
    let word = plural(
        "probe or lifecycle host",
        "probe or lifecycle hosts",
        found.len(),
    );
    let uses = plural("uses", "use", who.len());
    let detail = format!("{} {uses} {word} {}", containers(&who), quoted(&found));
    Violation::new("probe or lifecycle host", detail)
}

fn privileged(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let who = names(pod, |one| one["securityContext"]["privileged"] == true);
    if who.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.privileged=true",
        containers(&who)
    );
    Violation::new("privileged", detail)
}

fn proc_mount(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= 35 && pod.has_own_users() {
        return None;
    }
    masked_proc(pod, minor)
}

pub fn masked_proc(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mut values = BTreeSet::new();
    let who = names(pod, |one| {
        !unless(&one["securityContext"]["procMount"], &["Default"]).is_empty()
    });
    for container in pod.containers() {
        values.extend(unless(
            &container["securityContext"]["procMount"],
            &["Default"],
        ));
    }
    if who.is_empty() {
        return None;
    }
    let values: Vec<String> = values.into_iter().collect();
    let detail = format!(
        "{} must not set securityContext.procMount to {}",
        containers(&who),
        quoted(&values)
    );
    Violation::new("procMount", detail)
}

fn se_linux(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let mut allowed = SE_LINUX_TYPES.to_vec();
    if minor >= 31 {
        allowed.push("container_engine_t");
    }
    let bad = |context: &Value| {
        let options = &context["seLinuxOptions"];
        let mut bad = Vec::new();
        for kind in unless(&options["type"], &allowed) {
            bad.push(format!("type \"{kind}\""));
        }
        for field in ["user", "role"] {
            if !text(options, field).is_empty() {
                bad.push(format!("{field} may not be set"));
            }
        }
        bad
    };
    let found = Setters::find(pod, bad);
    if found.is_empty() {
        return None;
    }
    let has = |text: &str| found.values.iter().any(|value| value == text);
    let kinds: Vec<&str> = found
        .values
        .iter()
        .filter_map(|value| value.strip_prefix("type "))
        .collect();
    let mut said = Vec::new();
    if !kinds.is_empty() {
        let word = plural("type", "types", kinds.len());
        said.push(format!("{word} {}", kinds.join(", ")));
    }
    for word in ["user may not be set", "role may not be set"] {
        if has(word) {
            said.push(word.to_owned());
        }
    }
    let detail = format!(
        "{} set forbidden securityContext.seLinuxOptions: {}",
        found.who(),
        said.join("; ")
    );
    Violation::new("seLinuxOptions", detail)
}

fn seccomp(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let allowed = ["RuntimeDefault", "Localhost"];
    let found = Setters::find(pod, |context| {
        unless(&context["seccompProfile"]["type"], &allowed)
    });
    if found.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.seccompProfile.type to {}",
        found.who(),
        quoted(&found.values)
    );
    Violation::new("seccompProfile", detail)
}

fn sysctls(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    let set = pod.spec["securityContext"]["sysctls"].as_array();
    let is_allowed = |name: &str| {
        let mut known = SYSCTLS.iter();
        known.any(|(known, since)| *known == name && minor >= *since)
    };
    let mut bad: Vec<&str> = set
        .into_iter()
        .flatten()
        .map(|one| text(one, "name"))
        .filter(|name| !is_allowed(name))
        .collect();
    if bad.is_empty() {
        return None;
    }
    bad.sort_unstable();
    bad.dedup();
    Violation::new("forbidden sysctls", bad.join(", "))
}

fn windows_host_process(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let found = Setters::find(pod, |context| {
        let is_set = context["windowsOptions"]["hostProcess"] == true;
        if is_set {
            vec![String::new()]
        } else {
            Vec::new()
        }
    });
    if found.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must not set securityContext.windowsOptions.hostProcess=true",
        found.who()
    );
    Violation::new("hostProcess", detail)
}
