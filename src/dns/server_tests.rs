//! The listener over loopback, with another server of the same kind as the host's resolver.

use super::*;
use crate::dns::{
    corefile,
    forward::Servers,
    zone::{Endpoint, Entry, Kind},
};
use hickory_proto::rr::{Name, RecordType};
use std::net::{IpAddr, Ipv4Addr};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

const COREFILE: &str = ".:53 {
    rewrite name shop.example web.default.svc.inside.test
    rewrite name suffix .apps.example .default.svc.inside.test answer auto
    hosts {
        192.0.2.5 gate.example
        fallthrough
    }
    kubernetes
    forward . /etc/resolv.conf
}
closed.example {
    hosts {
        192.0.2.6 one.closed.example
    }
}
";

/// A zone `<domain>` with a Service `default/web` at `address` and a headless one of so many endpoints.
async fn serve(
    domain: &str,
    address: &str,
    endpoints: u8,
    servers: Vec<SocketAddr>,
) -> (SocketAddr, JoinSet<()>) {
    let mut zone = Zone::new(domain, Ipv4Addr::LOCALHOST);
    zone.is_complete = true;
    let entry = |kind, endpoints| Entry {
        kind,
        ports: Vec::new(),
        endpoints,
    };
    let name = |name: &str| ("default".to_owned(), name.to_owned());
    let cluster = Kind::Cluster(address.parse().unwrap());
    zone.set(name("web"), Some(entry(cluster, Vec::new())));
    let endpoint = |last| Endpoint {
        label: format!("pod-{last}"),
        address: Ipv4Addr::new(10, 0, 0, last),
        ports: Vec::new(),
    };
    let endpoints = (0..endpoints).map(endpoint).collect();
    zone.set(name("set"), Some(entry(Kind::Headless, endpoints)));
    let alias = Kind::External("web.default.svc.host.test".to_owned());
    zone.set(name("away"), Some(entry(alias, Vec::new())));
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "192.0.2.77 printer.lan\n").unwrap();
    let forwarder = Forwarder::new(Servers::Fixed(servers), hosts.path().to_owned(), Vec::new());
    let (setup, _) = corefile::parse(COREFILE).unwrap();
    let server = Arc::new(Server::new(zone, setup, forwarder));
    let (udp, tcp) = bind(SocketAddr::new(LOOPBACK, 0)).await.unwrap();
    let at = udp.local_addr().unwrap();
    let mut tasks = JoinSet::new();
    tasks.spawn(async move {
        let _file = hosts;
        std::future::pending::<()>().await;
    });
    tasks.spawn(serve_udp(Arc::clone(&server), udp));
    tasks.spawn(serve_tcp(server, tcp));
    (at, tasks)
}

fn question(name: &str, kind: RecordType) -> Message {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message
}

async fn over_udp(server: SocketAddr, bytes: &[u8]) -> Message {
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    socket.send_to(bytes, server).await.unwrap();
    let mut buffer = [0; 4096];
    let length = timeout(Duration::from_secs(10), socket.recv(&mut buffer));
    let length = length.await.unwrap().unwrap();
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn over_tcp(server: SocketAddr, bytes: &[u8]) -> Message {
    let mut stream = TcpStream::connect(server).await.unwrap();
    let length = u16::try_from(bytes.len()).unwrap();
    stream.write_u16(length).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let length = stream.read_u16().await.unwrap();
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await.unwrap();
    Message::from_vec(&buffer).unwrap()
}

fn texts(message: &Message) -> Vec<String> {
    let answers = message.answers.iter();
    answers.map(|record| record.data.to_string()).collect()
}

#[tokio::test]
async fn own_names_are_answered_with_authority() {
    let (server, _tasks) = serve("cluster.local", "10.96.0.20", 0, Vec::new()).await;
    let question = question("web.default.svc.cluster.local.", RecordType::A);
    let bytes = question.to_vec().unwrap();
    for answer in [
        over_udp(server, &bytes).await,
        over_tcp(server, &bytes).await,
    ] {
        assert_eq!(texts(&answer), ["10.96.0.20"]);
        assert_eq!(answer.metadata.id, question.metadata.id);
        assert!(answer.metadata.authoritative);
        assert!(answer.metadata.recursion_available);
    }
}

#[tokio::test]
async fn long_answers_are_cut_over_udp_and_whole_over_tcp() {
    let (server, _tasks) = serve("cluster.local", "10.96.0.20", 200, Vec::new()).await;
    let mut question = question("set.default.svc.cluster.local.", RecordType::A);
    let plain = over_udp(server, &question.to_vec().unwrap()).await;
    assert!(plain.metadata.truncation);
    // Not every client asks again: it should have what there is room for.
    assert_eq!(plain.answers.len(), 29);
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    question.set_edns(edns);
    let bytes = question.to_vec().unwrap();
    let large = over_udp(server, &bytes).await;
    assert!(large.metadata.truncation && large.edns.is_some());
    assert_eq!(large.answers.len(), 73);
    let whole = over_tcp(server, &bytes).await;
    assert_eq!(whole.answers.len(), 200);
    let again = over_tcp(server, &bytes).await;
    assert_ne!(texts(&whole)[0], texts(&again)[0], "addresses take turns");
}

#[tokio::test]
async fn other_classes_are_refused_and_idle_connections_give_way() {
    let (server, _tasks) = serve("cluster.local", "10.96.0.20", 0, Vec::new()).await;
    let mut chaos = question("version.bind.", RecordType::TXT);
    chaos.queries[0].set_query_class(DNSClass::CH);
    let refused = over_udp(server, &chaos.to_vec().unwrap()).await;
    assert_eq!(refused.metadata.response_code, ResponseCode::Refused);
    let mut idle = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        idle.push(TcpStream::connect(server).await.unwrap());
    }
    let bytes = question("web.default.svc.cluster.local.", RecordType::A);
    let asking = over_tcp(server, &bytes.to_vec().unwrap()).await;
    assert_eq!(texts(&asking), ["10.96.0.20"]);
    let closed = idle[0].read_u8().await.unwrap_err();
    assert_eq!(closed.kind(), io::ErrorKind::UnexpectedEof);
}

#[tokio::test]
async fn other_names_are_asked_of_the_hosts_resolver() {
    let (host, mut host_tasks) = serve("host.test", "192.0.2.80", 200, Vec::new()).await;
    let (server, _tasks) = serve("cluster.local", "10.96.0.20", 0, vec![host]).await;
    let ask = |name: &'static str| async move {
        let bytes = question(name, RecordType::A).to_vec().unwrap();
        over_tcp(server, &bytes).await
    };
    assert_eq!(
        texts(&ask("web.default.svc.host.test.").await),
        ["192.0.2.80"]
    );
    let missing = ask("nothing.default.svc.host.test.").await;
    assert_eq!(missing.metadata.response_code, ResponseCode::NXDomain);
    assert_eq!(missing.authorities.len(), 1);
    let long = ask("set.default.svc.host.test.").await;
    assert_eq!(long.answers.len(), 200, "asked again over TCP");
    let alias = ask("away.default.svc.cluster.local.").await;
    assert_eq!(texts(&alias), ["web.default.svc.host.test.", "192.0.2.80"]);
    host_tasks.shutdown().await;
    assert_eq!(
        texts(&ask("web.default.svc.host.test.").await),
        ["192.0.2.80"],
        "remembered"
    );
    let unknown = ask("away.default.svc.host.test.").await;
    assert_eq!(unknown.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn what_is_no_question_gets_no_answer() {
    let (server, _tasks) = serve("cluster.local", "10.96.0.20", 0, Vec::new()).await;
    let socket = UdpSocket::bind((LOOPBACK, 0)).await.unwrap();
    let mut answer = question("web.default.svc.cluster.local.", RecordType::A);
    answer.metadata.message_type = MessageType::Response;
    for noise in [vec![], vec![0], vec![0xff; 600], answer.to_vec().unwrap()] {
        socket.send_to(&noise, server).await.unwrap();
    }
    let mut broken = vec![0x12, 0x34, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    broken.push(63);
    let answer = over_udp(server, &broken).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::FormErr);
    assert_eq!(answer.metadata.id, 0x1234);
    let mut buffer = [0; 16];
    assert!(socket.try_recv(&mut buffer).is_err());
}

#[tokio::test]
async fn a_taken_port_is_avoided() {
    let (first, _tcp) = bind(SocketAddr::new(LOOPBACK, 0)).await.unwrap();
    let taken = first.local_addr().unwrap();
    let (second, tcp) = bind(taken).await.unwrap();
    assert_ne!(second.local_addr().unwrap(), taken);
    assert_eq!(second.local_addr().unwrap(), tcp.local_addr().unwrap());
}

#[tokio::test]
async fn the_corefile_decides_what_is_done_with_a_name() {
    let (server, _tasks) = serve("inside.test", "10.96.0.7", 0, Vec::new()).await;
    for (name, code, expected) in [
        ("shop.example.", ResponseCode::NoError, "10.96.0.7"),
        ("web.apps.example.", ResponseCode::NoError, "10.96.0.7"),
        ("gate.example.", ResponseCode::NoError, "192.0.2.5"),
        ("printer.lan.", ResponseCode::NoError, "192.0.2.77"),
        ("one.closed.example.", ResponseCode::NoError, "192.0.2.6"),
        ("two.closed.example.", ResponseCode::NXDomain, ""),
        ("elsewhere.example.", ResponseCode::ServFail, ""),
    ] {
        let bytes = question(name, RecordType::A).to_vec().unwrap();
        let answer = over_udp(server, &bytes).await;
        assert_eq!(answer.metadata.response_code, code, "{name}");
        let data: Vec<String> = answer
            .answers
            .iter()
            .map(|one| one.data.to_string())
            .collect();
        assert_eq!(data.join(" "), expected, "{name}");
        let owner = |one: &Record| one.name.to_string() == name;
        assert!(
            answer.answers.iter().all(owner),
            "under the name that was asked for"
        );
    }
}
