//! Roles and bindings, certificate requests, service accounts.

use super::{
    finding::{Field, Findings, same},
    format, labels,
};
use crate::{api::error::Cause, kinds::UpdateContext};
use serde_json::Value;

const RBAC_GROUP: &str = "rbac.authorization.k8s.io";

pub fn role(object: &Value) -> Vec<Cause> {
    rules(object, true).into_causes()
}

pub fn cluster_role(object: &Value) -> Vec<Cause> {
    let mut found = rules(object, false);
    let selectors = Field::root(object).at(&["aggregationRule", "clusterRoleSelectors"]);
    if !object["aggregationRule"].is_null() && selectors.is_empty() {
        let about = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        found.required(&selectors.path, about);
    }
    for selector in selectors.items() {
        labels::label_selector(&selector, &mut found);
    }
    found.into_causes()
}

fn rules(object: &Value, is_namespaced: bool) -> Findings {
    let mut found = Findings::default();
    for rule in Field::root(object).child("rules").items() {
        let (verbs, groups) = (rule.child("verbs"), rule.child("apiGroups"));
        let (resources, urls) = (rule.child("resources"), rule.child("nonResourceURLs"));
        if verbs.is_empty() {
            found.required(&verbs.path, "verbs must contain at least one value");
        }
        if !urls.is_empty() {
            if is_namespaced {
                let about = "namespaced rules cannot apply to non-resource URLs";
                found.invalid(&urls.path, &urls.json(), about);
            }
            let names = rule.child("resourceNames");
            if !groups.is_empty() || !resources.is_empty() || !names.is_empty() {
                let about = "rules cannot apply to both regular resources and non-resource URLs";
                found.invalid(&urls.path, &urls.json(), about);
            }
            continue;
        }
        if groups.is_empty() {
            let about = "resource rules must supply at least one api group";
            found.required(&groups.path, about);
        }
        if resources.is_empty() {
            let about = "resource rules must supply at least one resource";
            found.required(&resources.path, about);
        }
    }
    found
}

pub fn role_binding(object: &Value) -> Vec<Cause> {
    binding(object, &["ClusterRole", "Role"])
}

pub fn cluster_role_binding(object: &Value) -> Vec<Cause> {
    binding(object, &["ClusterRole"])
}

fn binding(object: &Value, kinds: &[&str]) -> Vec<Cause> {
    let mut found = Findings::default();
    let root = Field::root(object);
    let role = root.child("roleRef");
    let (group, kind, name) = (
        role.child("apiGroup"),
        role.child("kind"),
        role.child("name"),
    );
    if group.text() != RBAC_GROUP {
        found.not_supported(&group.path, group.text(), &[RBAC_GROUP]);
    }
    if !kinds.contains(&kind.text()) {
        found.not_supported(&kind.path, kind.text(), kinds);
    }
    match name.text() {
        "" => found.required(&name.path, ""),
        text => found.invalid_each(&name.path, text, format::path_segment(text)),
    }
    let is_namespaced = kinds.len() > 1;
    for subject in root.child("subjects").items() {
        self::subject(&subject, is_namespaced, &mut found);
    }
    found.into_causes()
}

fn subject(subject: &Field<'_>, is_namespaced: bool, found: &mut Findings) {
    let (kind, name) = (subject.child("kind"), subject.child("name"));
    let (group, namespace) = (subject.child("apiGroup"), subject.child("namespace"));
    found.required_text(&name);
    match kind.text() {
        "ServiceAccount" => {
            if !name.is_empty() {
                found.invalid_each(&name.path, name.text(), format::dns_subdomain(name.text()));
            }
            if !group.is_empty() {
                found.not_supported(&group.path, group.text(), &[""]);
            }
            if namespace.is_empty() && !is_namespaced {
                found.required(&namespace.path, "");
            }
        }
        "User" | "Group" => {
            if group.text() != RBAC_GROUP {
                found.not_supported(&group.path, group.text(), &[RBAC_GROUP]);
            }
        }
        other => found.not_supported(&kind.path, other, &["Group", "ServiceAccount", "User"]),
    }
}

pub fn binding_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (
        Field::root(object).child("roleRef"),
        Field::root(context.old).child("roleRef"),
    );
    if !same(new.value, old.value) {
        found.invalid(&new.path, &new.json(), "cannot change roleRef");
    }
    found.into_causes()
}

const USAGES: &[&str] = &[
    "any",
    "cert sign",
    "client auth",
    "code signing",
    "content commitment",
    "crl sign",
    "data encipherment",
    "decipher only",
    "digital signature",
    "email protection",
    "encipher only",
    "ipsec end system",
    "ipsec tunnel",
    "ipsec user",
    "key agreement",
    "key encipherment",
    "microsoft sgc",
    "netscape sgc",
    "ocsp signing",
    "s/mime",
    "server auth",
    "signing",
    "timestamping",
];

pub fn certificate_request(object: &Value) -> Vec<Cause> {
    let mut found = Findings::default();
    let spec = Field::root(object).child("spec");
    let request = spec.child("request");
    if request.is_empty() {
        let about = "PEM block type must be CERTIFICATE REQUEST";
        found.invalid(&request.path, request.text(), about);
    }
    let usages = spec.child("usages");
    if usages.is_empty() {
        found.required(&usages.path, "usages must contain at least one value");
    }
    let mut seen = Vec::new();
    for usage in usages.items() {
        if !USAGES.contains(&usage.text()) {
            found.not_supported(&usage.path, usage.text(), USAGES);
        }
        if seen.contains(&usage.text()) {
            found.duplicate(&usage.path, usage.text());
        }
        seen.push(usage.text());
    }
    signer_name(&spec.child("signerName"), &mut found);
    let expiration = spec.child("expirationSeconds");
    if let Some(seconds) = expiration.int().filter(|seconds| *seconds < 600) {
        let about = "may not specify a duration less than 600 seconds (10 minutes)";
        found.invalid(&expiration.path, &seconds, about);
    }
    conditions(
        &Field::root(object).at(&["status", "conditions"]),
        &mut found,
    );
    found.into_causes()
}

fn signer_name(field: &Field<'_>, found: &mut Findings) {
    let name = field.text();
    if name.is_empty() {
        return found.required(&field.path, "");
    }
    if name == "kubernetes.io/legacy-unknown" {
        let about = "the legacy signerName is not allowed via this API version";
        return found.invalid(&field.path, name, about);
    }
    let Some((domain, path)) = name.split_once('/') else {
        let about =
            "must be a fully qualified domain and path of the form 'example.com/signer-name'";
        return found.invalid(&field.path, name, about);
    };
    found.invalid_each(&field.path, domain, format::dns_subdomain(domain));
    if !domain.contains('.') {
        let about = "should be a domain with at least two segments separated by dots";
        found.invalid(&field.path, domain, about);
    }
    for part in path.split('.') {
        found.invalid_each(&field.path, part, format::dns_subdomain(part));
    }
}

fn conditions(field: &Field<'_>, found: &mut Findings) {
    let kinds: Vec<&str> = field
        .items()
        .map(|item| item.child("type").text())
        .collect();
    for condition in field.items() {
        let kind = condition.child("type");
        match kind.text() {
            "" => found.required(&kind.path, ""),
            "Approved" | "Denied" if condition.child("status").text() != "True" => {
                let status = condition.child("status");
                found.not_supported(&status.path, status.text(), &["True"]);
            }
            _ => {}
        }
    }
    if kinds.contains(&"Approved") && kinds.contains(&"Denied") {
        let about = "Approved and Denied conditions are mutually exclusive";
        found.invalid(&field.path, "Denied", about);
    }
}

pub fn certificate_request_update(object: &Value, context: UpdateContext<'_>) -> Vec<Cause> {
    let mut found = Findings::default();
    let (new, old) = (Field::root(object), Field::root(context.old));
    let list = new.at(&["status", "conditions"]);
    let count = |root: &Field<'_>, kind: &str| {
        let items = root.at(&["status", "conditions"]).items();
        items
            .filter(|item| item.child("type").text() == kind)
            .count()
    };
    for kind in ["Approved", "Denied", "Failed"] {
        let (now, before) = (count(&new, kind), count(&old, kind));
        let may_add = match kind {
            "Failed" => context.subresource == Some("status"),
            _ => context.subresource == Some("approval"),
        };
        if now < before {
            let about = format!("updates may not remove a condition of type \"{kind}\"");
            found.forbidden(&list.path, &about);
        } else if now > before && !may_add {
            let about = format!("updates may not add a condition of type \"{kind}\"");
            found.forbidden(&list.path, &about);
        }
    }
    let path = ["status", "certificate"];
    let (now, before) = (new.at(&path), old.at(&path));
    if !before.is_empty() && !same(now.value, before.value) {
        found.forbidden(
            &now.path,
            "updates may not change certificate content once set",
        );
    }
    found.into_causes()
}
