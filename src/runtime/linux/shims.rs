//! All sandboxes of a cluster on this host, through their shims. Knows no images: a container gets layers.
//!
//! What exists is read from the run directory and asked of the shims, never remembered: this process may have been
//! started a moment ago. Kept in memory are only the subscriptions and the children to reap.

use super::{
    connection::{self, Connection},
    events::Events,
    removal, spawn,
    streams::{Pipes, Terminal},
};
use crate::{
    runtime::{
        model::{
            ContainerInfo, ContainerSpec, ExecIo, ExecSpec, RuntimeError, RuntimeEvent,
            SandboxInfo, SandboxSpec,
        },
        shim::protocol::{ExecProcess, ImageRoot, NewContainer, Reply, Request, SOCKET_FILE},
    },
    task::Tasks,
};
use futures_util::{FutureExt, StreamExt, future::BoxFuture, stream::FuturesUnordered};
use std::{
    collections::{HashMap, HashSet},
    fmt::Write,
    fs, io,
    path::PathBuf,
    process::Child,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

/// What the kernel allows for the address of a unix socket, without the final zero.
const SOCKET_PATH_MAX: usize = 107;
/// A shim kills everything within its own deadline of ten seconds.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(15);

/// Cheap to clone; the clones are the same.
#[derive(Clone)]
pub struct Shims(Arc<Inner>);

struct Inner {
    /// One directory per sandbox.
    run: PathBuf,
    /// The program that runs as the shim.
    exe: PathBuf,
    tasks: Tasks,
    events: Events,
    watched: Mutex<HashMap<String, Watched>>,
    /// On their way: they have a directory and no socket yet, and are not dead.
    making: Mutex<HashSet<String>>,
}

#[derive(Default)]
struct Watched {
    /// Its end is asked for: not worth an event.
    is_leaving: bool,
    /// To be reaped if this process started it.
    child: Option<Child>,
}

impl Shims {
    #[must_use]
    pub fn new(run: PathBuf, exe: PathBuf, tasks: Tasks) -> Shims {
        Shims(Arc::new(Inner {
            run,
            exe,
            tasks,
            events: Events::default(),
            watched: Mutex::default(),
            making: Mutex::default(),
        }))
    }

    pub fn events(&self) -> mpsc::Receiver<RuntimeEvent> {
        self.0.events.subscribe()
    }

    pub(super) fn dir(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        let valid = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if id.is_empty() || id.starts_with('-') || !id.bytes().all(valid) {
            return Err(RuntimeError::Failed(format!(
                "{id:?} cannot name a sandbox"
            )));
        }
        let dir = self.0.run.join(id);
        let length = dir.join(SOCKET_FILE).as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let text = format!(
                "{} is too long for a socket ({length} bytes)",
                dir.display()
            );
            return Err(RuntimeError::Failed(text));
        }
        Ok(dir)
    }

    fn socket(&self, id: &str) -> Result<PathBuf, RuntimeError> {
        Ok(self.dir(id)?.join(SOCKET_FILE))
    }

    /// Every sandbox with a directory, dead ones from their records. Watches those that answer.
    pub async fn list(&self) -> Result<Vec<SandboxInfo>, RuntimeError> {
        let entries = match fs::read_dir(&self.0.run) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => {
                return Err(RuntimeError::Failed(format!(
                    "read {}: {error}",
                    self.0.run.display()
                )));
            }
        };
        let names = entries
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().into_string().ok());
        let all: FuturesUnordered<_> = names.map(|id| self.adopt(id)).collect();
        let mut sandboxes: Vec<SandboxInfo> = all.filter_map(async |found| found).collect().await;
        sandboxes.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(sandboxes)
    }

    async fn adopt(&self, id: String) -> Option<SandboxInfo> {
        let dir = self.dir(&id).ok()?;
        if self.making().contains(&id) {
            return None;
        }
        match connection::call(&dir.join(SOCKET_FILE), &Request::Info).await {
            Ok(Reply::Sandbox { sandbox }) => {
                self.watch(&id, None);
                Some(*sandbox)
            }
            other => {
                debug!(sandbox = %id, ?other, "the shim does not answer");
                removal::read_dead(&dir)
            }
        }
    }

    pub async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo, RuntimeError> {
        let dir = self.dir(&spec.id)?;
        let id = spec.id.clone();
        if dir.exists() {
            if let Ok(Reply::Sandbox { sandbox }) =
                connection::call(&dir.join(SOCKET_FILE), &Request::Info).await
            {
                self.watch(&id, None);
                return Ok(*sandbox);
            }
            // What a crash half-way has left.
            self.remove(&id).await?;
        }
        self.making().insert(id.clone());
        let made = spawn::shim(self.0.exe.clone(), dir, spec).await;
        self.making().remove(&id);
        match made {
            Ok((child, sandbox)) => {
                self.watch(&id, Some(child));
                Ok(sandbox)
            }
            Err(error) => {
                if let Err(second) = self.remove(&id).await {
                    warn!(sandbox = %id, error = %second, "clean up after a sandbox that could not be made");
                }
                Err(error)
            }
        }
    }

    fn making(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.making.lock().expect("no panic while locked")
    }

    pub async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        let dir = self.dir(id)?;
        let child = {
            let mut watched = self.0.watched.lock().expect("no panic while locked");
            watched.get_mut(id).and_then(|watched| {
                watched.is_leaving = true;
                watched.child.take()
            })
        };
        let mut pid = None;
        if let Ok(mut connection) = connection::connect(&dir.join(SOCKET_FILE)).await {
            pid = connection.shim_pid();
            let asked = connection.ask(&Request::Shutdown, &[]);
            if let Ok(Err(error)) = tokio::time::timeout(SHUTDOWN_TIMEOUT, asked).await {
                warn!(sandbox = %id, %error, "the shim cannot end its sandbox; it is ended without");
            }
        }
        let swept = Tasks::blocking(move || {
            let swept = removal::sweep(&dir, pid);
            if let Some(mut child) = child {
                let _ = child.wait();
            }
            swept
        });
        let swept = swept
            .await
            .map_err(|error| RuntimeError::Failed(error.to_string()))?;
        self.0
            .watched
            .lock()
            .expect("no panic while locked")
            .remove(id);
        swept.map_err(|error| RuntimeError::Failed(format!("remove sandbox {id}: {error}")))
    }

    /// Subscribes once per shim.
    fn watch(&self, id: &str, child: Option<Child>) {
        {
            let mut watched = self.0.watched.lock().expect("no panic while locked");
            if let Some(known) = watched.get_mut(id) {
                known.child = child.or(known.child.take());
                return;
            }
            let is_leaving = false;
            watched.insert(id.to_owned(), Watched { is_leaving, child });
        }
        let (shims, id) = (self.clone(), id.to_owned());
        let mut stop = self.0.tasks.stop_signal();
        self.0.tasks.spawn(format!("shim {id}"), async move {
            tokio::select! {
                () = stop.stopped() => {}
                () = shims.follow_to_its_end(&id) => shims.followed(&id).await,
            }
        });
    }

    /// A subscription that the shim has ended because it was not read in time is taken up again.
    async fn follow_to_its_end(&self, id: &str) {
        loop {
            self.follow(id).await;
            match self.call(id, Request::Info).await {
                Ok(_) => self.0.events.emit(&RuntimeEvent::Overflow),
                Err(_) => return,
            }
        }
    }

    /// Passes on what a shim says until it falls silent.
    async fn follow(&self, id: &str) {
        let Ok(socket) = self.socket(id) else {
            return;
        };
        let Ok(mut connection) = connection::connect(&socket).await else {
            return;
        };
        if connection.send(&Request::Subscribe, &[]).await.is_err() {
            return;
        }
        while let Ok(Some(reply)) = connection.receive().await {
            match reply {
                Reply::Event { container } => self.0.events.emit(&RuntimeEvent::ContainerExited {
                    sandbox: id.to_owned(),
                    container,
                }),
                Reply::SandboxDied => self.died(id),
                _ => {}
            }
        }
    }

    async fn followed(&self, id: &str) {
        let watched = self
            .0
            .watched
            .lock()
            .expect("no panic while locked")
            .remove(id);
        let Some(watched) = watched else {
            return;
        };
        if !watched.is_leaving {
            self.died(id);
        }
        if let Some(mut child) = watched.child {
            // It has closed its socket, so it is ending.
            let _ = Tasks::blocking(move || child.wait()).await;
        }
    }

    fn died(&self, id: &str) {
        let sandbox = id.to_owned();
        self.0.events.emit(&RuntimeEvent::SandboxDied { sandbox });
    }

    async fn call(&self, id: &str, request: Request) -> Result<Reply, RuntimeError> {
        connection::call(&self.socket(id)?, &request).await
    }

    async fn container(&self, id: &str, request: Request) -> Result<ContainerInfo, RuntimeError> {
        match self.call(id, request).await? {
            Reply::Container { container } => Ok(*container),
            other => Err(unexpected(&other)),
        }
    }

    pub async fn create_container(
        &self,
        id: &str,
        spec: ContainerSpec,
        root: ImageRoot,
    ) -> Result<ContainerInfo, RuntimeError> {
        let container = NewContainer {
            id: random_id(),
            spec,
            root,
        };
        let container = Box::new(container);
        self.container(id, Request::Create { container }).await
    }

    pub async fn start_container(
        &self,
        id: &str,
        container: &str,
    ) -> Result<ContainerInfo, RuntimeError> {
        let container = container.to_owned();
        self.container(id, Request::Start { container }).await
    }

    pub async fn signal_container(
        &self,
        id: &str,
        container: &str,
        signal: i32,
    ) -> Result<(), RuntimeError> {
        let container = container.to_owned();
        self.call(id, Request::Signal { container, signal })
            .await
            .map(drop)
    }

    pub async fn remove_container(&self, id: &str, container: &str) -> Result<(), RuntimeError> {
        let container = container.to_owned();
        match self.call(id, Request::Remove { container }).await {
            Err(RuntimeError::NotFound(_)) => Ok(()),
            other => other.map(drop),
        }
    }

    pub async fn exec(
        &self,
        id: &str,
        container: &str,
        spec: ExecSpec,
    ) -> Result<ExecIo, RuntimeError> {
        let mut connection = connection::connect(&self.socket(id)?).await?;
        let mut pipes = if spec.tty {
            None
        } else {
            Some(Pipes::new(spec.stdin, true).map_err(|error| no_streams(&error))?)
        };
        let theirs = pipes
            .as_mut()
            .map(|pipes| std::mem::take(&mut pipes.theirs))
            .unwrap_or_default();
        let request = Request::Exec {
            container: container.to_owned(),
            process: ExecProcess {
                command: spec.command,
                env: spec.env,
                tty: spec.tty,
                stdin: spec.stdin,
            },
        };
        connection.ask(&request, &theirs).await?;
        drop(theirs);
        let sender = connection.sender();
        let kill = Box::new(move || sender(&Request::Kill));
        match (pipes, connection.take_fd()) {
            (Some(pipes), _) => Ok(pipes.into_io(exit_of(connection), Box::new(|_, _| ()), kill)),
            (None, Some(master)) => {
                let terminal = Terminal::new(master).map_err(|error| no_streams(&error))?;
                Ok(terminal.into_io(spec.stdin, exit_of(connection), kill))
            }
            (None, None) => Err(RuntimeError::Failed(
                "no terminal came with the answer".to_owned(),
            )),
        }
    }

    /// Streams the container does not have are `None`; input that nobody reads is thrown away by the shim.
    pub async fn attach(&self, id: &str, container: &str) -> Result<ExecIo, RuntimeError> {
        let socket = self.socket(id)?;
        let mut connection = connection::connect(&socket).await?;
        let mut pipes = Pipes::new(true, true).map_err(|error| no_streams(&error))?;
        let theirs = std::mem::take(&mut pipes.theirs);
        let request = Request::Attach {
            container: container.to_owned(),
            stdin: true,
        };
        connection.ask(&request, &theirs).await?;
        drop(theirs);
        let container = container.to_owned();
        let resize = move |columns, rows| {
            let container = container.clone();
            // Local and a few bytes: not worth a task. The answer is not waited for.
            let stream = std::os::unix::net::UnixStream::connect(&socket);
            let request = Request::Resize {
                container,
                columns,
                rows,
            };
            let frame = crate::runtime::shim::protocol::encode(&request);
            let _ = stream.and_then(|mut stream| io::Write::write_all(&mut stream, &frame));
        };
        Ok(pipes.into_io(exit_of(connection), Box::new(resize), Box::new(|| ())))
    }
}

fn exit_of(mut connection: Connection) -> BoxFuture<'static, Result<i32, RuntimeError>> {
    async move {
        loop {
            match connection.receive().await {
                Ok(Some(Reply::Exited { code })) => return Ok(code),
                Ok(Some(_)) => {}
                _ => {
                    return Err(RuntimeError::Failed(
                        "the shim ended before the process".to_owned(),
                    ));
                }
            }
        }
    }
    .boxed()
}

fn no_streams(error: &io::Error) -> RuntimeError {
    RuntimeError::Failed(format!("make the process' streams: {error}"))
}

fn unexpected(reply: &Reply) -> RuntimeError {
    RuntimeError::Failed(format!("the shim answered something else: {reply:?}"))
}

fn random_id() -> String {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the kernel has random numbers");
    bytes.iter().fold(String::new(), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn bad_names_never_become_paths() {
        let shims = Shims::new("/nonexistent".into(), "/nonexistent".into(), Tasks::new());
        for id in ["", "..", "a/b", "-x", "A", &"x".repeat(200)] {
            assert!(shims.remove(id).await.is_err(), "{id}");
        }
        assert!(shims.remove("fine").await.is_ok());
        assert!(shims.list().await.unwrap().is_empty());
    }
}
