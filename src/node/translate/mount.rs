//! Volume mounts of a container, before their sub paths are looked up on the disk.
//!
//! Pure. The managed files (`/etc/hosts`, `/etc/resolv.conf` …) give way to a mount of the same place.

use super::{ConfigError, env::Environment, expand::expand};
use crate::runtime::model::{Mount, Propagation};
use k8s_openapi::api::core::v1::Container;
use std::path::{Component, Path, PathBuf};

/// A mount whose source is a volume.
#[derive(Clone, Debug, PartialEq)]
pub struct VolumeMount {
    pub volume: String,
    /// Below the volume; empty for the whole of it. Never absolute, never with `..`.
    pub sub_path: String,
    /// Without its source.
    pub mount: Mount,
}

pub fn volume_mounts(
    container: &Container,
    environment: &Environment,
) -> Result<Vec<VolumeMount>, ConfigError> {
    let mounts = container.volume_mounts.iter().flatten();
    mounts
        .map(|mount| {
            let sub_path = match &mount.sub_path_expr {
                Some(text) if !text.is_empty() => expand(text, |name| environment.get(name)),
                _ => mount.sub_path.clone().unwrap_or_default(),
            };
            let is_inside = Path::new(&sub_path)
                .components()
                .all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
            if !is_inside || sub_path.contains("$(") {
                let name = &mount.name;
                return Err(ConfigError(format!(
                    "failed to prepare subPath for volumeMount \"{name}\" of container \"{}\"",
                    container.name
                )));
            }
            let is_read_only = mount.read_only == Some(true);
            let recursive = mount.recursive_read_only.as_deref();
            let recursive = recursive.is_some_and(|recursive| recursive != "Disabled");
            Ok(VolumeMount {
                volume: mount.name.clone(),
                sub_path,
                mount: Mount {
                    source: PathBuf::new(),
                    destination: absolute(&mount.mount_path),
                    read_only: is_read_only,
                    recursive_read_only: is_read_only && recursive,
                    propagation: match mount.mount_propagation.as_deref() {
                        Some("HostToContainer") => Propagation::HostToContainer,
                        Some("Bidirectional") => Propagation::Bidirectional,
                        _ => Propagation::Private,
                    },
                },
            })
        })
        .collect()
}

/// A relative mount path is taken from the root.
fn absolute(path: &str) -> PathBuf {
    Path::new("/").join(path)
}

/// Adds a file of ours unless the container mounts something there itself.
pub fn add_managed(mounts: &mut Vec<Mount>, source: PathBuf, destination: &str, read_only: bool) {
    let destination = PathBuf::from(destination);
    if !mounts.iter().any(|mount| mount.destination == destination) {
        mounts.push(Mount {
            source,
            destination,
            read_only,
            ..Mount::default()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check(mount: &serde_json::Value, expected: Option<&str>) {
        let container = json!({"name": "c", "volumeMounts": [mount]});
        let container = serde_json::from_value(container).unwrap();
        let environment = Environment {
            variables: vec![
                ("POD".to_owned(), "p".to_owned()),
                ("UP".to_owned(), "..".to_owned()),
            ],
            ..Environment::default()
        };
        let found = volume_mounts(&container, &environment).ok();
        let found = found.map(|mounts| mounts[0].sub_path.clone());
        assert_eq!(found.as_deref(), expected, "{mount}");
    }

    #[test]
    fn sub_paths_stay_inside() {
        let mount =
            |field: &str, value: &str| json!({"name": "v", "mountPath": "/m", field: value});
        check(&mount("subPath", "a/b"), Some("a/b"));
        check(&mount("subPath", "../b"), None);
        check(&mount("subPath", "/etc"), None);
        check(&mount("subPathExpr", "x/$(POD)"), Some("x/p"));
        check(&mount("subPathExpr", "$(UP)/y"), None);
        check(&mount("subPathExpr", "$(NONE)"), None);
        check(&json!({"name": "v", "mountPath": "/m"}), Some(""));
    }
}
