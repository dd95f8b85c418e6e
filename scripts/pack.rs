//! The build script: packs the dashboard's files into one table of compressed bytes, and lets the linker fold.
//!
//! Every file of `assets/dashboard` becomes a row: path, media type, entity tag, gzip.

#![allow(clippy::print_stdout, reason = "it is how cargo is told")]

use flate2::{Compression, Crc, write::GzEncoder};
use std::{
    env, fs, io,
    io::Write as _,
    path::{Path, PathBuf},
};

const FOLDER: &str = "assets/dashboard";

fn main() -> io::Result<()> {
    println!("cargo:rerun-if-changed=scripts/pack.rs");
    println!("cargo:rerun-if-changed={FOLDER}");
    fold();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo names the folder"));
    let mut files = Vec::new();
    gather(Path::new(FOLDER), &mut files)?;
    files.sort();
    let mut table = String::from("&[\n");
    for (index, file) in files.iter().enumerate() {
        println!("cargo:rerun-if-changed={}", file.display());
        let content = fs::read(file)?;
        let packed = out.join(format!("asset-{index}.gz"));
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&content)?;
        fs::write(&packed, encoder.finish()?)?;
        let mut sum = Crc::new();
        sum.update(&content);
        let path = file.strip_prefix(FOLDER).expect("a file of the folder");
        table.push_str(&format!(
            "    Asset {{ path: \"/{}\", media: \"{}\", tag: \"\\\"{:08x}-{:x}\\\"\", gzip: include_bytes!(\"{}\") }},\n",
            path.display(),
            media(path),
            sum.sum(),
            content.len(),
            packed.display(),
        ));
    }
    table.push_str("]\n");
    fs::write(out.join("dashboard.rs"), table)
}

/// Functions that came out the same are linked once: generic code for forty kinds has many of them. Only where Rust links
/// by lld, and only in the release binary: in a backtrace a folded function has the name of another.
fn fold() {
    let is = |name: &str, wanted: &str| env::var(name).is_ok_and(|value| value == wanted);
    if is("PROFILE", "release") && is("TARGET", "x86_64-unknown-linux-gnu") {
        println!("cargo:rustc-link-arg-bins=-Wl,--icf=all");
    }
}

fn gather(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            gather(&path, files)?;
        } else if !media(&path).is_empty() {
            files.push(path);
        }
    }
    Ok(())
}

/// Empty: not served.
fn media(path: &Path) -> &'static str {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "",
    }
}
