//! What registries and archives say about an image: indexes, manifests, configurations. Pure, and bounded by whoever
//! reads the bytes.

use super::reference::is_digest;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;

/// Larger documents are refused: real manifests have kilobytes.
pub const DOCUMENT_BYTES_MAX: u64 = 8 << 20;
/// Overlayfs stacks at most 500 layers; images have far fewer.
pub const LAYERS_MAX: usize = 256;

/// What we ask registries for, best first.
pub const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json";

/// A pointer to a blob.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Descriptor {
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    pub platform: Option<Platform>,
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Platform {
    pub architecture: String,
    pub os: String,
}

/// Either form; which one it is shows by the fields.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Either {
    schema_version: u32,
    manifests: Vec<Descriptor>,
    config: Option<Descriptor>,
    layers: Vec<Descriptor>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Manifest {
    /// Choose one of these and fetch it.
    Index(Vec<Descriptor>),
    Image {
        config: Descriptor,
        layers: Vec<Descriptor>,
    },
}

impl Manifest {
    pub fn parse(bytes: &[u8]) -> Result<Manifest, String> {
        let either: Either =
            serde_json::from_slice(bytes).map_err(|e| format!("malformed manifest: {e}"))?;
        if either.schema_version == 1 {
            return Err("schema 1 manifests are no longer supported".to_owned());
        }
        match either.config {
            Some(config) => {
                if either.layers.len() > LAYERS_MAX {
                    return Err(format!(
                        "{} layers are more than {LAYERS_MAX}",
                        either.layers.len()
                    ));
                }
                let all = either.layers.iter().chain([&config]);
                if let Some(odd) = all.into_iter().find(|blob| !is_digest(&blob.digest)) {
                    return Err(format!(
                        "malformed manifest: unsupported digest \"{}\"",
                        odd.digest
                    ));
                }
                Ok(Manifest::Image {
                    config,
                    layers: either.layers,
                })
            }
            None if !either.manifests.is_empty() => Ok(Manifest::Index(either.manifests)),
            None => Err("malformed manifest: neither an image nor an index".to_owned()),
        }
    }
}

/// The entry of an index that runs on this machine.
pub fn for_this_platform(manifests: &[Descriptor]) -> Option<&Descriptor> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let fits = |descriptor: &&Descriptor| match &descriptor.platform {
        Some(platform) => platform.os == "linux" && platform.architecture == architecture,
        None => false,
    };
    let plain = |descriptor: &&Descriptor| descriptor.platform.is_none();
    let found = manifests
        .iter()
        .find(fits)
        .or_else(|| manifests.iter().find(plain));
    found.filter(|descriptor| is_digest(&descriptor.digest))
}

/// The parts of an image's configuration that a runtime needs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Configuration {
    pub config: Execution,
    pub rootfs: RootFs,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Execution {
    #[serde(deserialize_with = "null_as_empty")]
    pub entrypoint: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    pub cmd: Vec<String>,
    #[serde(deserialize_with = "null_as_empty")]
    pub env: Vec<String>,
    pub working_dir: String,
    pub user: String,
    pub stop_signal: String,
    /// Places that are written to; the values say nothing.
    #[serde(deserialize_with = "null_as_empty")]
    pub volumes: BTreeMap<String, serde_json::Value>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RootFs {
    /// Digests of the unpacked layers, the bottom one first.
    pub diff_ids: Vec<String>,
}

fn null_as_empty<'de, D, T>(from: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

impl Configuration {
    pub fn parse(bytes: &[u8]) -> Result<Configuration, String> {
        let parsed: Configuration = serde_json::from_slice(bytes)
            .map_err(|e| format!("malformed image configuration: {e}"))?;
        match parsed.rootfs.diff_ids.iter().find(|id| !is_digest(id)) {
            Some(odd) => Err(format!(
                "malformed image configuration: unsupported digest \"{odd}\""
            )),
            None if parsed.rootfs.diff_ids.len() > LAYERS_MAX => Err(format!(
                "malformed image configuration: more than {LAYERS_MAX} layers"
            )),
            None => Ok(parsed),
        }
    }
}

/// `sha256:…` of some bytes.
pub fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_offers_this_machines_platform() {
        let digest = |c: &str| format!("sha256:{}", c.repeat(64));
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
                {{"digest":"{}","platform":{{"os":"windows","architecture":"amd64"}}}},
                {{"digest":"{}","platform":{{"os":"linux","architecture":"arm64"}}}},
                {{"digest":"{}","platform":{{"os":"linux","architecture":"amd64"}}}}]}}"#,
            digest("a"),
            digest("b"),
            digest("c")
        );
        let Manifest::Index(all) = Manifest::parse(text.as_bytes()).unwrap() else {
            panic!("not an index");
        };
        let wanted = if cfg!(target_arch = "aarch64") {
            digest("b")
        } else {
            digest("c")
        };
        assert_eq!(for_this_platform(&all).unwrap().digest, wanted);
        assert_eq!(for_this_platform(&all[..1]), None);
    }

    #[test]
    fn hostile_documents_are_refused() {
        let cases: [&[u8]; 5] = [
            b"",
            b"{}",
            b"[1]",
            br#"{"schemaVersion":1}"#,
            br#"{"config":{"digest":"sha256:../../x"},"layers":[]}"#,
        ];
        for bytes in cases {
            assert!(
                Manifest::parse(bytes).is_err(),
                "{}",
                String::from_utf8_lossy(bytes)
            );
        }
        assert!(Configuration::parse(br#"{"rootfs":{"diff_ids":["md5:1"]}}"#).is_err());
    }

    #[test]
    fn missing_and_null_fields_are_empty() {
        let parsed =
            Configuration::parse(br#"{"config":{"Entrypoint":null,"Cmd":["a"]}}"#).unwrap();
        assert_eq!(
            (parsed.config.entrypoint.len(), parsed.config.cmd),
            (0, vec!["a".to_owned()])
        );
    }
}
