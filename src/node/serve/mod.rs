//! What the API server asks of a node: logs, exec, attach, port-forward, what it uses, its own pages.
//!
//! Nothing here changes a pod. Errors are what the client shall see.

pub mod cri;
mod logs;
mod metrics;
mod page;
mod reading;
mod session;
mod stats;
mod traffic;

use super::{Agent, host::Host, spec};
use crate::{
    api::{
        ApiError,
        name::Key,
        object::Object,
        stream::{Duplex, LogOptions, NodeApi, Page, Session, SessionOptions},
        usage::NodeUsage,
    },
    net::inside,
    runtime::model::{ContainerInfo, ContainerState, ExecSpec, RuntimeError, SandboxInfo},
    task::Tasks,
};
use bytes::Bytes;
use futures_util::{FutureExt, future::BoxFuture};
use k8s_openapi::api::core::v1::Pod;
use std::sync::Arc;
use tokio::{net::TcpStream, sync::mpsc};

pub use reading::Samples;

impl NodeApi for Agent {
    fn logs(
        &self,
        pod: Key,
        container: String,
        options: LogOptions,
    ) -> BoxFuture<'_, Result<mpsc::Receiver<Bytes>, ApiError>> {
        async move {
            let pod = found(self.host(), &pod)?;
            logs::logs(self.host(), &pod, &container, options).await
        }
        .boxed()
    }

    fn exec(
        &self,
        pod: Key,
        container: String,
        options: SessionOptions,
    ) -> BoxFuture<'_, Result<Session, ApiError>> {
        async move {
            let host = self.host();
            let pod = found(host, &pod)?;
            let running = running(host, &pod, &container).await?;
            if host.pauses.is_paused(&pod.key().namespace) {
                let text = "the pod is paused: let it go on with kubik unpause";
                return Err(ApiError::internal(text));
            }
            let spec = ExecSpec {
                command: options.command.clone(),
                env: Vec::new(),
                tty: options.tty,
                stdin: options.stdin,
            };
            let io = host.runtime.exec(pod.uid(), &running.id, spec).await;
            let io = match io {
                Ok(io) => io,
                Err(failure) => return Ok(Session::failed(failure.to_string())),
            };
            Ok(session::session(
                host,
                io,
                &options,
                session::Ends::WithProcess,
            ))
        }
        .boxed()
    }

    fn attach(
        &self,
        pod: Key,
        container: String,
        options: SessionOptions,
    ) -> BoxFuture<'_, Result<Session, ApiError>> {
        async move {
            let host = self.host();
            let pod = found(host, &pod)?;
            let running = running(host, &pod, &container).await?;
            let io = host.runtime.attach(pod.uid(), &running.id).await;
            let io = io.map_err(|failure| {
                ApiError::internal(format!("error attaching to container: {failure}"))
            })?;
            Ok(session::session(
                host,
                io,
                &options,
                session::Ends::WithClient,
            ))
        }
        .boxed()
    }

    fn port_forward(
        &self,
        pod: Key,
        port: u16,
    ) -> BoxFuture<'_, Result<Box<dyn Duplex>, ApiError>> {
        async move {
            let host = self.host();
            let pod = found(host, &pod)?;
            let sandbox = sandbox(host, &pod).await?;
            let netns = sandbox.netns.clone();
            let connected = Tasks::blocking(move || {
                let stream = inside::connect(&netns, port)?;
                stream.set_nonblocking(true)?;
                Ok(stream)
            });
            let connected = connected.await.map_err(ApiError::internal)?;
            let stream = connected.and_then(TcpStream::from_std);
            let stream = stream.map_err(|failure: std::io::Error| {
                let netns = sandbox.netns.display();
                let why = super::probe::dial_text(&failure);
                ApiError::internal(format!(
                    "failed to execute portforward in network namespace \"{netns}\": failed to connect to localhost:{port} inside namespace \"{}\", IPv4: dial tcp4 127.0.0.1:{port}: {why}",
                    sandbox.id
                ))
            })?;
            Ok(Box::new(stream) as Box<dyn Duplex>)
        }
        .boxed()
    }

    fn usage(&self) -> BoxFuture<'_, Result<NodeUsage, ApiError>> {
        async move {
            let measured = self.samples().measure(self.host()).await?;
            Ok(measured.usage())
        }
        .boxed()
    }

    fn page<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Result<Page, ApiError>> {
        page::page(self.host(), self.samples(), path).boxed()
    }
}

fn found(host: &Host, key: &Key) -> Result<Arc<Pod>, ApiError> {
    let pod = host.caches.pods.get(key).filter(|pod| host.owns(pod));
    pod.ok_or_else(|| ApiError::not_found(&Pod::gvr(), &key.name))
}

async fn sandbox(host: &Host, pod: &Pod) -> Result<SandboxInfo, ApiError> {
    let all = host.runtime.sandboxes().await;
    let all = all.map_err(|failure: RuntimeError| ApiError::internal(failure))?;
    let mut all = all.into_iter();
    let found = all.find(|sandbox| sandbox.id == pod.uid() && sandbox.alive);
    let name = pod.metadata.name.clone().unwrap_or_default();
    found.ok_or_else(|| ApiError::internal(format!("sandbox for pod \"{name}\" not found")))
}

/// The running attempt of a container.
async fn running(host: &Host, pod: &Pod, container: &str) -> Result<ContainerInfo, ApiError> {
    let spec = spec::of(pod);
    if spec::container(&spec, container).is_none() {
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        let text = format!("container {container} is not valid for pod {name}");
        return Err(ApiError::bad_request(text));
    }
    let not_found = || ApiError::internal(format!("container not found (\"{container}\")"));
    let sandbox = sandbox(host, pod).await.map_err(|_| not_found())?;
    let mut containers = sandbox.containers.into_iter();
    let found = containers.find(|info| {
        info.name == container && matches!(info.state, ContainerState::Running { .. })
    });
    found.ok_or_else(not_found)
}
