//! Security contexts of pods and containers.

use super::volume::descending_path;
use crate::kinds::validate::{
    finding::{Field, Findings},
    format,
};
use std::collections::HashSet;

const SYSCTL_FORMAT: &str =
    r"^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";

pub fn pod(spec: &Field<'_>, found: &mut Findings) {
    let context = spec.child("securityContext");
    for name in ["fsGroup", "runAsUser", "runAsGroup"] {
        unix_id(&context.child(name), found);
    }
    for group in context.child("supplementalGroups").items() {
        unix_id(&group, found);
    }
    let share = spec.child("shareProcessNamespace");
    if share.is_true() && spec.child("hostPID").is_true() {
        let about = "ShareProcessNamespace and HostPID cannot both be enabled";
        found.invalid(&context.path_to("shareProcessNamespace"), &true, about);
    }
    sysctls(&context.child("sysctls"), spec, found);
    const ENUMS: [(&str, &[&str]); 3] = [
        ("fsGroupChangePolicy", &["Always", "OnRootMismatch"]),
        ("supplementalGroupsPolicy", &["Merge", "Strict"]),
        ("seLinuxChangePolicy", &["MountOption", "Recursive"]),
    ];
    for (name, values) in ENUMS {
        found.one_of_if_set(&context.child(name), values);
    }
    seccomp(&context.child("seccompProfile"), found);
    app_armor(&context.child("appArmorProfile"), found);
}

pub fn container(context: &Field<'_>, shares_users: bool, found: &mut Findings) {
    if !context.is_set() {
        return;
    }
    for name in ["runAsUser", "runAsGroup"] {
        unix_id(&context.child(name), found);
    }
    let mount = context.child("procMount");
    found.one_of_if_set(&mount, &["Default", "Unmasked"]);
    if shares_users && mount.text() == "Unmasked" {
        let about = "`hostUsers` must be false to use `Unmasked`";
        found.invalid(&mount.path, mount.text(), about);
    }
    seccomp(&context.child("seccompProfile"), found);
    let escalation = context.child("allowPrivilegeEscalation");
    if escalation.is_set() && !escalation.is_true() {
        if context.child("privileged").is_true() {
            let about = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            found.invalid(&context.path, &context.json(), about);
        }
        let mut added = context.at(&["capabilities", "add"]).items();
        if added.any(|capability| capability.text() == "CAP_SYS_ADMIN") {
            let about = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            found.invalid(&context.path, &context.json(), about);
        }
    }
    app_armor(&context.child("appArmorProfile"), found);
}

fn unix_id(field: &Field<'_>, found: &mut Findings) {
    if let Some(id) = field.int() {
        found.invalid_each(&field.path, &id, format::unix_id(id));
    }
}

fn sysctls(field: &Field<'_>, spec: &Field<'_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for sysctl in field.items() {
        let name = sysctl.child("name");
        let text = name.text();
        if text.is_empty() {
            found.required(&name.path, "");
        } else if !is_sysctl(text) {
            let about = format!("must have at most 253 characters and match regex {SYSCTL_FORMAT}");
            found.invalid(&name.path, text, &about);
        } else if !seen.insert(text) {
            found.duplicate(&name.path, text);
        }
        let dotted = text.replace('/', ".");
        let is_ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."]
            .iter()
            .any(|prefix| dotted.starts_with(prefix))
            || dotted == "kernel.sem";
        if spec.child("hostNetwork").is_true() && dotted.starts_with("net.") {
            let about = "may not be specified when 'hostNetwork' is true";
            found.invalid(&name.path, text, about);
        } else if spec.child("hostIPC").is_true() && is_ipc {
            found.invalid(
                &name.path,
                text,
                "may not be specified when 'hostIPC' is true",
            );
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let is_end = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let is_inner = |byte: u8| is_end(byte) || b"-_".contains(&byte);
    let is_segment = |segment: &str| match segment.as_bytes() {
        [] => false,
        bytes => {
            is_end(bytes[0])
                && is_end(bytes[bytes.len() - 1])
                && bytes.iter().all(|byte| is_inner(*byte))
        }
    };
    name.len() <= 253 && name.split(['.', '/']).all(is_segment)
}

fn seccomp(profile: &Field<'_>, found: &mut Findings) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.child("type"), profile.child("localhostProfile"));
    const KINDS: &[&str] = &["Localhost", "RuntimeDefault", "Unconfined"];
    match kind.text() {
        "" => found.required(&kind.path, "type is required when seccompProfile is set"),
        text if KINDS.contains(&text) => {}
        text => found.not_supported(&kind.path, text, KINDS),
    }
    match (kind.text(), local.is_set()) {
        ("Localhost", false) => {
            found.required(&local.path, "must be set when seccomp type is Localhost");
        }
        ("Localhost", true) => descending_path(&local, found),
        (_, true) => {
            let about = "can only be set when seccomp type is Localhost";
            found.invalid(&local.path, &profile.json(), about);
        }
        (_, false) => {}
    }
}

fn app_armor(profile: &Field<'_>, found: &mut Findings) {
    if !profile.is_set() {
        return;
    }
    let (kind, local) = (profile.child("type"), profile.child("localhostProfile"));
    match kind.text() {
        "Localhost" => {
            let trimmed = local.text().trim();
            if trimmed != local.text() {
                let about = "must not be padded with whitespace";
                found.invalid(&local.path, local.text(), about);
            } else if trimmed.is_empty() {
                let about = "must be set when AppArmor type is Localhost";
                found.required(&local.path, about);
            }
            if local.text().len() > 4095 {
                found.too_long(&local.path, 4095);
            }
        }
        "RuntimeDefault" | "Unconfined" => {
            if local.is_set() {
                let about = "can only be set when AppArmor type is Localhost";
                found.invalid(&local.path, local.text(), about);
            }
        }
        "" => found.required(&kind.path, "type is required when appArmorProfile is set"),
        other => {
            found.not_supported(
                &kind.path,
                other,
                &["Localhost", "RuntimeDefault", "Unconfined"],
            );
        }
    }
}
