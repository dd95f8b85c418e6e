//! Static pods: manifests in a directory of the node run without anybody asking the API.
//!
//! Each manifest becomes a mirror pod, marked as upstream's kubelet marks them, and the mirror is what the node runs:
//! there is one way of running pods. A file that changes or goes takes its pod along; a mirror that somebody deletes
//! comes back, with new containers. Does not look at subdirectories, nor at files whose names begin with a dot.

use super::host::Host;
use crate::{
    api::{
        call::{Call, Verb},
        decode,
        name::Key,
        object::Object,
    },
    client::EventKind,
    runtime::follow::Follow,
    task::{Stop, Tasks, backoff::Backoff, clock},
};
use anyhow::Context;
use k8s_openapi::api::core::v1::{Node, Pod};
use md5::{Digest, Md5};
use serde_json::{Value, json};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};
use tracing::{info, warn};

const HASH: &str = "kubernetes.io/config.hash";
const MIRROR: &str = "kubernetes.io/config.mirror";
const SEEN: &str = "kubernetes.io/config.seen";
const SOURCE: &str = "kubernetes.io/config.source";
/// As large as any object the API takes.
const FILE_MAX: u64 = 1 << 20;

/// Whoever writes a file is given this time to finish it.
const SETTLE: Duration = Duration::from_millis(200);

const RETRY: Backoff = Backoff {
    first: Duration::from_secs(1),
    cap: Duration::from_secs(60),
};

/// What a directory says: the pods by key, and why files were passed over.
#[derive(Debug, Default)]
struct Wanted {
    pods: BTreeMap<Key, Value>,
    broken: Vec<String>,
}

/// A mirror pod the API has.
#[derive(Clone, Debug, PartialEq)]
struct Mirror {
    key: Key,
    uid: String,
    hash: String,
    is_deleting: bool,
}

#[derive(Debug, PartialEq)]
enum Step {
    Create(Key),
    /// Gracefully; what takes its place comes once it is gone.
    Delete(Key, String),
}

/// Until the daemon stops. Sleeps until a file or a mirror changes.
pub async fn keep(host: &Host, mut stop: Stop) {
    let directory = directory(host);
    let made = fs::create_dir_all(&directory);
    let mut files = match made.and_then(|()| Follow::new(&directory.join("*"))) {
        Ok(files) => files,
        Err(failure) => {
            let directory = directory.display();
            warn!(node = host.name(), %directory, %failure, "watch for static pods");
            return;
        }
    };
    let mut failures = 0;
    let mut told = Vec::new();
    loop {
        let wanted = read(host, &directory).await;
        if wanted.broken != told {
            for text in &wanted.broken {
                warn!(node = host.name(), text, "pass over a manifest");
                host.node_event(EventKind::Warning, "FailedValidation", text);
            }
            told.clone_from(&wanted.broken);
        }
        let done = settle(host, &wanted).await;
        failures = if done.is_ok() { 0 } else { failures + 1 };
        if let Err(failure) = &done
            && failures == 3
        {
            warn!(node = host.name(), ?failure, "mirror static pods");
            host.node_event(
                EventKind::Warning,
                "FailedValidation",
                &format!("{failure:#}"),
            );
        }
        let again = async {
            match failures {
                0 => std::future::pending().await,
                failures => tokio::time::sleep(RETRY.jittered(failures)).await,
            }
        };
        tokio::select! {
            changed = files.changed() => {
                if changed.is_err() {
                    return;
                }
                tokio::time::sleep(SETTLE).await;
            }
            () = host.mirrors_changed.notified() => {}
            () = again => {}
            () = stop.stopped() => return,
        }
    }
}

/// Whether the pod was made from a manifest.
#[must_use]
pub fn is_mirror(pod: &Pod) -> bool {
    annotation(pod, MIRROR).is_some()
}

/// The first node's manifests lie in the directory itself, those of others in one of their name.
#[must_use]
pub fn directory(host: &Host) -> PathBuf {
    let root = host.layout.manifests();
    let first = host.cluster.nodes.first();
    if first.is_some_and(|first| first.name == host.name()) {
        root
    } else {
        root.join(host.name())
    }
}

async fn settle(host: &Host, wanted: &Wanted) -> anyhow::Result<()> {
    let pods = host.caches.pods.snapshot();
    let mirrors: Vec<Mirror> = pods
        .values()
        .filter(|pod| host.owns(pod))
        .filter_map(|pod| {
            Some(Mirror {
                key: pod.key(),
                uid: pod.uid().to_owned(),
                hash: annotation(pod, MIRROR)?.to_owned(),
                is_deleting: pod.is_deleting(),
            })
        })
        .collect();
    for step in steps(&wanted.pods, &mirrors) {
        match step {
            Step::Create(key) => {
                let pod = &wanted.pods[&key];
                create(host, pod)
                    .await
                    .context(format!("static pod {key}"))?;
                info!(node = host.name(), pod = %key, "mirrored a static pod");
            }
            Step::Delete(key, uid) => {
                let mut call = Call::new(Verb::Delete, Pod::gvr()).named(&key.namespace, &key.name);
                call.options.delete.uid = Some(uid);
                match host.client.call(call).await {
                    Err(failure) if !failure.is_not_found() && !failure.is_conflict() => {
                        return Err(failure).context(format!("end the static pod {key}"));
                    }
                    _ => info!(node = host.name(), pod = %key, "a static pod ends"),
                }
            }
        }
    }
    Ok(())
}

fn steps(wanted: &BTreeMap<Key, Value>, mirrors: &[Mirror]) -> Vec<Step> {
    let is_true = |mirror: &Mirror| {
        let pod = wanted.get(&mirror.key);
        pod.is_some_and(|pod| pod["metadata"]["annotations"][MIRROR] == mirror.hash.as_str())
    };
    let wrong = mirrors
        .iter()
        .filter(|mirror| !mirror.is_deleting && !is_true(mirror))
        .map(|mirror| Step::Delete(mirror.key.clone(), mirror.uid.clone()));
    let missing = wanted
        .keys()
        .filter(|key| !mirrors.iter().any(|mirror| mirror.key == **key))
        .map(|key| Step::Create(key.clone()));
    wrong.chain(missing).collect()
}

async fn create(host: &Host, pod: &Value) -> anyhow::Result<()> {
    let node = host.client.get::<Node>(&Key::new("", host.name())).await?;
    let mut pod = pod.clone();
    pod["metadata"]["annotations"][SEEN] = clock::now().to_string().into();
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "v1", "kind": "Node", "name": host.name(), "uid": node.uid(), "controller": true,
    }]);
    let pod: Pod = serde_json::from_value(pod)?;
    match host.client.create(&pod).await {
        // The cache is behind: its next change brings us here again.
        Err(failure) if failure.is_already_exists() => Ok(()),
        other => Ok(other.map(drop)?),
    }
}

async fn read(host: &Host, directory: &Path) -> Wanted {
    let (node, directory) = (host.name().to_owned(), directory.to_owned());
    let work = move || {
        let mut wanted = Wanted::default();
        let mut paths: Vec<PathBuf> = fs::read_dir(&directory)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') || !path.is_file() {
                continue;
            }
            let pod = text(&path).and_then(|text| pod(&node, &path, &text));
            let shown = path.display();
            match pod.map(|pod| (key(&pod), pod)) {
                Ok((key, pod)) => {
                    if wanted.pods.insert(key.clone(), pod).is_some() {
                        wanted
                            .broken
                            .push(format!("{shown}: another file has the pod {key}"));
                    }
                }
                Err(why) => wanted.broken.push(format!("{shown}: {why}")),
            }
        }
        wanted
    };
    Tasks::blocking(work).await.unwrap_or_default()
}

fn text(path: &Path) -> Result<Vec<u8>, String> {
    let size = fs::metadata(path)
        .map_err(|failure| failure.to_string())?
        .len();
    if size > FILE_MAX {
        return Err(format!("larger than {FILE_MAX} bytes"));
    }
    fs::read(path).map_err(|failure| failure.to_string())
}

fn key(pod: &Value) -> Key {
    let text = |field: &str| {
        pod["metadata"][field]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    };
    Key::new(text("namespace"), text("name"))
}

/// The mirror of a manifest, but for what is known only when it is made.
fn pod(node: &str, path: &Path, text: &[u8]) -> Result<Value, String> {
    let mut pod = decode::yaml(text)?.value;
    if pod["kind"] != "Pod" || pod["apiVersion"] != "v1" {
        return Err("not a Pod of version v1".to_owned());
    }
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    if name.is_empty() || !pod["spec"].is_object() {
        return Err("a pod needs a name and a spec".to_owned());
    }
    let name = format!("{name}-{}", node.to_lowercase());
    let mut hash = Md5::new();
    for part in [node.as_bytes(), path.as_os_str().as_encoded_bytes(), text] {
        hash.update(part.len().to_le_bytes());
        hash.update(part);
    }
    let hash: String = hash
        .finalize()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let metadata = &mut pod["metadata"];
    metadata["name"] = name.into();
    if metadata["namespace"].as_str().is_none_or(str::is_empty) {
        metadata["namespace"] = "default".into();
    }
    if !metadata["annotations"].is_object() {
        metadata["annotations"] = json!({});
    }
    for (key, value) in [(HASH, hash.as_str()), (MIRROR, &hash), (SOURCE, "file")] {
        metadata["annotations"][key] = value.into();
    }
    if let Some(metadata) = metadata.as_object_mut() {
        for field in ["uid", "resourceVersion", "generateName", "ownerReferences"] {
            metadata.remove(field);
        }
    }
    let spec = &mut pod["spec"];
    spec["nodeName"] = node.into();
    if !spec["tolerations"].is_array() {
        spec["tolerations"] = json!([]);
    }
    if let Some(tolerations) = spec["tolerations"].as_array_mut() {
        tolerations.push(json!({"operator": "Exists", "effect": "NoExecute"}));
    }
    if let Some(pod) = pod.as_object_mut() {
        pod.remove("status");
    }
    serde_json::from_value::<Pod>(pod.clone()).map_err(|failure| failure.to_string())?;
    Ok(pod)
}

fn annotation<'a>(pod: &'a Pod, name: &str) -> Option<&'a str> {
    let annotations = pod.metadata.annotations.as_ref()?;
    annotations.get(name).map(String::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANIFEST: &str = "
apiVersion: v1
kind: Pod
metadata: {name: web, labels: {app: web}, uid: x}
spec: {containers: [{name: c, image: i}], tolerations: [{key: k, operator: Exists}]}
status: {phase: Running}
";

    fn read(text: &str) -> Result<Value, String> {
        pod("Node-1", Path::new("/m/web.yaml"), text.as_bytes())
    }

    #[test]
    fn a_manifest_becomes_a_mirror() {
        let pod = read(MANIFEST).unwrap();
        assert_eq!(key(&pod), Key::new("default", "web-node-1"));
        let annotations = &pod["metadata"]["annotations"];
        assert_eq!(annotations[SOURCE], "file");
        assert_eq!(annotations[HASH], annotations[MIRROR]);
        assert_eq!(pod["spec"]["nodeName"], "Node-1");
        let tolerations = json!([{"key": "k", "operator": "Exists"}, {"operator": "Exists", "effect": "NoExecute"}]);
        assert_eq!(pod["spec"]["tolerations"], tolerations);
        assert!(pod["status"].is_null() && pod["metadata"]["uid"].is_null());
        let other = read(&MANIFEST.replace("image: i", "image: j")).unwrap();
        assert_ne!(other["metadata"]["annotations"][HASH], annotations[HASH]);
    }

    #[test]
    fn what_is_no_pod_is_told() {
        let cases = [
            ("{", "error converting YAML to JSON"),
            ("", "not a Pod"),
            ("kind: Service\napiVersion: v1", "not a Pod"),
            (
                "kind: Pod\napiVersion: v1\nmetadata: {name: a}",
                "a pod needs a name and a spec",
            ),
            (
                "kind: Pod\napiVersion: v1\nmetadata: {name: a}\nspec: {containers: 7}",
                "invalid type",
            ),
        ];
        for (text, expected) in cases {
            let why = read(text).unwrap_err();
            assert!(why.contains(expected), "{text:?}: {why}");
        }
    }

    #[test]
    fn mirrors_follow_their_files() {
        let wanted = read(MANIFEST).unwrap();
        let hash = wanted["metadata"]["annotations"][HASH]
            .as_str()
            .unwrap()
            .to_owned();
        let name = key(&wanted);
        let wanted = BTreeMap::from([(name.clone(), wanted)]);
        let mirror = |key: &Key, hash: &str, is_deleting| Mirror {
            key: key.clone(),
            uid: "u".to_owned(),
            hash: hash.to_owned(),
            is_deleting,
        };
        let other = Key::new("default", "old");
        let create = || Step::Create(name.clone());
        let delete = |key: &Key| Step::Delete(key.clone(), "u".to_owned());
        #[rustfmt::skip]
        let cases = [
            (vec![], vec![create()]),
            (vec![mirror(&name, &hash, false)], vec![]),
            (vec![mirror(&name, &hash, true)], vec![]),
            (vec![mirror(&name, "older", false)], vec![delete(&name)]),
            (vec![mirror(&other, "x", false)], vec![delete(&other), create()]),
            (vec![mirror(&other, "x", true)], vec![create()]),
        ];
        for (mirrors, expected) in cases {
            assert_eq!(steps(&wanted, &mirrors), expected, "{mirrors:?}");
        }
    }
}
