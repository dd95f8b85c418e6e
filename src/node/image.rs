//! Images of containers: pull policy, credentials, one pull at a time of the same image.

use super::{host::Host, spec::Wanted, translate::title, volume};
use crate::{
    api::{name::Key, object::Object},
    client::{EventKind, Snapshot},
    runtime::model::{Credential, ImageInfo, PullRequest, RuntimeError},
    task::clock,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use k8s_openapi::api::core::v1::{Pod, Secret};
use serde_json::Value;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex, Weak},
};
use tracing::info;

/// Reason and message of a waiting container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trouble {
    /// The image that was asked for.
    pub image: String,
    pub reason: &'static str,
    pub message: String,
}

/// Pulls under way, by reference.
#[derive(Default)]
pub struct Pulls(Mutex<HashMap<String, Weak<tokio::sync::Mutex<()>>>>);

impl Pulls {
    fn lock_of(&self, reference: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut locks = self.0.lock().expect("no panic while locked");
        locks.retain(|_, lock| lock.strong_count() > 0);
        if let Some(lock) = locks.get(reference).and_then(Weak::upgrade) {
            return lock;
        }
        let lock = Arc::default();
        locks.insert(reference.to_owned(), Arc::downgrade(&lock));
        lock
    }
}

/// An image that a container or a volume asks for.
pub struct Asked<'a> {
    pub reference: &'a str,
    /// `None`: `IfNotPresent`; the API has filled in its default.
    pub policy: Option<&'a str>,
    /// The container's field in the pod.
    pub field: Option<&'a str>,
}

/// Sees to it that the container's image is here, and those it mounts as volumes, and tells people about it.
pub async fn ensure_for(host: &Host, pod: &Pod, wanted: &Wanted<'_>) -> Result<ImageInfo, Trouble> {
    let container = &wanted.container;
    let asked = Asked {
        reference: container.image.as_deref().unwrap_or_default(),
        policy: container.image_pull_policy.as_deref(),
        field: Some(&wanted.field_path()),
    };
    volume::mount_images(host, pod, container).await?;
    ensure(host, pod, &asked).await
}

/// Sees to it that the image is here, and tells people about it.
pub async fn ensure(host: &Host, pod: &Pod, asked: &Asked<'_>) -> Result<ImageInfo, Trouble> {
    let reference = asked.reference;
    let policy = asked.policy.unwrap_or("IfNotPresent");
    let tell = |kind, reason: &str, text: &str| host.event(pod, asked.field, kind, reason, text);
    let credentials = credentials(pod, &host.caches.secrets.snapshot());
    // What the pod may not have is not there for it: nobody shall learn that it is.
    let found = present(host, reference).await;
    let found = found.map(|image| image.filter(|image| image.is_open_to(&credentials)));
    let result = match found {
        Err(trouble) => Err(trouble),
        Ok(Some(image)) if policy != "Always" => {
            tell(
                EventKind::Normal,
                "Pulled",
                &format!(
                    "Container image \"{reference}\" already present on machine and can be accessed by the pod"
                ),
            );
            return Ok(image);
        }
        Ok(None) if policy == "Never" => {
            let message =
                format!("Container image \"{reference}\" is not present with pull policy of Never");
            tell(EventKind::Warning, "ErrImageNeverPull", &message);
            Err(Trouble {
                reason: "ErrImageNeverPull",
                message,
                ..Trouble::default()
            })
        }
        Ok(_) => {
            let text = format!("Pulling image \"{reference}\"");
            tell(EventKind::Normal, "Pulling", &text);
            let begun = clock::now();
            match pull(host, reference, policy, credentials).await {
                Ok((image, waited)) => {
                    let all = clock::now().duration_since(begun).as_millis();
                    let own = (all - waited).max(0);
                    let size = image.size_bytes;
                    let text = format!(
                        "Successfully pulled image \"{reference}\" in {} ({} including waiting). Image size: {size} bytes.",
                        brief(own),
                        brief(all),
                    );
                    info!(pod = %pod.key(), image = reference, millis = all, "pulled image");
                    tell(EventKind::Normal, "Pulled", &text);
                    host.node_changed.notify_one();
                    host.image_came.notify_one();
                    return Ok(image);
                }
                Err(trouble) => {
                    let text = format!("Failed to pull image \"{reference}\": {}", trouble.message);
                    tell(EventKind::Warning, "Failed", &text);
                    Err(trouble)
                }
            }
        }
    };
    if let Err(trouble) = &result {
        let reason = if trouble.reason == "InvalidImageName" {
            "InspectFailed"
        } else {
            "Failed"
        };
        let text = match trouble.reason {
            "InvalidImageName" => trouble.message.clone(),
            reason => format!("Error: {reason}"),
        };
        tell(EventKind::Warning, reason, &text);
    }
    result.map_err(|trouble| Trouble {
        image: reference.to_owned(),
        ..trouble
    })
}

async fn present(host: &Host, reference: &str) -> Result<Option<ImageInfo>, Trouble> {
    match host.runtime.image(reference).await {
        Ok(image) => Ok(image),
        Err(RuntimeError::NotFound(_)) => Ok(None),
        Err(RuntimeError::InvalidReference(_)) => Err(Trouble {
            reason: "InvalidImageName",
            message: format!(
                "Failed to apply default image tag \"{reference}\": couldn't parse image name \"{reference}\": invalid reference format"
            ),
            ..Trouble::default()
        }),
        Err(failure) => Err(Trouble {
            reason: "ImageInspectError",
            message: format!("Failed to inspect image \"{reference}\": {failure}"),
            ..Trouble::default()
        }),
    }
}

/// Pulls, and tells how long it waited for another pull of the same image, in milliseconds.
async fn pull(
    host: &Host,
    reference: &str,
    policy: &str,
    credentials: Vec<Credential>,
) -> Result<(ImageInfo, i128), Trouble> {
    let lock = host.pulls.lock_of(reference);
    let begun = clock::now();
    let _turn = lock.lock().await;
    let waited = clock::now().duration_since(begun).as_millis();
    // Whoever waited for the same pull has what it brought, unless it took a credential that this pod lacks.
    if policy != "Always"
        && let Some(image) = present(host, reference).await?
        && image.is_open_to(&credentials)
    {
        return Ok((image, waited));
    }
    let request = PullRequest {
        reference: reference.to_owned(),
        credentials,
    };
    match host.runtime.pull(request, None).await {
        Ok(image) => Ok((image, waited)),
        Err(failure) => Err(Trouble {
            reason: match failure {
                RuntimeError::InvalidReference(_) => "InvalidImageName",
                _ => "ErrImagePull",
            },
            message: failure.to_string(),
            ..Trouble::default()
        }),
    }
}

/// What the pod's `imagePullSecrets` hold. Secrets that are missing or broken are passed over, as upstream does.
#[must_use]
pub fn credentials(pod: &Pod, secrets: &Snapshot<Secret>) -> Vec<Credential> {
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let named = pod
        .spec
        .iter()
        .flat_map(|spec| spec.image_pull_secrets.iter().flatten());
    named
        .filter_map(|named| secrets.get(&Key::new(namespace, named.name.as_str())))
        .flat_map(|secret| of_secret(secret))
        .collect()
}

fn of_secret(secret: &Secret) -> Vec<Credential> {
    let data = |key: &str| -> Option<Value> {
        let bytes = secret.data.as_ref()?.get(key)?;
        serde_json::from_slice(&bytes.0).ok()
    };
    let registries = match data(".dockerconfigjson") {
        Some(config) => config["auths"].clone(),
        None => data(".dockercfg").unwrap_or_default(),
    };
    let registries = registries.as_object().cloned().unwrap_or_default();
    let origin = secret.uid();
    registries
        .into_iter()
        .map(|(server, entry)| Credential {
            origin: origin.to_owned(),
            ..credential(server, &entry)
        })
        .collect()
}

fn credential(server: String, entry: &Value) -> Credential {
    let text = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
    let (mut username, mut password) = (text("username"), text("password"));
    if username.is_empty()
        && let Ok(decoded) = STANDARD.decode(text("auth"))
        && let Some((user, secret)) = String::from_utf8_lossy(&decoded).split_once(':')
    {
        username = user.to_owned();
        password = secret.trim_end_matches('\0').to_owned();
    }
    Credential {
        server,
        username,
        password,
        token: text("identitytoken"),
        origin: String::new(),
    }
}

/// What the status says of an image: the name people know and the digest.
#[must_use]
pub fn names(asked: &str, image: &ImageInfo) -> (String, String) {
    let by_name = image.tags.iter().find(|tag| {
        let rest = tag
            .strip_suffix(asked)
            .or_else(|| tag.strip_suffix(&format!("{asked}:latest")));
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('/'))
    });
    let name = by_name.or(image.tags.first());
    let id = image.digests.first().unwrap_or(&image.id);
    (
        name.cloned().unwrap_or_else(|| asked.to_owned()),
        id.clone(),
    )
}

/// `850ms`, `1.234s`: as people know it from upstream's events.
fn brief(millis: i128) -> String {
    match millis {
        0..1000 => format!("{millis}ms"),
        millis => {
            let seconds = format!("{}.{:03}", millis / 1000, millis % 1000);
            format!("{}s", seconds.trim_end_matches('0').trim_end_matches('.'))
        }
    }
}

/// The text of back-off events.
#[must_use]
pub fn crash_text(pod: &Pod, container: &str) -> String {
    format!(
        "Back-off restarting failed container {container} in pod {}",
        title(pod)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn credentials_come_in_three_forms() {
        let config = json!({"auths": {
            "r.example": {"username": "u", "password": "p"},
            "other.example/path": {"auth": STANDARD.encode("a:b:c")}}});
        let old = json!({"old.example": {"auth": STANDARD.encode("x:y"), "identitytoken": "t"}});
        let secret = |name: &str, key: &str, value: &Value| -> Secret {
            let data = STANDARD.encode(value.to_string());
            serde_json::from_value(
                json!({"metadata": {"name": name, "namespace": "n"}, "data": {key: data}}),
            )
            .unwrap()
        };
        let secrets: Snapshot<Secret> = [
            secret("a", ".dockerconfigjson", &config),
            secret("b", ".dockercfg", &old),
            secret("c", "other", &json!(1)),
        ]
        .into_iter()
        .collect();
        let pod = json!({"metadata": {"namespace": "n"}, "spec": {"containers": [],
            "imagePullSecrets": [{"name": "a"}, {"name": "missing"}, {"name": "b"}, {"name": "c"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let found: Vec<String> = credentials(&pod, &secrets)
            .iter()
            .map(|one| {
                format!(
                    "{} {}:{} {}",
                    one.server, one.username, one.password, one.token
                )
            })
            .collect();
        assert_eq!(
            found,
            [
                "other.example/path a:b:c ",
                "r.example u:p ",
                "old.example x:y t"
            ]
        );
    }

    #[test]
    fn names_and_durations() {
        let image = ImageInfo {
            id: "sha256:1".to_owned(),
            tags: vec![
                "docker.io/library/a:2".to_owned(),
                "docker.io/library/nginx:latest".to_owned(),
            ],
            digests: vec!["docker.io/library/nginx@sha256:2".to_owned()],
            ..ImageInfo::default()
        };
        let (name, id) = names("nginx", &image);
        assert_eq!(name, "docker.io/library/nginx:latest");
        assert_eq!(id, "docker.io/library/nginx@sha256:2");
        assert_eq!(names("sha256:1", &image).0, "docker.io/library/a:2");
        assert_eq!(
            [850, 1000, 1234, 61_500].map(brief),
            ["850ms", "1s", "1.234s", "61.5s"]
        );
    }
}
