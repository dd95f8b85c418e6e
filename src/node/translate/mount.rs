//! Volume mounts of a container, before their sub paths are looked up on the disk.
//!
//! Pure. The managed files (`/etc/hosts`, `/etc/resolv.conf` …) give way to a mount of the same place.

use super::{ConfigError, env::Environment, expand::expand};
use crate::runtime::model::{Mount, Propagation};
use k8s_openapi::api::core::v1::Container;
use std::{
    cell::RefCell,
    collections::BTreeSet,
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
            stays_below(&sub_path)?;
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

/// A `subPathExpr` with its variables; each of them must have a value.
fn expanded(text: &str, environment: &Environment) -> Result<String, ConfigError> {
    let missing = RefCell::new(BTreeSet::new());
    let path = expand(text, |name| {
        let value = environment.get(name).filter(|value| !value.is_empty());
        if value.is_none() {
            missing.borrow_mut().insert(name.to_owned());
        }
        value
    });
    let missing: Vec<String> = missing.into_inner().into_iter().collect();
    if missing.is_empty() {
        return Ok(path);
    }
    let names = missing.join(", ");
    Err(ConfigError(format!("missing value for {names}")))
}

/// A sub path stays below its volume.
fn stays_below(path: &str) -> Result<(), ConfigError> {
    if path.starts_with('/') {
        let why = format!("error SubPath `{path}` must not be an absolute path");
        return Err(ConfigError(why));
    }
    let climbs = |part: Component<'_>| part == Component::ParentDir;
    if Path::new(path).components().any(climbs) {
        let why = format!("unable to provision SubPath `{path}`: must not contain '..'");
        return Err(ConfigError(why));
    }
    Ok(())
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

    fn check(mount: &serde_json::Value, expected: Result<&str, &str>) {
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
        let found = found.map(|mounts| mounts[0].sub_path.clone());
        let found = found.map_err(|failure| failure.0);
        assert_eq!(
            found.as_deref().map_err(String::as_str),
            expected,
            "{mount}"
        );
    }

    #[test]
    fn sub_paths_stay_inside() {
        let mount =
            |field: &str, value: &str| json!({"name": "v", "mountPath": "/m", field: value});
        let climbs = "unable to provision SubPath `../b`: must not contain '..'";
        check(&mount("subPath", "a/b"), Ok("a/b"));
        check(&mount("subPath", "a..b/..c"), Ok("a..b/..c"));
        check(&mount("subPath", "../b"), Err(climbs));
        let absolute = "error SubPath `/etc` must not be an absolute path";
        check(&mount("subPath", "/etc"), Err(absolute));
        check(&mount("subPathExpr", "x/$(POD)"), Ok("x/p"));
        check(&mount("subPathExpr", "x/$$(POD)"), Ok("x/$(POD)"));
        check(&mount("subPathExpr", "$(UP)/b"), Err(climbs));
        let missing = "missing value for NONE, OTHER";
        check(&mount("subPathExpr", "$(OTHER)/$(NONE)"), Err(missing));
        check(&json!({"name": "v", "mountPath": "/m"}), Ok(""));
    }
}
