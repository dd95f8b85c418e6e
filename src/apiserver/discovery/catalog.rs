//! The served groups, in the order clients resolve short names by.

use crate::kinds::{self, Kind};

/// Kinds of one group version.
pub struct Version {
    pub version: &'static str,
    pub kinds: Vec<&'static Kind>,
}

/// One group with its versions, the preferred one first.
pub struct Group {
    pub name: &'static str,
    pub versions: Vec<Version>,
}

/// All groups, the core group (with an empty name) among them.
pub fn groups() -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for &kind in kinds::all() {
        let known = groups.iter().position(|group| group.name == kind.group);
        let index = known.unwrap_or(groups.len());
        if known.is_none() {
            groups.push(Group {
                name: kind.group,
                versions: Vec::new(),
            });
        }
        let versions = &mut groups[index].versions;
        match versions
            .iter_mut()
            .find(|version| version.version == kind.version)
        {
            Some(version) => version.kinds.push(kind),
            None => versions.push(Version {
                version: kind.version,
                kinds: vec![kind],
            }),
        }
    }
    for version in groups.iter_mut().flat_map(|group| &mut group.versions) {
        version.kinds.sort_by_key(|kind| kind.plural);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_stand_in_upstreams_order() {
        let groups = groups();
        let names: Vec<&str> = groups.iter().map(|group| group.name).collect();
        assert_eq!(
            names[..7],
            [
                "",
                "apiregistration.k8s.io",
                "apps",
                "events.k8s.io",
                "authentication.k8s.io",
                "authorization.k8s.io",
                "autoscaling"
            ]
        );
        let autoscaling: Vec<&str> = groups[6]
            .versions
            .iter()
            .map(|version| version.version)
            .collect();
        assert_eq!(autoscaling, ["v2", "v1"]);
    }
}
