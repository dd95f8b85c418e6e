//! Removes what no tag leads to any more. Runs once, before a registry accepts its first client: nothing is being
//! pushed then, so nothing can be taken away from under a push.

use super::{
    manifest::leads_to,
    store::{Part, Store, names},
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    time::Duration,
};

/// A manifest without a tag is kept this long: somebody may run it by its digest.
const UNTAGGED_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What the decision needs to know about a manifest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Known {
    is_tagged: bool,
    is_young: bool,
    manifests: Vec<String>,
    subject: Option<String>,
}

/// Those that a tag, or a young manifest, leads to: directly, through an index, or by referring to one that is kept.
fn kept(known: &BTreeMap<String, Known>) -> BTreeSet<String> {
    let mut kept: BTreeSet<String> = BTreeSet::new();
    let roots = known
        .iter()
        .filter(|(_, one)| one.is_tagged || one.is_young);
    let mut pending: Vec<String> = roots.map(|(id, _)| id.clone()).collect();
    while let Some(id) = pending.pop() {
        let Some(one) = known.get(&id) else {
            continue;
        };
        if kept.insert(id.clone()) {
            pending.extend(one.manifests.iter().cloned());
            let about = |other: &Known| other.subject.as_ref() == Some(&id);
            let referring = known.iter().filter(|(_, other)| about(other));
            pending.extend(referring.map(|(other, _)| other.clone()));
        }
    }
    kept
}

/// Answers how many bytes were freed. Blocking.
pub fn sweep(store: &Store, now: Timestamp) -> io::Result<u64> {
    let mut blobs: BTreeSet<String> = BTreeSet::new();
    for name in store.repositories()? {
        let tagged: BTreeSet<String> = store
            .entries(&name, Part::Tags)?
            .iter()
            .filter_map(|tag| store.tag(&name, tag).ok())
            .collect();
        let mut known = BTreeMap::new();
        let mut parts = BTreeMap::new();
        for hex in store.entries(&name, Part::Manifests)? {
            let id = format!("sha256:{hex}");
            let Ok((bytes, _)) = store.manifest(&name, &id) else {
                continue;
            };
            let age = store.modified(&name, Part::Manifests, &id)?;
            let age = now.duration_since(Timestamp::try_from(age).unwrap_or(now));
            let (layers, manifests, subject) = leads_to(&bytes);
            known.insert(
                id.clone(),
                Known {
                    is_tagged: tagged.contains(&id),
                    is_young: age.unsigned_abs() < UNTAGGED_KEPT,
                    manifests,
                    subject,
                },
            );
            parts.insert(id, layers);
        }
        let kept = kept(&known);
        let mut used: BTreeSet<String> = BTreeSet::new();
        for (id, layers) in parts {
            if kept.contains(&id) {
                used.insert(id);
                used.extend(layers);
            } else {
                store.remove(&name, Part::Manifests, &id)?;
            }
        }
        for hex in store.entries(&name, Part::Layers)? {
            if !used.contains(&format!("sha256:{hex}")) {
                store.remove(&name, Part::Layers, &hex)?;
            }
        }
        blobs.extend(used);
    }
    let mut freed = 0;
    for hex in names(&store.blobs())? {
        if !blobs.contains(&format!("sha256:{hex}")) {
            let path = store.blobs().join(hex);
            freed += fs::metadata(&path)?.len();
            fs::remove_file(path)?;
        }
    }
    Ok(freed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distribution::store::Note;
    use std::path::Path;

    fn known(manifests: &[&str], subject: Option<&str>, is_tagged: bool) -> Known {
        Known {
            is_tagged,
            is_young: false,
            manifests: manifests.iter().map(|&id| id.to_owned()).collect(),
            subject: subject.map(str::to_owned),
        }
    }

    #[test]
    fn tags_keep_what_they_lead_to() {
        let all = BTreeMap::from([
            ("index".to_owned(), known(&["child"], None, true)),
            ("child".to_owned(), known(&[], None, false)),
            ("signature".to_owned(), known(&[], Some("child"), false)),
            ("old".to_owned(), known(&["old-child"], None, false)),
            ("old-child".to_owned(), known(&[], None, false)),
            ("loop".to_owned(), known(&["loop"], Some("loop"), false)),
        ]);
        let expected = ["child", "index", "signature"].map(str::to_owned);
        assert_eq!(kept(&all), BTreeSet::from(expected));
    }

    #[test]
    fn blobs_go_with_the_last_manifest_that_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        let put = |text: &str| {
            let path = folder.path().join("upload");
            fs::write(&path, text).unwrap();
            let id = crate::runtime::image::manifest::digest(text.as_bytes());
            store.adopt_blob("a", &id, Path::new(&path)).unwrap();
            id
        };
        let (config, layer, orphan) = (put("config"), put("layer"), put("orphan"));
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"digest":"{config}"}},"layers":[{{"digest":"{layer}"}}]}}"#
        );
        let note = Note {
            media_type: "x".into(),
        };
        let id = store.put_manifest("a", text.as_bytes(), &note).unwrap();
        store.put_tag("a", "1", &id).unwrap();
        let later = crate::task::clock::now() + jiff::SignedDuration::from_hours(24 * 30);
        assert_eq!(sweep(&store, later).unwrap(), 6);
        assert!(store.has_blob("a", &layer) && !store.has_blob("a", &orphan));
        store.remove("a", Part::Tags, "1").unwrap();
        assert!(sweep(&store, later).unwrap() > 0);
        assert_eq!(names(&store.blobs()).unwrap().len(), 0);
    }
}
