//! `hostPath.type`: what must be there, and what is made if it is not.

use super::source::LOCAL;
use std::{
    fs, io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
};

pub(super) fn check(path: &Path, kind: &str) -> io::Result<()> {
    let meta = fs::metadata(path).ok();
    let is = |test: fn(&fs::Metadata) -> bool| meta.as_ref().is_some_and(test);
    let (is_right, name) = match kind {
        "" | "DirectoryOrCreate" if meta.is_none() => return directory(path),
        "" => return Ok(()),
        "FileOrCreate" if meta.is_none() => return file(path),
        LOCAL if meta.is_none() => {
            let message = format!("path \"{}\" does not exist", path.display());
            return Err(io::Error::other(message));
        }
        LOCAL => return Ok(()),
        "Directory" | "DirectoryOrCreate" => (is(fs::Metadata::is_dir), "directory"),
        "File" | "FileOrCreate" => (is(fs::Metadata::is_file), "file"),
        "Socket" => (is(|meta| meta.file_type().is_socket()), "socket file"),
        "CharDevice" => (
            is(|meta| meta.file_type().is_char_device()),
            "character device",
        ),
        "BlockDevice" => (
            is(|meta| meta.file_type().is_block_device()),
            "block device",
        ),
        other => {
            let message = format!("{other} is an invalid volume type");
            return Err(io::Error::other(message));
        }
    };
    if is_right {
        return Ok(());
    }
    let path = path.display();
    let message = format!("hostPath type check failed: {path} is not a {name}");
    Err(io::Error::other(message))
}

fn directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o755))
}

fn file(path: &Path) -> io::Result<()> {
    fs::write(path, "")?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o644))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_checked_and_made() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let text =
            |path: &Path, kind: &str| check(path, kind).err().map(|failure| failure.to_string());
        let root = dir.path();
        let wrong = |path: &Path, what: &str| {
            Some(format!(
                "hostPath type check failed: {} is not a {what}",
                path.display()
            ))
        };
        #[rustfmt::skip]
        let cases = [
            (root.to_owned(), "Directory", None),
            (file.clone(), "File", None),
            (file.clone(), "", None),
            (file.clone(), "Directory", wrong(&file, "directory")),
            (root.to_owned(), "File", wrong(root, "file")),
            (root.join("no"), "File", wrong(&root.join("no"), "file")),
            (file.clone(), "Socket", wrong(&file, "socket file")),
            ("/dev/null".into(), "CharDevice", None),
            (file.clone(), "BlockDevice", wrong(&file, "block device")),
            (root.join("a/b"), "DirectoryOrCreate", None),
            (root.join("new"), "FileOrCreate", None),
            (file.clone(), "DirectoryOrCreate", wrong(&file, "directory")),
        ];
        for (path, kind, expected) in cases {
            assert_eq!(text(&path, kind), expected, "{} {kind}", path.display());
        }
        assert!(root.join("a/b").is_dir() && root.join("new").is_file());
    }
}
