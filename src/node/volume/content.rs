//! The files of configMap, secret, downwardAPI and projected volumes. Pure.

use super::source::World;
use crate::{api::name::Key, node::translate::field};
use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret,
};
use std::collections::BTreeMap;

pub const DEFAULT_MODE: i32 = 0o644;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    pub data: Vec<u8>,
    pub mode: u32,
    /// The user it belongs to; root where none is given.
    pub owner: Option<u32>,
}

/// Relative paths and their files.
pub type Payload = BTreeMap<String, File>;

fn file(data: Vec<u8>, mode: i32) -> File {
    File {
        data,
        mode: u32::try_from(mode).unwrap_or(0o644) & 0o7777,
        owner: None,
    }
}

/// How a volume names an object.
pub(super) struct Reference<'a> {
    pub namespace: &'a str,
    pub name: &'a str,
    pub is_optional: bool,
    pub items: Option<&'a [KeyToPath]>,
    pub mode: i32,
}

pub(super) fn config_map(world: &World, reference: &Reference<'_>) -> Result<Payload, String> {
    let key = Key::new(reference.namespace, reference.name);
    let found = world.sources.config_maps.get(&key);
    let data = |map: &ConfigMap| {
        let text = map.data.clone().into_iter().flatten();
        let text = text.map(|(key, value)| (key, value.into_bytes()));
        let binary = map.binary_data.clone().into_iter().flatten();
        text.chain(binary.map(|(key, value)| (key, value.0)))
            .collect()
    };
    select("configmap", reference, found.map(|map| data(map)))
}

pub(super) fn secret(world: &World, reference: &Reference<'_>) -> Result<Payload, String> {
    let key = Key::new(reference.namespace, reference.name);
    let found = world.sources.secrets.get(&key);
    let data = |secret: &Secret| {
        let data = secret.data.clone().into_iter().flatten();
        data.map(|(key, value)| (key, value.0)).collect()
    };
    select("secret", reference, found.map(|secret| data(secret)))
}

fn select(
    kind: &str,
    reference: &Reference<'_>,
    data: Option<BTreeMap<String, Vec<u8>>>,
) -> Result<Payload, String> {
    let Some(data) = data else {
        return if reference.is_optional {
            Ok(Payload::new())
        } else {
            Err(format!("{kind} \"{}\" not found", reference.name))
        };
    };
    let Some(items) = reference.items.filter(|items| !items.is_empty()) else {
        let files = data.into_iter();
        return Ok(files
            .map(|(key, value)| (key, file(value, reference.mode)))
            .collect());
    };
    let mut payload = Payload::new();
    for item in items {
        match data.get(&item.key) {
            Some(value) => {
                let mode = item.mode.unwrap_or(reference.mode);
                payload.insert(item.path.clone(), file(value.clone(), mode));
            }
            None if reference.is_optional => {}
            None => {
                return Err(match kind {
                    "secret" => format!("references non-existent secret key: {}", item.key),
                    _ => format!("configmap references non-existent config key: {}", item.key),
                });
            }
        }
    }
    Ok(payload)
}

pub(super) fn downward(
    pod: &Pod,
    items: &[DownwardAPIVolumeFile],
    mode: i32,
    world: &World,
) -> Result<Payload, String> {
    let mut payload = Payload::new();
    for item in items {
        let text = if let Some(reference) = &item.field_ref {
            let path = &reference.field_path;
            field::field(pod, path, &world.facts)
                .ok_or_else(|| format!("unsupported fieldPath: {path}"))?
        } else if let Some(reference) = &item.resource_field_ref {
            field::resource(pod, None, reference, &world.facts)
                .ok_or_else(|| format!("unsupported container resource : {}", reference.resource))?
        } else {
            continue;
        };
        let mode = item.mode.unwrap_or(mode);
        payload.insert(item.path.clone(), file(text.into_bytes(), mode));
    }
    Ok(payload)
}

pub(super) fn projected(
    pod: &Pod,
    volume: &str,
    projected: &ProjectedVolumeSource,
    world: &World,
) -> Result<Payload, String> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let mode = projected.default_mode.unwrap_or(DEFAULT_MODE);
    let mut payload = Payload::new();
    for source in projected.sources.iter().flatten() {
        if let Some(map) = &source.config_map {
            payload.extend(config_map(
                world,
                &Reference {
                    namespace,
                    name: &map.name,
                    is_optional: map.optional == Some(true),
                    items: map.items.as_deref(),
                    mode,
                },
            )?);
        } else if let Some(of) = &source.secret {
            payload.extend(secret(
                world,
                &Reference {
                    namespace,
                    name: &of.name,
                    is_optional: of.optional == Some(true),
                    items: of.items.as_deref(),
                    mode,
                },
            )?);
        } else if let Some(api) = &source.downward_api {
            let items = api.items.as_deref().unwrap_or_default();
            payload.extend(downward(pod, items, mode, world)?);
        } else if let Some(token) = &source.service_account_token {
            let value = world.tokens.get(&(volume.to_owned(), token.path.clone()));
            let value = value.ok_or("failed to fetch token: none was issued")?;
            payload.insert(
                token.path.clone(),
                token_file(pod, value.clone().into_bytes(), mode),
            );
        } else {
            return Err(
                "this source of a projected volume is not implemented by kubik yet".to_owned(),
            );
        }
    }
    Ok(payload)
}

/// A token is for the pod's users only: where all containers run as one user it is theirs, with a group it is the
/// group's.
fn token_file(pod: &Pod, data: Vec<u8>, mode: i32) -> File {
    let spec = crate::node::spec::of(pod);
    let context = spec.security_context.as_ref();
    let of_pod = context.and_then(|context| context.run_as_user);
    let users = crate::node::spec::containers(&spec);
    let mut users = users.iter().map(|wanted| {
        let own = wanted.container.security_context.as_ref();
        own.and_then(|own| own.run_as_user).or(of_pod)
    });
    let first = users.next().flatten();
    let user = first.filter(|_| users.all(|user| user == first));
    let has_group = context.and_then(|context| context.fs_group).is_some();
    let is_private = user.is_some() || has_group;
    File {
        owner: user.and_then(|user| u32::try_from(user).ok()),
        ..file(data, if is_private { 0o600 } else { mode })
    }
}
