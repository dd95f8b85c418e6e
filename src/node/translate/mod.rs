//! From a pod's words to Linux' words: sandbox and container specs for the runtime.
//!
//! Pure: files, mounts and objects are gathered by `act` and come in as values.

pub mod env;
mod env_file;
pub mod etc;
mod expand;
pub mod field;
pub mod mount;
mod security;

use super::{
    qos,
    spec::{self, Wanted},
};
use crate::runtime::model::{ContainerSpec, DeviceFile, ImageInfo, Mount, SandboxSpec};
use env::Environment;
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, net::Ipv4Addr, path::PathBuf};

pub use expand::expand;

/// Labels of sandboxes and containers, read back on adoption.
pub const LABEL_NAMESPACE: &str = "namespace";
pub const LABEL_POD: &str = "pod";
pub const LABEL_NODE: &str = "node";
pub const LABEL_IMAGE: &str = "image";
pub const LABEL_IMAGE_ID: &str = "image-id";
/// The image as the spec named it.
pub const LABEL_ASKED: &str = "asked-image";
pub const LABEL_CRASHES: &str = "crashes";

/// Why a container cannot be made from its spec: the message of `CreateContainerConfigError`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub String);

/// What is known of the node and the pod's place on it.
#[derive(Clone, Debug)]
pub struct Facts {
    pub host_ip: Ipv4Addr,
    pub pod_ip: Option<Ipv4Addr>,
    /// Thousandths of cores.
    pub cpu_milli: i64,
    pub memory_bytes: i64,
    pub storage_bytes: i64,
    pub hostname: String,
}

impl Facts {
    /// What the node offers of a resource, in thousandths.
    #[must_use]
    pub fn allocatable_milli(&self, name: &str) -> i64 {
        match name {
            "cpu" => self.cpu_milli,
            "memory" => self.memory_bytes.saturating_mul(1000),
            "ephemeral-storage" => self.storage_bytes.saturating_mul(1000),
            _ => 0,
        }
    }

    #[cfg(test)]
    pub fn for_tests() -> Facts {
        Facts {
            host_ip: Ipv4Addr::new(10, 244, 0, 1),
            pod_ip: Some(Ipv4Addr::new(10, 244, 0, 9)),
            cpu_milli: 4000,
            memory_bytes: 8 << 30,
            storage_bytes: 100 << 30,
            hostname: "p".to_owned(),
        }
    }
}

/// Where things of this node lie.
#[derive(Clone, Debug)]
pub struct Place {
    /// The cgroup of all pods of this node.
    pub cgroup: String,
    pub log_dir: PathBuf,
    pub data_dir: PathBuf,
    pub node: String,
}

/// `name_namespace(uid)`, as messages name a pod.
#[must_use]
pub fn title(pod: &Pod) -> String {
    let meta = &pod.metadata;
    let of = |text: &Option<String>| text.clone().unwrap_or_default();
    format!(
        "{}_{}({})",
        of(&meta.name),
        of(&meta.namespace),
        of(&meta.uid)
    )
}

#[must_use]
pub fn sandbox(pod: &Pod, place: &Place, hostname: &str) -> SandboxSpec {
    let spec = spec::of(pod);
    let uid = pod.metadata.uid.clone().unwrap_or_default();
    let context = spec.security_context.as_ref();
    let sysctls = context.and_then(|context| context.sysctls.as_ref());
    let label =
        |key: &str, value: Option<&String>| (key.to_owned(), value.cloned().unwrap_or_default());
    SandboxSpec {
        hostname: hostname.to_owned(),
        domainname: String::new(),
        cgroup: format!("{}{}/pod{uid}", place.cgroup, qos::class(&spec).cgroup()),
        resources: qos::pod(&spec),
        host_network: spec.host_network == Some(true),
        host_pid: spec.host_pid == Some(true),
        host_ipc: spec.host_ipc == Some(true),
        share_pid: spec.share_process_namespace == Some(true),
        sysctls: sysctls
            .into_iter()
            .flatten()
            .map(|sysctl| (sysctl.name.replace('/', "."), sysctl.value.clone()))
            .collect(),
        log_dir: place.log_dir.clone(),
        data_dir: place.data_dir.clone(),
        labels: BTreeMap::from([
            label(LABEL_NAMESPACE, pod.metadata.namespace.as_ref()),
            label(LABEL_POD, pod.metadata.name.as_ref()),
            label(LABEL_NODE, Some(&place.node)),
        ]),
        id: uid,
    }
}

/// What one start of a container is made of besides its spec.
pub struct Parts<'a> {
    pub image: &'a ImageInfo,
    /// `status.image` and `status.imageID`.
    pub image_names: &'a (String, String),
    pub environment: &'a Environment,
    pub mounts: Vec<Mount>,
    pub devices: Vec<DeviceFile>,
    pub attempt: u32,
    pub crashes: u32,
}

pub fn container(
    pod: &Pod,
    wanted: &Wanted<'_>,
    parts: Parts<'_>,
    facts: &Facts,
) -> Result<ContainerSpec, ConfigError> {
    let spec = spec::of(pod);
    let container = &*wanted.container;
    security::check_non_root(pod, container, parts.image)?;
    let expanded = |texts: &Option<Vec<String>>| -> Vec<String> {
        let texts = texts.iter().flatten();
        texts
            .map(|text| expand(text, |name| parts.environment.get(name)))
            .collect()
    };
    let mut env = vec![("HOSTNAME".to_owned(), facts.hostname.clone())];
    env.extend(parts.environment.variables.iter().cloned());
    let mut built = ContainerSpec {
        name: container.name.clone(),
        attempt: parts.attempt,
        image: parts.image.id.clone(),
        command: expanded(&container.command),
        args: expanded(&container.args),
        env,
        working_dir: container.working_dir.clone().unwrap_or_default(),
        mounts: parts.mounts,
        devices: parts.devices,
        resources: qos::container(&spec, container),
        oom_score_adj: qos::oom_score(&spec, container, facts.memory_bytes),
        tty: container.tty == Some(true),
        stdin: container.stdin == Some(true),
        stdin_once: container.stdin_once == Some(true),
        target_container: wanted.target.map(str::to_owned),
        labels: BTreeMap::from([
            (LABEL_IMAGE.to_owned(), parts.image_names.0.clone()),
            (LABEL_IMAGE_ID.to_owned(), parts.image_names.1.clone()),
            (
                LABEL_ASKED.to_owned(),
                container.image.clone().unwrap_or_default(),
            ),
            (LABEL_CRASHES.to_owned(), parts.crashes.to_string()),
        ]),
        ..ContainerSpec::default()
    };
    security::apply(&spec, container, &mut built);
    Ok(built)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::{Seccomp, UserSpec};
    use serde_json::{Value, json};

    fn build(
        container: &Value,
        pod_context: &Value,
        user: &str,
    ) -> Result<ContainerSpec, ConfigError> {
        let mut container = container.clone();
        container["name"] = "c".into();
        let pod = json!({
            "metadata": {"name": "p", "namespace": "n", "uid": "u"},
            "spec": {"containers": [container], "securityContext": pod_context},
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let spec = spec::of(&pod);
        let wanted = spec::container(&spec, "c").unwrap();
        let image = ImageInfo {
            id: "sha256:1".to_owned(),
            user: user.to_owned(),
            ..ImageInfo::default()
        };
        let environment = Environment {
            variables: vec![("A".to_owned(), "1".to_owned())],
            ..Environment::default()
        };
        let parts = Parts {
            image: &image,
            image_names: &Default::default(),
            environment: &environment,
            mounts: Vec::new(),
            devices: Vec::new(),
            attempt: 3,
            crashes: 1,
        };
        super::container(&pod, &wanted, parts, &Facts::for_tests())
    }

    #[test]
    fn commands_expand_and_the_hostname_is_set() {
        let container = json!({"command": ["sh", "$(A)"], "args": ["$$(A)", "$(NO)"]});
        let spec = build(&container, &json!({}), "").unwrap();
        assert_eq!(spec.command, ["sh", "1"]);
        assert_eq!(spec.args, ["$(A)", "$(NO)"]);
        assert_eq!(spec.env[0], ("HOSTNAME".to_owned(), "p".to_owned()));
        assert_eq!((spec.attempt, spec.image.as_str()), (3, "sha256:1"));
    }

    #[test]
    fn the_container_overrides_the_pod() {
        let pod = json!({"runAsUser": 1, "runAsGroup": 2, "fsGroup": 3, "supplementalGroups": [4],
            "seccompProfile": {"type": "RuntimeDefault"}});
        let own = json!({"securityContext": {"runAsUser": 7, "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true, "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}}});
        let spec = build(&own, &pod, "").unwrap();
        let user = UserSpec {
            uid: Some(7),
            gid: Some(2),
        };
        assert_eq!(spec.user, Some(user));
        assert_eq!(spec.supplemental_groups, [4, 3]);
        assert!(spec.no_new_privileges && spec.read_only_rootfs);
        assert_eq!(spec.capabilities_add, ["NET_ADMIN"]);
        assert_eq!(spec.capabilities_drop, ["ALL"]);
        assert_eq!(spec.seccomp, Seccomp::RuntimeDefault);
        let spec = build(&json!({}), &json!({}), "").unwrap();
        assert_eq!((spec.user, spec.seccomp), (None, Seccomp::Unconfined));
    }

    #[test]
    fn root_is_refused_where_it_must_not_run() {
        let strict = json!({"runAsNonRoot": true});
        #[rustfmt::skip]
        let cases = [
            ("", json!({}), Some("container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)")),
            ("0:5", json!({}), Some("container has runAsNonRoot and image will run as root (pod: \"p_n(u)\", container: c)")),
            ("www", json!({}), Some("container has runAsNonRoot and image has non-numeric user (www), cannot verify user is non-root (pod: \"p_n(u)\", container: c)")),
            ("1000", json!({}), None),
            ("", json!({"securityContext": {"runAsUser": 5}}), None),
            ("1000", json!({"securityContext": {"runAsUser": 0}}), Some("container's runAsUser breaks non-root policy (pod: \"p_n(u)\", container: c)")),
            ("", json!({"securityContext": {"runAsNonRoot": false}}), None),
        ];
        for (user, container, expected) in cases {
            let failure = build(&container, &strict, user)
                .err()
                .map(|failure| failure.0);
            assert_eq!(failure.as_deref(), expected, "{user} {container}");
        }
    }
}
