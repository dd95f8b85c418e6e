//! Port-forward: byte pipes into a pod's network, over SPDY (plain or inside a WebSocket) or WebSocket channels.
//!
//! With SPDY every connection is a pair of streams with one request id: `error`, then `data`. A failure is told on
//! the error stream and ends that pair only.

use super::{
    Connect, remote,
    socket::{self, Io, Socket, Upgrade},
    spdy,
    target::{self, Target},
};
use crate::{
    api::{
        ApiError,
        name::Key,
        stream::{Duplex, NodeApi},
    },
    apiserver::{listen::answer::Answer, request::options::Query},
};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::{Request, body::Incoming};
use std::{collections::HashMap, sync::Arc};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    sync::mpsc,
    task::JoinSet,
};
use tokio_tungstenite::tungstenite::Message;

const TUNNEL: &str = "SPDY/3.1+portforward.k8s.io";
const SOCKET_PROTOCOLS: &[&str] = &[
    TUNNEL,
    "v4.channel.k8s.io",
    "v4.base64.channel.k8s.io",
    // Clients that offer every exec protocol mean the channels.
    "v5.channel.k8s.io",
    "",
];
const SPDY_PROTOCOLS: &[&str] = &["portforward.k8s.io", ""];
const CHUNK: usize = 32 * 1024;
/// Ports of one WebSocket; a channel number is a byte.
const PORTS_MAX: usize = 64;
/// Bytes of the tunnel on their way to its framing.
const TUNNEL_BUFFER: usize = 64 * 1024;

/// Where the pipes lead.
#[derive(Clone)]
struct Pod {
    key: Key,
    uid: String,
    node: Arc<dyn NodeApi>,
}

impl Pod {
    async fn connect(&self, port: u16) -> Result<Box<dyn Duplex>, String> {
        let connected = self.node.port_forward(self.key.clone(), port).await;
        connected.map_err(|failure| {
            let why = failure.message.as_str();
            // The prefix of a refused request; here the text stands alone.
            let why = why.strip_prefix("Internal error occurred: ").unwrap_or(why);
            format!(
                "error forwarding port {port} to pod {}, uid {}: {why}",
                self.key, self.uid
            )
        })
    }
}

pub async fn serve(connect: &Connect<'_>, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let Target { key, pod, node } = target::pod(connect).await?;
    if pod["status"]["phase"] != "Running" {
        let phase = pod["status"]["phase"].as_str().unwrap_or("Pending");
        let why =
            format!("unable to forward port because pod is not running. Current status={phase}");
        return Err(ApiError::bad_request(why));
    }
    let uid = pod["metadata"]["uid"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    let pod = Pod { key, uid, node };
    match Upgrade::of(request.headers()) {
        Upgrade::None => Err(ApiError::bad_request("Upgrade request required")),
        Upgrade::Spdy => Ok(socket::spdy(
            connect,
            request,
            SPDY_PROTOCOLS,
            |io: Io, _| streams(io, pod),
        )),
        Upgrade::WebSocket => {
            let ports = ports(&query)?;
            socket::websocket(
                connect,
                request,
                SOCKET_PROTOCOLS,
                move |socket, protocol| async move {
                    match protocol {
                        TUNNEL => tunnel(socket, pod).await,
                        _ => channels(socket, protocol.contains("base64"), &ports, &pod).await,
                    }
                },
            )
        }
    }
}

/// `ports=80&ports=443` or `ports=80,443`; the tunnel has none.
fn ports(query: &Query) -> Result<Vec<u16>, ApiError> {
    let texts = query.all("ports").flat_map(|list| list.split(','));
    let refused = |text: &str| {
        ApiError::bad_request(format!("query parameter \"ports\" is not a port: {text:?}"))
    };
    let ports: Result<Vec<u16>, ApiError> = texts
        .map(|text| {
            text.trim()
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| refused(text))
        })
        .collect();
    let ports = ports?;
    if ports.len() > PORTS_MAX {
        return Err(ApiError::bad_request("too many ports"));
    }
    Ok(ports)
}

/// A WebSocket whose binary messages are the bytes of a SPDY connection.
async fn tunnel(socket: Socket, pod: Pod) {
    let (near, far) = tokio::io::duplex(TUNNEL_BUFFER);
    let (mut from_spdy, mut to_spdy) = tokio::io::split(near);
    let (mut sink, mut stream) = socket.split();
    let inward = async {
        while let Some(Ok(message)) = stream.next().await {
            match message {
                Message::Binary(bytes) if to_spdy.write_all(&bytes).await.is_err() => break,
                Message::Close(_) => break,
                _ => {}
            }
        }
        let _ = to_spdy.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_spdy.read(&mut buffer).await {
            let message = Message::binary(Bytes::copy_from_slice(&buffer[..count]));
            if sink.send(message).await.is_err() {
                break;
            }
        }
        let _ = remote::close(&mut sink).await;
    };
    let work = streams(far, pod);
    tokio::join!(inward, outward, work);
}

/// Pairs of streams until the client is done.
async fn streams(io: impl AsyncRead + AsyncWrite + Unpin, pod: Pod) {
    let (sender, mut opened) = mpsc::channel::<spdy::Stream>(16);
    let pairs = async move {
        let mut errors: HashMap<String, spdy::Stream> = HashMap::new();
        let mut running = JoinSet::new();
        while let Some(stream) = opened.recv().await {
            while running.try_join_next().is_some() {}
            let id = stream.header("requestid").to_owned();
            match stream.header("streamtype") {
                "error" => drop(errors.insert(id, stream)),
                "data" => {
                    if let Some(error) = errors.remove(&id) {
                        running.spawn(pair(pod.clone(), stream, error));
                    } else {
                        stream.output.reset().await;
                    }
                }
                _ => stream.output.reset().await,
            }
        }
        // The client is gone: its pipes end with it.
        running.shutdown().await;
    };
    let _ = tokio::join!(spdy::serve(io, sender, std::future::pending()), pairs);
}

async fn pair(pod: Pod, data: spdy::Stream, error: spdy::Stream) {
    let port = data.header("port").to_owned();
    let connected = match port.parse() {
        Ok(port) => pod.connect(port).await,
        Err(_) => Err(format!("unable to parse port {port:?}")),
    };
    match connected {
        Err(why) => {
            error.output.send(why.as_bytes()).await;
            error.output.finish().await;
            data.output.reset().await;
        }
        Ok(pipe) => {
            copy(pipe, data).await;
            error.output.finish().await;
        }
    }
}

async fn copy(pipe: Box<dyn Duplex>, mut data: spdy::Stream) {
    let (mut from_pod, mut to_pod) = tokio::io::split(pipe);
    let inward = async {
        while let Some(bytes) = data.input.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                return;
            }
        }
        let _ = to_pod.shutdown().await;
    };
    let outward = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_pod.read(&mut buffer).await {
            if !data.output.send(&buffer[..count]).await {
                return;
            }
        }
        data.output.finish().await;
    };
    // The pod's end decides: a client may keep its half open for ever.
    tokio::pin!(inward, outward);
    tokio::select! {
        () = &mut outward => {}
        () = &mut inward => outward.await,
    }
}

/// Two channels per port, data and error, each begun with the port's number.
async fn channels(socket: Socket, is_text: bool, ports: &[u16], pod: &Pod) {
    let (sender, mut outgoing) = mpsc::channel::<(u8, Bytes)>(16);
    let (mut sink, mut stream) = socket.split();
    let mut inputs = Vec::new();
    let mut running = JoinSet::new();
    for (index, &port) in ports.iter().enumerate() {
        let channel = u8::try_from(index * 2).expect("few ports");
        let (input, bytes) = mpsc::channel(16);
        inputs.push(input);
        running.spawn(channel_pair(
            pod.clone(),
            port,
            channel,
            bytes,
            sender.clone(),
        ));
    }
    drop(sender);
    let outward = async {
        while let Some((channel, bytes)) = outgoing.recv().await {
            if sink
                .send(remote::message(is_text, channel, &bytes))
                .await
                .is_err()
            {
                return;
            }
        }
        let _ = remote::close(&mut sink).await;
    };
    let inward = async {
        while let Some((channel, bytes)) = remote::received(&mut stream, is_text).await {
            let input = inputs
                .get(usize::from(channel / 2))
                .filter(|_| channel % 2 == 0);
            if let Some(input) = input {
                let _ = input.send(bytes).await;
            }
        }
    };
    tokio::select! {
        () = outward => {}
        () = inward => {}
    }
    running.shutdown().await;
}

async fn channel_pair(
    pod: Pod,
    port: u16,
    channel: u8,
    mut input: mpsc::Receiver<Bytes>,
    output: mpsc::Sender<(u8, Bytes)>,
) {
    for channel in [channel, channel + 1] {
        let number = Bytes::copy_from_slice(&port.to_le_bytes());
        let _ = output.send((channel, number)).await;
    }
    let pipe = match pod.connect(port).await {
        Ok(pipe) => pipe,
        Err(why) => return drop(output.send((channel + 1, Bytes::from(why))).await),
    };
    let (mut from_pod, mut to_pod) = tokio::io::split(pipe);
    let inward = async {
        while let Some(bytes) = input.recv().await {
            if to_pod.write_all(&bytes).await.is_err() {
                break;
            }
        }
    };
    let outward = async {
        let mut buffer = vec![0; CHUNK];
        while let Ok(count @ 1..) = from_pod.read(&mut buffer).await {
            let bytes = Bytes::copy_from_slice(&buffer[..count]);
            if output.send((channel, bytes)).await.is_err() {
                break;
            }
        }
    };
    tokio::select! {
        () = inward => {}
        () = outward => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_in_two_spellings() {
        let read = |query: &str| ports(&Query::parse(query)).map_err(|refusal| refusal.code);
        assert_eq!(read("ports=80&ports=443"), Ok(vec![80, 443]));
        assert_eq!(read("ports=80%2C443"), Ok(vec![80, 443]));
        assert_eq!(read(""), Ok(vec![]));
        assert_eq!(read("ports=0"), Err(400));
        assert_eq!(read("ports=x"), Err(400));
    }
}
