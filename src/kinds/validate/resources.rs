//! Resource names and quantities: requests, limits, capacities, quotas.

use super::{
    finding::{Field, Findings},
    format,
};
use crate::api::quantity::Quantity;

/// Counted in whole units.
const INTEGER: &[&str] = &[
    "pods",
    "replicationcontrollers",
    "services",
    "services.nodeports",
    "services.loadbalancers",
    "resourcequotas",
    "secrets",
    "configmaps",
    "persistentvolumeclaims",
];

const STANDARD: &[&str] = &[
    "cpu",
    "memory",
    "ephemeral-storage",
    "storage",
    "requests.cpu",
    "requests.memory",
    "requests.ephemeral-storage",
    "requests.storage",
    "limits.cpu",
    "limits.memory",
    "limits.ephemeral-storage",
];

const CONTAINER: &[&str] = &["cpu", "memory", "ephemeral-storage"];
const POD: &[&str] = &["cpu", "memory"];

pub fn is_huge_pages(name: &str) -> bool {
    name.starts_with("hugepages-")
}

/// Without a domain, or with one of Kubernetes' own.
pub fn is_native(name: &str) -> bool {
    !name.contains('/') || name.contains("kubernetes.io/")
}

fn is_extended(name: &str) -> bool {
    !is_native(name)
        && !name.starts_with("requests.")
        && format::qualified_name(&format!("requests.{name}")).is_empty()
}

/// Requests may be below limits.
fn can_overcommit(name: &str) -> bool {
    is_native(name) && !is_huge_pages(name)
}

pub fn is_standard_for_quota(name: &str) -> bool {
    let rest = name.strip_prefix("requests.").unwrap_or(name);
    (STANDARD.contains(&name) && name != "storage")
        || INTEGER.contains(&name)
        || is_huge_pages(rest)
        || name.starts_with("count/")
}

/// A resource name in general. False when something was found.
pub fn name(field: &Field<'_>, name: &str, found: &mut Findings) -> bool {
    let before = found.len();
    found.invalid_each(&field.path, name, format::qualified_name(name));
    if found.len() > before {
        return false;
    }
    let rest = name.strip_prefix("requests.").unwrap_or(name);
    let is_standard = STANDARD.contains(&name) || INTEGER.contains(&name) || is_huge_pages(rest);
    if !name.contains('/') && !is_standard {
        let about = "must be a standard resource type or fully qualified";
        found.invalid(&field.path, name, about);
        return false;
    }
    true
}

pub fn container_name(field: &Field<'_>, text: &str, found: &mut Findings) {
    name(field, text, found);
    if !text.contains('/') {
        if !CONTAINER.contains(&text) && !is_huge_pages(text) {
            let about = "must be a standard resource for containers";
            found.invalid(&field.path, text, about);
        }
    } else if !is_native(text) && !is_extended(text) {
        let about = "doesn't follow extended resource name standard";
        found.invalid(&field.path, text, about);
    }
}

fn pod_name(field: &Field<'_>, text: &str, found: &mut Findings) {
    if name(field, text, found) && !POD.contains(&text) && !is_huge_pages(text) {
        found.not_supported(&field.path, text, &["cpu", "hugepages-", "memory"]);
    }
}

pub fn quota_name(field: &Field<'_>, text: &str, found: &mut Findings) {
    let before = found.len();
    name(field, text, found);
    if found.len() == before && !text.contains('/') && !is_standard_for_quota(text) {
        found.invalid(&field.path, text, "must be a standard resource for quota");
    }
}

/// Not negative, and whole where the resource is counted.
pub fn amount(field: &Field<'_>, name: &str, found: &mut Findings) {
    let Some(quantity) = field.quantity() else {
        return;
    };
    if quantity.is_negative() {
        let shown = quantity.to_string();
        let about = "must be greater than or equal to 0";
        found.invalid(&field.path, &shown, about);
    }
    let is_counted = INTEGER.contains(&name) || is_extended(name);
    if is_counted && quantity.milli() % 1000 != 0 {
        found.invalid(&field.path, &quantity, "must be an integer");
    }
}

pub fn positive(field: &Field<'_>, found: &mut Findings) {
    let Some(quantity) = field.quantity() else {
        return;
    };
    if quantity <= Quantity::ZERO {
        found.invalid(
            &field.path,
            &quantity.to_string(),
            "must be greater than zero",
        );
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Container,
    Pod,
}

/// `resources` of a container or a pod.
pub fn requirements(field: &Field<'_>, level: Level, claims: &[&str], found: &mut Findings) {
    let (limits, requests) = (field.child("limits"), field.child("requests"));
    let check_name = match level {
        Level::Container => container_name,
        Level::Pod => pod_name,
    };
    let (mut has_compute, mut has_huge) = (false, false);
    for list in [&limits, &requests] {
        for (name, quantity) in list.entries() {
            check_name(&quantity, name, found);
            amount(&quantity, name, found);
            huge_pages(&quantity, name, found);
            has_huge |= is_huge_pages(name);
            has_compute |= POD.contains(&name);
            if list.path == requests.path {
                request_below_limit(name, &quantity, &limits, &requests, found);
            }
        }
    }
    if has_huge && !has_compute {
        found.forbidden(&field.path, "HugePages require cpu or memory");
    }
    if level == Level::Container {
        claim_names(&field.child("claims"), claims, found);
    }
}

fn request_below_limit(
    name: &str,
    request: &Field<'_>,
    limits: &Field<'_>,
    requests: &Field<'_>,
    found: &mut Findings,
) {
    let limit = limits.key(name);
    let (Some(wanted), Some(most)) = (request.quantity(), limit.quantity()) else {
        if !limit.is_set() && !can_overcommit(name) {
            let about = "Limit must be set for non overcommitable resources";
            found.required(&limits.path, about);
        }
        return;
    };
    let shown = wanted.to_string();
    if wanted != most && !can_overcommit(name) {
        let about = format!("must be equal to {name} limit of {most}");
        found.invalid(&requests.path, &shown, &about);
    } else if wanted > most {
        let about = format!("must be less than or equal to {name} limit of {most}");
        found.invalid(&requests.path, &shown, &about);
    }
}

fn huge_pages(field: &Field<'_>, name: &str, found: &mut Findings) {
    let size = name
        .strip_prefix("hugepages-")
        .and_then(|size| Quantity::parse(size).ok());
    let (Some(size), Some(quantity)) = (size, field.quantity()) else {
        return;
    };
    if size.units() <= 0 || quantity.units() % size.units() != 0 {
        let about = format!("{quantity} is not positive integer multiple of {name}");
        found.invalid(&field.path, &quantity.to_string(), &about);
    }
}

fn claim_names(field: &Field<'_>, known: &[&str], found: &mut Findings) {
    let mut seen = Vec::new();
    for claim in field.items() {
        let name = claim.child("name");
        if name.is_empty() {
            found.required(&claim.path, "");
            continue;
        }
        let request = claim.child("request");
        let whole = (name.text(), request.text());
        if seen.contains(&whole) || seen.contains(&(name.text(), "")) {
            found.duplicate(&claim.path, name.text());
        }
        seen.push(whole);
        if !known.contains(&name.text()) {
            found.not_found(&claim.path, name.text());
        }
    }
}
