//! The network: many Services, names, many rules.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, runtime},
    place::Place,
    pods::{self, PODS},
    starts::millis,
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use http::Method;
use serde_json::{Value, json};
use std::{
    io::{self, Read, Write},
    net::{TcpStream, UdpSocket},
    time::{Duration, Instant},
};

const SERVICES: &str = "/api/v1/namespaces/default/services";
const POLICIES: &str = "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies";
const PATIENCE: Duration = Duration::from_secs(5);

/// One GET of `/` on a connection of its own; good only with an answer of success.
pub fn fetch(address: &str) -> io::Result<()> {
    let address = address.parse().map_err(io::Error::other)?;
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: web\r\nConnection: close\r\n\r\n")?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    if text.starts_with(b"HTTP/1.1 200") || text.starts_with(b"HTTP/1.0 200") {
        Ok(())
    } else {
        Err(io::Error::other("not 200"))
    }
}

fn until_fetched(address: &str) {
    while fetch(address).is_err() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn web() -> Value {
    let mut pod = pods::pod("web", &["/kubik-hello"]);
    pod["metadata"]["labels"] = json!({"app": "web"});
    pod
}

fn service(name: &str) -> String {
    json!({"metadata": {"name": name}, "spec": {"selector": {"app": "web"}, "ports": [{"port": 80, "targetPort": 8080}]}}).to_string()
}

/// How long until the last of a thousand is reached, and what the thousand cost a connection.
pub fn services(settings: &Settings) -> Vec<Figure> {
    const COUNT: usize = 1000;
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let (mut alone, mut among, mut took) = (Vec::new(), Vec::new(), 0.0);
    runtime().block_on(async {
        let mut writer = access.connect().await;
        writer.call(Method::POST, PODS, web().to_string()).await;
        let address =
            |service: &Value| format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
        let first = address(&writer.json(Method::POST, SERVICES, service("first")).await);
        until_fetched(&first);
        alone = fetches(&first, settings.samples * 10);
        let begun = Instant::now();
        let mut last = String::new();
        for n in 0..COUNT {
            last = address(
                &writer
                    .json(Method::POST, SERVICES, service(&format!("s{n}")))
                    .await,
            );
        }
        until_fetched(&last);
        took = begun.elapsed().as_secs_f64();
        among = fetches(&last, settings.samples * 10);
    });
    vec![
        Figure::new("1,000 Services: the last one reached", "s", "-", vec![took]),
        Figure::new("request through a Service, alone", "ms", "-", alone),
        Figure::new("request through a Service, of 1,000", "ms", "-", among),
    ]
}

fn fetches(address: &str, samples: usize) -> Vec<f64> {
    let timed = |_| {
        let begun = Instant::now();
        fetch(address).unwrap();
        millis(begun.elapsed())
    };
    (0..samples).map(timed).collect()
}

/// Questions answered per second, by clients that wait for each answer.
pub fn names(settings: &Settings) -> Vec<Figure> {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 5;
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let dns = runtime().block_on(async {
        let path = "/api/v1/namespaces/kube-system/services/kube-dns";
        let service = access
            .connect()
            .await
            .json(Method::GET, path, String::new())
            .await;
        format!("{}:53", service["spec"]["clusterIP"].as_str().unwrap())
    });
    let name: Name = "kubernetes.default.svc.cluster.local.".parse().unwrap();
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(name, RecordType::A));
    let question = message.to_vec().unwrap();
    let length = Duration::from_millis(settings.seconds * 1000 / ROUNDS as u64);
    let rates = (0..ROUNDS).map(|_| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (dns, question) = (dns.clone(), question.clone());
                std::thread::spawn(move || asked(&dns, &question, length))
            })
            .collect();
        let answers: usize = clients
            .into_iter()
            .map(|client| client.join().unwrap())
            .sum();
        answers as f64 / length.as_secs_f64()
    });
    vec![Figure::new(
        "DNS answers, 16 clients",
        "1/s",
        "-",
        rates.collect(),
    )]
}

fn asked(dns: &str, question: &[u8], length: Duration) -> usize {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    socket.connect(dns).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let begun = Instant::now();
    let mut answers = 0;
    let mut buffer = [0u8; 512];
    while begun.elapsed() < length {
        socket.send(question).unwrap();
        let count = socket.recv(&mut buffer).unwrap();
        answers +=
            usize::from(Message::from_vec(&buffer[..count]).is_ok_and(|m| !m.answers.is_empty()));
    }
    answers
}

/// A policy of 200 rules, the last of which lets this machine's other address in: enforced how soon, at what cost.
pub fn policy(settings: &Settings) -> Vec<Figure> {
    const RULES: u32 = 200;
    let place = Place::new();
    place.start();
    let access = Access::read(&place.kubeconfig());
    let (mut free, mut fenced, mut applied) = (Vec::new(), Vec::new(), 0.0);
    runtime().block_on(async {
        let mut writer = access.connect().await;
        writer.call(Method::POST, PODS, web().to_string()).await;
        let service = writer.json(Method::POST, SERVICES, service("web")).await;
        let address = format!("{}:80", service["spec"]["clusterIP"].as_str().unwrap());
        until_fetched(&address);
        free = fetches(&address, settings.samples * 10);
        // Each rule is a block and a port; only the last one fits what we ask.
        let mut rules: Vec<Value> = (0..RULES - 1)
            .map(|n| {
                let block = format!("10.{}.{}.0/24", 128 + n / 256, n % 256);
                json!({"from": [{"ipBlock": {"cidr": block}}], "ports": [{"port": 8080}]})
            })
            .collect();
        rules.push(json!({"from": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": 8080}]}));
        let policy = json!({"metadata": {"name": "fence"}, "spec": {"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"], "ingress": rules}});
        let begun = Instant::now();
        writer.call(Method::POST, POLICIES, policy.to_string()).await;
        until_fetched(&address);
        applied = millis(begun.elapsed());
        fenced = fetches(&address, settings.samples * 10);
    });
    vec![
        Figure::new(
            "NetworkPolicy of 200 rules: taken",
            "ms",
            "-",
            vec![applied],
        ),
        Figure::new("request to a pod, no policy", "ms", "-", free),
        Figure::new("request to a pod behind 200 rules", "ms", "-", fenced),
    ]
}
