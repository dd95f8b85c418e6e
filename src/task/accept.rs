//! The loop of every TCP listener: a task per connection, within a number of places, until the group is stopped.

use super::Tasks;
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    time::sleep,
};
use tracing::warn;

/// Between attempts to accept when descriptors ran out.
const PAUSE: Duration = Duration::from_millis(100);

impl Tasks {
    /// Serves connections until the group is stopped. A connection holds a place while it lasts; those beyond the places
    /// wait in the kernel's queue. `name` is what the tasks and the log call them. Small writes are sent at once.
    pub async fn accept<W: Future<Output = ()> + Send + 'static>(
        &self,
        name: &str,
        listener: TcpListener,
        places: &Arc<Semaphore>,
        mut serve: impl FnMut(TcpStream, SocketAddr) -> W,
    ) {
        let mut stop = self.stop_signal();
        loop {
            let place = Arc::clone(places).acquire_owned();
            // Both branches are cancel-safe: a connection not yet accepted stays in the kernel's queue.
            let accepted = tokio::select! {
                () = stop.stopped() => return,
                accepted = async { (place.await, listener.accept().await) } => accepted,
            };
            match accepted {
                (Ok(place), Ok((stream, address))) => {
                    let _ = stream.set_nodelay(true);
                    let work = serve(stream, address);
                    self.spawn(format!("{name} {address}"), async move {
                        work.await;
                        drop(place);
                    });
                }
                (_, failed) => {
                    warn!(name, error = ?failed.err(), "accept a connection");
                    sleep(PAUSE).await;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        collections::HashSet,
        sync::atomic::{AtomicUsize, Ordering},
    };
    use tokio::{sync::mpsc, task::yield_now};

    #[tokio::test]
    async fn as_many_are_served_at_once_as_there_are_places() {
        let tasks = Tasks::new();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let places = Arc::new(Semaphore::new(2));
        let (told, mut served) = mpsc::unbounded_channel();
        let (group, running) = (tasks.clone(), Arc::new(AtomicUsize::new(0)));
        tasks.spawn("listener", async move {
            let serve = |stream, peer| {
                let (told, running) = (told.clone(), Arc::clone(&running));
                async move {
                    let beside = running.fetch_add(1, Ordering::SeqCst);
                    // Whoever could be served beside this one gets the chance to.
                    for _ in 0..100 {
                        yield_now().await;
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                    told.send((beside, stream, peer)).unwrap();
                }
            };
            group.accept("test", listener, &places, serve).await;
        });
        let mut clients = HashSet::new();
        let mut open = Vec::new();
        for _ in 0..6 {
            let client = TcpStream::connect(address).await.unwrap();
            clients.insert(client.local_addr().unwrap());
            open.push(client);
        }
        for _ in 0..6 {
            let (beside, _stream, peer) = served.recv().await.unwrap();
            assert!(beside < 2 && clients.remove(&peer), "{beside} {peer}");
        }
        tasks.shutdown(Duration::from_secs(5)).await;
        assert!(TcpStream::connect(address).await.is_err());
    }
}
