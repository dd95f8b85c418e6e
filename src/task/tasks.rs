//! A group of named tasks with one stop signal and someone who looks at their ends.
//!
//! There are no detached tasks: what is spawned here is stopped, awaited under a deadline, then aborted.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{
    sync::watch,
    task::{Id, JoinSet},
};
use tracing::{Instrument, error, info_span, warn};

/// Tells a task that it should end. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Stop(watch::Receiver<bool>);

impl Stop {
    /// Resolves when the group is being stopped. Cancel-safe.
    pub async fn stopped(&mut self) {
        // An error means that the group is gone, which is as good as a stop.
        let _ = self.0.wait_for(|&stopped| stopped).await;
    }

    /// Polls work to its end. At the stop `finish` asks it to come to one; it is polled on until it has, so that a
    /// connection answers its last request.
    pub async fn lets_end<W: Future>(
        &mut self,
        work: W,
        finish: impl FnOnce(Pin<&mut W>),
    ) -> W::Output {
        let mut work = std::pin::pin!(work);
        tokio::select! {
            ended = work.as_mut() => ended,
            () = self.stopped() => {
                finish(work.as_mut());
                work.await
            }
        }
    }

    #[must_use]
    pub fn is_stopped(&self) -> bool {
        *self.0.borrow() || self.0.has_changed().is_err()
    }
}

/// A supervised group. Cheap to clone; the clones are the same group.
#[derive(Clone)]
pub struct Tasks(Arc<Inner>);

struct Inner {
    stop: watch::Sender<bool>,
    running: Mutex<JoinSet<()>>,
    names: Mutex<std::collections::HashMap<Id, String>>,
}

impl Default for Tasks {
    fn default() -> Tasks {
        Tasks::new()
    }
}

impl Tasks {
    #[must_use]
    pub fn new() -> Tasks {
        Tasks(Arc::new(Inner {
            stop: watch::Sender::new(false),
            running: Mutex::default(),
            names: Mutex::default(),
        }))
    }

    #[must_use]
    pub fn stop_signal(&self) -> Stop {
        Stop(self.0.stop.subscribe())
    }

    /// Starts a task. A panic in it is logged under its name and ends this task only.
    pub fn spawn(&self, name: impl Into<String>, work: impl Future<Output = ()> + Send + 'static) {
        self.start(name.into(), Box::pin(work));
    }

    /// Behind a pointer, so that the runtime's machinery of a task is compiled once instead of once for every task.
    fn start(&self, name: String, work: Pin<Box<dyn Future<Output = ()> + Send>>) {
        let span = info_span!("task", name = %name);
        self.reap();
        let mut running = self.0.running.lock().expect("no panic while locked");
        let id = running.spawn(work.instrument(span)).id();
        let mut names = self.0.names.lock().expect("no panic while locked");
        names.insert(id, name);
    }

    /// Runs blocking work on a thread made for it; awaits its result.
    pub async fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, tokio::task::JoinError> {
        tokio::task::spawn_blocking(work).await
    }

    /// Looks at the tasks that have ended since the last call.
    fn reap(&self) {
        let mut running = self.0.running.lock().expect("no panic while locked");
        while let Some(ended) = running.try_join_next_with_id() {
            self.ended(ended);
        }
    }

    fn ended(&self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let mut names = self.0.names.lock().expect("no panic while locked");
        match ended {
            Ok((id, ())) => drop(names.remove(&id)),
            Err(failure) => {
                let name = names.remove(&failure.id()).unwrap_or_default();
                if failure.is_panic() {
                    error!(task = %name, %failure, "task panicked");
                }
            }
        }
    }

    /// Signals every task, waits for their ends, aborts what is left at the deadline.
    pub async fn shutdown(&self, deadline: Duration) {
        self.0.stop.send_replace(true);
        let mut running = {
            let mut running = self.0.running.lock().expect("no panic while locked");
            std::mem::take(&mut *running)
        };
        let drained = tokio::time::timeout(deadline, async {
            while let Some(ended) = running.join_next_with_id().await {
                self.ended(ended);
            }
        });
        if drained.await.is_err() {
            let names = self.0.names.lock().expect("no panic while locked");
            let left: Vec<&String> = names.values().collect();
            warn!(?left, "tasks did not stop in time and are aborted");
        }
        running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn shutdown_signals_and_waits() {
        let tasks = Tasks::new();
        let (tx, rx) = tokio::sync::oneshot::channel();
        let mut stop = tasks.stop_signal();
        tasks.spawn("waits", async move {
            stop.stopped().await;
            let _ = tx.send(());
        });
        tasks.shutdown(Duration::from_secs(5)).await;
        assert_eq!(rx.await, Ok(()));
    }

    #[tokio::test]
    async fn work_is_asked_to_end_and_polled_until_it_has() {
        let tasks = Tasks::new();
        let mut stop = tasks.stop_signal();
        let by_itself = async { "by itself" };
        let never = |_: Pin<&mut _>| unreachable!("nobody stopped it");
        assert_eq!(stop.lets_end(by_itself, never).await, "by itself");

        let (asked, request) = tokio::sync::oneshot::channel();
        let when_asked = async {
            request.await.unwrap();
            tokio::task::yield_now().await;
            "when asked"
        };
        let finish = |_: Pin<&mut _>| asked.send(()).unwrap();
        let (ended, ()) = tokio::join!(
            stop.lets_end(when_asked, finish),
            tasks.shutdown(Duration::from_secs(5))
        );
        assert_eq!(ended, "when asked");
    }

    #[tokio::test(start_paused = true)]
    async fn shutdown_aborts_what_does_not_listen() {
        let tasks = Tasks::new();
        tasks.spawn("deaf", std::future::pending());
        tasks.spawn("panics", async { panic!("on purpose") });
        tasks.shutdown(Duration::from_secs(5)).await;
    }
}
