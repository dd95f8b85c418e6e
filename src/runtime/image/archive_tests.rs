//! Archives of each form, and broken ones.

use super::*;
use serde_json::{Value, json};
use std::io::Write;

fn tar(members: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (name, bytes) in members {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_uid(u64::from(nix::unistd::getuid().as_raw()));
        header.set_gid(u64::from(nix::unistd::getgid().as_raw()));
        builder.append_data(&mut header, name, *bytes).unwrap();
    }
    builder.into_inner().unwrap()
}

fn import_bytes(bytes: &[u8]) -> Result<Vec<(String, Image)>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("archive");
    fs::write(&path, bytes).unwrap();
    let layers = Layers {
        folder: folder.path().join("layers"),
        temporary: folder.path().join("tmp"),
    };
    fs::create_dir(&layers.folder).unwrap();
    let images = import(&path, &layers);
    if let Ok(images) = &images {
        for (_, image) in images {
            let configuration = Configuration::parse(image.configuration.as_bytes()).unwrap();
            assert!(
                configuration
                    .rootfs
                    .diff_ids
                    .iter()
                    .all(|id| layers.has(id))
            );
        }
    }
    images
}

fn configuration(layer: &[u8]) -> Vec<u8> {
    json!({"config": {"Cmd": ["a"]}, "rootfs": {"diff_ids": [digest(layer)]}})
        .to_string()
        .into_bytes()
}

fn docker_archive() -> Vec<u8> {
    let layer = tar(&[("file", b"1")]);
    let manifest = json!([{"Config": "c.json", "RepoTags": ["app:1"], "Layers": ["l/layer.tar"]}]);
    tar(&[
        ("c.json", &configuration(&layer)),
        ("l/layer.tar", &layer),
        ("manifest.json", manifest.to_string().as_bytes()),
    ])
}

#[test]
fn docker_archives_are_read_plain_and_zipped() {
    let plain = docker_archive();
    let mut zip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zip.write_all(&plain).unwrap();
    for bytes in [plain, zip.finish().unwrap()] {
        let images = import_bytes(&bytes).unwrap();
        assert_eq!(images[0].1.tags, ["docker.io/library/app:1"]);
    }
}

#[test]
fn oci_layouts_are_followed_through_nested_indexes() {
    let layer = tar(&[("file", b"1")]);
    let config = configuration(&layer);
    let descriptor = |bytes: &[u8]| json!({"digest": digest(bytes), "size": bytes.len()});
    let manifest =
        json!({"schemaVersion": 2, "config": descriptor(&config), "layers": [descriptor(&layer)]})
            .to_string();
    let inner =
        json!({"schemaVersion": 2, "manifests": [descriptor(manifest.as_bytes())]}).to_string();
    let mut entry: Value = descriptor(inner.as_bytes());
    entry["annotations"] = json!({"io.containerd.image.name": "docker.io/library/app:2"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]}).to_string();
    let blob = |bytes: &[u8]| {
        format!(
            "blobs/sha256/{}",
            digest(bytes).trim_start_matches("sha256:")
        )
    };
    let bytes = tar(&[
        ("index.json", index.as_bytes()),
        (&blob(inner.as_bytes()), inner.as_bytes()),
        (&blob(manifest.as_bytes()), manifest.as_bytes()),
        (&blob(&config), &config),
        (&blob(&layer), &layer),
    ]);
    let images = import_bytes(&bytes).unwrap();
    assert_eq!(images[0].0, digest(&config));
    assert_eq!(images[0].1.tags, ["docker.io/library/app:2"]);
}

#[test]
fn what_is_no_image_is_told_so() {
    let cases: [(Vec<u8>, &str); 4] = [
        (b"hello".to_vec(), "read the archive"),
        (tar(&[("a", b"b")]), "not an image archive"),
        (tar(&[("manifest.json", b"[]")]), "contains no image"),
        (
            tar(&[(
                "manifest.json",
                br#"[{"Config":"../../etc/passwd","Layers":[]}]"#,
            )]),
            "is missing",
        ),
    ];
    for (bytes, expected) in cases {
        let error = format!("{:#}", import_bytes(&bytes).unwrap_err());
        assert!(error.contains(expected), "{error}");
    }
}
