//! What a pod uses: its control group, and on demand the directories it writes to.

use super::rank::{ContainerUse, PodUse};
use crate::{
    api::object::Object,
    node::{host::Host, spec, status::RUNTIME_SCHEME},
    runtime::{model::Space, stats},
    task::Tasks,
};
use k8s_openapi::api::core::v1::Pod;
use std::{collections::BTreeMap, path::PathBuf};

/// Walks directories only if asked to. What cannot be measured counts nothing.
pub async fn pod(host: &Host, pod: &Pod, walks: bool) -> PodUse {
    let uid = pod.uid();
    let stats = host.runtime.stats(uid).await.unwrap_or_default();
    let mut used = PodUse {
        memory_bytes: signed(stats.usage.working_set_bytes),
        processes: signed(stats.processes),
        ..PodUse::default()
    };
    let mut all = Space::default();
    for (name, id) in containers(pod) {
        let memory = stats.containers.get(&id);
        let mut space = Space::default();
        if walks {
            space = host
                .runtime
                .rootfs_space(uid, &id)
                .await
                .unwrap_or_default();
            space += walk(host.place(pod).log_dir.join(&name)).await;
            all += space;
        }
        let container = ContainerUse {
            memory_bytes: signed(memory.map_or(0, |usage| usage.working_set_bytes)),
            storage_bytes: signed(space.bytes),
        };
        used.containers.insert(name, container);
    }
    if walks {
        for (name, is_on_disk) in empty_dirs(pod) {
            let directory = host.layout.pod(uid).join("volumes");
            let directory = directory.join("kubernetes.io~empty-dir").join(&name);
            let space = walk(directory).await;
            if is_on_disk {
                all += space;
            }
            used.empty_dirs.insert(name, signed(space.bytes));
        }
    }
    used.storage_bytes = signed(all.bytes);
    used.inodes = signed(all.inodes);
    used
}

async fn walk(path: PathBuf) -> Space {
    let space = Tasks::blocking(move || stats::space(&path)).await;
    space.unwrap_or_default()
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Names and ids of the containers there are, as the status tells them.
fn containers(pod: &Pod) -> BTreeMap<String, String> {
    let Some(status) = &pod.status else {
        return BTreeMap::new();
    };
    let lists = [&status.init_container_statuses, &status.container_statuses];
    let all = lists.into_iter().flatten().flatten();
    let prefix = format!("{RUNTIME_SCHEME}://");
    all.filter_map(|status| {
        let id = status.container_id.as_deref()?.strip_prefix(&prefix)?;
        Some((status.name.clone(), id.to_owned()))
    })
    .collect()
}

fn empty_dirs(pod: &Pod) -> Vec<(String, bool)> {
    let spec = spec::of(pod);
    let volumes = spec.volumes.iter().flatten();
    let directories = volumes.filter_map(|volume| {
        let directory = volume.empty_dir.as_ref()?;
        let is_on_disk = directory.medium.as_deref().unwrap_or_default().is_empty();
        Some((volume.name.clone(), is_on_disk))
    });
    directories.collect()
}
