//! Layers as they are and as an attacker would make them.

use super::*;
use std::{
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt},
};

/// One entry: kind, path, content or link target, mode.
type Row<'a> = (EntryType, &'a str, &'a str, u32);

fn archive(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (kind, path, content, mode) in rows {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(*kind);
        header.set_mode(*mode);
        header.set_mtime(1000);
        header.set_uid(0);
        header.set_gid(0);
        // Written raw: the crate's own setters refuse the paths an attacker would use.
        let name = path.as_bytes();
        header.as_old_mut().name[..name.len()].copy_from_slice(name);
        let body = if *kind == EntryType::Regular {
            content.as_bytes()
        } else {
            b""
        };
        if matches!(kind, EntryType::Symlink | EntryType::Link) {
            header.as_old_mut().linkname[..content.len()].copy_from_slice(content.as_bytes());
        }
        header.set_size(body.len() as u64);
        header.set_cksum();
        builder.append(&header, body).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A root inside a folder whose other content must stay as it is.
fn unpack_rows(rows: &[Row<'_>]) -> (tempfile::TempDir, Result<u64>) {
    let outer = tempfile::tempdir().unwrap();
    fs::write(outer.path().join("precious"), "untouched").unwrap();
    fs::create_dir(outer.path().join("root")).unwrap();
    let outcome = unpack(
        archive(rows).as_slice(),
        &outer.path().join("root"),
        1 << 20,
    );
    assert_eq!(
        fs::read_to_string(outer.path().join("precious")).unwrap(),
        "untouched"
    );
    let mut names: Vec<_> = fs::read_dir(outer.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["precious", "root"]);
    (outer, outcome)
}

fn is_root() -> bool {
    nix::unistd::geteuid().is_root()
}

#[test]
fn files_links_and_modes_arrive() {
    if !is_root() {
        return;
    }
    let (outer, outcome) = unpack_rows(&[
        (EntryType::Directory, "./bin/", "", 0o755),
        (EntryType::Regular, "bin/tool", "#!", 0o4755),
        (EntryType::Link, "bin/same", "bin/tool", 0o755),
        (EntryType::Symlink, "sbin", "/bin", 0o777),
        (EntryType::Regular, "sbin/other", "x", 0o600),
        (EntryType::Regular, "deep/down/file", "y", 0o644),
    ]);
    assert_eq!(outcome.unwrap(), 4);
    let root = outer.path().join("root");
    let meta = fs::metadata(root.join("bin/tool")).unwrap();
    assert_eq!(
        (
            meta.permissions().mode() & 0o7777,
            meta.nlink(),
            meta.mtime()
        ),
        (0o4755, 2, 1000)
    );
    // The absolute link was followed inside the layer.
    assert_eq!(fs::read_to_string(root.join("bin/other")).unwrap(), "x");
    assert!(root.join("deep/down/file").exists());
}

#[test]
fn owners_that_are_left_out_are_root() {
    if !is_root() {
        return;
    }
    let mut header = tar::Header::new_gnu();
    header.set_path("file").unwrap();
    header.set_size(0);
    header.set_mode(0o644);
    header.set_mtime(1);
    header.set_cksum();
    let root = tempfile::tempdir().unwrap();
    unpack(header.as_bytes().as_slice(), root.path(), 1).unwrap();
    assert_eq!(fs::metadata(root.path().join("file")).unwrap().uid(), 0);
}

#[test]
fn whiteouts_take_overlayfs_form() {
    if !is_root() {
        return;
    }
    let (outer, outcome) = unpack_rows(&[
        (EntryType::Directory, "etc", "", 0o755),
        (EntryType::Regular, "etc/.wh.passwd", "", 0),
        (EntryType::Regular, "etc/.wh..wh..opq", "", 0),
        (EntryType::Regular, "etc/.wh..wh.plnk", "", 0),
    ]);
    outcome.unwrap();
    let etc = outer.path().join("root/etc");
    let meta = fs::symlink_metadata(etc.join("passwd")).unwrap();
    assert!(meta.file_type().is_char_device() && meta.rdev() == 0);
    assert_eq!(
        xattr::get(&etc, "trusted.overlay.opaque")
            .unwrap()
            .as_deref(),
        Some(b"y".as_slice())
    );
    assert_eq!(fs::read_dir(&etc).unwrap().count(), 1);
}

#[test]
fn hostile_layers_harm_nothing() {
    if !is_root() {
        return;
    }
    let refused: &[&[Row<'_>]] = &[
        &[(EntryType::Regular, "../precious", "evil", 0o644)],
        &[(EntryType::Regular, "a/../../precious", "evil", 0o644)],
        &[(EntryType::Link, "stolen", "../precious", 0o644)],
        &[(EntryType::Link, "stolen", "/precious", 0o644)],
    ];
    for rows in refused {
        let (_, outcome) = unpack_rows(rows);
        assert!(outcome.is_err(), "{rows:?}");
    }
    // These do not fail; they stay inside.
    let contained: &[&[Row<'_>]] = &[
        &[
            (EntryType::Symlink, "up", "..", 0o777),
            (EntryType::Regular, "up/precious", "evil", 0o644),
        ],
        &[
            (EntryType::Symlink, "up", "../..", 0o777),
            (EntryType::Regular, "up/precious", "evil", 0o644),
        ],
        &[
            (EntryType::Symlink, "f", "../precious", 0o777),
            (EntryType::Regular, "f", "evil", 0o644),
        ],
        &[(EntryType::Regular, "/precious", "evil", 0o644)],
        &[(EntryType::Regular, ".wh...", "", 0)],
        &[(EntryType::Regular, ".wh.", "", 0)],
    ];
    for rows in contained {
        let (_, outcome) = unpack_rows(rows);
        outcome.unwrap_or_else(|error| panic!("{rows:?}: {error:#}"));
    }
}

#[test]
fn a_layer_larger_than_allowed_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let bytes = archive(&[(EntryType::Regular, "big", "12345", 0o644)]);
    let error = unpack(bytes.as_slice(), root.path(), 4).unwrap_err();
    assert!(
        format!("{error:#}").contains("more than 4 bytes"),
        "{error:#}"
    );
}

#[test]
fn random_bytes_never_panic() {
    let mut seed = 7u32;
    for _ in 0..300 {
        let mut bytes = archive(&[
            (EntryType::Regular, "a", "12345", 0o644),
            (EntryType::Symlink, "b", "a", 0o644),
        ]);
        for _ in 0..8 {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let at = (seed >> 8) as usize % bytes.len();
            bytes[at] = (seed & 0xff) as u8;
        }
        let root = tempfile::tempdir().unwrap();
        let _ = unpack(bytes.as_slice(), root.path(), 1 << 20);
    }
}

/// The names in a folder, whiteouts as `-name`, and `*` where what lies below is hidden as a whole.
fn seen(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            let is_whiteout = entry.file_type().unwrap().is_char_device();
            if is_whiteout {
                format!("-{name}")
            } else {
                name
            }
        })
        .collect();
    let opaque = xattr::get(folder, "trusted.overlay.opaque").unwrap();
    names.extend(opaque.map(|_| "*".to_owned()));
    names.sort();
    names
}

#[test]
fn a_whiteout_hides_only_what_lies_below() {
    if !is_root() {
        return;
    }
    let dir = |path| (EntryType::Directory, path, "", 0o755);
    let file = |path| (EntryType::Regular, path, "x", 0o644);
    #[rustfmt::skip]
    let cases = [
        (vec![file(".wh.d"), dir("d/"), file("d/new")], vec!["*", "new"]),
        (vec![dir("d/"), file("d/new"), file(".wh.d")], vec!["*", "new"]),
        (vec![dir("d/"), file("d/new"), file("d/.wh..wh..opq")], vec!["*", "new"]),
        (vec![dir("d/"), file("d/.wh.x"), file("d/x")], vec!["x"]),
        (vec![dir("d/"), file("d/x"), file("d/.wh.x")], vec!["x"]),
        (vec![dir("d/"), file("d/.wh.x"), file("d/.wh.x")], vec!["-x"]),
    ];
    for (rows, expected) in cases {
        let (outer, outcome) = unpack_rows(&rows);
        outcome.unwrap();
        assert_eq!(seen(&outer.path().join("root/d")), expected, "{rows:?}");
    }
}

#[test]
fn numbers_that_are_left_out_are_zero() {
    if !is_root() {
        return;
    }
    for kind in [EntryType::Regular, EntryType::Fifo] {
        let mut header = tar::Header::new_ustar();
        header.set_path("blank").unwrap();
        header.set_entry_type(kind);
        header.set_size(0);
        let old = header.as_old_mut();
        old.mode.fill(0);
        old.uid.fill(0);
        old.gid.fill(0);
        old.mtime.fill(0);
        header.set_cksum();
        let mut stream = header.as_bytes().to_vec();
        stream.resize(2048, 0);
        let root = tempfile::tempdir().unwrap();
        unpack(stream.as_slice(), root.path(), 1 << 20).unwrap();
        let meta = fs::metadata(root.path().join("blank")).unwrap();
        assert_eq!((meta.mode() & 0o7777, meta.mtime()), (0, 0), "{kind:?}");
    }
}
