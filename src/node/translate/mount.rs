//! Volume mounts of a container, before their sub paths are looked up on the disk.
//!
//! Pure. The managed files (`/etc/hosts`, `/etc/resolv.conf` …) give way to a mount of the same place.

use super::{ConfigError, env::Environment, expand::expand};
use crate::runtime::model::{Mount, Propagation};
use k8s_openapi::api::core::v1::Container;
use std::{
    cell::Cell,
    path::{Component, Path, PathBuf},
};

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
                Some(text) if !text.is_empty() => expanded(text, environment)?,
                _ => mount.sub_path.clone().unwrap_or_default(),
            };
            stays_inside(&sub_path)?;
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

fn expanded(text: &str, environment: &Environment) -> Result<String, ConfigError> {
    let missing = Cell::new(None);
    let path = expand(text, |name| {
        let value = environment.get(name);
        if value.is_none() {
            missing.set(Some(name.to_owned()));
        }
        value
    });
    match missing.take() {
        Some(name) => Err(ConfigError(format!("missing value for \"{name}\""))),
        None => Ok(path),
    }
}

fn stays_inside(sub_path: &str) -> Result<(), ConfigError> {
    let path = Path::new(sub_path);
    let message = if path.is_absolute() {
        format!("error SubPath `{sub_path}` must not be an absolute path")
    } else if path.components().any(|part| part == Component::ParentDir) {
        format!("unable to provision SubPath `{sub_path}`: must not contain '..'")
    } else {
        return Ok(());
    };
    Err(ConfigError(message))
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

    fn check(mount: &serde_json::Value, expected: &str) {
        let container = json!({"name": "c", "volumeMounts": [mount]});
        let container = serde_json::from_value(container).unwrap();
        let environment = Environment {
            variables: vec![
                ("POD".to_owned(), "p".to_owned()),
                ("UP".to_owned(), "..".to_owned()),
            ],
            ..Environment::default()
        };
        let found = volume_mounts(&container, &environment);
        let found = found.map_or_else(|error| error.0, |mounts| mounts[0].sub_path.clone());
        assert_eq!(found, expected, "{mount}");
    }

    #[test]
    fn sub_paths_stay_inside() {
        let mount =
            |field: &str, value: &str| json!({"name": "v", "mountPath": "/m", field: value});
        let up =
            |path: &str| format!("unable to provision SubPath `{path}`: must not contain '..'");
        check(&mount("subPath", "a/b"), "a/b");
        check(&mount("subPath", "../b"), &up("../b"));
        let absolute = "error SubPath `/etc` must not be an absolute path";
        check(&mount("subPath", "/etc"), absolute);
        check(&mount("subPathExpr", "x/$(POD)"), "x/p");
        check(&mount("subPathExpr", "x/$$(POD)"), "x/$(POD)");
        check(&mount("subPathExpr", "$(UP)/y"), &up("../y"));
        check(
            &mount("subPathExpr", "$(NONE)"),
            "missing value for \"NONE\"",
        );
        check(&json!({"name": "v", "mountPath": "/m"}), "");
    }
}
