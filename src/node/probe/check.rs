//! One check of a container: exec, httpGet, tcpSocket, grpc. Texts are upstream's.

use super::{Target, grpc, http};
use crate::{
    api::object::Object,
    runtime::model::{ExecSpec, RuntimeError},
};
use k8s_openapi::{
    api::core::v1::{Container, HTTPGetAction, Probe},
    apimachinery::pkg::util::intstr::IntOrString,
};
use std::time::Duration;
use tokio::{io::AsyncReadExt, net::TcpStream};

/// What is kept of a command's output.
const OUTPUT_MAX: u64 = 10 << 10;

#[derive(Clone, Debug, PartialEq)]
pub enum Checked {
    Success,
    /// A success that people should hear about.
    Warning(String),
    Failure(String),
    /// The check itself did not work; counts as a failure.
    Error(String),
}

impl Checked {
    #[must_use]
    pub fn is_success(&self) -> bool {
        matches!(self, Checked::Success | Checked::Warning(_))
    }
}

pub async fn check(target: &Target, probe: &Probe, timeout: Duration) -> Checked {
    if let Some(exec) = &probe.exec {
        let command = exec.command.clone().unwrap_or_default();
        return match run(target, command, timeout).await {
            Ok((0, _)) => Checked::Success,
            Ok((_, output)) => Checked::Failure(output),
            Err(Broken::TimedOut) => Checked::Failure(format!(
                "command timed out: \"{}\" timed out after {}s",
                exec.command.clone().unwrap_or_default().join(" "),
                timeout.as_secs()
            )),
            Err(Broken::Failed(text)) => Checked::Error(text),
        };
    }
    if let Some(get) = &probe.http_get {
        return match request(target, get) {
            Ok(request) => of_http(http::fetch(&request, timeout).await),
            Err(text) => Checked::Error(text),
        };
    }
    if let Some(socket) = &probe.tcp_socket {
        let host = socket.host.clone().filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| target.address.to_string());
        return match port(&target.container, &socket.port) {
            Ok(port) => tcp(&host, port, timeout).await,
            Err(text) => Checked::Error(text),
        };
    }
    if let Some(action) = &probe.grpc {
        let service = action.service.as_deref().unwrap_or_default();
        let port = u16::try_from(action.port).unwrap_or_default();
        let asked = grpc::health(target.address, port, service);
        return match tokio::time::timeout(timeout, asked).await {
            Ok(Ok(())) => Checked::Success,
            Ok(Err(text)) => Checked::Failure(text),
            Err(_) => Checked::Failure(format!(
                "timeout: failed to connect service \"{}:{port}\" within {}s: context deadline exceeded",
                target.address,
                timeout.as_secs()
            )),
        };
    }
    Checked::Error("missing probe handler".to_owned())
}

fn of_http(result: Result<http::Answer, String>) -> Checked {
    match result {
        Err(text) => Checked::Failure(text),
        Ok(answer) if answer.leads_elsewhere => Checked::Warning(
            "Probe terminated redirects, Response body: ".to_owned() + &answer.body,
        ),
        Ok(answer) if (200..400).contains(&answer.status) => Checked::Success,
        Ok(answer) => Checked::Failure(format!(
            "HTTP probe failed with statuscode: {}",
            answer.status
        )),
    }
}

async fn tcp(host: &str, port: u16, timeout: Duration) -> Checked {
    match tokio::time::timeout(timeout, TcpStream::connect((host, port))).await {
        Ok(Ok(_)) => Checked::Success,
        Ok(Err(failure)) => {
            let why = http::dial_text(&failure);
            Checked::Failure(format!("dial tcp {host}:{port}: {why}"))
        }
        Err(_) => Checked::Failure(format!("dial tcp {host}:{port}: i/o timeout")),
    }
}

/// The request an `httpGet` stands for; the pod's address is its default host.
pub fn request(target: &Target, get: &HTTPGetAction) -> Result<http::Request, String> {
    let headers = get.http_headers.iter().flatten();
    let host = get.host.clone().filter(|host| !host.is_empty());
    let path = get.path.clone().unwrap_or_default();
    Ok(http::Request {
        is_tls: get.scheme.as_deref() == Some("HTTPS"),
        host: host.unwrap_or_else(|| target.address.to_string()),
        port: port(&target.container, &get.port)?,
        path: if path.starts_with('/') {
            path
        } else {
            format!("/{path}")
        },
        headers: headers
            .map(|header| (header.name.clone(), header.value.clone()))
            .collect(),
    })
}

/// A port by number or by the name of a container port.
pub fn port(container: &Container, port: &IntOrString) -> Result<u16, String> {
    let number = match port {
        IntOrString::Int(number) => Some(*number),
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let named = ports.find(|port| port.name.as_ref() == Some(name));
            named
                .map(|port| port.container_port)
                .or_else(|| name.parse().ok())
        }
    };
    let number = number.and_then(|number| u16::try_from(number).ok());
    number
        .filter(|&number| number > 0)
        .ok_or_else(|| match port {
            IntOrString::Int(number) => format!("invalid port number: {number}"),
            IntOrString::String(name) => format!("couldn't find port: \"{name}\" in container"),
        })
}

/// Why a command did not come to an exit code.
pub enum Broken {
    TimedOut,
    Failed(String),
}

/// Runs a command in the container; its exit code and output. It is killed when it takes too long.
pub async fn run(
    target: &Target,
    command: Vec<String>,
    timeout: Duration,
) -> Result<(i32, String), Broken> {
    let spec = ExecSpec {
        command,
        ..ExecSpec::default()
    };
    let failed = |failure: RuntimeError| Broken::Failed(failure.to_string());
    let runtime = &target.host.runtime;
    let mut io = runtime
        .exec(target.pod.uid(), &target.id, spec)
        .await
        .map_err(failed)?;
    let (stdout, stderr) = (io.stdout.take(), io.stderr.take());
    let read = |stream: Option<crate::runtime::model::ReadHalf>| async move {
        let mut text = Vec::new();
        if let Some(mut stream) = stream {
            let _ = (&mut stream).take(OUTPUT_MAX).read_to_end(&mut text).await;
            // What is beyond is read and forgotten, so that the command does not block on a full pipe.
            let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
        }
        text
    };
    let all = async { tokio::join!(read(stdout), read(stderr), &mut io.wait) };
    match tokio::time::timeout(timeout, all).await {
        Ok((out, err, code)) => {
            let output = String::from_utf8_lossy(&[out, err].concat()).into_owned();
            Ok((code.map_err(failed)?, output))
        }
        Err(_) => {
            (io.kill)();
            Err(Broken::TimedOut)
        }
    }
}
