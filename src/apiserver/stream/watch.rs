//! Watches over a WebSocket: one text message per event, nothing expected in return.

use super::{
    Connect, remote,
    socket::{self, Socket},
};
use crate::{api::ApiError, apiserver::listen::answer::Answer};
use bytes::Bytes;
use futures_util::{SinkExt as _, Stream, StreamExt as _};
use hyper::Request;
use tokio_tungstenite::tungstenite::{self, Message, Utf8Bytes};

pub fn serve<B>(
    connect: &Connect<'_>,
    request: Request<B>,
    texts: impl Stream<Item = Bytes> + Send + 'static,
) -> Result<Answer, ApiError> {
    socket::websocket(connect, request, &[""], |socket, _| {
        over_socket(socket, texts)
    })
}

async fn over_socket(socket: Socket, texts: impl Stream<Item = Bytes> + Send + 'static) {
    let (mut sink, mut stream) = socket.split();
    let send = async {
        let mut texts = std::pin::pin!(texts);
        while let Some(text) = texts.next().await {
            let text = Utf8Bytes::try_from(text).map_err(|error| error.to_string());
            let text = text.map_err(|why| tungstenite::Error::Io(std::io::Error::other(why)))?;
            sink.send(Message::Text(text)).await?;
        }
        remote::close(&mut sink).await
    };
    // Only pings, answered while reading, and the close are expected of the client.
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
