//! Containers of all three lists: names, images, ports, environment.

use super::{mount, probe, security, volume::Volumes};
use crate::kinds::validate::{
    finding::{Field, Findings},
    format,
    resources::{self, Level},
};
use std::collections::HashSet;

const FILE_POLICIES: &[&str] = &["File", "FallbackToLogsOnError"];
const PULL_POLICIES: &[&str] = &["Always", "IfNotPresent", "Never"];
const PROTOCOLS: &[&str] = &["SCTP", "TCP", "UDP"];

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];

const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// What an ephemeral container may not have.
const NOT_FOR_EPHEMERAL: &[&str] = &[
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
    "restartPolicy",
    "resizePolicy",
];

pub fn all(spec: &Field<'_>, volumes: &Volumes<'_>, found: &mut Findings) {
    let containers = spec.child("containers");
    if containers.is_empty() {
        found.required(&containers.path, "");
    }
    let mut names = HashSet::new();
    let mut host_ports = HashSet::new();
    for container in containers.items() {
        common(&container, spec, volumes, found);
        let name = container.child("name");
        if !names.insert(name.text()) {
            found.duplicate(&name.path, name.text());
        }
        probe::of_container(&container, spec, found);
    }
    for container in containers.items() {
        unique_host_ports(&container, &mut host_ports, found);
    }
    for container in spec.child("initContainers").items() {
        init(&container, spec, volumes, &mut names, found);
    }
    let regular = names.clone();
    for container in spec.child("ephemeralContainers").items() {
        common(&container, spec, volumes, found);
        image_is_trimmed(&container, found);
        let name = container.child("name");
        if !names.insert(name.text()) {
            found.duplicate(&name.path, name.text());
        }
        ephemeral(&container, &regular, found);
    }
}

fn init<'a>(
    container: &Field<'a>,
    spec: &Field<'_>,
    volumes: &Volumes<'_>,
    names: &mut HashSet<&'a str>,
    found: &mut Findings,
) {
    common(container, spec, volumes, found);
    let name = container.child("name");
    if !name.is_empty() && !names.insert(name.text()) {
        found.duplicate(&name.path, name.text());
    }
    unique_host_ports(container, &mut HashSet::new(), found);
    if container.child("restartPolicy").text() == "Always" {
        return probe::of_container(container, spec, found);
    }
    for part in [
        "lifecycle",
        "livenessProbe",
        "readinessProbe",
        "startupProbe",
    ] {
        let part = container.child(part);
        if part.is_set() {
            let about = "may not be set for init containers without restartPolicy=Always";
            found.forbidden(&part.path, about);
        }
    }
}

fn ephemeral(container: &Field<'_>, regular: &HashSet<&str>, found: &mut Findings) {
    let about = "cannot be set for an Ephemeral Container";
    let target = container.child("targetContainerName");
    if !target.is_empty() && !regular.contains(target.text()) {
        found.not_found(&target.path, target.text());
    }
    for part in NOT_FOR_EPHEMERAL {
        let part = container.child(part);
        if !part.is_empty() {
            found.forbidden(&part.path, about);
        }
    }
    for mount in container.child("volumeMounts").items() {
        for part in ["subPath", "subPathExpr"] {
            let part = mount.child(part);
            if !part.is_empty() {
                found.forbidden(&part.path, about);
            }
        }
    }
}

/// For pods only: templates have been saved with such images.
pub fn image_is_trimmed(container: &Field<'_>, found: &mut Findings) {
    let image = container.child("image");
    if image.text() != image.text().trim() {
        let about = "must not have leading or trailing whitespace";
        found.invalid(&image.path, image.text(), about);
    }
}

fn common(container: &Field<'_>, spec: &Field<'_>, volumes: &Volumes<'_>, found: &mut Findings) {
    let name = container.child("name");
    if name.is_empty() {
        found.required(&name.path, "");
    } else {
        found.invalid_each(&name.path, name.text(), format::dns_label(name.text()));
    }
    found.required_text(&container.child("image"));
    found.one_of(&container.child("terminationMessagePolicy"), FILE_POLICIES);
    ports(&container.child("ports"), found);
    environment(container, found);
    mount::mounts(container, volumes, found);
    mount::devices(container, volumes, found);
    found.one_of(&container.child("imagePullPolicy"), PULL_POLICIES);
    let claims: Vec<&str> = spec
        .child("resourceClaims")
        .items()
        .map(|claim| claim.child("name").text())
        .collect();
    resources::requirements(
        &container.child("resources"),
        Level::Container,
        &claims,
        found,
    );
    resize_policy(&container.child("resizePolicy"), spec, found);
    let shares_users = spec.child("hostUsers").value != Some(&serde_json::Value::Bool(false));
    security::container(&container.child("securityContext"), shares_users, found);
    let restart = container.child("restartPolicy");
    found.one_of_if_set(&restart, &["Always", "Never", "OnFailure"]);
}

fn ports(field: &Field<'_>, found: &mut Findings) {
    let mut names = HashSet::new();
    for port in field.items() {
        let name = port.child("name");
        if !name.is_empty() {
            let wrong = format::port_name(name.text());
            if !wrong.is_empty() {
                found.invalid_each(&name.path, name.text(), wrong);
            } else if !names.insert(name.text()) {
                found.duplicate(&name.path, name.text());
            }
        }
        let number = port.child("containerPort");
        match number.int().unwrap_or(0) {
            0 => found.required(&number.path, ""),
            value => found.invalid_each(&number.path, &value, format::port_number(value)),
        }
        let host = port.child("hostPort");
        if let Some(value) = host.int().filter(|value| *value != 0) {
            found.invalid_each(&host.path, &value, format::port_number(value));
        }
        found.one_of(&port.child("protocol"), PROTOCOLS);
    }
}

fn unique_host_ports(container: &Field<'_>, seen: &mut HashSet<String>, found: &mut Findings) {
    for port in container.child("ports").items() {
        let host = port.child("hostPort");
        let Some(number) = host.int().filter(|number| *number != 0) else {
            continue;
        };
        let protocol = port.child("protocol");
        let whole = format!(
            "{}/{}/{number}",
            protocol.text(),
            port.child("hostIP").text()
        );
        if seen.contains(&whole) {
            found.duplicate(&host.path, &whole);
        }
        seen.insert(whole);
    }
}

fn environment(container: &Field<'_>, found: &mut Findings) {
    for variable in container.child("env").items() {
        let name = variable.child("name");
        if name.is_empty() {
            found.required(&name.path, "");
        } else {
            found.invalid_each(&name.path, name.text(), format::variable_name(name.text()));
        }
        value_from(&variable, found);
    }
    let list = container.child("envFrom");
    for source in list.items() {
        let prefix = source.child("prefix");
        if !prefix.is_empty() {
            let wrong = format::variable_name(prefix.text());
            found.invalid_each(&prefix.path, prefix.text(), wrong);
        }
        let sources = ["configMapRef", "secretRef"].map(|kind| source.child(kind));
        let sources: Vec<_> = sources.iter().filter(|source| source.is_set()).collect();
        for source in &sources {
            let name = source.child("name");
            if name.is_empty() {
                found.required(&name.path, "");
            } else {
                found.invalid_each(&name.path, name.text(), format::dns_subdomain(name.text()));
            }
        }
        match sources.len() {
            0 => {
                let about = "must specify one of: `configMapRef` or `secretRef`";
                found.invalid(&list.path, "", about);
            }
            1 => {}
            _ => {
                let about = "may not have more than one field specified at a time";
                found.invalid(&list.path, "", about);
            }
        }
    }
}

fn value_from(variable: &Field<'_>, found: &mut Findings) {
    let from = variable.child("valueFrom");
    if !from.is_set() {
        return;
    }
    let mut sources = 0;
    let reference = from.child("fieldRef");
    if reference.is_set() {
        sources += 1;
        field_reference(&reference, ENV_FIELDS, found);
    }
    let resource = from.child("resourceFieldRef");
    if resource.is_set() {
        sources += 1;
        resource_reference(&resource, false, found);
    }
    for kind in ["configMapKeyRef", "secretKeyRef"] {
        let selector = from.child(kind);
        if selector.is_set() {
            sources += 1;
            let (name, key) = (selector.child("name"), selector.child("key"));
            found.invalid_each(&name.path, name.text(), format::dns_subdomain(name.text()));
            if key.is_empty() {
                found.required(&key.path, "");
            } else {
                found.invalid_each(&key.path, key.text(), format::config_key(key.text()));
            }
        }
    }
    sources += usize::from(from.child("fileKeyRef").is_set());
    let about = match sources {
        0 => {
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`"
        }
        _ if !variable.child("value").is_empty() => {
            "may not be specified when `value` is not empty"
        }
        1 => return,
        _ => "may not have more than one field specified at a time",
    };
    found.invalid(&from.path, "", about);
}

/// A field of the pod, as environment variables and volumes may show it.
pub fn field_reference(reference: &Field<'_>, allowed: &[&str], found: &mut Findings) {
    let (version, path) = (reference.child("apiVersion"), reference.child("fieldPath"));
    for part in [&version, &path] {
        if part.is_empty() {
            return found.required(&part.path, "");
        }
    }
    let text = path.text();
    let subscript = text
        .strip_suffix("']")
        .and_then(|text| text.split_once("['"));
    match subscript {
        Some(("metadata.annotations", key)) => {
            let wrong = format::qualified_name(&key.to_lowercase());
            found.invalid_each(&reference.path, key, wrong);
        }
        Some(("metadata.labels", key)) => {
            found.invalid_each(&reference.path, key, format::qualified_name(key));
        }
        Some((base, _)) => found.invalid(&reference.path, base, "does not support subscript"),
        None if allowed.contains(&text) => {}
        None if is_known_field(text) => found.not_supported(&path.path, text, allowed),
        None => {
            let about = format!("error converting fieldPath: field label not supported: {text}");
            found.invalid(&path.path, text, &about);
        }
    }
}

/// Fields of a pod that selectors know.
fn is_known_field(path: &str) -> bool {
    const MORE: &[&str] = &[
        "metadata.annotations",
        "metadata.labels",
        "spec.restartPolicy",
        "spec.schedulerName",
        "status.phase",
    ];
    ENV_FIELDS.contains(&path) || MORE.contains(&path)
}

pub fn resource_reference(reference: &Field<'_>, in_volume: bool, found: &mut Findings) {
    let (container, resource) = (
        reference.child("containerName"),
        reference.child("resource"),
    );
    let name = resource.text();
    let is_huge = ["limits.hugepages-", "requests.hugepages-"]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    if in_volume && container.is_empty() {
        found.required(&container.path, "");
    } else if name.is_empty() {
        found.required(&resource.path, "");
    } else if !RESOURCE_FIELDS.contains(&name) && !is_huge {
        found.not_supported(&resource.path, name, RESOURCE_FIELDS);
    }
    let divisor = reference.child("divisor");
    let Some(quantity) = divisor.quantity().filter(|quantity| !quantity.is_zero()) else {
        return;
    };
    const SIZES: [&str; 13] = [
        "1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei",
    ];
    let shown = quantity.to_string();
    let sized = |kind: &str| {
        let sizes = SIZES.join(", ");
        format!("only divisor's values {sizes} are supported with the {kind} resource")
    };
    let about = match name.split_once('.').map_or("", |(_, rest)| rest) {
        "cpu" if ["1", "1m"].contains(&shown.as_str()) => return,
        "cpu" => "only divisor's values 1m and 1 are supported with the cpu resource".to_owned(),
        _ if SIZES.contains(&shown.as_str()) => return,
        "memory" => sized("memory"),
        "ephemeral-storage" => sized("local ephemeral storage"),
        _ if is_huge => sized("hugepages"),
        _ => return,
    };
    found.invalid(&divisor.path, name, &about);
}

fn resize_policy(field: &Field<'_>, spec: &Field<'_>, found: &mut Findings) {
    let mut seen = HashSet::new();
    for policy in field.items() {
        let (name, restart) = (policy.child("resourceName"), policy.child("restartPolicy"));
        if !seen.insert(name.text()) {
            found.duplicate(&policy.path, name.text());
        }
        found.one_of(&at_list(field, &name), &["cpu", "memory"]);
        found.one_of(
            &at_list(field, &restart),
            &["NotRequired", "RestartContainer"],
        );
        let never = spec.child("restartPolicy").text() == "Never";
        if never && restart.text() != "NotRequired" {
            let about = "must be 'NotRequired' when `restartPolicy` is 'Never'";
            found.invalid(&field.path, restart.text(), about);
        }
    }
}

/// Upstream shows the list, not the item.
fn at_list<'a>(list: &Field<'_>, part: &Field<'a>) -> Field<'a> {
    Field {
        path: list.path.clone(),
        value: part.value,
    }
}
