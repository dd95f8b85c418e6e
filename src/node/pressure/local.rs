//! Limits of local storage that only the node can see to: sizes of empty directories, `ephemeral-storage` of
//! containers and pods. Pure.

use super::rank::PodUse;
use crate::{api::quantity::Quantity, node::spec};
use k8s_openapi::api::core::v1::{Container, Pod};

const EPHEMERAL: &str = "ephemeral-storage";

/// Whether anything of the pod is to be measured.
#[must_use]
pub fn has_limits(pod: &Pod) -> bool {
    let spec = spec::of(pod);
    let mut volumes = spec.volumes.iter().flatten();
    let has_size = volumes.any(|volume| {
        let directory = volume.empty_dir.as_ref();
        directory.is_some_and(|directory| directory.size_limit.is_some())
    });
    let containers = spec::containers(&spec);
    let mut containers = containers.iter();
    has_size || containers.any(|wanted| limit(&wanted.container).is_some())
}

/// Why the pod has to go; the first of all reasons, in upstream's order and words.
#[must_use]
pub fn exceeded(pod: &Pod, used: &PodUse) -> Option<String> {
    let spec = spec::of(pod);
    for volume in spec.volumes.iter().flatten() {
        let directory = volume.empty_dir.as_ref();
        let Some(text) = directory.and_then(|directory| directory.size_limit.as_ref()) else {
            continue;
        };
        let size = Quantity::parse(&text.0).ok().filter(|size| !size.is_zero());
        let bytes = used.empty_dirs.get(&volume.name).copied().unwrap_or(0);
        if let Some(size) = size.filter(|size| bytes > size.units()) {
            let name = &volume.name;
            return Some(format!(
                "Usage of EmptyDir volume \"{name}\" exceeds the limit \"{size}\". "
            ));
        }
    }
    let containers = spec::containers(&spec);
    if let Some(total) = total(&containers)
        && used.storage_bytes > total.units()
    {
        return Some(format!(
            "Pod ephemeral local storage usage exceeds the total limit of containers {total}. "
        ));
    }
    containers.iter().find_map(|wanted| {
        let limit = limit(&wanted.container)?;
        let used = used.containers.get(wanted.name())?.storage_bytes;
        (used > limit.units()).then(|| {
            let name = wanted.name();
            format!("Container {name} exceeded its local ephemeral storage limit \"{limit}\". ")
        })
    })
}

fn limit(container: &Container) -> Option<Quantity> {
    let resources = container.resources.as_ref()?;
    let text = resources.limits.as_ref()?.get(EPHEMERAL)?;
    let limit = Quantity::parse(&text.0).ok()?;
    (!limit.is_zero()).then_some(limit)
}

/// The limits of all containers that have one: together, or the largest of an init container.
fn total(containers: &[spec::Wanted<'_>]) -> Option<Quantity> {
    let of = |together: bool| {
        let with = containers.iter().filter(move |wanted| {
            let runs_along = matches!(wanted.role, spec::Role::Main | spec::Role::Sidecar);
            wanted.role != spec::Role::Ephemeral && runs_along == together
        });
        with.filter_map(|wanted| limit(&wanted.container))
    };
    let sum = of(true).reduce(|sum, limit| sum + limit);
    let peak = of(false).max();
    sum.into_iter().chain(peak).max()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::pressure::rank::ContainerUse;
    use serde_json::json;
    use std::collections::BTreeMap;

    #[test]
    fn the_first_limit_that_is_exceeded_is_told() {
        let container = |name: &str, limit: &str| json!({"name": name, "resources": {"limits": {"ephemeral-storage": limit}}});
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Mi"}}, {"name": "free", "emptyDir": {}}],
            "containers": [container("a", "2Mi"), container("b", "3Mi"), {"name": "c"}]}});
        let pod: Pod = serde_json::from_value(pod).unwrap();
        assert!(has_limits(&pod));
        // Mebibytes of the volume, of the containers a and b, and of everything.
        let cases = [
            ([1, 2, 3, 5], ""),
            (
                [2, 0, 0, 2],
                "Usage of EmptyDir volume \"v\" exceeds the limit \"1Mi\". ",
            ),
            (
                [0, 3, 0, 3],
                "Container a exceeded its local ephemeral storage limit \"2Mi\". ",
            ),
            (
                [0, 1, 4, 5],
                "Container b exceeded its local ephemeral storage limit \"3Mi\". ",
            ),
            (
                [0, 0, 0, 6],
                "Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. ",
            ),
        ];
        for (mebibytes, expected) in cases {
            let [volume, a, b, all] = mebibytes.map(|mebibytes| mebibytes << 20);
            let of = |bytes| ContainerUse {
                storage_bytes: bytes,
                memory_bytes: 0,
            };
            let used = PodUse {
                storage_bytes: all,
                containers: BTreeMap::from([("a".to_owned(), of(a)), ("b".to_owned(), of(b))]),
                empty_dirs: BTreeMap::from([("v".to_owned(), volume)]),
                ..PodUse::default()
            };
            let found = exceeded(&pod, &used).unwrap_or_default();
            assert_eq!(found, expected, "{mebibytes:?}");
        }
    }
}
