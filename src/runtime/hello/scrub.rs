//! `kubik-hello scrub`: empties a directory, for volumes that are to be used again.

use std::{fs, io, path::Path};

/// Removes everything below `root`, hidden files too. Links are removed, never followed.
pub fn run(root: &str) -> Result<(), String> {
    empty(Path::new(root)).map_err(|error| format!("scrub {root}: {error}"))
}

fn empty(root: &Path) -> io::Result<()> {
    for entry in fs::read_dir(root)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_goes_but_what_links_lead_to() {
        let root = tempfile::tempdir().unwrap();
        let (outside, inside) = (root.path().join("outside"), root.path().join("inside"));
        fs::create_dir_all(inside.join("d/e")).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("kept"), "x").unwrap();
        fs::write(inside.join(".hidden"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, inside.join("link")).unwrap();
        run(inside.to_str().unwrap()).unwrap();
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 0);
        assert!(outside.join("kept").exists());
        assert!(run("/nowhere/at/all").is_err());
    }
}
