//! Real registries: Debian's docker-registry on a free port of loopback. They end with their values.

use super::{
    cluster::{Place, run},
    images::Image,
};
use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

/// Who may use the private registry.
pub const USER: &str = "jane";
pub const PASSWORD: &str = "secret";

pub struct Registry {
    child: Child,
    address: &'static str,
    port: u16,
    folder: PathBuf,
    is_private: bool,
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// With TLS by an authority of its own and a password.
pub fn start_registry(place: &Place) -> Registry {
    start_registry_at(place, "127.0.0.1")
}

/// [`start_registry`] on an address of this network namespace: unlike loopback, it has to prove who it is.
pub fn start_registry_at(place: &Place, address: &'static str) -> Registry {
    let folder = place.home.path().join("registry");
    fs::create_dir_all(&folder).unwrap();
    let path = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (key, certificate) = (path("key.pem"), path("cert.pem"));
    let mut words = vec!["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"];
    words.extend([
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-subj",
        "/CN=registry",
    ]);
    let names = format!("subjectAltName=IP:{address},DNS:localhost");
    words.extend(["-addext", &names]);
    words.extend(["-keyout", &key, "-out", &certificate]);
    run("openssl", &words);
    fs::write(
        folder.join("htpasswd"),
        run("htpasswd", &["-nbB", USER, PASSWORD]),
    )
    .unwrap();
    let tls = format!(", tls: {{certificate: {certificate}, key: {key}}}");
    let auth = format!(
        "auth: {{htpasswd: {{realm: test, path: {0}/htpasswd}}}}\n",
        folder.display()
    );
    Registry::serve(place, folder, address, &tls, &auth)
}

/// Plain HTTP, open to everybody: a mirror of another registry, when given to `--registry-mirror`.
pub fn start_mirror(place: &Place) -> Registry {
    let folder = place.home.path().join("mirror");
    fs::create_dir_all(&folder).unwrap();
    Registry::serve(place, folder, "127.0.0.1", "", "")
}

impl Registry {
    fn serve(
        place: &Place,
        folder: PathBuf,
        address: &'static str,
        tls: &str,
        auth: &str,
    ) -> Registry {
        let port = free_port();
        let is_private = !tls.is_empty();
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{delete: {{enabled: true}}, filesystem: {{rootdirectory: {}/data}}}}\n\
             http: {{addr: '{address}:{port}'{tls}}}\n{auth}",
            folder.display()
        );
        fs::write(folder.join("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(folder.join("config.yml"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let registry = Registry {
            child,
            address,
            port,
            folder,
            is_private,
        };
        let (url, wanted) = (
            format!("{}/v2/", registry.url()),
            if is_private { "401" } else { "200" },
        );
        place.eventually("the registry", || {
            let output = Command::new("curl")
                .args(["-sk", "-o", "/dev/null", "-w", "%{http_code}", &url])
                .output()
                .unwrap();
            (output.stdout == wanted.as_bytes()).then_some(())
        });
        registry
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("{}:{}", self.address, self.port)
    }

    /// The certificate that vouches for a private one.
    pub fn authority(&self) -> PathBuf {
        self.folder.join("cert.pem")
    }

    pub fn url(&self) -> String {
        let scheme = if self.is_private { "https" } else { "http" };
        format!("{scheme}://{}", self.host())
    }

    /// Pushes with skopeo, as people elsewhere would; answers the reference to pull by.
    pub fn push(&self, image: &Image, name: &str) -> String {
        let archive = self.folder.join("push.tar");
        image.save(&archive);
        let source = format!("docker-archive:{}", archive.display());
        let reference = format!("{}/{name}", self.host());
        let target = format!("docker://{reference}");
        let credentials = format!("{USER}:{PASSWORD}");
        let mut words = vec!["copy", "--quiet", "--dest-tls-verify=false"];
        if self.is_private {
            words.extend(["--dest-creds", &credentials]);
        }
        words.extend([source.as_str(), target.as_str()]);
        run("skopeo", &words);
        reference
    }
}

/// A port that nobody listens on. The stories run in a network namespace of their own, one after the other.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}
