//! The catalogue agrees with itself and, where the fact tables lie beside the project, with them.

use super::*;
use std::{collections::BTreeSet, fs, path::Path};

#[test]
fn names_are_unique_within_a_group_version() {
    let mut seen = BTreeSet::new();
    for kind in all() {
        assert!(
            seen.insert((kind.group, kind.version, kind.plural)),
            "{}",
            kind.gvr()
        );
        assert!(
            seen.insert((kind.group, kind.version, kind.name)),
            "{}",
            kind.gvr()
        );
    }
}

#[test]
fn lookups_find_rows_by_plural_and_by_name() {
    assert_eq!(
        find("apps", "v1", "deployments").unwrap().name,
        "Deployment"
    );
    assert_eq!(find_kind("", "v1", "Pod").unwrap().plural, "pods");
    assert!(find("apps", "v1beta1", "deployments").is_none());
    assert!(find_kind("", "v1", "pods").is_none());
}

#[test]
fn shared_storage_is_shared_by_one_kind_name() {
    let shared: Vec<_> = all()
        .iter()
        .filter(|kind| kind.is_stored())
        .filter(|kind| {
            all()
                .iter()
                .filter(|other| other.storage == kind.storage)
                .count()
                > 1
        })
        .map(|kind| kind.gvr().to_string())
        .collect();
    assert_eq!(
        shared,
        [
            "v1/events",
            "events.k8s.io/v1/events",
            "autoscaling/v2/horizontalpodautoscalers",
            "autoscaling/v1/horizontalpodautoscalers",
        ]
    );
}

/// `resources.tsv`: one line per resource and subresource of upstream's discovery.
#[test]
fn rows_match_upstream_discovery() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places = ["../shared/api/data", "../../shared/api/data"];
    let Some(text) = places
        .iter()
        .find_map(|place| fs::read_to_string(root.join(place).join("resources.tsv")).ok())
    else {
        return;
    };
    let list = |cell: &str| -> Vec<String> {
        cell.split(',')
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
            .collect()
    };
    let mut expected = BTreeSet::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let cells: Vec<&str> = line.split('\t').collect();
        let (group, version) = crate::api::name::split_api_version(cells[0]);
        if version.len() > 2 {
            continue;
        }
        let (plural, subresource) = cells[1].split_once('/').unwrap_or((cells[1], ""));
        let kind = find(group, version, plural).unwrap_or_else(|| panic!("no row for {line}"));
        if !subresource.is_empty() {
            assert!(kind.subresources.contains(&subresource), "{line}");
            continue;
        }
        assert_eq!(kind.name, cells[2]);
        assert_eq!(kind.singular, cells[3]);
        assert_eq!(kind.short, list(cells[4]));
        assert_eq!(kind.categories, list(cells[5]));
        assert_eq!(kind.is_namespaced(), cells[6] == "true");
        assert_eq!(kind.verbs, list(cells[7]));
        expected.insert(kind.gvr().to_string());
    }
    // Metrics are an add-on upstream.
    let own = group_version("metrics.k8s.io", "v1beta1").len();
    assert_eq!(expected.len() + own, all().len());
}

#[test]
fn every_kind_has_a_definition_and_a_message() {
    for kind in all() {
        let known = crate::api::schema::lookup(kind.definition);
        let own = format!("{}/{}/{}", kind.group, kind.version, kind.name);
        assert!(
            known.is_some_and(|known| known.kinds.contains(&own.as_str().into())),
            "{}",
            kind.definition
        );
        let api_version = kind.group_version();
        assert!(
            crate::api::protobuf::is_known(&api_version, kind.name),
            "{own}"
        );
        let list = format!("{}List", kind.name);
        let is_listed = kind.verbs.contains(&"list");
        assert!(
            !is_listed || crate::api::protobuf::is_known(&api_version, &list),
            "{own}"
        );
    }
}
