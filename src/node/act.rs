//! Carries out the steps that take time. Each is safe to repeat; none decides more than how to say what went wrong.

use super::{
    bind,
    host::Host,
    observed::Ended,
    plan::START_ERROR,
    qos, resize,
    spec::{self, Wanted},
    translate::{self, Parts, env, mount, title},
    volume::Prepared,
};
use crate::{
    api::{
        ApiError,
        call::{Call, PatchKind, Verb},
        object::Object,
    },
    client::EventKind,
    runtime::{
        model::{ContainerInfo, ContainerState, Exit, ImageInfo, RuntimeError},
        mounts,
    },
    task::Tasks,
};
use k8s_openapi::api::core::v1::{Container, Pod};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

/// A termination message longer than this is cut.
const MESSAGE_MAX: usize = 4096;
/// What stands in for a message that was not written: the end of the log.
const FALLBACK_BYTES: usize = 2048;
const FALLBACK_LINES: usize = 80;

/// What a start needs to know besides the pod.
pub struct Start {
    pub attempt: u32,
    pub crashes: u32,
    pub image: ImageInfo,
    pub volumes: Prepared,
    pub address: Ipv4Addr,
    /// The attempt before, which is removed once the new one runs.
    pub previous: Option<String>,
}

/// Why a container does not run.
#[derive(Debug)]
pub struct StartFailed {
    pub reason: &'static str,
    pub message: String,
    /// Set when the attempt exists and has ended.
    pub ended: Option<Box<Ended>>,
}

/// Creates and starts a container.
pub async fn start(
    host: &Host,
    pod: &Pod,
    wanted: &Wanted<'_>,
    start: Start,
) -> Result<ContainerInfo, StartFailed> {
    let _turn = host.starts.acquire().await;
    let field = wanted.field_path();
    let tell = |kind, reason: &str, text: &str| host.event(pod, Some(&field), kind, reason, text);
    let created = create(host, pod, wanted, &start).await;
    let created = created.inspect_err(|failed| {
        tell(
            EventKind::Warning,
            "Failed",
            &format!("Error: {}", failed.message),
        );
    })?;
    tell(EventKind::Normal, "Created", "Container created");
    let sandbox = pod.uid();
    let started = host.runtime.start_container(sandbox, &created.id).await;
    let info = started.map_err(|failure| {
        tell(EventKind::Warning, "Failed", &format!("Error: {failure}"));
        let now = crate::task::clock::now();
        StartFailed {
            reason: "RunContainerError",
            message: failure.to_string(),
            ended: Some(Box::new(Ended {
                id: created.id.clone(),
                code: 128,
                reason: START_ERROR.to_owned(),
                message: failure.to_string(),
                finished_at: now,
                ..Ended::default()
            })),
        }
    })?;
    tell(EventKind::Normal, "Started", "Container started");
    if let Some(previous) = &start.previous {
        // Its log and its last state are kept elsewhere; a failure here only costs disk until the sandbox goes.
        let _ = host.runtime.remove_container(sandbox, previous).await;
        remove_old_attempts(host, pod, wanted.name(), start.attempt).await;
    }
    Ok(info)
}

/// Of the attempts before this one only the last is kept: what `kubectl logs --previous` shows.
async fn remove_old_attempts(host: &Host, pod: &Pod, name: &str, attempt: u32) {
    let logs = host.place(pod).log_dir.join(name);
    let messages = host.layout.pod(pod.uid()).join("termination");
    let prefix = format!("{name}-");
    let work = move || {
        let is_old = |digits: &str| {
            let number = digits.parse::<u32>();
            number.is_ok_and(|number| number + 1 < attempt)
        };
        let of_log = |file: &str| file.split('.').next().is_some_and(is_old);
        let of_message = |file: &str| file.strip_prefix(prefix.as_str()).is_some_and(is_old);
        remove_files(&logs, of_log);
        remove_files(&messages, of_message);
    };
    let _ = Tasks::blocking(work).await;
}

fn remove_files(directory: &Path, is_old: impl Fn(&str) -> bool) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(&is_old) {
            let _ = fs::remove_file(entry.path());
        }
    }
}

async fn create(
    host: &Host,
    pod: &Pod,
    wanted: &Wanted<'_>,
    start: &Start,
) -> Result<ContainerInfo, StartFailed> {
    let config = |failure: translate::ConfigError| StartFailed {
        reason: "CreateContainerConfigError",
        message: failure.0,
        ended: None,
    };
    let facts = host.facts(pod, Some(start.address));
    let container = &*wanted.container;
    let mut sources = host.sources();
    sources.files = read_files(&start.volumes, container).await;
    let environment = env::environment(pod, container, &sources, &facts).map_err(config)?;
    for text in &environment.skipped {
        let reason = "InvalidEnvironmentVariableNames";
        host.event(
            pod,
            Some(&wanted.field_path()),
            EventKind::Warning,
            reason,
            text,
        );
    }
    let volume_mounts = mount::volume_mounts(container, &environment).map_err(config)?;
    let log = termination_log(host, pod.uid(), wanted.name(), start.attempt);
    let mounts = bind::mounts(host, pod, container, &start.volumes, log, volume_mounts).await?;
    let devices = bind::devices(container, &start.volumes);
    let image_names =
        super::image::names(container.image.as_deref().unwrap_or_default(), &start.image);
    let parts = Parts {
        image: &start.image,
        image_names: &image_names,
        environment: &environment,
        mounts,
        devices,
        attempt: start.attempt,
        crashes: start.crashes,
    };
    let built = translate::container(pod, wanted, parts, &facts).map_err(config)?;
    let created = host.runtime.create_container(pod.uid(), built).await;
    created.map_err(|failure| StartFailed {
        reason: "CreateContainerError",
        message: failure.to_string(),
        ended: None,
    })
}

/// The files that variables come from; those of unknown volumes are left out.
async fn read_files(
    volumes: &Prepared,
    container: &Container,
) -> BTreeMap<env::FileName, Result<String, String>> {
    /// As large as any object with variables.
    const FILE_MAX: u64 = 1 << 20;
    let wanted: Vec<_> = env::files(container)
        .into_iter()
        .filter_map(|file| Some((volumes.paths.get(&file.0)?.clone(), file)))
        .collect();
    if wanted.is_empty() {
        return BTreeMap::new();
    }
    let read = Tasks::blocking(move || {
        let read = |(root, file): (PathBuf, env::FileName)| {
            let text = mounts::read_below(&root, Path::new(&file.1), FILE_MAX);
            (file, text.map_err(|failure| failure.to_string()))
        };
        wanted.into_iter().map(read).collect()
    });
    read.await.unwrap_or_default()
}

fn termination_log(host: &Host, uid: &str, container: &str, attempt: u32) -> PathBuf {
    let directory = host.layout.pod(uid).join("termination");
    directory.join(format!("{container}-{attempt}"))
}

/// Gives running containers what was granted: the pod's own limits are widened first and narrowed last, unless
/// containers are still to start anew. `before` and `pod` say what was and what was granted.
pub async fn resize(
    host: &Host,
    pod: &Pod,
    before: &Pod,
    containers: &[(String, String)],
    narrows: bool,
) -> Result<(), RuntimeError> {
    let spec = spec::of(pod);
    let (old, new) = (qos::pod(&spec::of(before)), qos::pod(&spec));
    let set = |container, resources| host.runtime.set_resources(pod.uid(), container, resources);
    set(None, resize::widest(&old, &new)).await?;
    for (name, id) in containers {
        if let Some(wanted) = spec::container(&spec, name) {
            set(Some(id.as_str()), qos::container(&spec, &wanted.container)).await?;
        }
    }
    if narrows {
        set(None, new).await?;
    }
    Ok(())
}

/// The end of a container with the message it left.
pub async fn ended(host: &Host, pod: &Pod, info: &ContainerInfo) -> Option<Ended> {
    let ContainerState::Exited(exit) = info.state.clone() else {
        return None;
    };
    let spec = spec::of(pod);
    let wanted = spec::container(&spec, &info.name);
    let policy = wanted.and_then(|wanted| wanted.container.termination_message_policy.clone());
    let falls_back = policy.as_deref() == Some("FallbackToLogsOnError") && exit.code != 0;
    let file = termination_log(host, pod.uid(), &info.name, info.attempt);
    let log = info.log_path.clone();
    let read = Tasks::blocking(move || {
        let text = head(&file, MESSAGE_MAX);
        if text.is_empty() && falls_back {
            super::serve::cri::last_text(&log, FALLBACK_BYTES, FALLBACK_LINES)
        } else {
            text
        }
    });
    let message = read.await.unwrap_or_default();
    Some(end_of(info, &exit, message))
}

fn head(file: &Path, limit: usize) -> String {
    use std::io::Read;
    let mut bytes = Vec::new();
    if let Ok(file) = fs::File::open(file) {
        let _ = file.take(limit as u64).read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// An exit in the API's words.
#[must_use]
pub fn end_of(info: &ContainerInfo, exit: &Exit, message: String) -> Ended {
    let never_started = exit.started_at.is_none() && !exit.message.is_empty();
    let reason = match exit.code {
        _ if exit.oom_killed => "OOMKilled",
        _ if never_started => START_ERROR,
        0 => "Completed",
        _ => "Error",
    };
    Ended {
        id: info.id.clone(),
        code: exit.code,
        // The API's `signal` is for runtimes that do not say 128 + n.
        signal: 0,
        reason: reason.to_owned(),
        message: if message.is_empty() {
            exit.message.clone()
        } else {
            message
        },
        started_at: exit.started_at,
        finished_at: exit.finished_at,
    }
}

/// Sends a status; the API's answer is the newest state of the pod.
pub async fn report(host: &Host, pod: &Pod, patch: &Value) -> Result<Pod, ApiError> {
    let key = pod.key();
    let kind = PatchKind::Strategic;
    host.client
        .patch::<Pod>(&key, Some("status"), kind, patch)
        .await
}

/// Removes the object at once: everything of the pod is gone from the node.
pub async fn delete(host: &Host, pod: &Pod) -> Result<(), ApiError> {
    let key = pod.key();
    let mut call = Call::new(Verb::Delete, Pod::gvr()).named(&key.namespace, &key.name);
    call.options.delete.grace_period_seconds = Some(0);
    call.options.delete.uid = Some(pod.uid().to_owned());
    host.client.call(call).await.map(drop)
}

/// Removes the logs of a pod that is no more.
pub async fn remove_logs(host: &Host, pod: &Pod) {
    let logs = host.place(pod).log_dir;
    let _ = Tasks::blocking(move || fs::remove_dir_all(logs)).await;
}

/// Signals a container; one that has gone meanwhile needs none.
pub async fn signal(host: &Host, pod: &Pod, id: &str, signal: i32) {
    super::pause::let_go(host, pod).await;
    let sent = host.runtime.signal_container(pod.uid(), id, signal).await;
    if let Err(failure) = sent
        && !matches!(failure, RuntimeError::NotFound(_))
    {
        let pod = title(pod);
        tracing::warn!(%pod, container = id, signal, %failure, "signal a container");
    }
}
