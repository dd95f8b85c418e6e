//! Requests through the ingress proxy, and through nginx from Debian in the same run: the same backend (another nginx),
//! the same client, the same cores, turn by turn.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, runtime},
    place::Place,
    starts::millis,
};
use http::Method;
use serde_json::json;
use std::{
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

const CLIENTS: usize = 32;
const ROUNDS: usize = 5;
const BACKEND_PORT: u16 = 8081;
const NGINX_PORT: u16 = 8082;
/// What the backend answers ends with this.
const END: &[u8] = b"-end-of-answer";
const REQUEST: &[u8] =
    b"GET /some/path?with=query HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";

struct Nginx(Child);

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// As ingress-nginx sets it up where it matters: kept connections to backends, forwarded headers.
fn nginx(folder: &TempDir, name: &str, workers: usize, server: &str) -> Nginx {
    let home = folder.path().join(name);
    std::fs::create_dir_all(&home).unwrap();
    let config = format!(
        "daemon off; worker_processes {workers}; pid {home}/pid; error_log stderr;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 100000000;\n\
         client_body_temp_path {home}/body; proxy_temp_path {home}/proxy; fastcgi_temp_path {home}/f;\n\
         uwsgi_temp_path {home}/u; scgi_temp_path {home}/s;\n{server}\n}}\n",
        home = home.display()
    );
    let file = home.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let child = Command::new("/usr/sbin/nginx")
        .arg("-c")
        .arg(&file)
        .stderr(Stdio::null())
        .spawn()
        .expect("nginx from Debian: apt-get install nginx-light");
    Nginx(child)
}

pub fn measure(settings: &Settings) -> Vec<Figure> {
    let place = Place::new();
    place.start();
    let folder = tempfile::tempdir().unwrap();
    let text = format!("{}{}", "x".repeat(1000), String::from_utf8_lossy(END));
    let backend =
        format!("server {{ listen {BACKEND_PORT}; location / {{ return 200 '{text}'; }} }}");
    let proxy = format!(
        "upstream backend {{ server 127.0.0.1:{BACKEND_PORT}; keepalive 320; keepalive_requests 100000000; }}\n\
         server {{ listen {NGINX_PORT}; location / {{ proxy_pass http://backend; proxy_http_version 1.1;\n\
         proxy_set_header Connection ''; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-ID $request_id; }} }}"
    );
    let _backend = nginx(&folder, "backend", 1, &backend);
    let _proxy = nginx(&folder, "proxy", 2, &proxy);
    let access = Access::read(&place.kubeconfig());
    let length = Duration::from_millis(settings.seconds * 1000 / ROUNDS as u64);
    runtime().block_on(async {
        let ours = SocketAddr::new(route(&access).await, 80);
        let theirs = SocketAddr::from(([127, 0, 0, 1], NGINX_PORT));
        for address in [ours, theirs] {
            until_served(address).await;
        }
        let (mut rates, mut times) = ([Vec::new(), Vec::new()], [Vec::new(), Vec::new()]);
        for _ in 0..ROUNDS {
            for (index, address) in [ours, theirs].into_iter().enumerate() {
                let mut took = round(address, length).await;
                rates[index].push(took.len() as f64 / length.as_secs_f64());
                times[index].append(&mut took);
            }
        }
        let ([our_rate, their_rate], [our_time, their_time]) = (rates, times);
        vec![
            Figure::new("ingress requests, 32 clients", "1/s", ">= nginx", our_rate),
            Figure::new("nginx requests, 32 clients", "1/s", "", their_rate),
            Figure::new("ingress request", "ms", "p99 <= nginx", our_time),
            Figure::new("nginx request", "ms", "", their_time),
        ]
    })
}

/// An Ingress whose Service has the backend as its endpoint; answers the address it got.
async fn route(access: &Access) -> std::net::IpAddr {
    let mut connection = access.connect().await;
    let nodes = connection
        .json(Method::GET, "/api/v1/nodes", String::new())
        .await;
    let addresses = nodes["items"][0]["status"]["addresses"].as_array().unwrap();
    let node = addresses
        .iter()
        .find(|one| one["type"] == "InternalIP")
        .unwrap()["address"]
        .clone();
    let service = json!({"metadata": {"name": "bench"}, "spec": {"ports": [{"port": 80, "targetPort": BACKEND_PORT}]}});
    let slice = json!({"metadata": {"name": "bench", "labels": {"kubernetes.io/service-name": "bench"}},
        "addressType": "IPv4", "endpoints": [{"addresses": [node]}], "ports": [{"port": BACKEND_PORT}]});
    let ingress = json!({"metadata": {"name": "bench"}, "spec": {"rules": [{"host": "bench.example", "http": {"paths": [
        {"pathType": "Prefix", "path": "/", "backend": {"service": {"name": "bench", "port": {"number": 80}}}}]}}]}});
    for (path, object) in [
        ("/api/v1/namespaces/default/services", service),
        (
            "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices",
            slice,
        ),
        (
            "/apis/networking.k8s.io/v1/namespaces/default/ingresses",
            ingress,
        ),
    ] {
        connection
            .call(Method::POST, path, object.to_string())
            .await;
    }
    let path = "/apis/networking.k8s.io/v1/namespaces/default/ingresses/bench";
    loop {
        let ingress = connection.json(Method::GET, path, String::new()).await;
        let ip = ingress["status"]["loadBalancer"]["ingress"][0]["ip"].as_str();
        if let Some(ip) = ip {
            return ip.parse().unwrap();
        }
    }
}

async fn until_served(address: SocketAddr) {
    loop {
        if let Ok(mut stream) = TcpStream::connect(address).await
            && request(&mut stream, &mut Vec::new()).await
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// How long each request took, in milliseconds.
async fn round(address: SocketAddr, length: Duration) -> Vec<f64> {
    let mut clients = JoinSet::new();
    let begun = Instant::now();
    for _ in 0..CLIENTS {
        clients.spawn(async move {
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let (mut buffer, mut times) = (Vec::with_capacity(4096), Vec::new());
            while begun.elapsed() < length {
                let sent = Instant::now();
                assert!(
                    request(&mut stream, &mut buffer).await,
                    "{address} does not answer as it should"
                );
                times.push(millis(sent.elapsed()));
            }
            times
        });
    }
    clients.join_all().await.into_iter().flatten().collect()
}

async fn request(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> bool {
    buffer.clear();
    if stream.write_all(REQUEST).await.is_err() {
        return false;
    }
    while !buffer.ends_with(END) {
        if stream.read_buf(buffer).await.unwrap_or(0) == 0 || buffer.len() > 4096 {
            return false;
        }
    }
    buffer.starts_with(b"HTTP/1.1 200 ")
}
