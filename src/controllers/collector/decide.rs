//! What to do about one object, given the truth about its owners. Pure.

use crate::{
    api::call::Propagation,
    controllers::inventory::{Item, Owner},
};

pub const FOREGROUND: &str = "foregroundDeletion";
pub const ORPHAN: &str = "orphan";

/// What became of an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Solid,
    /// No such object, or another one under its name.
    Absent,
    /// In foreground deletion: waits for its dependents to go first.
    Waiting,
    /// A reference no rule covers (a namespaced owner of a cluster-scoped object, an unknown kind): keep everything.
    Invalid,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    Keep,
    /// The references to keep.
    Trim(Vec<Owner>),
    Delete(Propagation),
    /// Dependents in foreground deletion wait for this object and it for them: stop blocking, then delete.
    UnblockAndDelete,
    /// Remove the finalizer after the dependents were let go of it.
    Orphan,
    /// Have these dependents (uids) looked at; empty: nothing blocks any more, remove the finalizer.
    Foreground(Vec<String>),
}

/// About an object that is being deleted.
pub fn of_deleting(item: &Item, dependents: &[&Item]) -> Step {
    if item.has_finalizer(ORPHAN) {
        return Step::Orphan;
    }
    if !item.has_finalizer(FOREGROUND) {
        return Step::Keep;
    }
    let blocks = |dependent: &&&Item| {
        let mut owners = dependent.owners.iter();
        owners.any(|owner| owner.uid == item.uid && owner.block_owner_deletion == Some(true))
    };
    let is_blocked = dependents.iter().any(|one| blocks(&one));
    let uids = |one: &&Item| one.uid.clone();
    Step::Foreground(if is_blocked {
        dependents.iter().map(uids).collect()
    } else {
        Vec::new()
    })
}

/// About an object that is alive; `fates` are those of its owners, in their order.
pub fn of_living(item: &Item, fates: &[Fate], dependents: &[&Item]) -> Step {
    if fates.is_empty() || fates.contains(&Fate::Invalid) {
        return Step::Keep;
    }
    if fates.contains(&Fate::Solid) {
        let pairs = item.owners.iter().zip(fates);
        let kept: Vec<Owner> = pairs
            .filter(|(_, fate)| **fate == Fate::Solid)
            .map(|(owner, _)| owner.clone())
            .collect();
        return if kept.len() == item.owners.len() {
            Step::Keep
        } else {
            Step::Trim(kept)
        };
    }
    if fates.contains(&Fate::Waiting) && !dependents.is_empty() {
        let in_a_circle = dependents
            .iter()
            .any(|one| one.is_deleting && one.has_finalizer(FOREGROUND));
        return if in_a_circle {
            Step::UnblockAndDelete
        } else {
            Step::Delete(Propagation::Foreground)
        };
    }
    Step::Delete(if item.has_finalizer(ORPHAN) {
        Propagation::Orphan
    } else if item.has_finalizer(FOREGROUND) {
        Propagation::Foreground
    } else {
        Propagation::Background
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{api::name::Key, kinds};

    fn item(uid: &str, owners: &[&str]) -> Item {
        let owner = |uid: &&str| Owner {
            uid: (*uid).into(),
            block_owner_deletion: Some(true),
            ..Owner::default()
        };
        Item {
            kind: kinds::find("", "v1", "pods").unwrap(),
            key: Key::new("a", uid),
            uid: uid.into(),
            revision: String::new(),
            is_deleting: false,
            finalizers: Vec::new(),
            owners: owners.iter().map(owner).collect(),
        }
    }

    fn deleting(mut item: Item, finalizer: &str) -> Item {
        item.is_deleting = true;
        item.finalizers = vec![finalizer.into()];
        item
    }

    #[test]
    fn living_objects_die_with_their_last_owner() {
        use Fate::{Absent, Invalid, Solid, Waiting};
        let one = item("x", &["p", "q"]);
        let child = item("y", &["x"]);
        let dying_child = deleting(item("z", &["x"]), FOREGROUND);
        let background = Step::Delete(Propagation::Background);
        assert_eq!(of_living(&item("x", &[]), &[], &[]), Step::Keep);
        assert_eq!(of_living(&one, &[Solid, Solid], &[]), Step::Keep);
        assert_eq!(
            of_living(&one, &[Absent, Solid], &[]),
            Step::Trim(vec![one.owners[1].clone()])
        );
        assert_eq!(
            of_living(&one, &[Waiting, Solid], &[]),
            Step::Trim(vec![one.owners[1].clone()])
        );
        assert_eq!(of_living(&one, &[Absent, Absent], &[&child]), background);
        assert_eq!(of_living(&one, &[Waiting, Absent], &[]), background);
        assert_eq!(
            of_living(&one, &[Waiting, Absent], &[&child]),
            Step::Delete(Propagation::Foreground)
        );
        assert_eq!(
            of_living(&one, &[Waiting, Absent], &[&dying_child]),
            Step::UnblockAndDelete
        );
        assert_eq!(of_living(&one, &[Absent, Invalid], &[]), Step::Keep);
        let mut orphaning = item("x", &["p"]);
        orphaning.finalizers = vec![ORPHAN.into()];
        assert_eq!(
            of_living(&orphaning, &[Absent], &[]),
            Step::Delete(Propagation::Orphan)
        );
    }

    #[test]
    fn foreground_deletion_ends_when_nothing_blocks() {
        let owner = deleting(item("o", &[]), FOREGROUND);
        let blocking = item("x", &["o"]);
        let mut loose = item("y", &["o"]);
        loose.owners[0].block_owner_deletion = None;
        let both = Step::Foreground(vec!["x".into(), "y".into()]);
        assert_eq!(of_deleting(&owner, &[&blocking, &loose]), both);
        assert_eq!(of_deleting(&owner, &[&loose]), Step::Foreground(Vec::new()));
        assert_eq!(
            of_deleting(&deleting(item("o", &[]), ORPHAN), &[&loose]),
            Step::Orphan
        );
        assert_eq!(
            of_deleting(&deleting(item("o", &[]), "other"), &[&loose]),
            Step::Keep
        );
    }
}
