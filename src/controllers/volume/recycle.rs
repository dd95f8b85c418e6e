//! `persistentVolumeReclaimPolicy: Recycle`: a pod that empties the volume, as upstream's recycler does.
//!
//! Decides only: makes the pod, looks at how it ended, and then frees the volume or gives it up.

use super::volumes::{fail, unbind};
use crate::{
    api::{name::Key, object::Object, quantity::Quantity},
    controllers::framework::{Decision, Notice, World, Write},
};
use k8s_openapi::{
    api::core::v1::{
        Container, HostPathVolumeSource, PersistentVolume, PersistentVolumeSpec, Pod, PodSpec,
        Volume, VolumeMount,
    },
    apimachinery::pkg::apis::meta::v1::ObjectMeta,
};
use std::path::{Component, Path};

const NAMESPACE: &str = "default";
const PREFIX: &str = "recycler-for-";
/// The built-in image: it is always here, and its program can scrub.
const IMAGE: &str = "kubik/hello";
const MOUNT: &str = "/scrub";
/// Upstream's time for a volume: so many seconds, and so many more for each gibibyte.
const SECONDS_HOST_PATH: i64 = 60;
const SECONDS_NFS: i64 = 300;
const SECONDS_PER_GIBIBYTE: i64 = 30;

/// The volume that a pod empties, if it is a recycler's.
pub(super) fn volume_of(pod: &Pod) -> Option<Key> {
    let key = pod.key();
    let volume = key.name.strip_prefix(PREFIX)?;
    (key.namespace == NAMESPACE).then(|| Key::new("", volume))
}

/// One step on the way of a released volume back to `Available`.
pub(super) fn recycle(
    volume: &PersistentVolume,
    spec: &PersistentVolumeSpec,
    world: &World,
    decision: &mut Decision,
) {
    let failed = |text: &str, decision: &mut Decision| {
        fail(volume, "VolumeFailedRecycle", text, world, decision);
    };
    let Some(wanted) = pod(volume, spec) else {
        return failed("No recycler plugin found for the volume!", decision);
    };
    if let Some(host) = &spec.host_path
        && !is_deep(Path::new(&host.path))
    {
        let text = format!("Recycle failed: {} is not a place to scrub", host.path);
        return failed(&text, decision);
    }
    let Some(found) = world.all::<Pod>().get(&wanted.key()) else {
        return decision.push(Write::create(&wanted));
    };
    if found.is_deleting() {
        return;
    }
    let status = found.status.clone().unwrap_or_default();
    match status.phase.as_deref() {
        Some("Succeeded") => {
            decision.push(Write::delete(found.as_ref()));
            decision.push(unbind(volume));
            decision.push(Notice::normal(volume, "VolumeRecycled", "Volume recycled"));
        }
        Some("Failed") => {
            decision.push(Write::delete(found.as_ref()));
            let why = status.message.filter(|message| !message.is_empty());
            let why = why.unwrap_or_else(|| "pod failed, pod.Status.Message unknown".to_owned());
            failed(&format!("Recycle failed: {why}"), decision);
        }
        _ => {}
    }
}

fn pod(volume: &PersistentVolume, spec: &PersistentVolumeSpec) -> Option<Pod> {
    let mut scrubbed = Volume {
        name: "vol".to_owned(),
        ..Volume::default()
    };
    let least = match (&spec.host_path, &spec.nfs) {
        (Some(host), _) => {
            scrubbed.host_path = Some(HostPathVolumeSource {
                path: host.path.clone(),
                type_: None,
            });
            SECONDS_HOST_PATH
        }
        (None, Some(nfs)) => {
            scrubbed.nfs = Some(nfs.clone());
            SECONDS_NFS
        }
        (None, None) => return None,
    };
    let size = spec.capacity.as_ref().and_then(|all| all.get("storage"));
    let size = size.and_then(|size| Quantity::parse(&size.0).ok());
    let gibibytes = size.map_or(0, Quantity::units) >> 30;
    Some(Pod {
        metadata: ObjectMeta {
            namespace: Some(NAMESPACE.to_owned()),
            name: Some(format!("{PREFIX}{}", volume.key().name)),
            ..ObjectMeta::default()
        },
        spec: Some(PodSpec {
            active_deadline_seconds: Some(least.max(SECONDS_PER_GIBIBYTE * gibibytes)),
            restart_policy: Some("Never".to_owned()),
            automount_service_account_token: Some(false),
            termination_grace_period_seconds: Some(1),
            containers: vec![Container {
                name: "pv-recycler".to_owned(),
                image: Some(IMAGE.to_owned()),
                image_pull_policy: Some("IfNotPresent".to_owned()),
                args: Some(vec!["scrub".to_owned(), MOUNT.to_owned()]),
                volume_mounts: Some(vec![VolumeMount {
                    name: "vol".to_owned(),
                    mount_path: MOUNT.to_owned(),
                    ..VolumeMount::default()
                }]),
                ..Container::default()
            }],
            volumes: Some(vec![scrubbed]),
            ..PodSpec::default()
        }),
        status: None,
    })
}

/// Not the root of a file system or a top-level directory: whoever wrote that did not mean it.
fn is_deep(path: &Path) -> bool {
    let mut parts = path.components();
    path.is_absolute()
        && parts.all(|part| part != Component::ParentDir)
        && path.components().count() > 2
}
