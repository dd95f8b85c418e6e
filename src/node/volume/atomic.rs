//! Directories whose files change all at once: `..data` points to the present set, `key` to `..data/key`.
//!
//! A reader sees either all old files or all new ones. Nothing is touched when nothing has changed.

use super::content::{File, Payload};
use crate::task::clock;
use std::{
    collections::BTreeSet,
    fs, io,
    os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink},
    path::{Path, PathBuf},
};

const DATA: &str = "..data";
const DATA_NEW: &str = "..data_tmp";

/// Makes the directory hold exactly the payload. Files belong to `group` where one is given, and it may read them.
pub fn write(directory: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    fs::create_dir_all(directory)?;
    let old = fs::read_link(directory.join(DATA)).ok();
    if let Some(old) = &old
        && holds(&directory.join(old), payload, group)?
    {
        return Ok(());
    }
    let now = clock::now().strftime("..%Y_%m_%d_%H_%M_%S.%9f").to_string();
    let fresh = directory.join(&now);
    let filled = fill(&fresh, payload, group);
    filled.inspect_err(|_| drop(fs::remove_dir_all(&fresh)))?;
    let link = directory.join(DATA_NEW);
    let _ = fs::remove_file(&link);
    symlink(&now, &link)?;
    fs::rename(&link, directory.join(DATA))?;
    publish(directory, payload)?;
    sweep(directory, &now)
}

/// Removes the sets that are no longer shown, those of interrupted writes among them.
fn sweep(directory: &Path, shown: &str) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_set = name.to_string_lossy().starts_with("..") && entry.file_type()?.is_dir();
        if is_set && name != shown {
            fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}

fn fill(fresh: &Path, payload: &Payload, group: Option<u32>) -> io::Result<()> {
    directory(fresh, group)?;
    for (path, file) in payload {
        let target = fresh.join(path);
        let mut parent = PathBuf::from(fresh);
        for part in Path::new(path).parent().into_iter().flatten() {
            parent.push(part);
            directory(&parent, group)?;
        }
        fs::write(&target, &file.data)?;
        chown(&target, file.owner, group)?;
        fs::set_permissions(&target, fs::Permissions::from_mode(mode(file, group)))?;
    }
    Ok(())
}

fn directory(path: &Path, group: Option<u32>) -> io::Result<()> {
    match fs::create_dir(path) {
        Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
        other => other?,
    }
    let set_group = if group.is_some() { 0o2000 } else { 0 };
    chown(path, None, group)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755 | set_group))
}

/// The mode with what the group is due.
fn mode(file: &File, group: Option<u32>) -> u32 {
    if group.is_some() {
        // Owner bits are the group's too, without the right to write.
        file.mode | 0o040 | (file.mode & 0o100) >> 3
    } else {
        file.mode
    }
}

/// Whether a set on the disk is the payload.
fn holds(present: &Path, payload: &Payload, group: Option<u32>) -> io::Result<bool> {
    for (path, file) in payload {
        let target = present.join(path);
        let Ok(meta) = fs::metadata(&target) else {
            return Ok(false);
        };
        let same_mode = meta.mode() & 0o7777 == mode(file, group);
        if !same_mode || fs::read(&target)? != file.data {
            return Ok(false);
        }
    }
    let mut found = BTreeSet::new();
    list(present, Path::new(""), &mut found)?;
    Ok(found.len() == payload.len())
}

fn list(root: &Path, below: &Path, found: &mut BTreeSet<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            list(root, &path, found)?;
        } else {
            found.insert(path);
        }
    }
    Ok(())
}

/// The links people see; those of keys that are gone are removed.
fn publish(directory: &Path, payload: &Payload) -> io::Result<()> {
    let tops: BTreeSet<&str> = payload
        .keys()
        .filter_map(|path| path.split('/').next())
        .collect();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("..") {
            continue;
        }
        // A sub path that named nothing was made a directory; it stays until there is something of that name.
        if entry.file_type()?.is_dir() {
            let _ = fs::remove_dir(entry.path());
        } else if !tops.contains(name.as_ref()) {
            fs::remove_file(entry.path())?;
        }
    }
    for top in tops {
        let link = directory.join(top);
        match symlink(Path::new(DATA).join(top), link) {
            Err(failure) if failure.kind() == io::ErrorKind::AlreadyExists => {}
            other => other?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(files: &[(&str, &str)]) -> Payload {
        let file = |text: &str| File {
            data: text.as_bytes().to_vec(),
            mode: 0o640,
            owner: None,
        };
        let files = files.iter();
        files
            .map(|(name, text)| ((*name).to_owned(), file(text)))
            .collect()
    }

    fn visible(directory: &Path) -> Vec<String> {
        let names = fs::read_dir(directory).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.filter(|name| !name.starts_with("..2")).collect();
        names.sort();
        names
    }

    #[test]
    fn changes_are_atomic_and_only_when_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path();
        let data = || fs::read_link(at.join(DATA)).unwrap();
        write(at, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(visible(at), ["..data", "a", "d"]);
        assert_eq!(fs::read_link(at.join("a")).unwrap(), Path::new("..data/a"));
        assert_eq!(fs::read_to_string(at.join("d/b")).unwrap(), "2");
        assert_eq!(fs::metadata(at.join("a")).unwrap().mode() & 0o777, 0o640);
        let first = data();
        write(at, &payload(&[("a", "1"), ("d/b", "2")]), None).unwrap();
        assert_eq!(data(), first, "unchanged");
        write(at, &payload(&[("a", "3"), ("c", "4")]), None).unwrap();
        assert_eq!(visible(at), ["..data", "a", "c"]);
        assert_eq!(fs::read_to_string(at.join("a")).unwrap(), "3");
        assert!(!at.join(first).exists(), "the old set is removed");
        // What an interrupted write and a sub path without a file left does no harm.
        fs::create_dir_all(at.join("..1999/d")).unwrap();
        fs::create_dir(at.join("b")).unwrap();
        write(at, &payload(&[("a", "3"), ("b", "5")]), None).unwrap();
        assert_eq!(visible(at), ["..data", "a", "b"]);
        assert_eq!(fs::read_to_string(at.join("b")).unwrap(), "5");
    }
}
