//! `kubik/hello`: an image that needs no registry, made of the running program itself.
//!
//! Its one layer holds the binary as `/kubik-hello`, a hard link where the file systems allow it. The static binary
//! needs nothing else.

use super::{
    index::Image,
    layer::{Layers, short},
    manifest::{digest, hex},
    reference::Reference,
};
use anyhow::{Context, Result};
use nix::{fcntl::AtFlags, unistd::linkat};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::PermissionsExt,
    path::Path,
};

const PATH: &str = "kubik/hello";
const OWN_BINARY: &str = "/proc/self/exe";
pub const PROGRAM: &str = "kubik-hello";

pub fn is_builtin(reference: &Reference) -> bool {
    let is_latest = reference.tag.as_deref() == Some("latest") && reference.digest.is_none();
    reference.domain == "docker.io" && reference.path == PATH && is_latest
}

/// Makes the layer and describes the image. Safe to repeat.
pub fn make(reference: &Reference, layers: &Layers) -> Result<(String, Image)> {
    let mut hash = Sha256::new();
    let mut binary = File::open(OWN_BINARY).context("open the running program")?;
    let size =
        io::copy(&mut binary, &mut HashWriter(&mut hash)).context("read the running program")?;
    let diff_id = format!("sha256:{}", hex(&hash.finalize()));
    if !layers.has(&diff_id) {
        let unfinished = layers
            .temporary
            .join(format!("hello-{}", std::process::id()));
        let _ = fs::remove_dir_all(&unfinished);
        fill(&unfinished)?;
        let target = layers.folder.join(short(&diff_id));
        fs::rename(&unfinished, &target).with_context(|| format!("create {}", target.display()))?;
    }
    let configuration = json!({
        "architecture": std::env::consts::ARCH, "os": "linux",
        "config": {
            "Entrypoint": [format!("/{PROGRAM}")],
            "Env": ["PATH=/"],
            "ExposedPorts": {"8080/tcp": {}},
        },
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    })
    .to_string();
    let image = Image {
        tags: reference.tagged().into_iter().collect(),
        digests: Vec::new(),
        size_bytes: size,
        configuration,
        ..Image::default()
    };
    Ok((digest(image.configuration.as_bytes()), image))
}

fn fill(root: &Path) -> Result<()> {
    for (folder, mode) in [
        ("", 0o755),
        ("etc", 0o755),
        ("tmp", 0o1777),
        ("proc", 0o755),
        ("sys", 0o755),
        ("dev", 0o755),
    ] {
        let path = root.join(folder);
        fs::create_dir_all(&path).with_context(|| format!("create {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/:/\nnobody:x:65534:65534:nobody:/:/\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nnogroup:x:65534:\n")?;
    let program = root.join(PROGRAM);
    let cwd = nix::fcntl::AT_FDCWD;
    // Another file system, a deleted file or a file of somebody else cannot be linked to.
    if linkat(cwd, OWN_BINARY, cwd, &program, AtFlags::AT_SYMLINK_FOLLOW).is_err() {
        let mut copy = File::create(&program).context("create the program")?;
        io::copy(&mut File::open(OWN_BINARY)?, &mut copy).context("copy the program")?;
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    }
    Ok(())
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
