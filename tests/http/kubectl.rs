//! Stock kubectl. Without one on the PATH these tests say so and pass.

use crate::server::TestServer;
use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

pub struct Kubectl<'a> {
    server: &'a TestServer,
}

pub struct Output {
    pub is_good: bool,
    pub out: String,
    pub err: String,
}

/// The one that `make test` fetched, otherwise the machine's.
fn program() -> PathBuf {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/tools/kubectl");
    if fetched.exists() {
        fetched
    } else {
        "kubectl".into()
    }
}

impl Kubectl<'_> {
    pub fn new(server: &TestServer) -> Option<Kubectl<'_>> {
        let pki = &server.pki;
        let write = |name: &str, text: &str| {
            let path = server.directory.path().join(name);
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let ca = write("ca.crt", pki.ca_pem());
        let certificate = write("admin.crt", &pki.admin().certificate);
        let key = write("admin.key", &pki.admin().key);
        let address = server.address;
        write(
            "kubeconfig",
            &format!(
                "{{apiVersion: v1, kind: Config, current-context: t, contexts: [{{name: t, context: {{cluster: t, user: t}}}}], \
                 clusters: [{{name: t, cluster: {{server: 'https://{address}', certificate-authority: '{ca}'}}}}], \
                 users: [{{name: t, user: {{client-certificate: '{certificate}', client-key: '{key}'}}}}]}}"
            ),
        );
        let kubectl = Kubectl { server };
        kubectl.is_there().then_some(kubectl)
    }

    #[expect(clippy::disallowed_methods, reason = "a test of a foreign program")]
    pub fn command(&self) -> Command {
        let home = self.server.directory.path();
        let mut command = Command::new(program());
        command
            .env("KUBECONFIG", home.join("kubeconfig"))
            .env("HOME", home);
        command
    }

    #[expect(clippy::print_stdout, reason = "says why nothing was tested")]
    fn is_there(&self) -> bool {
        let found = self.command().args(["version", "--client"]).output();
        let is_there = found.is_ok_and(|output| output.status.success());
        if !is_there {
            println!("skipped: no kubectl");
        }
        is_there
    }

    pub fn run(&self, arguments: &str, input: &str) -> Output {
        let mut child = self
            .command()
            .args(arguments.split_whitespace())
            .arg("--request-timeout=30s")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child
            .stdin
            .take()
            .unwrap()
            .write_all(input.as_bytes())
            .unwrap();
        let output = child.wait_with_output().unwrap();
        Output {
            is_good: output.status.success(),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    pub fn good(&self, arguments: &str, input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(
            output.is_good,
            "kubectl {arguments}: {}{}",
            output.out, output.err
        );
        output.out
    }
}

#[test]
fn resources_are_found() {
    let server = TestServer::start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    let listed = kubectl.good("api-resources --no-headers", "");
    for line in [
        "deployments",
        "customresourcedefinitions",
        "horizontalpodautoscalers",
    ] {
        assert!(
            listed.lines().any(|listed| listed.starts_with(line)),
            "{listed}"
        );
    }
    assert!(
        kubectl
            .good("api-versions", "")
            .contains("rbac.authorization.k8s.io/v1")
    );
    assert!(
        kubectl
            .good("version", "")
            .contains("Server Version: v1.36.2+kubik")
    );
}

#[test]
fn manifests_are_applied_and_explained() {
    let server = TestServer::start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    let manifest = |image: &str, more: &str| {
        format!(
            "apiVersion: apps/v1\nkind: Deployment\nmetadata: {{name: d, namespace: default}}\nspec:\n  selector: {{matchLabels: {{a: b}}}}\n  \
             template:\n    metadata: {{labels: {{a: b}}}}\n    spec:\n      containers:\n      - {{name: c, image: {image}}}\n{more}"
        )
    };
    let sidecar = "      - {name: s, image: x, ports: [{containerPort: 80}]}\n";
    let created = kubectl.good("apply -f -", &manifest("one", sidecar));
    assert_eq!(created, "deployment.apps/d created\n");
    // The second apply is a strategic merge patch made from the server's OpenAPI document: the sidecar goes.
    let changed = kubectl.good("apply -f -", &manifest("two", ""));
    assert_eq!(changed, "deployment.apps/d configured\n");
    let images = "get deploy d -o jsonpath={.spec.template.spec.containers[*].image}";
    assert_eq!(kubectl.good(images, ""), "two");
    let same = kubectl.good("apply -f -", &manifest("two", ""));
    assert_eq!(same, "deployment.apps/d unchanged\n");
    let unknown = kubectl.run("apply -f -", &manifest("three", "  nonsense: 1\n"));
    assert!(
        unknown.err.contains("unknown field \"spec.nonsense\""),
        "{}{}",
        unknown.out,
        unknown.err
    );
    let explained = kubectl.good("explain deployment.spec.template.spec.containers.ports", "");
    assert!(
        explained.contains("containerPort\t<integer> -required-"),
        "{explained}"
    );
}

#[test]
fn bodies_may_be_protobuf() {
    let server = TestServer::start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    for (arguments, expected) in [
        (
            "create configmap c --from-literal=k=v",
            "configmap/c created\n",
        ),
        (
            "create deployment d --image=x --port=80",
            "deployment.apps/d created\n",
        ),
        (
            "create service clusterip s --tcp=80:http",
            "service/s created\n",
        ),
        (
            "create secret generic g --from-literal=k=v",
            "secret/g created\n",
        ),
        (
            "create role r --verb=get --resource=pods",
            "role.rbac.authorization.k8s.io/r created\n",
        ),
        ("create quota q --hard=cpu=1", "resourcequota/q created\n"),
        ("create job j --image=x", "job.batch/j created\n"),
        (
            "autoscale deployment d --max=3 --cpu-percent=50",
            "horizontalpodautoscaler.autoscaling/d autoscaled\n",
        ),
        ("auth can-i get pods", "yes\n"),
        ("get svc s -o jsonpath={.spec.ports[0].targetPort}", "http"),
        ("get secret g -o jsonpath={.data.k}", "dg=="),
        (
            "get hpa d -o jsonpath={.spec.metrics[0].resource.target.averageUtilization}",
            "50",
        ),
    ] {
        assert_eq!(kubectl.good(arguments, ""), expected, "{arguments}");
    }
}

#[test]
fn objects_live_and_die() {
    let server = TestServer::start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    let manifest =
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: c, namespace: default}\ndata: {k: v}\n";
    let created = kubectl.good("create --validate=ignore -f -", manifest);
    assert_eq!(created, "configmap/c created\n");
    assert!(kubectl.good("get cm c -o yaml", "").contains("k: v"));
    assert_eq!(kubectl.good("get cm c -o jsonpath={.data.k}", ""), "v");
    let listed = kubectl.good("get cm", "");
    assert!(listed.starts_with("NAME"), "{listed}");
    assert_eq!(kubectl.good("label cm c a=b", ""), "configmap/c labeled\n");
    assert!(
        kubectl
            .good("get cm -l a=b -o name", "")
            .contains("configmap/c")
    );
    assert_eq!(
        kubectl.good("create cm p --from-literal=a=b", ""),
        "configmap/p created\n"
    );
    assert!(kubectl.good("describe cm p", "").contains("a:"));
    let missing = kubectl.run("get cm nothing", "");
    assert_eq!(
        missing.err,
        "Error from server (NotFound): configmaps \"nothing\" not found\n"
    );
    // Newer kubectl adds the namespace.
    let deleted = kubectl.good("delete cm c", "");
    assert!(deleted.starts_with("configmap \"c\" deleted"), "{deleted}");
}
