//! Security contexts: the container's where it says something, else the pod's.

use super::{ConfigError, title};
use crate::runtime::model::{ContainerSpec, ImageInfo, Seccomp, UserSpec};
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, SeccompProfile};
use std::path::Path;

/// Where `Localhost` profiles lie, as on every Kubernetes node.
const SECCOMP_PROFILES: &str = "/var/lib/kubelet/seccomp";

pub(super) fn apply(spec: &PodSpec, container: &Container, built: &mut ContainerSpec) {
    let pod = spec.security_context.clone().unwrap_or_default();
    let own = container.security_context.clone().unwrap_or_default();
    let id = |id: Option<i64>| id.and_then(|id| u32::try_from(id).ok());
    let user = UserSpec {
        uid: id(own.run_as_user.or(pod.run_as_user)),
        gid: id(own.run_as_group.or(pod.run_as_group)),
    };
    built.user = (user != UserSpec::default()).then_some(user);
    let groups = pod.supplemental_groups.unwrap_or_default();
    let groups = groups.into_iter().chain(pod.fs_group);
    built.supplemental_groups = groups.filter_map(|group| id(Some(group))).collect();
    built.strict_groups = pod.supplemental_groups_policy.as_deref() == Some("Strict");
    let capabilities = own.capabilities.unwrap_or_default();
    built.capabilities_add = capabilities.add.unwrap_or_default();
    built.capabilities_drop = capabilities.drop.unwrap_or_default();
    built.privileged = own.privileged == Some(true);
    built.read_only_rootfs = own.read_only_root_filesystem == Some(true);
    built.no_new_privileges = own.allow_privilege_escalation == Some(false) && !built.privileged;
    built.unmasked_proc = own.proc_mount.as_deref() == Some("Unmasked");
    let profile = own.seccomp_profile.or(pod.seccomp_profile);
    built.seccomp = match profile.filter(|_| !built.privileged) {
        // As upstream without `SeccompDefault`.
        None => Seccomp::Unconfined,
        Some(profile) => seccomp(&profile),
    };
}

fn seccomp(profile: &SeccompProfile) -> Seccomp {
    match (profile.type_.as_str(), &profile.localhost_profile) {
        ("RuntimeDefault", _) => Seccomp::RuntimeDefault,
        ("Localhost", Some(name)) => Seccomp::Profile(Path::new(SECCOMP_PROFILES).join(name)),
        _ => Seccomp::Unconfined,
    }
}

/// `runAsNonRoot`: refuses root and what may be root.
pub(super) fn check_non_root(
    pod: &Pod,
    container: &Container,
    image: &ImageInfo,
) -> Result<(), ConfigError> {
    let of_pod = pod
        .spec
        .as_ref()
        .and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    let is_strict = own
        .and_then(|own| own.run_as_non_root)
        .or(of_pod.and_then(|pod| pod.run_as_non_root));
    if is_strict != Some(true) {
        return Ok(());
    }
    let user = own
        .and_then(|own| own.run_as_user)
        .or(of_pod.and_then(|pod| pod.run_as_user));
    let image_user = image.user.split(':').next().unwrap_or_default();
    let why = match (user, image_user.parse::<u32>()) {
        (Some(0), _) => "container's runAsUser breaks non-root policy".to_owned(),
        (Some(_), _) => return Ok(()),
        (None, Ok(0)) => "container has runAsNonRoot and image will run as root".to_owned(),
        (None, Ok(_)) => return Ok(()),
        (None, Err(_)) if image_user.is_empty() => {
            "container has runAsNonRoot and image will run as root".to_owned()
        }
        (None, Err(_)) => format!(
            "container has runAsNonRoot and image has non-numeric user ({image_user}), cannot verify user is non-root"
        ),
    };
    Err(ConfigError(format!(
        "{why} (pod: \"{}\", container: {})",
        title(pod),
        container.name
    )))
}
