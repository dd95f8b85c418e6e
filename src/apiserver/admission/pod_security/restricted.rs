//! The rules that the level `restricted` adds: what hardened containers do without.

use super::{
    Check, Pod, Violation,
    baseline::masked_proc,
    setters::{Setters, containers, names, plural, quoted, unless},
};
use crate::apiserver::registry::metadata::{strings, text};
use serde_json::Value;
use std::collections::BTreeSet;

pub const CHECKS: &[Check] = &[
    Check::new(8, None, privilege_escalation),
    Check::new(22, None, capabilities),
    Check::new(35, None, masked_proc),
    Check::new(0, None, volumes),
    Check::new(0, None, non_root),
    Check::new(23, None, user),
    Check::new(19, None, seccomp),
];

/// From here on pods of Windows are not asked for what only Linux has.
const WINDOWS_KNOWN: u32 = 25;
/// From here on root in a user namespace of the pod's own is not root.
const USERS_KNOWN: u32 = 35;

const VOLUMES: &[&str] = &[
    "configMap",
    "csi",
    "downwardAPI",
    "emptyDir",
    "ephemeral",
    "image",
    "persistentVolumeClaim",
    "projected",
    "secret",
];

fn privilege_escalation(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= WINDOWS_KNOWN && pod.is_windows() {
        return None;
    }
    let who = names(pod, |one| {
        one["securityContext"]["allowPrivilegeEscalation"] != false
    });
    if who.is_empty() {
        return None;
    }
    let detail = format!(
        "{} must set securityContext.allowPrivilegeEscalation=false",
        containers(&who)
    );
    Violation::new("allowPrivilegeEscalation != false", detail)
}

fn capabilities(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= WINDOWS_KNOWN && pod.is_windows() {
        return None;
    }
    let list = |container: &Value, field: &str| -> Vec<String> {
        let names = strings(&container["securityContext"]["capabilities"][field]);
        names.into_iter().map(str::to_owned).collect()
    };
    let keeping = names(pod, |one| {
        !list(one, "drop").iter().any(|name| name == "ALL")
    });
    let forbidden = |container: &Value| {
        let mut added = list(container, "add");
        added.retain(|name| name != "NET_BIND_SERVICE");
        added
    };
    let adding = names(pod, |one| !forbidden(one).is_empty());
    let added: BTreeSet<String> = pod.containers().flat_map(forbidden).collect();
    let mut said = Vec::new();
    if !keeping.is_empty() {
        said.push(format!(
            "{} must set securityContext.capabilities.drop=[\"ALL\"]",
            containers(&keeping)
        ));
    }
    if !adding.is_empty() {
        let added: Vec<String> = added.into_iter().collect();
        said.push(format!(
            "{} must not include {} in securityContext.capabilities.add",
            containers(&adding),
            quoted(&added)
        ));
    }
    if said.is_empty() {
        return None;
    }
    Violation::new("unrestricted capabilities", said.join("; "))
}

fn volumes(pod: &Pod<'_>, _: u32) -> Option<Violation> {
    let mut bad = Vec::new();
    let mut kinds = BTreeSet::new();
    for volume in pod.spec["volumes"].as_array().into_iter().flatten() {
        let fields = volume.as_object().into_iter().flatten();
        let sources = fields.filter(|(field, value)| *field != "name" && !value.is_null());
        let mut other = sources
            .map(|(field, _)| field.as_str())
            .filter(|field| !VOLUMES.contains(field));
        if let Some(kind) = other.next() {
            bad.push(text(volume, "name"));
            kinds.insert(kind);
        }
    }
    if bad.is_empty() {
        return None;
    }
    let kinds: Vec<&str> = kinds.into_iter().collect();
    let detail = format!(
        "{} {} {} {} {}",
        plural("volume", "volumes", bad.len()),
        quoted(&bad),
        plural("uses", "use", bad.len()),
        plural(
            "restricted volume type",
            "restricted volume types",
            kinds.len()
        ),
        quoted(&kinds)
    );
    Violation::new("restricted volume types", detail)
}

fn non_root(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= USERS_KNOWN && pod.has_own_users() {
        return None;
    }
    let reason = "runAsNonRoot != true";
    let found = Setters::find(pod, |context| {
        let is_bad = context["runAsNonRoot"] == false;
        if is_bad {
            vec![String::new()]
        } else {
            Vec::new()
        }
    });
    if !found.is_empty() {
        let detail = format!(
            "{} must not set securityContext.runAsNonRoot=false",
            found.who()
        );
        return Violation::new(reason, detail);
    }
    if pod.spec["securityContext"]["runAsNonRoot"] == true {
        return None;
    }
    let silent = names(pod, |one| one["securityContext"]["runAsNonRoot"].is_null());
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.runAsNonRoot=true",
        containers(&silent)
    );
    Violation::new(reason, detail)
}

fn user(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= USERS_KNOWN && pod.has_own_users() {
        return None;
    }
    let found = Setters::find(pod, |context| {
        let is_root = context["runAsUser"] == 0;
        if is_root {
            vec![String::new()]
        } else {
            Vec::new()
        }
    });
    if found.is_empty() {
        return None;
    }
    let detail = format!("{} must not set runAsUser=0", found.who());
    Violation::new("runAsUser=0", detail)
}

fn seccomp(pod: &Pod<'_>, minor: u32) -> Option<Violation> {
    if minor >= WINDOWS_KNOWN && pod.is_windows() {
        return None;
    }
    let reason = "seccompProfile";
    let allowed = ["RuntimeDefault", "Localhost"];
    let found = Setters::find(pod, |context| {
        unless(&context["seccompProfile"]["type"], &allowed)
    });
    if !found.is_empty() {
        let detail = format!(
            "{} must not set securityContext.seccompProfile.type to {}",
            found.who(),
            quoted(&found.values)
        );
        return Violation::new(reason, detail);
    }
    if !pod.spec["securityContext"]["seccompProfile"].is_null() {
        return None;
    }
    let silent = names(pod, |one| {
        one["securityContext"]["seccompProfile"].is_null()
    });
    if silent.is_empty() {
        return None;
    }
    let detail = format!(
        "pod or {} must set securityContext.seccompProfile.type to \"RuntimeDefault\" or \"Localhost\"",
        containers(&silent)
    );
    Violation::new(reason, detail)
}
