//! Who may do what, as the notes tell it: people with certificates, pods with tokens, namespaces with limits.

use crate::{
    Story,
    cluster::{Place, project, run, shared, stderr},
    images::{load, load_curl, nginx},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Stdio},
};

pub const STORIES: &[Story] = &[
    (
        "security::jane_gets_a_certificate_and_exactly_her_role",
        jane_gets_a_certificate_and_exactly_her_role,
    ),
    (
        "security::pods_speak_to_the_api_with_their_account",
        pods_speak_to_the_api_with_their_account,
    ),
    (
        "security::a_tls_secret_serves_https_from_a_pod",
        a_tls_secret_serves_https_from_a_pod,
    ),
    (
        "security::explain_says_what_fields_mean",
        explain_says_what_fields_mean,
    ),
];

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// kubectl with the words of a line; must succeed.
pub fn ctl(place: &Place, line: &str) -> String {
    place.kubectl(&line.split_whitespace().collect::<Vec<_>>())
}

/// kubectl with the words of a line; must fail.
pub fn fails(place: &Place, line: &str) -> String {
    place.kubectl_fails(&line.split_whitespace().collect::<Vec<_>>())
}

fn wait_ready(place: &Place, namespace: &str, pod: &str) {
    place.kubectl(&[
        "wait",
        "-n",
        namespace,
        "--for=condition=Ready",
        &format!("pod/{pod}"),
        "--timeout=60s",
    ]);
}

/// Document 003, Authentication and Authorization. Her kubeconfig is a file of its own: the other stories use theirs.
fn jane_gets_a_certificate_and_exactly_her_role() {
    let place = shared();
    certificate_of_jane(&place);
    let config = place.home.path().join("jane.kubeconfig");
    fs::copy(place.kubeconfig(), &config).unwrap();
    let jane = Jane {
        place: &place,
        config: format!("--kubeconfig={}", config.display()),
    };
    jane.joins_the_kubeconfig();
    jane.has_exactly_her_role();
    jane.has_cluster_roles();
    proxy(&place);
}

/// Leaves `jane.key` and `jane.crt` in the place's home.
fn certificate_of_jane(place: &Place) {
    let home = place.home.path();
    run(
        "sh",
        &[
            "-ec",
            &format!(
                "cd {}; openssl genrsa -out jane.key 2048
                openssl req -new -key jane.key -out jane.csr -subj /CN=jane/O=dev/O=qa/O=docs",
                home.display()
            ),
        ],
    );
    let text = BASE64_STANDARD.encode(fs::read(home.join("jane.csr")).unwrap());
    place.apply(&format!(
        "apiVersion: certificates.k8s.io/v1
kind: CertificateSigningRequest
metadata: {{name: jane}}
spec:
  request: {text}
  signerName: kubernetes.io/kube-apiserver-client
  expirationSeconds: 86400
  usages: [client auth]
"
    ));
    let row = ctl(place, "get csr jane --no-headers");
    let words: Vec<&str> = row.split_whitespace().collect();
    assert_eq!(words.last(), Some(&"Pending"), "{row}");
    assert!(words.contains(&"24h"), "{row}");
    let refused = fails(place, "certificate approve jane --as=nobody");
    assert!(refused.contains("forbidden"), "{refused}");
    ctl(place, "certificate approve jane");
    let issued = place.eventually("a certificate for jane", || {
        let text = place.field(&["csr", "jane"], ".status.certificate");
        (!text.is_empty()).then_some(text)
    });
    let row = ctl(place, "get csr jane");
    assert!(row.contains("Approved,Issued"), "{row}");
    let certificate = home.join("jane.crt");
    fs::write(&certificate, BASE64_STANDARD.decode(issued).unwrap()).unwrap();
    let script = "openssl x509 -noout -subject -checkend 80000 -in";
    let said = run(
        "sh",
        &["-ec", &format!("{script} {}", certificate.display())],
    );
    let subject = "CN = jane, O = dev, O = qa, O = docs";
    assert!(said.contains(subject), "{said}");
    ctl(place, "delete csr jane");
}

struct Jane<'a> {
    place: &'a Place,
    config: String,
}

impl Jane<'_> {
    /// With her kubeconfig, as the context of the moment or the one the line names.
    fn ctl(&self, line: &str) -> String {
        ctl(self.place, &format!("{} {line}", self.config))
    }

    fn is_refused(&self, line: &str, why: &str) {
        let refused = fails(self.place, &format!("{} {line}", self.config));
        assert!(refused.contains(why), "{line}: {refused}");
    }

    /// The answer of `auth can-i`, whatever its exit code.
    fn may(&self, line: &str) -> String {
        let line = format!("{} auth can-i {line}", self.config);
        let words: Vec<&str> = line.split_whitespace().collect();
        let output = self.place.kubectl_command(&words).output().unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    fn joins_the_kubeconfig(&self) {
        let home = self.place.home.path().display();
        self.ctl(&format!(
            "config set-credentials jane --client-key={home}/jane.key --client-certificate={home}/jane.crt --embed-certs"
        ));
        let admin = self.ctl("config current-context");
        let admin = admin.trim();
        self.ctl(&format!(
            "config set-context jane --cluster={admin} --user=jane"
        ));
        // A second cluster in the same file, on a port where nobody listens.
        self.ctl("config set-cluster elsewhere --server=https://127.0.0.1:1");
        self.ctl("config set-context elsewhere --cluster=elsewhere --user=jane");
        self.ctl(&format!("config rename-context {admin} admin"));
        let contexts = self.ctl("config get-contexts -o name");
        assert_eq!(contexts, "admin\nelsewhere\njane\n");
        self.is_refused("--context=elsewhere get pods", "127.0.0.1:1");
        let whoami = self.ctl("--context=jane auth whoami");
        let groups = "[dev qa docs system:authenticated]";
        assert!(
            whoami.contains("jane") && whoami.contains(groups),
            "{whoami}"
        );
    }

    fn has_exactly_her_role(&self) {
        self.ctl("config use-context jane");
        self.is_refused(
            "get pods",
            "pods is forbidden: User \"jane\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
        );
        let seeds = project().join("tests/e2e/seeds");
        for manifest in ["role-pod-reader", "rolebinding-read-pods"] {
            let path = seeds.join(manifest);
            self.ctl(&format!("--context=admin apply -f {}.yaml", path.display()));
        }
        self.ctl("get pods");
        self.ctl("get deployments");
        for line in [
            "get secrets",
            "get pods -n kube-system",
            "get nodes",
            "delete pod any",
            "create namespace hers",
        ] {
            self.is_refused(line, "User \"jane\" cannot");
        }
        for (line, expected) in [
            ("list pods", "yes"),
            ("delete pods", "no"),
            ("create deployments.apps", "yes"),
            ("get pods --subresource=log", "no"),
            ("get /version", "yes"),
            ("get /metrics", "no"),
            ("list pods --context=admin --as=jane", "yes"),
            ("list pods --context=admin --as=jane -n kube-system", "no"),
            (
                "list pods --context=admin --as=x --as-group=system:masters",
                "yes",
            ),
        ] {
            assert_eq!(self.may(line), expected, "{line}");
        }
        let list = self.ctl("auth can-i --list");
        assert!(list.contains("deployments.apps"), "{list}");
        self.is_refused(
            "get pods --as=admin",
            "users \"admin\" is forbidden: User \"jane\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope",
        );
        self.ctl("--context=admin delete rolebinding/read-pods-binding role/pod-reader");
        self.is_refused("get pods", "User \"jane\" cannot list resource");
    }

    /// One ClusterRole, bound in a namespace, is a right in that namespace only; bound for the cluster, everywhere.
    fn has_cluster_roles(&self) {
        self.ctl("config use-context admin");
        self.ctl("create namespace janes");
        self.ctl("create rolebinding looks -n janes --clusterrole=view --group=qa");
        self.ctl("--context=jane get services -n janes");
        self.is_refused("--context=jane get services", "cannot list resource");
        self.ctl("create clusterrole node-reader --verb=get,list --resource=nodes");
        self.ctl("create clusterrolebinding janes-nodes --clusterrole=node-reader --user=jane");
        self.ctl("--context=jane get nodes");
        self.ctl("create role binder -n janes --verb=create --resource=rolebindings.rbac.authorization.k8s.io");
        self.ctl("create rolebinding binders -n janes --role=binder --user=jane");
        self.is_refused(
            "--context=jane create rolebinding more -n janes --clusterrole=admin --user=jane",
            "is attempting to grant RBAC permissions not currently held",
        );
        self.ctl("delete clusterrolebinding/janes-nodes clusterrole/node-reader");
        self.ctl("delete namespace janes --wait=false");
    }
}

/// `kubectl proxy` speaks for its owner over plain HTTP, to the hosts it accepts.
fn proxy(place: &Place) {
    let mut command = place.kubectl_command(&[
        "proxy",
        "--port=0",
        "--address=127.0.0.1",
        "--accept-hosts=^notes\\.example$",
    ]);
    let mut proxy = Running(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(proxy.0.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    let address = line.trim().rsplit(' ').next().unwrap().to_owned();
    let url = format!("http://{address}/api/v1/namespaces/default");
    let code = |host: &str| {
        let line = "-s -m 10 -o /dev/null -w %{http_code} -H";
        let words: Vec<&str> = line.split(' ').chain([host, &url]).collect();
        run("curl", &words)
    };
    assert_eq!(code("Host: notes.example"), "200");
    assert_eq!(code("Host: other.example"), "403");
}

const CALLER: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: my-sa, namespace: accounts}
imagePullSecrets: [{name: registry}]
---
apiVersion: v1
kind: Secret
metadata:
  name: my-sa-token
  namespace: accounts
  annotations: {kubernetes.io/service-account.name: my-sa}
type: kubernetes.io/service-account-token
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: pod-reader, namespace: accounts}
rules: [{apiGroups: [''], resources: [pods], verbs: [get, list]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: read-pods, namespace: accounts}
subjects: [{kind: ServiceAccount, name: my-sa, namespace: accounts}]
roleRef: {kind: Role, name: pod-reader, apiGroup: rbac.authorization.k8s.io}
---
apiVersion: v1
kind: Pod
metadata: {name: caller, namespace: accounts}
spec:
  serviceAccountName: my-sa
  terminationGracePeriodSeconds: 0
  containers: [{name: curl, image: 'curl:test'}]
---
apiVersion: v1
kind: Pod
metadata: {name: silent, namespace: accounts}
spec:
  automountServiceAccountToken: false
  terminationGracePeriodSeconds: 0
  containers: [{name: curl, image: 'curl:test'}]
";

/// What a pod's own account may read of the API, asked from inside with the mounted token and certificate.
const ASK: &str = "cd /var/run/secrets/kubernetes.io/serviceaccount; \
    curl -s -m 10 -o /tmp/answer -w '%{http_code}' --cacert ca.crt -H \"Authorization: Bearer $(cat token)\" \
    https://kubernetes.default/api/v1/namespaces/$(cat namespace)/";

fn pods_speak_to_the_api_with_their_account() {
    let place = shared();
    load_curl(&place);
    ctl(&place, "create namespace accounts");
    place.apply(CALLER);
    wait_ready(&place, "accounts", "caller");
    let secrets = place.field(
        &["pod", "caller", "-n", "accounts"],
        ".spec.imagePullSecrets[0].name",
    );
    assert_eq!(secrets, "registry");
    let inside = |script: &str| {
        place.kubectl(&["exec", "-n", "accounts", "caller", "--", "sh", "-c", script])
    };
    assert_eq!(inside(&format!("{ASK}pods")), "200");
    assert!(inside("cat /tmp/answer").contains("PodList"));
    assert_eq!(inside(&format!("{ASK}secrets")), "403");
    let why = inside("cat /tmp/answer");
    assert!(
        why.contains(
            "User \\\"system:serviceaccount:accounts:my-sa\\\" cannot list resource \\\"secrets\\\""
        ),
        "{why}"
    );
    wait_ready(&place, "accounts", "silent");
    let folder = "/var/run/secrets/kubernetes.io/serviceaccount";
    fails(&place, &format!("exec -n accounts silent -- ls {folder}"));
    tokens(&place);
    ctl(&place, "delete namespace accounts --wait=false");
}

/// Tokens outside of pods: asked for, and kept in a Secret. Each ends with what it hangs on.
fn tokens(place: &Place) {
    let path = "jsonpath={.clusters[0].cluster.server}";
    let server = ctl(place, &format!("config view --minify -o {path}"));
    let url = format!("{server}/api/v1/namespaces/accounts/pods");
    let ask = |token: &str| {
        let header = format!("Authorization: Bearer {}", token.trim());
        let line = "-sk -m 10 -o /dev/null -w %{http_code} -H";
        let words: Vec<&str> = line.split(' ').chain([header.as_str(), &url]).collect();
        run("curl", &words)
    };
    let token = ctl(place, "create token my-sa -n accounts --duration=10m");
    assert_eq!(ask(&token), "200");
    assert_eq!(ask("nonsense"), "401");
    let short = fails(place, "create token my-sa -n accounts --duration=10s");
    let why = "may not specify a duration less than 10 minutes";
    assert!(short.contains(why), "{short}");
    let bound = "--bound-object-kind=Pod --bound-object-name=caller";
    let bound = ctl(place, &format!("create token my-sa -n accounts {bound}"));
    assert_eq!(ask(&bound), "200");
    let kept = place.eventually("a token in the Secret", || {
        let text = place.field(&["secret", "my-sa-token", "-n", "accounts"], ".data.token");
        (!text.is_empty()).then_some(text)
    });
    let kept = String::from_utf8(BASE64_STANDARD.decode(kept).unwrap()).unwrap();
    assert_eq!(ask(&kept), "200");
    let told = ctl(place, "describe secret my-sa-token -n accounts");
    let is_full = told.contains("ca.crt:") && told.contains("namespace:  8 bytes");
    assert!(is_full, "{told}");

    ctl(
        place,
        "delete pod caller silent -n accounts --force --grace-period=0",
    );
    place.eventually("the bound token to end", || {
        (ask(&bound) == "401").then_some(())
    });
    assert_eq!(ask(&token), "200");
    ctl(place, "delete serviceaccount my-sa -n accounts");
    place.eventually("the tokens to end", || {
        (ask(&token) == "401" && ask(&kept) == "401").then_some(())
    });
    ctl(
        place,
        "wait --for=delete secret/my-sa-token -n accounts --timeout=30s",
    );
}

const HTTPS: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: https, namespace: secrets}
data:
  nginx.conf: |
    daemon off;
    user www-data;
    error_log stderr;
    pid /run/nginx.pid;
    events { worker_connections 64; }
    http {
      access_log off;
      server {
        listen 443 ssl;
        ssl_certificate /etc/nginx/tls/tls.crt;
        ssl_certificate_key /etc/nginx/tls/tls.key;
        root /usr/share/nginx/html;
      }
    }
---
apiVersion: v1
kind: Pod
metadata: {name: https, namespace: secrets, labels: {app: https}}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - name: nginx
    image: nginx:1.17
    env:
    - name: PASSWORD
      valueFrom: {secretKeyRef: {name: login, key: password}}
    envFrom: [{secretRef: {name: login}, prefix: LOGIN_}]
    readinessProbe: {httpGet: {path: /, port: 443, scheme: HTTPS}, periodSeconds: 1}
    volumeMounts:
    - {name: tls, mountPath: /etc/nginx/tls, readOnly: true}
    - {name: conf, mountPath: /etc/nginx/nginx.conf, subPath: nginx.conf}
  volumes:
  - {name: tls, secret: {secretName: tls-config}}
  - {name: conf, configMap: {name: https}}
---
apiVersion: v1
kind: Service
metadata: {name: https, namespace: secrets}
spec:
  selector: {app: https}
  ports: [{port: 443}]
";

/// Document 002, Secrets.
fn a_tls_secret_serves_https_from_a_pod() {
    let place = shared();
    let home = place.home.path();
    load(&place, &nginx("nginx:1.17"), "nginx-1.17");
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -keyout https.key -out https.cert \
        -subj /CN=shop.example -addext subjectAltName=DNS:shop.example";
    run("sh", &["-ec", &format!("cd {}; {script}", home.display())]);
    ctl(&place, "create namespace secrets");
    let file = |name: &str| home.join(name).display().to_string();
    let (key, certificate) = (file("https.key"), file("https.cert"));
    for words in [
        format!("tls tls-config --key={key} --cert={certificate}"),
        "generic login --from-literal=user=hong --from-literal=password=비밀번호".to_owned(),
        "docker-registry registry --docker-server=r.example --docker-username=u --docker-password=p"
            .to_owned(),
    ] {
        ctl(&place, &format!("create secret -n secrets {words}"));
    }
    refused_secrets(&place);
    place.apply(HTTPS);
    wait_ready(&place, "secrets", "https");
    let ip = place.field(&["service", "https", "-n", "secrets"], ".spec.clusterIP");
    let words = format!(
        "-sS -m 10 --cacert {certificate} --resolve shop.example:443:{ip} https://shop.example/"
    );
    let page = run("curl", &words.split(' ').collect::<Vec<_>>());
    assert_eq!(page, "served by nginx:1.17\n");
    let script = "echo $PASSWORD $LOGIN_user";
    let seen = place.kubectl(&["exec", "-n", "secrets", "https", "--", "sh", "-c", script]);
    assert_eq!(seen, "비밀번호 hong\n");
    immutable_secrets(&place);
    ctl(&place, "delete namespace secrets --wait=false");
}

fn refused_secrets(place: &Place) {
    for (manifest, expected) in [
        (
            "type: kubernetes.io/tls\ndata: {tls.crt: ''}",
            "data[tls.key]: Required value",
        ),
        (
            "type: kubernetes.io/basic-auth",
            "data[username]: Required value",
        ),
        (
            "type: kubernetes.io/ssh-auth",
            "data[ssh-privatekey]: Required value",
        ),
        (
            "type: kubernetes.io/dockerconfigjson\nstringData: {.dockerconfigjson: nonsense}",
            "data[.dockerconfigjson]: Invalid value: \"<secret contents redacted>\"",
        ),
        (
            "type: kubernetes.io/service-account-token",
            "metadata.annotations[kubernetes.io/service-account.name]: Required value",
        ),
    ] {
        let path = place.home.path().join("wrong.yaml");
        let head = "apiVersion: v1\nkind: Secret\nmetadata: {name: wrong, namespace: secrets}";
        fs::write(&path, format!("{head}\n{manifest}\n")).unwrap();
        let refused = fails(place, &format!("create -f {}", path.display()));
        assert!(refused.contains(expected), "{manifest}: {refused}");
    }
}

/// What is immutable stays as it is, the mark included; a type never changes.
fn immutable_secrets(place: &Place) {
    let patch = |what: &str, patch: &str| {
        let words = ["patch", "-n", "secrets", what, "-p", patch];
        stderr(&place.kubectl_command(&words).output().unwrap())
    };
    assert_eq!(patch("secret/login", "{\"immutable\": true}"), "");
    let why = "field is immutable when `immutable` is set";
    for change in [
        "{\"stringData\": {\"user\": \"kim\"}}",
        "{\"immutable\": false}",
    ] {
        let refused = patch("secret/login", change);
        assert!(refused.contains(why), "{refused}");
    }
    let refused = patch("secret/registry", "{\"type\": \"Opaque\"}");
    assert!(refused.contains("field is immutable"), "{refused}");
}

fn explain_says_what_fields_mean() {
    let place = shared();
    let told = ctl(
        &place,
        "explain deployment.spec.strategy.rollingUpdate.maxSurge",
    );
    let text = "The maximum number of pods that can be scheduled above the desired number of pods.";
    let flat = told.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(flat.contains(text), "{told}");
    let told = ctl(&place, "explain pod --recursive");
    assert!(told.contains("Pod is a collection of containers"), "{told}");
    let told = ctl(&place, "explain secret.immutable");
    assert!(told.contains("FIELD: immutable <boolean>"), "{told}");
}
