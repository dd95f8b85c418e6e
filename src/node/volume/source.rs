//! What a volume of the spec is on this node: an [`Order`] for the disk, or why it cannot be made now. Pure.

use super::{
    Stage,
    content::{self, DEFAULT_MODE, Payload, Reference},
};
use crate::{
    api::{name::Key, quantity::Quantity},
    client::Snapshot,
    node::{
        qos, spec,
        translate::{Facts, env::Sources},
    },
    runtime::nfs::Share as NfsShare,
};
use k8s_openapi::api::core::v1::{
    Container, PersistentVolume, PersistentVolumeClaim, PersistentVolumeSpec, Pod, Volume,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

/// In place of a `hostPath.type`: it must exist, whatever it is.
pub(super) const LOCAL: &str = "Local";

/// The objects and places volumes are made of.
pub(super) struct World {
    pub sources: Sources,
    pub claims: Snapshot<PersistentVolumeClaim>,
    pub volumes: Snapshot<PersistentVolume>,
    pub facts: Facts,
    pub pod_dir: PathBuf,
    /// Issued tokens, by volume and path.
    pub tokens: BTreeMap<(String, String), String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// An empty directory that anybody may write to.
    Directory { path: PathBuf },
    Memory {
        path: PathBuf,
        size_bytes: Option<u64>,
    },
    Files {
        path: PathBuf,
        payload: Payload,
        /// On a memory disk: secrets do not touch the disk.
        in_memory: bool,
    },
    /// A place of the host. `kind` is upstream's `hostPath.type`.
    Host { path: PathBuf, kind: String },
    /// A disk of the host, given to containers as it is. `kind` says what it must be.
    Device { path: PathBuf, kind: String },
    /// A directory of an NFS server.
    Nfs { path: PathBuf, share: NfsShare },
    /// The files of an image, which come with the containers that mount them.
    Image { path: PathBuf },
    /// A persistent volume's directory; it must exist and takes the pod's group.
    Persistent {
        path: PathBuf,
        kind: String,
        /// `fsGroupChangePolicy: OnRootMismatch`.
        only_on_mismatch: bool,
    },
}

/// How events name a volume: a claim's by what it is bound to.
pub(super) fn shown_name(pod: &Pod, volume: &Volume, world: &World) -> String {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let claim = claim_name(pod, volume);
    let claim = claim.and_then(|name| world.claims.get(&Key::new(namespace, name)));
    let bound = claim.and_then(|claim| claim.spec.as_ref()?.volume_name.clone());
    let bound = bound.filter(|name| !name.is_empty());
    bound.unwrap_or_else(|| volume.name.clone())
}

/// The claim a volume stands on, if it does.
#[must_use]
pub fn claim_name(pod: &Pod, volume: &Volume) -> Option<String> {
    match (&volume.persistent_volume_claim, &volume.ephemeral) {
        (Some(source), _) => Some(source.claim_name.clone()),
        (None, Some(_)) => {
            let pod = pod.metadata.name.as_deref().unwrap_or_default();
            Some(format!("{pod}-{}", volume.name))
        }
        (None, None) => None,
    }
}

/// Why a volume cannot be made now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub stage: Stage,
    pub message: String,
}

impl From<String> for Refusal {
    fn from(message: String) -> Refusal {
        let stage = Stage::SetUp;
        Refusal { stage, message }
    }
}

/// Whether containers may not write to it, whatever their mounts say.
pub(super) fn is_read_only(volume: &Volume) -> bool {
    let claim = volume.persistent_volume_claim.as_ref();
    let nfs = volume.nfs.as_ref();
    volume.image.is_some()
        || volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
        || claim.is_some_and(|claim| claim.read_only == Some(true))
        || nfs.is_some_and(|nfs| nfs.read_only == Some(true))
}

fn place(world: &World, plugin: &str, name: &str) -> PathBuf {
    place_in(&world.pod_dir, plugin, name)
}

fn place_in(pod_dir: &Path, plugin: &str, name: &str) -> PathBuf {
    let directory = pod_dir.join("volumes");
    directory.join(format!("kubernetes.io~{plugin}")).join(name)
}

/// Where the files of an image are to be.
pub(super) fn image_path(pod_dir: &Path, volume: &str) -> PathBuf {
    place_in(pod_dir, "image", volume)
}

/// Nobody registers CSI drivers with this node: upstream's words for that.
fn no_driver(name: &str) -> String {
    format!(
        "kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name {name} not found in the list of registered CSI drivers"
    )
}

pub(super) fn resolve(pod: &Pod, volume: &Volume, world: &World) -> Result<Order, Refusal> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let path = |plugin: &str| place(world, plugin, &volume.name);
    let files = |plugin: &str, payload: Payload, in_memory: bool| Order::Files {
        path: path(plugin),
        payload,
        in_memory,
    };
    if let Some(empty) = &volume.empty_dir {
        let limit = empty.size_limit.as_ref();
        let limit = limit.and_then(|limit| Quantity::parse(&limit.0).ok());
        return match empty.medium.as_deref() {
            None | Some("") => Ok(Order::Directory {
                path: path("empty-dir"),
            }),
            Some("Memory") => Ok(Order::Memory {
                path: path("empty-dir"),
                size_bytes: memory_size(pod, limit.map(Quantity::units), world.facts.memory_bytes),
            }),
            Some(medium) => {
                Err(format!("emptyDir medium {medium} is not implemented by kubik yet").into())
            }
        };
    }
    if let Some(host) = &volume.host_path {
        return Ok(Order::Host {
            path: PathBuf::from(&host.path),
            kind: host.type_.clone().unwrap_or_default(),
        });
    }
    if let Some(map) = &volume.config_map {
        let reference = Reference {
            namespace,
            name: &map.name,
            is_optional: map.optional == Some(true),
            items: map.items.as_deref(),
            mode: map.default_mode.unwrap_or(DEFAULT_MODE),
        };
        let payload = content::config_map(world, &reference)?;
        return Ok(files("configmap", payload, false));
    }
    if let Some(secret) = &volume.secret {
        let reference = Reference {
            namespace,
            name: secret.secret_name.as_deref().unwrap_or_default(),
            is_optional: secret.optional == Some(true),
            items: secret.items.as_deref(),
            mode: secret.default_mode.unwrap_or(DEFAULT_MODE),
        };
        let payload = content::secret(world, &reference)?;
        return Ok(files("secret", payload, true));
    }
    if let Some(api) = &volume.downward_api {
        let items = api.items.as_deref().unwrap_or_default();
        let mode = api.default_mode.unwrap_or(DEFAULT_MODE);
        let payload = content::downward(pod, items, mode, world)?;
        return Ok(files("downward-api", payload, false));
    }
    if let Some(projected) = &volume.projected {
        let payload = content::projected(pod, &volume.name, projected, world)?;
        return Ok(files("projected", payload, true));
    }
    if let Some(order) = from_outside(volume, world) {
        return order.map_err(Refusal::from);
    }
    match claim_name(pod, volume) {
        Some(name) => claimed(pod, volume, &name, world),
        None => Err(not_implemented(volume).into()),
    }
}

/// What is brought from elsewhere without a claim.
fn from_outside(volume: &Volume, world: &World) -> Option<Result<Order, String>> {
    if let Some(nfs) = &volume.nfs {
        let share = NfsShare {
            server: nfs.server.clone(),
            export: nfs.path.clone(),
            read_only: nfs.read_only == Some(true),
            options: Vec::new(),
        };
        let path = place(world, "nfs", &volume.name);
        return Some(Ok(Order::Nfs { path, share }));
    }
    if volume.image.is_some() {
        let path = image_path(&world.pod_dir, &volume.name);
        return Some(Ok(Order::Image { path }));
    }
    if let Some(csi) = &volume.csi {
        return Some(Err(no_driver(&csi.driver)));
    }
    None
}

/// The size of a memory disk: its own limit or the pod's, whichever is less, or else the node's memory.
fn memory_size(pod: &Pod, limit: Option<i64>, of_node: i64) -> Option<u64> {
    let spec = spec::of(pod);
    let of_pod = qos::pod(&spec).memory_limit_bytes;
    let sizes = [limit.unwrap_or(0), of_pod].into_iter();
    let least = sizes.filter(|&size| size > 0).min();
    Some(least.unwrap_or(of_node)).and_then(|size| u64::try_from(size).ok())
}

fn claimed(pod: &Pod, volume: &Volume, name: &str, world: &World) -> Result<Order, Refusal> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let unusable = |why: String| Refusal {
        stage: Stage::Process,
        message: format!("error processing PVC {namespace}/{name}: {why}"),
    };
    let claim = world.claims.get(&Key::new(namespace, name));
    let claim = claim.ok_or_else(|| {
        let why = format!("persistentvolumeclaim \"{name}\" not found");
        unusable(format!("failed to fetch PVC from API server: {why}"))
    })?;
    let phase = claim
        .status
        .as_ref()
        .and_then(|status| status.phase.as_deref());
    let bound = claim
        .spec
        .as_ref()
        .and_then(|spec| spec.volume_name.clone());
    let Some(bound) = bound.filter(|_| phase == Some("Bound")) else {
        return Err(unusable("PVC is not bound".to_owned()));
    };
    let found = world.volumes.get(&Key::new("", bound.as_str()));
    let found = found.ok_or_else(|| unusable(format!("persistentvolume \"{bound}\" not found")))?;
    let source = found.spec.clone().unwrap_or_default();
    let mode = source.volume_mode.as_deref().unwrap_or("Filesystem");
    check_use(pod, &volume.name, mode)?;
    if mode == "Block" {
        return disk(source);
    }
    let read_only = is_read_only(volume);
    let volume = bound;
    if let Some(nfs) = source.nfs {
        let share = NfsShare {
            server: nfs.server,
            export: nfs.path,
            read_only: read_only || nfs.read_only == Some(true),
            options: source.mount_options.unwrap_or_default(),
        };
        let path = place(world, "nfs", &volume);
        return Ok(Order::Nfs { path, share });
    }
    if let Some(csi) = source.csi {
        return Err(no_driver(&csi.driver).into());
    }
    let policy = spec::of(pod)
        .security_context
        .as_ref()
        .and_then(|context| context.fs_group_change_policy.clone());
    let (path, kind) = if let Some(host) = source.host_path {
        (host.path, host.type_.unwrap_or_default())
    } else if let Some(local) = source.local {
        (local.path, LOCAL.to_owned())
    } else {
        let why =
            format!("the kind of persistentvolume \"{volume}\" is not implemented by kubik yet");
        return Err(why.into());
    };
    Ok(Order::Persistent {
        path: Path::new(&path).to_owned(),
        kind,
        only_on_mismatch: policy.as_deref() == Some("OnRootMismatch"),
    })
}

/// A disk is a device in containers, a file system is mounted.
fn check_use(pod: &Pod, volume: &str, mode: &str) -> Result<(), Refusal> {
    let spec = spec::of(pod);
    let wanted = spec::containers(&spec);
    let uses = |wrong: &dyn Fn(&Container) -> bool| {
        let mut containers = wanted.iter();
        containers.any(|wanted| wrong(&wanted.container))
    };
    let is_wrong = match mode {
        "Block" => uses(&|container| {
            let mut mounts = container.volume_mounts.iter().flatten();
            mounts.any(|mount| mount.name == volume)
        }),
        _ => uses(&|container| {
            let mut devices = container.volume_devices.iter().flatten();
            devices.any(|device| device.name == volume)
        }),
    };
    if !is_wrong {
        return Ok(());
    }
    let field = match mode {
        "Block" => "volumeMounts",
        _ => "volumeDevices",
    };
    Err(Refusal {
        stage: Stage::Process,
        message: format!("volume {volume} has volumeMode {mode}, but is specified in {field}"),
    })
}

/// A disk of this machine; nothing else is one here.
fn disk(source: PersistentVolumeSpec) -> Result<Order, Refusal> {
    let refuse = |message: String| Refusal {
        stage: Stage::Map,
        message,
    };
    if let Some(csi) = &source.csi {
        let driver = &csi.driver;
        return Err(refuse(format!(
            "kubernetes.io/csi: blockMapper.SetUpDevice failed to get CSI client: driver name {driver} not found in the list of registered CSI drivers"
        )));
    }
    let local = source.local.ok_or_else(|| {
        let why = "failed to find BlockVolumeMapper plugin. Volume plugin is nil.";
        refuse(why.to_owned())
    })?;
    Ok(Order::Device {
        path: PathBuf::from(local.path),
        kind: "BlockDevice".to_owned(),
    })
}

fn not_implemented(volume: &Volume) -> String {
    // The first field that is set names the kind.
    let fields = serde_json::to_value(volume).unwrap_or_default();
    let kind = fields
        .as_object()
        .and_then(|fields| fields.keys().find(|field| *field != "name"))
        .map_or("unknown", String::as_str)
        .to_owned();
    format!("volumes of kind {kind} are not implemented by kubik yet")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn world() -> World {
        let map = json!({"metadata": {"namespace": "n", "name": "m"}, "data": {"k": "v"}, "binaryData": {"b": "AAE="}});
        let secret =
            json!({"metadata": {"namespace": "n", "name": "s"}, "data": {"p": "c2VjcmV0"}});
        let claim = |name: &str, phase: &str, volume: &str| json!({"metadata": {"namespace": "n", "name": name}, "spec": {"volumeName": volume}, "status": {"phase": phase}});
        let volumes = [
            json!({"metadata": {"name": "pv"}, "spec": {"hostPath": {"path": "/data/pv", "type": "DirectoryOrCreate"}}}),
            json!({"metadata": {"name": "disk"}, "spec": {"csi": {"driver": "d", "volumeHandle": "h"}}}),
            json!({"metadata": {"name": "far"}, "spec": {"mountOptions": ["vers=3"], "nfs": {"server": "s", "path": "/e"}}}),
            json!({"metadata": {"name": "raw"}, "spec": {"volumeMode": "Block", "local": {"path": "/dev/x"}}}),
            json!({"metadata": {"name": "dir"}, "spec": {"volumeMode": "Block", "hostPath": {"path": "/x"}}}),
        ];
        let claims = [
            claim("ok", "Bound", "pv"),
            claim("wait", "Pending", ""),
            claim("csi", "Bound", "disk"),
            claim("far", "Bound", "far"),
            claim("raw", "Bound", "raw"),
            claim("dir", "Bound", "dir"),
            claim("p-v", "Bound", "pv"),
        ];
        fn all<T: crate::api::object::Object>(
            values: impl IntoIterator<Item = Value>,
        ) -> Snapshot<T> {
            values
                .into_iter()
                .map(|value| serde_json::from_value::<T>(value).unwrap())
                .collect()
        }
        World {
            sources: Sources {
                config_maps: all([map]),
                secrets: all([secret]),
                ..Sources::default()
            },
            claims: all(claims),
            volumes: all(volumes),
            facts: Facts::for_tests(),
            pod_dir: PathBuf::from("/p"),
            tokens: [(("v".to_owned(), "token".to_owned()), "jwt".to_owned())].into(),
        }
    }

    fn pod(context: &Value) -> Pod {
        serde_json::from_value(json!({
            "metadata": {"name": "p", "namespace": "n", "labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "resources": {"limits": {"memory": "64Mi"}}}], "securityContext": context},
        }))
        .unwrap()
    }

    /// The order as words: `/path key=value(mode) …`
    fn words(volume: Value, context: &Value) -> String {
        let mut volume = volume;
        volume["name"] = "v".into();
        let volume: Volume = serde_json::from_value(volume).unwrap();
        match resolve(&pod(context), &volume, &world()) {
            Err(Refusal {
                stage: Stage::SetUp,
                message,
            }) => format!("! {message}"),
            Err(Refusal { stage, message }) => format!("! {stage:?}: {message}"),
            Ok(Order::Device { path, kind }) => format!("device {} {kind}", path.display()),
            Ok(Order::Directory { path }) => format!("dir {}", path.display()),
            Ok(Order::Memory { path, size_bytes }) => {
                format!("memory {} {size_bytes:?}", path.display())
            }
            Ok(Order::Host { path, kind }) => format!("host {} {kind}", path.display()),
            Ok(Order::Nfs { path, share }) => {
                let (server, export) = (&share.server, &share.export);
                let options = share.options.join(",");
                let read_only = share.read_only;
                format!(
                    "nfs {} {server}:{export} {read_only} {options}",
                    path.display()
                )
            }
            Ok(Order::Image { path }) => format!("image {}", path.display()),
            Ok(Order::Persistent { path, kind, .. }) => {
                format!("persistent {} {kind}", path.display())
            }
            Ok(Order::Files {
                path,
                payload,
                in_memory,
            }) => {
                let files = payload.iter().map(|(name, file)| {
                    let text = String::from_utf8_lossy(&file.data).into_owned();
                    let owner = file
                        .owner
                        .map(|owner| format!(" {owner}"))
                        .unwrap_or_default();
                    format!("{name}={text}({:o}{owner})", file.mode)
                });
                let files: Vec<String> = files.collect();
                let place = if in_memory { "memory" } else { "disk" };
                format!("{place} {} {}", path.display(), files.join(" "))
            }
        }
    }

    #[test]
    fn every_kind() {
        let none = json!({});
        #[rustfmt::skip]
        let cases = [
            (json!({"emptyDir": {}}), "dir /p/volumes/kubernetes.io~empty-dir/v"),
            (json!({"emptyDir": {"medium": "Memory"}}), "memory /p/volumes/kubernetes.io~empty-dir/v Some(67108864)"),
            (json!({"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}}), "memory /p/volumes/kubernetes.io~empty-dir/v Some(1048576)"),
            (json!({"hostPath": {"path": "/x", "type": "File"}}), "host /x File"),
            (json!({"configMap": {"name": "m"}}), "disk /p/volumes/kubernetes.io~configmap/v b=\0\u{1}(644) k=v(644)"),
            (json!({"configMap": {"name": "m", "defaultMode": 256, "items": [{"key": "k", "path": "x/y"}]}}), "disk /p/volumes/kubernetes.io~configmap/v x/y=v(400)"),
            (json!({"configMap": {"name": "no", "optional": true}}), "disk /p/volumes/kubernetes.io~configmap/v "),
            (json!({"configMap": {"name": "no"}}), "! configmap \"no\" not found"),
            (json!({"configMap": {"name": "m", "items": [{"key": "z", "path": "z"}]}}), "! configmap references non-existent config key: z"),
            (json!({"secret": {"secretName": "s"}}), "memory /p/volumes/kubernetes.io~secret/v p=secret(644)"),
            (json!({"secret": {"secretName": "no"}}), "! secret \"no\" not found"),
            (json!({"downwardAPI": {"items": [{"path": "l", "mode": 384, "fieldRef": {"fieldPath": "metadata.labels"}}]}}), "disk /p/volumes/kubernetes.io~downward-api/v l=a=\"b\"(600)"),
            (json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}, {"configMap": {"name": "m", "items": [{"key": "k", "path": "ca.crt"}]}}]}}), "memory /p/volumes/kubernetes.io~projected/v ca.crt=v(644) token=jwt(644)"),
            (json!({"persistentVolumeClaim": {"claimName": "ok"}}), "persistent /data/pv DirectoryOrCreate"),
            (json!({"persistentVolumeClaim": {"claimName": "wait"}}), "! Process: error processing PVC n/wait: PVC is not bound"),
            (json!({"persistentVolumeClaim": {"claimName": "no"}}), "! Process: error processing PVC n/no: failed to fetch PVC from API server: persistentvolumeclaim \"no\" not found"),
            (json!({"persistentVolumeClaim": {"claimName": "csi"}}), "! kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name d not found in the list of registered CSI drivers"),
            (json!({"persistentVolumeClaim": {"claimName": "far", "readOnly": true}}), "nfs /p/volumes/kubernetes.io~nfs/far s:/e true vers=3"),
            (json!({"persistentVolumeClaim": {"claimName": "raw"}}), "device /dev/x BlockDevice"),
            (json!({"persistentVolumeClaim": {"claimName": "dir"}}), "! Map: failed to find BlockVolumeMapper plugin. Volume plugin is nil."),
            (json!({"ephemeral": {"volumeClaimTemplate": {"spec": {}}}}), "persistent /data/pv DirectoryOrCreate"),
            (json!({"nfs": {"server": "10.0.0.1", "path": "/e"}}), "nfs /p/volumes/kubernetes.io~nfs/v 10.0.0.1:/e false "),
            (json!({"image": {"reference": "app:1"}}), "image /p/volumes/kubernetes.io~image/v"),
            (json!({"csi": {"driver": "x.example"}}), "! kubernetes.io/csi: mounter.SetUpAt failed to get CSI client: driver name x.example not found in the list of registered CSI drivers"),
            (json!({"iscsi": {"targetPortal": "x", "iqn": "y", "lun": 0}}), "! volumes of kind iscsi are not implemented by kubik yet"),
        ];
        for (volume, expected) in cases {
            assert_eq!(words(volume.clone(), &none), expected, "{volume}");
        }
    }

    #[test]
    fn a_disk_is_no_file_system() {
        let used = |claim: &str, field: &str| {
            let mut pod = serde_json::to_value(pod(&json!({}))).unwrap();
            let place = if field == "volumeMounts" {
                "mountPath"
            } else {
                "devicePath"
            };
            pod["spec"]["containers"][0][field] = json!([{"name": "v", place: "/x"}]);
            let volume = json!({"name": "v", "persistentVolumeClaim": {"claimName": claim}});
            let volume = serde_json::from_value(volume).unwrap();
            let found = resolve(&serde_json::from_value(pod).unwrap(), &volume, &world());
            found.err().map(|refusal| refusal.message)
        };
        assert_eq!(used("raw", "volumeDevices"), None);
        assert_eq!(used("ok", "volumeMounts"), None);
        let wrong = |mode: &str, field: &str| {
            Some(format!(
                "volume v has volumeMode {mode}, but is specified in {field}"
            ))
        };
        assert_eq!(used("raw", "volumeMounts"), wrong("Block", "volumeMounts"));
        assert_eq!(
            used("ok", "volumeDevices"),
            wrong("Filesystem", "volumeDevices")
        );
    }

    #[test]
    fn tokens_are_private_where_users_are_known() {
        let volume =
            || json!({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}});
        let place = "memory /p/volumes/kubernetes.io~projected/v";
        let user = words(volume(), &json!({"runAsUser": 7}));
        assert_eq!(user, format!("{place} token=jwt(600 7)"));
        let group = words(volume(), &json!({"fsGroup": 7}));
        assert_eq!(group, format!("{place} token=jwt(600)"));
    }
}
