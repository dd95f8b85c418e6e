//! The listener: UDP and TCP, one question per message, bounded work.
//!
//! Questions about the cluster are answered on the spot; those for others wait for them in tasks of their own.

use super::{
    answer::{self, Reply},
    corefile::{Block, Corefile, Upstream},
    forward::{Forwarder, PAYLOAD_MAX},
    hosts::Listed,
    rewrite,
    zone::Zone,
};
use futures_util::future::poll_immediate;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record},
};
use std::{
    collections::VecDeque,
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
    task::{AbortHandle, JoinSet},
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
    setup: RwLock<Arc<Corefile>>,
    forwarder: Forwarder,
    /// Rotates addresses, so that clients that take the first one spread.
    turn: AtomicUsize,
}

/// What is known about a question.
struct Found {
    code: ResponseCode,
    is_own: bool,
    answers: Vec<Record>,
    authorities: Vec<Record>,
    additionals: Vec<Record>,
    /// An alias that is to be followed.
    chase: Option<Name>,
}

impl Server {
    pub fn new(zone: Zone, setup: Corefile, forwarder: Forwarder) -> Server {
        Server {
            zone: RwLock::new(zone),
            setup: RwLock::new(Arc::new(setup)),
            forwarder,
            turn: AtomicUsize::new(0),
        }
    }

    /// Labels of the cluster's own domain.
    pub fn domain(&self) -> Vec<String> {
        let zone = self.zone.read().expect("no panic while locked");
        zone.domain.clone()
    }

    /// From the next question on.
    pub fn set_up(&self, setup: Corefile) {
        *self.setup.write().expect("no panic while locked") = Arc::new(setup);
        self.forwarder.forget();
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
            // Nothing here is of any other class.
            [query] if query.query_class() != DNSClass::IN => {
                response.metadata.response_code = ResponseCode::Refused;
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
        let setup = Arc::clone(&self.setup.read().expect("no panic while locked"));
        let mut found = self.step(&setup, query).await;
        let mut chase = found.chase.take();
        for _ in 0..ALIASES_MAX {
            let Some(name) = chase else { break };
            let next = Query::query(name, query.query_type());
            let more = self.step(&setup, &next).await;
            found.answers.extend(more.answers);
            chase = more.chase;
        }
        response.metadata.authoritative = found.is_own;
        response.metadata.response_code = found.code;
        response.answers = found.answers;
        response.authorities = found.authorities;
        response.additionals = found.additionals;
    }

    /// What is known of a name itself; where an alias leads to is another step.
    async fn step(&self, setup: &Corefile, query: &Query) -> Found {
        // A name that is no text is nobody's in particular.
        let name = answer::labels(query.name()).unwrap_or_default();
        let Some(block) = setup.block(&name) else {
            return Found::bare(ResponseCode::Refused);
        };
        let other = rewrite::rewritten(&block.rewrites, &name);
        let Some((labels, other)) = other.and_then(|labels| Some((absolute(&labels)?, labels)))
        else {
            return self.look_up(block, query, &name).await;
        };
        let inner = Query::query(labels, query.query_type());
        let mut found = self.look_up(block, &inner, &other).await;
        for record in &mut found.answers {
            if record.name == *inner.name() {
                record.name = query.name().clone();
            }
        }
        found
    }

    async fn look_up(&self, block: &Block, query: &Query, name: &[String]) -> Found {
        for hosts in &block.hosts {
            if let Some(found) = Found::listed(hosts.answer(query, name)) {
                return found;
            }
        }
        if let Some(reply) = self.own(query).filter(|_| block.has_cluster) {
            let is_pod = || {
                self.zone
                    .read()
                    .expect("no panic while locked")
                    .is_of_pods(name)
            };
            return match block.has_pods || !is_pod() {
                true => Found::from(reply),
                false => Found::bare(ResponseCode::NXDomain),
            };
        }
        let theirs = match block.upstream(name) {
            None => return Found::bare(ResponseCode::Refused),
            Some(Upstream::Servers(servers)) => self.forwarder.ask(query, Some(servers)).await,
            Some(Upstream::Host) => {
                let listed = self.forwarder.hosts().answer(query, name);
                if let Some(found) = Found::listed(listed) {
                    return found;
                }
                self.forwarder.ask(query, None).await
            }
        };
        Found {
            answers: theirs.answers,
            authorities: theirs.authorities,
            ..Found::bare(theirs.metadata.response_code)
        }
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

impl Found {
    fn bare(code: ResponseCode) -> Found {
        Found {
            code,
            is_own: false,
            answers: Vec::new(),
            authorities: Vec::new(),
            additionals: Vec::new(),
            chase: None,
        }
    }

    fn listed(listed: Listed) -> Option<Found> {
        let (code, answers) = match listed {
            Listed::Pass => return None,
            Listed::Nothing => (ResponseCode::NXDomain, Vec::new()),
            Listed::Records(records) => (ResponseCode::NoError, records),
        };
        Some(Found {
            is_own: true,
            answers,
            ..Found::bare(code)
        })
    }
}

impl From<Reply> for Found {
    fn from(reply: Reply) -> Found {
        Found {
            code: reply.code,
            is_own: true,
            answers: reply.answers,
            authorities: reply.authorities,
            additionals: reply.additionals,
            chase: reply.chase,
        }
    }
}

/// `None`: a rule made something that is no name.
fn absolute(labels: &[String]) -> Option<Name> {
    let mut name = Name::from_labels(labels.iter().map(|label| label.as_bytes())).ok()?;
    name.set_fqdn(true);
    Some(name)
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
        // Too long, perhaps even for the encoder.
        _ => shorten(response, limit),
    }
}

/// Without what nobody asked for; if that is not enough, with as many answers as there is room for: not every client
/// asks again over TCP.
fn shorten(response: &Message, limit: u16) -> Option<Vec<u8>> {
    let mut shorter = response.clone();
    shorter.additionals.clear();
    let encoded = |answers: usize| {
        let mut part = shorter.clone();
        part.metadata.truncation = answers < response.answers.len();
        part.answers.truncate(answers);
        let bytes = part.to_vec().ok();
        bytes.filter(|bytes| bytes.len() <= usize::from(limit))
    };
    let (mut fits, mut most) = (0, response.answers.len());
    while fits < most {
        let middle = (fits + most).div_ceil(2);
        match encoded(middle) {
            Some(_) => fits = middle,
            None => most = middle - 1,
        }
    }
    encoded(fits).or_else(|| response.truncate().to_vec().ok())
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
        let (server, answering) = (Arc::clone(&server), Arc::clone(&socket));
        let question = buffer[..length].to_vec();
        let mut work = Box::pin(async move {
            if let Some(answer) = server.respond(&question, true).await {
                let _ = answering.send_to(&answer, client).await;
            }
        });
        // What we know ourselves is answered at once, however many wait for others.
        if poll_immediate(&mut work).await.is_none() && waiting.len() < WAITING_MAX {
            waiting.spawn(work);
        }
    }
}

pub async fn serve_tcp(server: Arc<Server>, listener: TcpListener) {
    let mut connections = JoinSet::new();
    // Oldest first.
    let mut ends: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                while connections.try_join_next().is_some() {}
                ends.retain(|end| !end.is_finished());
                // Whoever keeps connections open for nothing must not keep others out.
                if ends.len() >= CONNECTIONS_MAX
                    && let Some(oldest) = ends.pop_front()
                {
                    oldest.abort();
                }
                let server = Arc::clone(&server);
                ends.push_back(connections.spawn(async move {
                    let _ = converse(&server, stream).await;
                }));
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
