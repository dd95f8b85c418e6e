//! Images made of programs from Debian packages, as docker-archive files, and the ones that several stories use.
//!
//! `load_*` bring an image into a cluster once, however often they are called.

use super::cluster::Place;
use serde_json::json;
use sha2::{Digest, Sha256};
use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// An image under construction.
pub struct Image {
    tag: String,
    files: BTreeSet<PathBuf>,
    texts: Vec<(String, String)>,
    folders: Vec<String>,
    links: Vec<(String, String)>,
    entrypoint: Vec<String>,
    cmd: Vec<String>,
}

impl Image {
    /// Starts with busybox and its applets in `/bin`.
    pub fn new(tag: &str) -> Image {
        let mut image = Image {
            tag: tag.to_owned(),
            files: BTreeSet::new(),
            texts: Vec::new(),
            folders: [
                "tmp", "var/run", "var/log", "etc", "root", "proc", "sys", "dev",
            ]
            .map(str::to_owned)
            .to_vec(),
            links: Vec::new(),
            entrypoint: Vec::new(),
            cmd: Vec::new(),
        };
        let list = Command::new("busybox").arg("--list").output().unwrap();
        for applet in String::from_utf8(list.stdout)
            .unwrap()
            .lines()
            .filter(|name| *name != "busybox")
        {
            image
                .links
                .push((format!("bin/{applet}"), "busybox".to_owned()));
        }
        let busybox = fs::canonicalize("/bin/busybox")
            .or_else(|_| fs::canonicalize("/usr/bin/busybox"))
            .unwrap();
        image.texts.push(("etc/passwd".into(), "root:x:0:0:root:/root:/bin/sh\nwww-data:x:33:33::/var/www:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n".into()));
        image.texts.push((
            "etc/group".into(),
            "root:x:0:\nwww-data:x:33:\nnogroup:x:65534:\n".into(),
        ));
        image.files.insert(busybox);
        image
    }

    /// A program of this machine with the libraries it loads.
    pub fn program(mut self, name: &str) -> Image {
        let path = fs::canonicalize(name).unwrap();
        if path != Path::new(name) {
            let link = name.trim_start_matches('/').to_owned();
            self.links.push((link, path.display().to_string()));
        }
        let list = Command::new("ldd").arg(&path).output().unwrap();
        for word in String::from_utf8(list.stdout).unwrap().split_whitespace() {
            if word.starts_with('/') {
                self.files.insert(PathBuf::from(word));
            }
        }
        self.files.insert(path);
        self
    }

    /// A folder of this machine with all it holds. Links in it are followed.
    pub fn tree(mut self, path: &str) -> Image {
        let mut folders = vec![PathBuf::from(path)];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else if path.exists() {
                    self.files.insert(path);
                }
            }
        }
        self
    }

    pub fn text(mut self, path: &str, text: &str) -> Image {
        self.texts
            .push((path.trim_start_matches('/').to_owned(), text.to_owned()));
        self
    }

    pub fn folder(mut self, path: &str) -> Image {
        self.folders.push(path.trim_start_matches('/').to_owned());
        self
    }

    pub fn entrypoint(mut self, words: &[&str]) -> Image {
        self.entrypoint = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    pub fn cmd(mut self, words: &[&str]) -> Image {
        self.cmd = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    fn layer(&self) -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut made = BTreeSet::new();
        let mut folder = |tar: &mut tar::Builder<Vec<u8>>, path: &Path, mode: u32| {
            for parent in path.ancestors().collect::<Vec<_>>().into_iter().rev() {
                if !parent.as_os_str().is_empty() && made.insert(parent.to_owned()) {
                    let mut header = header(
                        tar::EntryType::Directory,
                        0,
                        if parent == path { mode } else { 0o755 },
                    );
                    tar.append_data(
                        &mut header,
                        format!("{}/", parent.display()),
                        std::io::empty(),
                    )
                    .unwrap();
                }
            }
        };
        for name in &self.folders {
            folder(
                &mut tar,
                Path::new(name),
                if name == "tmp" { 0o1777 } else { 0o755 },
            );
        }
        for source in &self.files {
            let bytes = fs::read(source).unwrap();
            let is_busybox = source.ends_with("busybox");
            let target = if is_busybox {
                Path::new("bin/busybox")
            } else {
                source.strip_prefix("/").unwrap()
            };
            folder(&mut tar, target.parent().unwrap(), 0o755);
            let mut header = header(tar::EntryType::Regular, bytes.len() as u64, 0o755);
            tar.append_data(&mut header, target, bytes.as_slice())
                .unwrap();
        }
        for (target, text) in &self.texts {
            folder(&mut tar, Path::new(target).parent().unwrap(), 0o755);
            let mut header = header(tar::EntryType::Regular, text.len() as u64, 0o644);
            tar.append_data(&mut header, target, text.as_bytes())
                .unwrap();
        }
        for (target, to) in &self.links {
            let mut header = header(tar::EntryType::Symlink, 0, 0o777);
            tar.append_link(&mut header, target, to).unwrap();
        }
        tar.into_inner().unwrap()
    }

    /// Writes what `docker save` would.
    pub fn save(&self, path: &Path) {
        let layer = self.layer();
        let config = json!({
            "architecture": "amd64", "os": "linux",
            "config": {
                "Entrypoint": self.entrypoint, "Cmd": self.cmd,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
            "history": [{ "created_by": "kubik tests" }],
        });
        let config = config.to_string().into_bytes();
        let config_name = format!("{}.json", digest(&config).trim_start_matches("sha256:"));
        let manifest = json!([{ "Config": config_name, "RepoTags": [self.tag], "Layers": ["layer/layer.tar"] }]);
        let mut tar = tar::Builder::new(fs::File::create(path).unwrap());
        for (name, bytes) in [
            (config_name.as_str(), config.as_slice()),
            ("layer/layer.tar", &layer),
            ("manifest.json", manifest.to_string().as_bytes()),
        ] {
            let mut header = header(tar::EntryType::Regular, bytes.len() as u64, 0o644);
            tar.append_data(&mut header, name, bytes).unwrap();
        }
        tar.finish().unwrap();
    }
}

/// Brings an image into the cluster; `name` is that of its archive and stands for the image.
pub fn load(place: &Place, image: &Image, name: &str) {
    let path = place.home.path().join(format!("{name}.tar"));
    if !path.exists() {
        image.save(&path);
        place.must(&["image", "load", path.to_str().unwrap()]);
    }
}

/// A shell and its applets.
pub fn busybox(tag: &str) -> Image {
    Image::new(tag).cmd(&["sh"])
}

/// As `busybox:1.36`.
pub fn load_busybox(place: &Place) {
    load(place, &busybox("busybox:1.36"), "busybox");
}

/// curl with what it needs to resolve names.
pub fn curl(tag: &str) -> Image {
    Image::new(tag)
        .program("/usr/bin/curl")
        .text("/etc/nsswitch.conf", "hosts: files dns\n")
        .cmd(&["sleep", "100000"])
}

/// As `curl:test`.
pub fn load_curl(place: &Place) {
    load(place, &curl("curl:test"), "curl");
}

const NGINX_CONF: &str = "
daemon off;
user www-data;
error_log stderr;
pid /run/nginx.pid;
events { worker_connections 64; }
http {
  access_log /dev/stdout;
  include /etc/nginx/conf.d/*.conf;
  server {
    listen 80;
    listen 8080;
    root /usr/share/nginx/html;
  }
}
";

/// nginx as people know it: it serves `/usr/share/nginx/html` on ports 80 and 8080.
pub fn nginx(tag: &str) -> Image {
    Image::new(tag)
        .program("/usr/sbin/nginx")
        .program("/bin/bash")
        .program("/usr/bin/printenv")
        .text("/etc/nginx/nginx.conf", NGINX_CONF)
        .text(
            "/usr/share/nginx/html/index.html",
            &format!("served by {tag}\n"),
        )
        .folder("/var/lib/nginx/body")
        .folder("/var/log/nginx")
        .folder("/run")
        .entrypoint(&["/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf"])
}

fn header(kind: tar::EntryType, size: u64, mode: u32) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(1);
    header
}

fn digest(bytes: &[u8]) -> String {
    let hash = Sha256::digest(bytes);
    let hex: String = hash.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}
