//! The listener: UDP and TCP, one question per message, bounded work.
//!
//! Questions about the cluster are answered on the spot; those for others wait for them in tasks of their own.

use super::{
    answer::{self, Reply},
    forward::{Forwarder, PAYLOAD_MAX},
    zone::Zone,
};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{RData, Record},
};
use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::JoinSet,
    time::timeout,
};

/// Questions that wait for other servers; more are dropped, and clients ask again.
const WAITING_MAX: usize = 256;
const CONNECTIONS_MAX: usize = 128;
const CONNECTION_IDLE: Duration = Duration::from_secs(10);
/// After an error of the socket itself.
const PAUSE: Duration = Duration::from_millis(20);
const ALIASES_MAX: usize = 8;
/// For clients that do not say what they can take.
const UDP_PLAIN: u16 = 512;

pub struct Server {
    pub zone: RwLock<Zone>,
    forwarder: Forwarder,
    /// Rotates addresses, so that clients that take the first one spread.
    turn: AtomicUsize,
}

impl Server {
    pub fn new(zone: Zone, forwarder: Forwarder) -> Server {
        Server {
            zone: RwLock::new(zone),
            forwarder,
            turn: AtomicUsize::new(0),
        }
    }

    /// `None`: this is no question, say nothing.
    async fn respond(&self, bytes: &[u8], over_udp: bool) -> Option<Vec<u8>> {
        let request = match Message::from_vec(bytes) {
            Ok(request) => request,
            Err(_) => return refuse(bytes),
        };
        if request.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut response = Message::response(request.metadata.id, request.metadata.op_code);
        response.metadata.recursion_desired = request.metadata.recursion_desired;
        response.metadata.recursion_available = true;
        response.add_queries(request.queries.iter().cloned());
        match request.queries.as_slice() {
            _ if request.metadata.op_code != OpCode::Query => {
                response.metadata.response_code = ResponseCode::NotImp;
            }
            [query] => self.fill(&mut response, query).await,
            _ => response.metadata.response_code = ResponseCode::FormErr,
        }
        let mut limit = u16::MAX;
        if over_udp {
            limit = UDP_PLAIN;
        }
        if let Some(theirs) = &request.edns {
            let mut edns = Edns::new();
            edns.set_max_payload(PAYLOAD_MAX);
            response.set_edns(edns);
            if over_udp {
                limit = theirs.max_payload().clamp(UDP_PLAIN, PAYLOAD_MAX);
            }
        }
        encode(&response, limit)
    }

    async fn fill(&self, response: &mut Message, query: &Query) {
        let Some(reply) = self.own(query) else {
            let theirs = self.forwarder.ask(query).await;
            response.metadata.response_code = theirs.metadata.response_code;
            response.answers = theirs.answers;
            response.authorities = theirs.authorities;
            return;
        };
        response.metadata.authoritative = true;
        response.metadata.response_code = reply.code;
        response.answers = reply.answers;
        response.authorities = reply.authorities;
        response.additionals = reply.additionals;
        if let Some(name) = reply.chase {
            let next = Query::query(name, query.query_type());
            response.answers.extend(self.follow(next).await);
        }
    }

    /// The records at the end of an alias, inside the cluster or outside.
    async fn follow(&self, mut query: Query) -> Vec<Record> {
        let mut found = Vec::new();
        for _ in 0..ALIASES_MAX {
            let Some(reply) = self.own(&query) else {
                found.extend(self.forwarder.ask(&query).await.answers);
                break;
            };
            found.extend(reply.answers);
            match reply.chase {
                Some(name) => query = Query::query(name, query.query_type()),
                None => break,
            }
        }
        found
    }

    fn own(&self, query: &Query) -> Option<Reply> {
        let mut reply = answer::answer(&self.zone.read().expect("no panic while locked"), query)?;
        let only_addresses = |record: &Record| matches!(record.data, RData::A(_));
        if reply.answers.len() > 1 && reply.answers.iter().all(only_addresses) {
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let count = reply.answers.len();
            reply.answers.rotate_left(turn % count);
        }
        Some(reply)
    }
}

/// Whoever sent something unreadable learns that, if it looks like a question at all.
fn refuse(bytes: &[u8]) -> Option<Vec<u8>> {
    let id = u16::from_be_bytes([*bytes.first()?, *bytes.get(1)?]);
    let is_answer = bytes.get(2)? & 0x80 != 0;
    if is_answer || bytes.len() < 12 {
        return None;
    }
    let answer = Message::error_msg(id, OpCode::Query, ResponseCode::FormErr);
    answer.to_vec().ok()
}

fn encode(response: &Message, limit: u16) -> Option<Vec<u8>> {
    match response.to_vec() {
        Ok(bytes) if bytes.len() <= usize::from(limit) => Some(bytes),
        // Too long, perhaps even for the encoder: TCP, or nothing.
        _ => response.truncate().to_vec().ok(),
    }
}

/// The same port for both; any port when the wanted one is taken.
pub async fn bind(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    match bind_both(wanted).await {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            bind_both(SocketAddr::new(wanted.ip(), 0)).await
        }
        bound => bound,
    }
}

async fn bind_both(wanted: SocketAddr) -> io::Result<(UdpSocket, TcpListener)> {
    let tcp = TcpListener::bind(wanted).await?;
    let udp = UdpSocket::bind(tcp.local_addr()?).await?;
    Ok((udp, tcp))
}

pub async fn serve_udp(server: Arc<Server>, socket: UdpSocket) {
    let socket = Arc::new(socket);
    let mut waiting = JoinSet::new();
    let mut buffer = [0; PAYLOAD_MAX as usize];
    loop {
        while waiting.try_join_next().is_some() {}
        let (length, client) = match socket.recv_from(&mut buffer).await {
            Ok(received) => received,
            Err(_) => {
                // An ICMP message about an earlier answer: no reason to stop. Anything else must not spin.
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        if waiting.len() >= WAITING_MAX {
            continue;
        }
        let (server, socket) = (Arc::clone(&server), Arc::clone(&socket));
        let question = buffer[..length].to_vec();
        waiting.spawn(async move {
            if let Some(answer) = server.respond(&question, true).await {
                let _ = socket.send_to(&answer, client).await;
            }
        });
    }
}

pub async fn serve_tcp(server: Arc<Server>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if connections.len() >= CONNECTIONS_MAX {
            connections.join_next().await;
            continue;
        }
        match listener.accept().await {
            Ok((stream, _)) => {
                let server = Arc::clone(&server);
                connections.spawn(async move {
                    let _ = converse(&server, stream).await;
                });
            }
            // Out of descriptors: waiting for one to come free beats spinning.
            Err(_) => tokio::time::sleep(PAUSE).await,
        }
    }
}

async fn converse(server: &Server, mut stream: TcpStream) -> io::Result<()> {
    loop {
        let length = timeout(CONNECTION_IDLE, stream.read_u16()).await??;
        let mut question = vec![0; length.into()];
        timeout(CONNECTION_IDLE, stream.read_exact(&mut question)).await??;
        let Some(answer) = server.respond(&question, false).await else {
            return Ok(());
        };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        let bytes = [&length.to_be_bytes(), answer.as_slice()].concat();
        timeout(CONNECTION_IDLE, stream.write_all(&bytes)).await??;
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
