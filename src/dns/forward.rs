//! Questions that are not the cluster's go to the host's resolvers; answers are remembered for a little while.
//!
//! Loopback resolvers are fine: we run in the host's own network namespace. Without a way out the answer is a quick
//! SERVFAIL, never a long wait: pods on a train ask for names too.

use super::hosts::Hosts;
use hickory_proto::{
    op::{Edns, Message, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use std::{
    collections::HashMap,
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, timeout},
};
use tracing::debug;

/// Of one server, before the next is asked.
const PATIENCE: Duration = Duration::from_millis(1500);
/// As in glibc.
const SERVERS_MAX: usize = 3;
const CACHE_MAX: usize = 1024;
const CACHE_TIME_MAX: Duration = Duration::from_secs(30);
const NEGATIVE_TIME: Duration = Duration::from_secs(5);
/// What passes every link without fragments.
pub const PAYLOAD_MAX: u16 = 1232;

/// Where the servers' addresses come from.
pub enum Servers {
    /// `/etc/resolv.conf`, read again whenever it has changed.
    File {
        path: PathBuf,
        read: Mutex<(Option<SystemTime>, Vec<SocketAddr>)>,
    },
    Fixed(Vec<SocketAddr>),
}

impl Servers {
    pub fn file(path: PathBuf) -> Servers {
        Servers::File {
            path,
            read: Mutex::default(),
        }
    }

    fn now(&self) -> Vec<SocketAddr> {
        match self {
            Servers::Fixed(all) => all.clone(),
            Servers::File { path, read } => {
                let changed = fs::metadata(path).and_then(|file| file.modified()).ok();
                let mut read = read.lock().expect("no panic while locked");
                if changed.is_none() || read.0 != changed {
                    let text = fs::read_to_string(path).unwrap_or_default();
                    *read = (changed, nameservers(&text));
                }
                read.1.clone()
            }
        }
    }
}

/// Link-local addresses with a zone are left out: pods' questions have no link.
fn nameservers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(str::split_whitespace);
    let addresses = lines.filter_map(|mut words| match words.next() {
        Some("nameserver") => words.next()?.parse::<IpAddr>().ok(),
        _ => None,
    });
    addresses.map(|ip| SocketAddr::new(ip, 53)).collect()
}

/// `/etc/hosts`, read again whenever it has changed.
struct HostsFile {
    path: PathBuf,
    read: Mutex<(Option<SystemTime>, Arc<Hosts>)>,
}

impl HostsFile {
    fn now(&self) -> Arc<Hosts> {
        let changed = fs::metadata(&self.path).and_then(|file| file.modified());
        let changed = changed.ok();
        let mut read = self.read.lock().expect("no panic while locked");
        if read.0 != changed {
            let text = fs::read_to_string(&self.path).unwrap_or_default();
            *read = (changed, Arc::new(Hosts::of_host(&text)));
        }
        Arc::clone(&read.1)
    }
}

struct Remembered {
    message: Message,
    since: Instant,
    until: Instant,
}

pub struct Forwarder {
    servers: Servers,
    hosts: HostsFile,
    /// Ours: asking ourselves would never end.
    own: Vec<Ipv4Addr>,
    cache: Mutex<HashMap<(Name, RecordType), Remembered>>,
}

impl Forwarder {
    pub fn new(servers: Servers, hosts: PathBuf, own: Vec<Ipv4Addr>) -> Forwarder {
        Forwarder {
            servers,
            hosts: HostsFile {
                path: hosts,
                read: Mutex::default(),
            },
            own,
            cache: Mutex::default(),
        }
    }

    /// The host's own list of names.
    pub fn hosts(&self) -> Arc<Hosts> {
        self.hosts.now()
    }

    /// Answers of servers that are not to be asked any more.
    pub fn forget(&self) {
        self.cache.lock().expect("no panic while locked").clear();
    }

    /// What others say; SERVFAIL when nobody does. Without servers the host's are asked.
    pub async fn ask(&self, query: &Query, servers: Option<&[SocketAddr]>) -> Message {
        if let Some(message) = self.recall(query) {
            return message;
        }
        let mut last = Message::error_msg(0, OpCode::Query, ResponseCode::ServFail);
        let servers = servers.map_or_else(|| self.servers.now(), <[SocketAddr]>::to_vec);
        let others = servers
            .into_iter()
            .filter(|server| !self.is_own(server.ip()));
        for server in others.take(SERVERS_MAX) {
            match timeout(PATIENCE, exchange(server, query)).await {
                Ok(Ok(message)) if message.metadata.response_code != ResponseCode::ServFail => {
                    self.remember(query, &message);
                    return message;
                }
                Ok(Ok(message)) => last = message,
                Ok(Err(error)) => debug!(%server, %error, "ask a resolver"),
                Err(_) => debug!(%server, "resolver is silent"),
            }
        }
        last
    }

    fn is_own(&self, address: IpAddr) -> bool {
        matches!(address, IpAddr::V4(address) if self.own.contains(&address))
    }

    fn recall(&self, query: &Query) -> Option<Message> {
        let cache = self.cache.lock().expect("no panic while locked");
        let found = cache.get(&(query.name().to_lowercase(), query.query_type()))?;
        let now = Instant::now();
        if now >= found.until {
            return None;
        }
        let age = u32::try_from((now - found.since).as_secs()).unwrap_or(u32::MAX);
        let mut message = found.message.clone();
        let records = message.answers.iter_mut().chain(&mut message.authorities);
        for record in records {
            record.decrement_ttl(age);
        }
        Some(message)
    }

    fn remember(&self, query: &Query, message: &Message) {
        let time = lifetime(message);
        if time.is_zero() {
            return;
        }
        let mut cache = self.cache.lock().expect("no panic while locked");
        let now = Instant::now();
        if cache.len() >= CACHE_MAX {
            cache.retain(|_, one| one.until > now);
        }
        if cache.len() >= CACHE_MAX {
            cache.clear();
        }
        let remembered = Remembered {
            message: message.clone(),
            since: now,
            until: now + time,
        };
        cache.insert(
            (query.name().to_lowercase(), query.query_type()),
            remembered,
        );
    }
}

fn lifetime(message: &Message) -> Duration {
    let code = message.metadata.response_code;
    let shortest = message.answers.iter().map(|record| record.ttl).min();
    match (code, shortest) {
        (ResponseCode::NoError, Some(seconds)) => {
            Duration::from_secs(seconds.into()).min(CACHE_TIME_MAX)
        }
        (ResponseCode::NoError | ResponseCode::NXDomain, _) => NEGATIVE_TIME,
        _ => Duration::ZERO,
    }
}

/// Over UDP, and again over TCP if the answer did not fit.
async fn exchange(server: SocketAddr, query: &Query) -> io::Result<Message> {
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.add_query(query.clone());
    let mut edns = Edns::new();
    edns.set_max_payload(PAYLOAD_MAX);
    question.set_edns(edns);
    let bytes = question.to_vec().map_err(io::Error::other)?;
    let answer = over_udp(server, &bytes, &question).await?;
    if answer.metadata.truncation {
        return over_tcp(server, &bytes, &question).await;
    }
    Ok(answer)
}

async fn over_udp(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let any: SocketAddr = match server {
        SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        SocketAddr::V6(_) => ([0u16; 8], 0).into(),
    };
    // A socket per question: its random port is half of what keeps forged answers out.
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    socket.send(bytes).await?;
    let mut buffer = [0; PAYLOAD_MAX as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match Message::from_vec(&buffer[..length]) {
            Ok(answer) if fits(question, &answer) => return Ok(answer),
            _ => debug!(%server, "answer to another question"),
        }
    }
}

async fn over_tcp(server: SocketAddr, bytes: &[u8], question: &Message) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    stream
        .write_all(&[&length.to_be_bytes(), bytes].concat())
        .await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    let answer = Message::from_vec(&buffer).map_err(io::Error::other)?;
    if fits(question, &answer) {
        Ok(answer)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

fn fits(question: &Message, answer: &Message) -> bool {
    let same = |a: &Query, b: &Query| a.name() == b.name() && a.query_type() == b.query_type();
    answer.metadata.id == question.metadata.id
        && answer.queries.len() == 1
        && same(&answer.queries[0], &question.queries[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_are_read_as_glibc_does() {
        let text = "# comment\nsearch lan\nnameserver 127.0.0.53\nnameserver  ::1 \n\
            nameserver fe80::1%eth0\nnameserver\n nameserver 192.0.2.1\noptions ndots:1\n";
        let found: Vec<String> = nameservers(text).iter().map(ToString::to_string).collect();
        assert_eq!(found, ["127.0.0.53:53", "[::1]:53", "192.0.2.1:53"]);
    }

    #[test]
    fn a_changed_file_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("resolv.conf");
        let servers = Servers::file(path.clone());
        assert_eq!(servers.now(), []);
        fs::write(&path, "nameserver 192.0.2.1").unwrap();
        assert_eq!(servers.now().len(), 1);
        fs::remove_file(&path).unwrap();
        assert_eq!(servers.now(), []);
    }

    #[tokio::test]
    async fn without_a_way_out_the_answer_is_servfail_at_once() {
        let own = Ipv4Addr::new(127, 0, 0, 9);
        let forwarder = Forwarder::new(
            Servers::Fixed(vec![(own, 53).into()]),
            PathBuf::new(),
            vec![own],
        );
        let name = Name::from_ascii("example.org.").unwrap();
        let answer = forwarder
            .ask(&Query::query(name, RecordType::A), None)
            .await;
        assert_eq!(answer.metadata.response_code, ResponseCode::ServFail);
    }
}
