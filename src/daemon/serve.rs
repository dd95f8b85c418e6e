//! The daemon's end of the control socket.

use super::{
    boot::Cluster,
    control::{Answer, REQUEST_BYTES_MAX, Request},
};
use crate::{
    config::Layout,
    runtime::{
        Runtime,
        model::{PullRequest, RuntimeError},
    },
    task::Tasks,
};
use anyhow::{Context, Result};
use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::{OnceCell, Semaphore, mpsc},
};

/// Reports waiting for a command that shows them.
const REPORTS: usize = 64;
/// Conversations at a time with those who are not root.
const GUESTS_MAX: usize = 8;
/// For a request to be sent.
const REQUEST_PATIENCE: Duration = Duration::from_secs(10);

/// What requests need: there from the first moment of a start, the cluster itself only later.
pub struct Control {
    cluster: OnceCell<Arc<Cluster>>,
    is_ready: AtomicBool,
    is_ending: AtomicBool,
    guests: Semaphore,
    /// Where a request to stop goes; its sender is told when the pods have ended.
    stop: mpsc::Sender<mpsc::Sender<()>>,
}

impl Control {
    #[must_use]
    pub fn new(stop: mpsc::Sender<mpsc::Sender<()>>) -> Arc<Control> {
        Arc::new(Control {
            cluster: OnceCell::new(),
            is_ready: AtomicBool::new(false),
            is_ending: AtomicBool::new(false),
            guests: Semaphore::new(GUESTS_MAX),
            stop,
        })
    }

    pub fn ready(&self, cluster: &Arc<Cluster>) {
        let _ = self.cluster.set(Arc::clone(cluster));
        self.is_ready.store(true, Ordering::Release);
    }

    /// From now on requests are answered by saying so.
    pub fn ending(&self) {
        self.is_ending.store(true, Ordering::Release);
    }

    /// Listens until `tasks` stop. A socket that an earlier daemon left is replaced: the lock is ours.
    pub fn serve(self: &Arc<Control>, layout: &Layout, tasks: &Tasks) -> Result<()> {
        let path = layout.control();
        let _ = fs::remove_file(&path);
        let listener =
            UnixListener::bind(&path).with_context(|| format!("listen on {}", path.display()))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o666))?;
        let control = Arc::clone(self);
        let mut stop = tasks.stop_signal();
        let connections = tasks.clone();
        tasks.spawn("control", async move {
            loop {
                let accepted = tokio::select! {
                    accepted = listener.accept() => accepted,
                    () = stop.stopped() => return,
                };
                if let Ok((stream, _)) = accepted {
                    let control = Arc::clone(&control);
                    connections.spawn("control request", async move {
                        // A command that has gone away needs no answer.
                        let _ = control.converse(stream).await;
                    });
                }
            }
        });
        Ok(())
    }

    async fn converse(&self, stream: UnixStream) -> Result<()> {
        let is_root = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0);
        let _guest = match is_root {
            true => None,
            false => Some(self.guests.try_acquire()?),
        };
        let (reader, mut writer) = stream.into_split();
        let mut line = String::new();
        let limit = u64::try_from(REQUEST_BYTES_MAX).unwrap_or(u64::MAX);
        let mut reader = BufReader::new(reader.take(limit));
        tokio::time::timeout(REQUEST_PATIENCE, reader.read_line(&mut line)).await??;
        let (tx, mut rx) = mpsc::channel(REPORTS);
        let work = async move {
            let last = match serde_json::from_str::<Request>(&line) {
                Ok(request) if !is_root && !request.is_for_everybody() => Answer::Forbidden,
                Ok(request) => self.answer(request, &tx).await,
                Err(error) => failed(&format!("malformed request: {error}")),
            };
            let _ = tx.send(last).await;
        };
        let write = async {
            while let Some(answer) = rx.recv().await {
                let text = format!("{}\n", serde_json::to_string(&answer)?);
                writer.write_all(text.as_bytes()).await?;
            }
            anyhow::Ok(())
        };
        let ((), written) = tokio::join!(work, write);
        written
    }

    async fn answer(&self, request: Request, reports: &mpsc::Sender<Answer>) -> Answer {
        if request == Request::Stop {
            return self.stop().await;
        }
        if self.is_ending.load(Ordering::Acquire) {
            return Answer::Ending;
        }
        let Some(cluster) = self
            .cluster
            .get()
            .filter(|_| self.is_ready.load(Ordering::Acquire))
        else {
            return Answer::Starting;
        };
        let outcome = match request {
            Request::Status | Request::Stop => Ok(Answer::Done),
            Request::Images => cluster
                .runtime
                .images()
                .await
                .map(|images| Answer::Images { images }),
            Request::Load { path } => load(cluster, path).await,
            Request::Remove { reference } => cluster
                .runtime
                .remove_image(&reference)
                .await
                .map(|()| Answer::Done),
            Request::Pull { reference } => pull(cluster, reference, reports).await,
            Request::Save { references, path } => save(cluster, references, path).await,
            Request::Tag { reference, name } => tag(cluster, reference, name).await,
            Request::Pause { namespaces, pause } => match cluster.pause(&namespaces, pause).await {
                Ok(count) => Ok(Answer::Pods { count }),
                Err(error) => Ok(failed(&format!("{error:#}"))),
            },
            Request::Node { name, runs } => {
                let switched = match runs {
                    true => cluster.nodes.start(&name).await,
                    false => cluster.nodes.stop(&name).await,
                };
                Ok(switched.map_or_else(|error| failed(&format!("{error:#}")), |()| Answer::Done))
            }
            Request::RemoveNode { name } => {
                let removed = cluster.nodes.remove(&name).await;
                Ok(removed.map_or_else(|error| failed(&format!("{error:#}")), |()| Answer::Done))
            }
            Request::Addon { name, enabled } => match cluster.addons.set(&name, enabled).await {
                Ok(()) => Ok(Answer::Done),
                Err(error) => Ok(failed(&format!("{error:#}"))),
            },
            Request::Dashboard { port } => return dashboard(cluster, port).await,
        };
        outcome.unwrap_or_else(|error| failed(&error.to_string()))
    }

    async fn stop(&self) -> Answer {
        self.ending();
        let (tx, mut rx) = mpsc::channel(1);
        if self.stop.send(tx).await.is_err() {
            return failed("the daemon is ending already");
        }
        // Also resolves when the daemon drops its end: then it is gone as well.
        let _ = rx.recv().await;
        Answer::Done
    }
}

async fn load(cluster: &Cluster, path: std::path::PathBuf) -> Result<Answer, RuntimeError> {
    let images = cluster.images.clone();
    let loaded = Tasks::blocking(move || images.import(&path)).await;
    let loaded = loaded.map_err(|error| RuntimeError::Failed(error.to_string()))?;
    let images = loaded.map_err(|error| RuntimeError::Failed(format!("{error:#}")))?;
    Ok(Answer::Images { images })
}

/// A failed archive is removed: half of one looks whole.
async fn save(
    cluster: &Cluster,
    references: Vec<String>,
    path: std::path::PathBuf,
) -> Result<Answer, RuntimeError> {
    let images = cluster.images.clone();
    let saved = Tasks::blocking(move || {
        let texts: Vec<&str> = references.iter().map(String::as_str).collect();
        let written = fs::File::create(&path)
            .with_context(|| format!("create {}", path.display()))
            .and_then(|file| images.export(&texts, std::io::BufWriter::new(file)));
        if written.is_err() {
            let _ = fs::remove_file(&path);
        }
        written
    });
    let saved = saved
        .await
        .map_err(|error| RuntimeError::Failed(error.to_string()))?;
    saved.map_err(|error| RuntimeError::Failed(format!("{error:#}")))?;
    Ok(Answer::Done)
}

async fn tag(cluster: &Cluster, reference: String, name: String) -> Result<Answer, RuntimeError> {
    let images = cluster.images.clone();
    let tagged = Tasks::blocking(move || images.tag(&reference, &name)).await;
    tagged.map_err(|error| RuntimeError::Failed(error.to_string()))??;
    Ok(Answer::Done)
}

async fn pull(
    cluster: &Cluster,
    reference: String,
    reports: &mpsc::Sender<Answer>,
) -> Result<Answer, RuntimeError> {
    let (tx, mut rx) = mpsc::channel(REPORTS);
    let request = PullRequest {
        reference,
        credentials: Vec::new(),
    };
    let forward = async {
        while let Some(progress) = rx.recv().await {
            let _ = reports.try_send(Answer::from(progress));
        }
    };
    let (image, ()) = tokio::join!(cluster.runtime.pull(request, Some(tx)), forward);
    Ok(Answer::Images {
        images: vec![image?],
    })
}

async fn dashboard(cluster: &Cluster, port: Option<u16>) -> Answer {
    match cluster.dashboard.open(port).await {
        Ok(url) => Answer::Dashboard { url },
        Err(error) => failed(&format!("{error:#}")),
    }
}

fn failed(message: &str) -> Answer {
    Answer::Failed {
        message: message.to_owned(),
    }
}
