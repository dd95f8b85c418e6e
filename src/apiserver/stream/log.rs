//! Logs: plain text as it comes, or the frames of a WebSocket.

use super::{
    Connect, remote,
    socket::{self, Socket, Upgrade},
    target,
};
use crate::{
    api::ApiError,
    apiserver::{
        listen::answer::{self, Answer},
        request::options::Query,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{SinkExt as _, StreamExt as _, stream};
use hyper::{Request, body::Incoming};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{self, Message};

const PROTOCOLS: &[&str] = &["binary.k8s.io", "base64.binary.k8s.io", ""];

pub async fn serve(connect: &Connect<'_>, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let options = target::log_options(&query)?;
    let target = target::pod(connect).await;
    let target = match target {
        // Nothing runs before the pod has a node: there is nothing to show, and that is no mistake.
        Err(refusal) if refusal.code == 400 => return Ok(answer::text(200, "")),
        other => other?,
    };
    let container = target::container(&target.pod, query.get("container").unwrap_or_default())?;
    let chunks = target.node.logs(target.key, container, options).await?;
    match Upgrade::of(request.headers()) {
        Upgrade::WebSocket => socket::websocket(connect, request, PROTOCOLS, |socket, protocol| {
            over_socket(socket, protocol, chunks)
        }),
        _ => {
            let mut stop = connect.peer.stop.clone();
            let chunks = stream::unfold(chunks, async |mut chunks| {
                Some((chunks.recv().await?, chunks))
            });
            let until_stop = chunks.take_until(Box::pin(async move { stop.stopped().await }));
            Ok(answer::stream("text/plain", until_stop))
        }
    }
}

async fn over_socket(socket: Socket, protocol: &'static str, mut chunks: mpsc::Receiver<Bytes>) {
    let is_text = protocol.starts_with("base64");
    let (mut sink, mut stream) = socket.split();
    let send = async {
        while let Some(bytes) = chunks.recv().await {
            let message = match is_text {
                true => Message::text(STANDARD.encode(&bytes)),
                false => Message::binary(bytes),
            };
            sink.send(message).await?;
        }
        remote::close(&mut sink).await?;
        Ok::<(), tungstenite::Error>(())
    };
    // Nothing is expected of the client but pings, answered while reading, and its close.
    let watch = async { while let Some(Ok(_)) = stream.next().await {} };
    tokio::pin!(watch);
    tokio::select! {
        sent = send => {
            if sent.is_ok() {
                let _ = tokio::time::timeout(remote::CLOSE_TIMEOUT, watch).await;
            }
        }
        () = &mut watch => {}
    }
}
