//! Logs, exec, port-forward and proxy, with kubectl and by hand.

use crate::{
    kubectl::Kubectl,
    node::FakeNode,
    server::{Nodes, TestServer, get, post},
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use http::Request;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    process::Stdio,
    sync::Arc,
};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{Message, protocol::Role},
};

const PODS: &str = "/api/v1/namespaces/default/pods";

/// A server with one running pod.
fn start() -> TestServer {
    let node: Arc<dyn kubik::api::stream::NodeApi> = Arc::new(FakeNode);
    let server = TestServer::with_nodes(Nodes(HashMap::from([("n".to_owned(), node)])));
    let namespaces = "/api/v1/namespaces";
    server.ask(post(namespaces, "", r#"{"metadata":{"name":"default"}}"#));
    let account = format!("{namespaces}/default/serviceaccounts");
    server.ask(post(&account, "", r#"{"metadata":{"name":"default"}}"#));
    let container = json!({"name": "c", "image": "i", "ports": [{"containerPort": 8080}]});
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"nodeName": "n", "containers": [container]}});
    let created = server.ask(post(PODS, "", &pod.to_string()));
    assert_eq!(created.code, 201, "{}", created.text());
    let mut pod = created.json();
    pod["status"] = json!({"phase": "Running"});
    let put = Request::put(format!("{PODS}/p/status")).header("content-type", "application/json");
    let updated = server.ask(put.body(Full::from(pod.to_string())).unwrap());
    assert_eq!(updated.code, 200, "{}", updated.text());
    server
}

#[test]
fn kubectl_reads_logs() {
    let server = start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    assert_eq!(kubectl.good("logs p", ""), "default/p c follow=false\n");
    assert_eq!(
        kubectl.good("logs -f p -c c", ""),
        "default/p c follow=true\n"
    );
    let wrong = kubectl.run("logs p -c x", "");
    assert_eq!(wrong.err, "error: container x is not valid for pod p\n");
}

#[test]
fn kubectl_runs_commands() {
    let server = start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    for sockets in ["true", "false"] {
        let run = |arguments: &str, input: &str| {
            let mut command = kubectl.command();
            command.env("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", sockets);
            command.args(arguments.split(' ')).stdin(Stdio::piped());
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
            let mut child = command.spawn().unwrap();
            let mut stdin = child.stdin.take().unwrap();
            stdin.write_all(input.as_bytes()).unwrap();
            drop(stdin);
            child.wait_with_output().unwrap()
        };
        let output = run("exec p -- ls -l", "");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "out ls -l\n");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.starts_with("err\n"), "{output:?}");
        assert_eq!(output.status.code(), Some(3), "{sockets}");
        let output = run("exec p -- nope", "");
        assert_eq!(
            String::from_utf8_lossy(&output.stderr),
            "error: Internal error occurred: error executing command in container: no such program\n",
            "{sockets}"
        );
        assert_eq!(output.status.code(), Some(1), "{sockets}");
        let output = run("exec -i p -- cat", "typed\n");
        let out = String::from_utf8_lossy(&output.stdout);
        assert_eq!(out, "typed\n", "{sockets}: {output:?}");
        assert_eq!(output.status.code(), Some(0), "{sockets}");
    }
}

#[test]
fn kubectl_forwards_ports() {
    let server = start();
    let Some(kubectl) = Kubectl::new(&server) else {
        return;
    };
    for sockets in ["true", "false"] {
        let mut command = kubectl.command();
        command.env("KUBECTL_PORT_FORWARD_WEBSOCKETS", sockets);
        command.args(["port-forward", "pod/p", ":8080"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        out.read_line(&mut line).unwrap();
        // Forwarding from 127.0.0.1:40001 -> 8080
        let port = line.split("127.0.0.1:").nth(1);
        let port = port.and_then(|rest| rest.split(' ').next());
        let port: u16 = port.unwrap_or_else(|| panic!("{line}")).parse().unwrap();
        for round in 0..2 {
            let mut stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            let request = format!("GET /{round} HTTP/1.1\r\n\r\n");
            stream.write_all(request.as_bytes()).unwrap();
            let mut text = String::new();
            stream.read_to_string(&mut text).unwrap();
            let line = format!("GET /{round} HTTP/1.1");
            assert!(text.ends_with(&line), "{sockets}: {text}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}

/// Switches to a WebSocket and collects what comes until its end.
fn talk(
    server: &TestServer,
    path: &str,
    protocol: &str,
    say: Vec<Message>,
) -> (String, Vec<Message>) {
    let request = Request::get(path)
        .header("connection", "Upgrade")
        .header("upgrade", "websocket")
        .header("sec-websocket-version", "13")
        .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
        .header("sec-websocket-protocol", protocol)
        .body(Full::<Bytes>::default())
        .unwrap();
    server.run(async {
        let response = server.send(Some(server.pki.admin()), request).await;
        assert_eq!(response.status(), 101);
        let accepted = &response.headers()["sec-websocket-accept"];
        assert_eq!(accepted, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let chosen = response.headers().get("sec-websocket-protocol");
        let chosen = chosen
            .map_or("", |value| value.to_str().unwrap())
            .to_owned();
        let io = TokioIo::new(hyper::upgrade::on(response).await.unwrap());
        let mut socket = WebSocketStream::from_raw_socket(io, Role::Client, None).await;
        for message in say {
            socket.send(message).await.unwrap();
        }
        let mut heard = Vec::new();
        while let Some(Ok(message)) = socket.next().await {
            heard.push(message);
        }
        (chosen, heard)
    })
}

fn channel(heard: &[Message], wanted: u8) -> String {
    let bytes = heard.iter().filter_map(|message| match message {
        Message::Binary(bytes) if bytes.first() == Some(&wanted) => Some(&bytes[1..]),
        _ => None,
    });
    String::from_utf8_lossy(&bytes.collect::<Vec<_>>().concat()).into_owned()
}

fn say(bytes: &'static [u8]) -> Message {
    Message::binary(bytes)
}

#[test]
fn sockets_speak_every_version() {
    let server = start();
    let path = format!("{PODS}/p/exec?command=ls&stdout=1&stderr=1");
    let offered = "v9.x, v5.channel.k8s.io,v4.channel.k8s.io";
    let (chosen, heard) = talk(&server, &path, offered, vec![]);
    assert_eq!(chosen, "v5.channel.k8s.io");
    assert_eq!(channel(&heard, 1), "out ls\n");
    assert_eq!(channel(&heard, 2), "err\n");
    let status: Value = serde_json::from_str(&channel(&heard, 3)).unwrap();
    assert_eq!(status["details"]["causes"][0]["message"], "3");
    assert!(matches!(heard.last(), Some(Message::Close(_))));
    let (_, heard) = talk(&server, &path, "channel.k8s.io", vec![]);
    let told = "command terminated with non-zero exit code: exit status 3";
    assert_eq!(channel(&heard, 3), told);
    let path = format!("{PODS}/p/exec?command=cat&stdin=1&stdout=1");
    let typed = vec![say(b"\0hi"), say(b"\xff\0")];
    let (_, heard) = talk(&server, &path, "v5.channel.k8s.io", typed);
    assert_eq!(channel(&heard, 1), "hi");
    let path = format!("{PODS}/p/exec?command=size&stdin=1&stdout=1&tty=1");
    let sized = vec![say(b"\x04{\"Width\":80,\"Height\":24}")];
    let (_, heard) = talk(&server, &path, "v4.channel.k8s.io", sized);
    assert_eq!(channel(&heard, 1), "Some((80, 24))");
    let (chosen, heard) = talk(&server, &format!("{PODS}/p/log"), "binary.k8s.io", vec![]);
    assert_eq!(chosen, "binary.k8s.io");
    assert_eq!(heard[0], say(b"default/p c follow=false\n"));
}

#[test]
fn sockets_forward_ports_by_channel() {
    let server = start();
    let path = format!("{PODS}/p/portforward?ports=8080,1");
    let typed = vec![say(b"\0GET /x HTTP/1.1\r\n\r\n")];
    let (_, heard) = talk(&server, &path, "v4.channel.k8s.io", typed);
    let number =
        |channel: u8, port: u16| Message::binary([&[channel][..], &port.to_le_bytes()].concat());
    for wanted in [number(0, 8080), number(1, 8080), number(2, 1), number(3, 1)] {
        assert!(heard.contains(&wanted), "{heard:?}");
    }
    assert!(channel(&heard, 0).ends_with("GET /x HTTP/1.1"), "{heard:?}");
    assert!(
        channel(&heard, 3).ends_with("connection refused"),
        "{heard:?}"
    );
}

#[test]
fn refusals_come_before_the_switch() {
    let server = start();
    let cases = [
        ("nothing/log", 404, "pods \"nothing\" not found"),
        (
            "p/exec?command=ls&stdout=1",
            400,
            "Upgrade request required",
        ),
        (
            "p/exec?command=ls",
            400,
            "you must specify at least 1 of stdin, stdout, stderr",
        ),
        (
            "p/exec?container=x&command=ls&stdout=1",
            400,
            "container x is not valid for pod p",
        ),
    ];
    for (path, code, message) in cases {
        let answer = server.ask(get(&format!("{PODS}/{path}")));
        assert_eq!(
            (answer.code, answer.json()["message"].as_str()),
            (code, Some(message))
        );
    }
    let anonymous = server.ask_as(None, get(&format!("{PODS}/p/log")));
    assert_eq!(anonymous.code, 403);
}

#[test]
fn proxies_lead_to_nodes_and_never_back_to_us() {
    let server = start();
    let root = server.ask(get(&format!("{PODS}/p/proxy?a=b")));
    assert_eq!(
        (root.code, root.header("location")),
        (301, format!("{PODS}/p/proxy/?a=b").as_str())
    );
    let refused = |path: &str| {
        let answer = server.ask(get(&format!("{PODS}/{path}")));
        let message = answer.json()["message"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        (answer.code, message)
    };
    let not_allowed = || (400, "address not allowed".to_owned());
    assert_eq!(refused("p/proxy/"), not_allowed(), "no address yet");
    let address = r#"{"status": {"podIP": "127.0.0.1"}}"#;
    let patch = Request::patch(format!("{PODS}/p/status"))
        .header("content-type", "application/merge-patch+json");
    let patched = server.ask(patch.body(Full::from(address)).unwrap());
    assert_eq!(patched.code, 200, "{}", patched.text());
    assert_eq!(refused("p:80/proxy/"), not_allowed());
    assert_eq!(refused("p:x/proxy/").0, 400);
    assert_eq!(
        refused("ftp:p:80/proxy/"),
        (400, "invalid pod request \"ftp:p:80\"".to_owned())
    );
    let stats = server.ask(get("/api/v1/nodes/n/proxy/stats/summary"));
    assert_eq!(stats.json()["node"]["nodeName"], "n");
}

#[test]
fn a_watch_comes_as_messages_too() {
    let server = start();
    let path = format!("{PODS}?watch=1&timeoutSeconds=1");
    let (chosen, heard) = talk(&server, &path, "", vec![]);
    assert_eq!(chosen, "");
    let [Message::Text(text), Message::Close(_)] = &heard[..] else {
        panic!("{heard:?}");
    };
    let event: Value = serde_json::from_str(text).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["metadata"]["name"], "p");
}

#[test]
fn nodes_and_pods_tell_what_they_use() {
    let server = start();
    let metrics = |rest: &str| server.ask(get(&format!("/apis/metrics.k8s.io/v1beta1/{rest}")));
    let nodes = metrics("nodes").json();
    assert_eq!(nodes["kind"], "NodeMetricsList");
    assert_eq!(nodes["items"][0]["metadata"]["name"], "n");
    assert_eq!(nodes["items"][0]["usage"]["cpu"], "1500m");
    let names = |rest: &str| -> Vec<String> {
        let list = metrics(rest).json();
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| item["metadata"]["name"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(names("pods"), ["p", "q"]);
    assert_eq!(
        names("namespaces/default/pods?labelSelector=app%3Dweb"),
        ["p"]
    );
    assert_eq!(names("pods?fieldSelector=metadata.name%3Dq"), ["q"]);
    assert!(names("namespaces/other/pods").is_empty());
    let pod = metrics("namespaces/default/pods/p").json();
    let usage = &pod["containers"][0]["usage"];
    assert_eq!(
        (&pod["window"], &usage["memory"]),
        (&"15s".into(), &"5Mi".into())
    );
    let missing = metrics("namespaces/default/pods/x").json();
    assert_eq!(
        missing["message"],
        "podmetrics.metrics.k8s.io \"default/x\" not found"
    );
    assert_eq!(
        server
            .ask_as(None, get("/apis/metrics.k8s.io/v1beta1/nodes"))
            .code,
        403
    );
}

#[test]
fn webhooks_judge_conversations() {
    let server = start();
    let webhook = json!({
        "name": "judge.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"],
        // Nobody listens there.
        "clientConfig": {"url": "https://127.0.0.1:1/judge"},
        "rules": [{
            "operations": ["CONNECT"], "apiGroups": [""], "apiVersions": ["v1"],
            "resources": ["pods/attach"],
        }],
    });
    let configuration = json!({"metadata": {"name": "judge"}, "webhooks": [webhook]});
    let path = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    let made = server.ask(post(path, "", &configuration.to_string()));
    assert_eq!(made.code, 201, "{}", made.text());
    let attach = server.ask(get(&format!("{PODS}/p/attach?stdout=1")));
    let told = attach.json()["message"].as_str().unwrap().to_owned();
    let expected = "Internal error occurred: failed calling webhook \"judge.example.com\": ";
    assert!(told.starts_with(expected), "{told}");
    let exec = server.ask(get(&format!("{PODS}/p/exec?stdout=1&command=ls")));
    assert_eq!(exec.json()["message"], "Upgrade request required");
}
