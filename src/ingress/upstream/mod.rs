//! Connections to backends: made, kept, given out again.
//!
//! An HTTP/1 connection belongs to one request at a time and is driven by the task that serves it: no task of its own,
//! no hand-over between threads. Kept connections are bounded and dropped when unused for a while; a connection that
//! the backend has closed is noticed when it is taken out. gRPC shares one HTTP/2 connection per endpoint.

mod channel;
mod link;
mod stream;

pub use link::{Failure, Link};
pub use stream::Stream;

use super::{body::Upload, option::Protocol};
use crate::{pki, task::Tasks};
use anyhow::Result;
use hyper::client::conn::http2;
use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};
use tokio::{sync::Notify, time::Instant};
use tokio_rustls::TlsConnector;

/// Kept per endpoint, and altogether.
const IDLE_PER_PLACE_MAX: usize = 64;
const IDLE_MAX: usize = 512;
/// How long a connection is kept without use.
const IDLE_TIME: Duration = Duration::from_secs(60);
const SWEEP: Duration = Duration::from_secs(30);

/// An endpoint as it is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    pub address: SocketAddr,
    pub protocol: Protocol,
}

pub struct Pool {
    idle: Mutex<Idle>,
    channels: Mutex<HashMap<Place, http2::SendRequest<Upload>>>,
    filled: Notify,
    tls: TlsConnector,
    tls_http2: TlsConnector,
    tasks: Tasks,
}

#[derive(Default)]
struct Idle {
    links: HashMap<Place, Vec<(Instant, Link)>>,
    count: usize,
}

impl Pool {
    /// Kept connections end with `tasks`.
    pub fn new(tasks: &Tasks) -> Result<Arc<Pool>> {
        let pool = Arc::new(Pool {
            idle: Mutex::default(),
            channels: Mutex::default(),
            filled: Notify::new(),
            tls: TlsConnector::from(pki::tls::client_of_anybody(&["http/1.1"])?),
            tls_http2: TlsConnector::from(pki::tls::client_of_anybody(&["h2"])?),
            tasks: tasks.clone(),
        });
        let (sweeper, mut stop) = (Arc::clone(&pool), tasks.stop_signal());
        tasks.spawn("ingress connections", async move {
            tokio::select! {
                () = sweeper.sweep() => {}
                () = stop.stopped() => {}
            }
        });
        Ok(pool)
    }

    /// A kept connection that still stands.
    pub fn take(&self, place: &Place) -> Option<Link> {
        loop {
            let (_, mut link) = {
                let mut idle = self.idle.lock().expect("no panic while locked");
                let link = idle.links.get_mut(place)?.pop()?;
                idle.count -= 1;
                link
            };
            if link.is_usable() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection for the next request, if it is fit for one and there is room.
    pub fn put(&self, place: Place, mut link: Link) {
        if !link.is_usable() {
            return;
        }
        let mut idle = self.idle.lock().expect("no panic while locked");
        let is_full = idle.count >= IDLE_MAX;
        let links = idle.links.entry(place).or_default();
        if is_full || links.len() >= IDLE_PER_PLACE_MAX {
            return;
        }
        links.push((Instant::now(), link));
        idle.count += 1;
        if idle.count == 1 {
            self.filled.notify_one();
        }
    }

    /// A new connection.
    pub async fn connect(&self, place: &Place, patience: Duration) -> Result<Link, Failure> {
        let stream = Stream::connect(place, &self.tls, patience).await?;
        Link::new(stream).await
    }

    /// The shared HTTP/2 connection of an endpoint, made if need be.
    pub async fn channel(
        &self,
        place: &Place,
        patience: Duration,
    ) -> Result<http2::SendRequest<Upload>, Failure> {
        let known = {
            let channels = self.channels.lock().expect("no panic while locked");
            channels.get(place).cloned()
        };
        if let Some(known) = known.filter(|known| !known.is_closed()) {
            return Ok(known);
        }
        let stream = Stream::connect(place, &self.tls_http2, patience).await?;
        let channel = channel::open(stream, &self.tasks).await?;
        let mut channels = self.channels.lock().expect("no panic while locked");
        channels.insert(*place, channel.clone());
        Ok(channel)
    }

    /// Drops what is kept for endpoints that are gone.
    pub fn retain(&self, is_known: impl Fn(&SocketAddr) -> bool) {
        let mut idle = self.idle.lock().expect("no panic while locked");
        idle.links.retain(|place, _| is_known(&place.address));
        idle.recount();
        drop(idle);
        let mut channels = self.channels.lock().expect("no panic while locked");
        channels.retain(|place, channel| is_known(&place.address) && !channel.is_closed());
    }

    /// Sleeps for good while nothing is kept.
    async fn sweep(&self) {
        loop {
            self.filled.notified().await;
            while self.drop_unused() > 0 {
                tokio::time::sleep(SWEEP).await;
            }
        }
    }

    /// Answers how many connections are left.
    fn drop_unused(&self) -> usize {
        let mut idle = self.idle.lock().expect("no panic while locked");
        let now = Instant::now();
        for links in idle.links.values_mut() {
            links.retain(|(since, _)| now.duration_since(*since) < IDLE_TIME);
        }
        idle.links.retain(|_, links| !links.is_empty());
        idle.recount();
        idle.count
    }
}

impl Idle {
    fn recount(&mut self) {
        self.count = self.links.values().map(Vec::len).sum();
    }
}
