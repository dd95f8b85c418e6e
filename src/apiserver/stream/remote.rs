//! Exec and attach: the channels of a process over WebSocket messages or SPDY streams.
//!
//! All output is sent before the end is told, and the end before the connection is closed.

use super::{
    Connect,
    socket::{self, Io, Socket, Upgrade},
    spdy, target,
};
use crate::{
    api::{
        ApiError,
        stream::{Session, SessionEnd},
    },
    apiserver::{listen::answer::Answer, request::options::Query},
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures_util::{Sink, SinkExt as _, Stream, StreamExt as _};
use hyper::{Request, body::Incoming};
use serde_json::{Value, json};
use std::{collections::HashMap, time::Duration};
use tokio::sync::{mpsc, oneshot};
use tokio_tungstenite::tungstenite::{
    self, Message,
    protocol::{CloseFrame, frame::coding::CloseCode},
};

/// Newest first. The base64 forms are for browsers; nothing is version 1.
const SOCKET_PROTOCOLS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
    "v4.base64.channel.k8s.io",
    "base64.channel.k8s.io",
    "",
];
const SPDY_PROTOCOLS: &[&str] = &[
    "v5.channel.k8s.io",
    "v4.channel.k8s.io",
    "v3.channel.k8s.io",
    "v2.channel.k8s.io",
    "channel.k8s.io",
    "",
];
/// For a SPDY client to open all its streams.
const STREAMS_TIMEOUT: Duration = Duration::from_secs(30);

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const ERROR: u8 = 3;
const RESIZE: u8 = 4;
const CLOSE: u8 = 255;

pub async fn serve(connect: &Connect<'_>, request: Request<Incoming>) -> Result<Answer, ApiError> {
    let query = Query::parse(request.uri().query().unwrap_or_default());
    let target = target::pod(connect).await?;
    let container = target::container(&target.pod, query.get("container").unwrap_or_default())?;
    let is_exec = connect.subresource() == "exec";
    let options = target::session_options(&query, is_exec)?;
    let upgrade = Upgrade::of(request.headers());
    if upgrade == Upgrade::None {
        return Err(ApiError::bad_request("Upgrade request required"));
    }
    let wanted = Wanted {
        stdin: options.stdin,
        stdout: options.stdout,
        stderr: options.stderr,
        tty: options.tty,
    };
    // Before the switch, so that a missing container is an ordinary error.
    let session = match is_exec {
        true => target.node.exec(target.key, container, options).await?,
        false => target.node.attach(target.key, container, options).await?,
    };
    match upgrade {
        Upgrade::WebSocket => socket::websocket(
            connect,
            request,
            SOCKET_PROTOCOLS,
            move |socket, protocol| over_socket(socket, protocol, session, wanted),
        ),
        _ => Ok(socket::spdy(
            connect,
            request,
            SPDY_PROTOCOLS,
            move |io, protocol| over_spdy(io, protocol, session, wanted),
        )),
    }
}

#[derive(Clone, Copy)]
struct Wanted {
    stdin: bool,
    stdout: bool,
    stderr: bool,
    tty: bool,
}

impl Wanted {
    /// The lowest channel that the client reads.
    fn first_output(self) -> u8 {
        match self {
            Wanted { stdout: true, .. } => STDOUT,
            Wanted {
                stderr: true,
                tty: false,
                ..
            } => STDERR,
            _ => ERROR,
        }
    }
}

/// What the output side has to send next.
enum Output {
    Bytes(u8, Bytes),
    End(SessionEnd),
}

struct Outputs {
    stdout: mpsc::Receiver<Bytes>,
    stderr: mpsc::Receiver<Bytes>,
    end: oneshot::Receiver<SessionEnd>,
    /// Told, but not before what is still in the channels.
    ended: Option<SessionEnd>,
}

impl Outputs {
    async fn next(&mut self) -> Output {
        while self.ended.is_none() {
            tokio::select! {
                // Cancel-safe: receivers lose nothing, the end is kept.
                Some(bytes) = self.stdout.recv() => return Output::Bytes(STDOUT, bytes),
                Some(bytes) = self.stderr.recv() => return Output::Bytes(STDERR, bytes),
                end = &mut self.end => {
                    let lost = |_| SessionEnd::Failed("the connection to the node was lost".to_owned());
                    self.ended = Some(end.unwrap_or_else(lost));
                }
            }
        }
        if let Ok(bytes) = self.stdout.try_recv() {
            return Output::Bytes(STDOUT, bytes);
        }
        if let Ok(bytes) = self.stderr.try_recv() {
            return Output::Bytes(STDERR, bytes);
        }
        let end = self.ended.take();
        Output::End(end.unwrap_or(SessionEnd::Exited(0)))
    }
}

/// Where a client's input goes.
struct Inputs {
    stdin: Option<mpsc::Sender<Bytes>>,
    resize: mpsc::Sender<(u16, u16)>,
}

impl Inputs {
    async fn take(&mut self, channel: u8, bytes: Bytes) {
        match channel {
            STDIN if !bytes.is_empty() => {
                if let Some(stdin) = &self.stdin
                    && stdin.send(bytes).await.is_err()
                {
                    self.stdin = None;
                }
            }
            RESIZE => {
                for size in sizes(&bytes) {
                    let _ = self.resize.send(size).await;
                }
            }
            CLOSE if bytes.first() == Some(&STDIN) => self.stdin = None,
            _ => {}
        }
    }
}

/// Terminal sizes, one JSON document per line.
fn sizes(bytes: &[u8]) -> Vec<(u16, u16)> {
    let documents = serde_json::Deserializer::from_slice(bytes).into_iter::<Value>();
    let side = |value: &Value| value.as_u64().and_then(|side| u16::try_from(side).ok());
    let size = |document: Value| Some((side(&document["Width"])?, side(&document["Height"])?));
    documents.map_while(Result::ok).filter_map(size).collect()
}

fn split(session: Session) -> (Inputs, Outputs) {
    let inputs = Inputs {
        stdin: session.stdin,
        resize: session.resize,
    };
    let outputs = Outputs {
        stdout: session.stdout,
        stderr: session.stderr,
        end: session.end,
        ended: None,
    };
    (inputs, outputs)
}

/// How the end is told on the error channel; `None`: by silence.
fn told(end: &SessionEnd, protocol: &str) -> Option<Vec<u8>> {
    let has_status = protocol.starts_with("v4.") || protocol.starts_with("v5.");
    let status = match end {
        SessionEnd::Exited(0) if !has_status => return None,
        SessionEnd::Exited(0) => json!({"metadata": {}, "status": "Success"}),
        SessionEnd::Exited(code) => json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": {"causes": [{"reason": "ExitCode", "message": code.to_string()}]},
        }),
        SessionEnd::Failed(why) => {
            let why = format!("error executing command in container: {why}");
            let mut status = ApiError::internal(why).to_status();
            if let Some(status) = status.as_object_mut() {
                status.remove("kind");
                status.remove("apiVersion");
            }
            status
        }
    };
    Some(match has_status {
        true => status.to_string().into_bytes(),
        false => status["message"]
            .as_str()
            .unwrap_or_default()
            .as_bytes()
            .to_vec(),
    })
}

async fn over_socket(socket: Socket, protocol: &'static str, session: Session, wanted: Wanted) {
    let is_text = protocol.contains("base64");
    let (mut inputs, mut outputs) = split(session);
    let (mut sink, stream) = socket.split();
    let output = async {
        // An empty message tells the client that the connection stands; as upstream on one channel only, because kubectl
        // complains of channels that it has not asked for.
        sink.send(message(is_text, wanted.first_output(), b""))
            .await?;
        loop {
            match outputs.next().await {
                Output::Bytes(channel, bytes) => {
                    sink.send(message(is_text, channel, &bytes)).await?;
                }
                Output::End(end) => {
                    if let Some(told) = told(&end, protocol) {
                        sink.send(message(is_text, ERROR, &told)).await?;
                    }
                    return close(&mut sink).await;
                }
            }
        }
    };
    let mut stream = stream;
    let input = async {
        while let Some((channel, bytes)) = received(&mut stream, is_text).await {
            inputs.take(channel, bytes).await;
        }
    };
    // When the client is gone, dropping the session ends the process' channels.
    let is_over = tokio::select! {
        _ = output => true,
        () = input => false,
    };
    if is_over {
        // The client's answer to the close; without waiting for it the last bytes may be lost.
        let answered = async { while received(&mut stream, is_text).await.is_some() {} };
        let _ = tokio::time::timeout(CLOSE_TIMEOUT, answered).await;
    }
}

pub const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Ends a WebSocket in good order.
pub async fn close<S>(sink: &mut S) -> Result<(), tungstenite::Error>
where
    S: Sink<Message, Error = tungstenite::Error> + Unpin,
{
    let frame = CloseFrame {
        code: CloseCode::Normal,
        reason: "".into(),
    };
    sink.send(Message::Close(Some(frame))).await
}

/// A channel's bytes as one message.
pub fn message(is_text: bool, channel: u8, bytes: &[u8]) -> Message {
    if is_text {
        return Message::text(format!("{channel}{}", STANDARD.encode(bytes)));
    }
    let mut whole = Vec::with_capacity(bytes.len() + 1);
    whole.push(channel);
    whole.extend_from_slice(bytes);
    Message::binary(whole)
}

/// The next message with a channel; `None` when the client is done.
pub async fn received<S>(stream: &mut S, is_text: bool) -> Option<(u8, Bytes)>
where
    S: Stream<Item = Result<Message, tungstenite::Error>> + Unpin,
{
    loop {
        match stream.next().await?.ok()? {
            Message::Binary(bytes) if !bytes.is_empty() => {
                return Some((bytes[0], bytes.slice(1..)));
            }
            Message::Text(text) if is_text => {
                let (channel, encoded) = text.as_str().split_at_checked(1)?;
                let bytes = STANDARD.decode(encoded).ok()?;
                return Some((channel.parse().ok()?, Bytes::from(bytes)));
            }
            Message::Text(text) if !text.is_empty() => {
                let bytes = Bytes::from(text);
                return Some((bytes[0].wrapping_sub(b'0'), bytes.slice(1..)));
            }
            Message::Close(_) => return None,
            _ => {}
        }
    }
}

async fn over_spdy(io: Io, protocol: &'static str, session: Session, wanted: Wanted) {
    let (sender, mut opened) = mpsc::channel(8);
    let (done, is_done) = oneshot::channel::<()>();
    let connection = spdy::serve(io, sender, async {
        let _ = is_done.await;
    });
    let talk = async move {
        let streams = tokio::time::timeout(STREAMS_TIMEOUT, gather(&mut opened, protocol, wanted));
        if let Ok(Some(streams)) = streams.await {
            talk(streams, protocol, session).await;
        }
        drop(done);
    };
    let _ = tokio::join!(connection, talk);
}

/// Every stream the options promise, by type.
async fn gather(
    opened: &mut mpsc::Receiver<spdy::Stream>,
    protocol: &str,
    wanted: Wanted,
) -> Option<HashMap<String, spdy::Stream>> {
    let has_resize = !matches!(protocol, "" | "channel.k8s.io" | "v2.channel.k8s.io");
    let expected = [
        ("error", true),
        ("stdin", wanted.stdin),
        ("stdout", wanted.stdout),
        ("stderr", wanted.stderr),
        ("resize", wanted.tty && has_resize),
    ];
    let mut streams = HashMap::new();
    while expected
        .iter()
        .any(|(name, is_wanted)| *is_wanted && !streams.contains_key(*name))
    {
        let stream = opened.recv().await?;
        streams.insert(stream.header("streamtype").to_owned(), stream);
    }
    Some(streams)
}

async fn talk(mut streams: HashMap<String, spdy::Stream>, protocol: &str, session: Session) {
    let (Inputs { stdin, resize }, mut outputs) = split(session);
    let typed = streams.remove("stdin");
    let typing = async {
        let (Some(mut stream), Some(stdin)) = (typed, stdin) else {
            return;
        };
        while let Some(bytes) = stream.input.recv().await {
            if stdin.send(bytes).await.is_err() {
                break;
            }
        }
    };
    let sized = streams.remove("resize");
    let sizing = async {
        let Some(mut stream) = sized else {
            return;
        };
        while let Some(bytes) = stream.input.recv().await {
            for size in sizes(&bytes) {
                let _ = resize.send(size).await;
            }
        }
    };
    let names = [(STDOUT, "stdout"), (STDERR, "stderr")];
    let telling = async {
        loop {
            match outputs.next().await {
                Output::Bytes(channel, bytes) => {
                    let name = names.iter().find(|(known, _)| *known == channel);
                    let stream = name.and_then(|(_, name)| streams.get(*name));
                    if let Some(stream) = stream
                        && !stream.output.send(&bytes).await
                    {
                        return;
                    }
                }
                Output::End(end) => {
                    for (_, name) in names {
                        if let Some(stream) = streams.get(name) {
                            stream.output.finish().await;
                        }
                    }
                    let Some(stream) = streams.get("error") else {
                        return;
                    };
                    if let Some(told) = told(&end, protocol) {
                        stream.output.send(&told).await;
                    }
                    return stream.output.finish().await;
                }
            }
        }
    };
    // Input never ends a session: only its end, or the loss of the connection, does.
    let input = async {
        tokio::join!(typing, sizing);
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = telling => {}
        () = input => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_told_as_the_protocol_wants() {
        let text = |end: SessionEnd, protocol| {
            told(&end, protocol).map(|bytes| String::from_utf8(bytes).unwrap())
        };
        assert_eq!(text(SessionEnd::Exited(0), "channel.k8s.io"), None);
        assert_eq!(
            text(SessionEnd::Exited(0), "v5.channel.k8s.io").unwrap(),
            r#"{"metadata":{},"status":"Success"}"#
        );
        assert_eq!(
            text(SessionEnd::Exited(3), "v2.channel.k8s.io").unwrap(),
            "command terminated with non-zero exit code: exit status 3"
        );
        let status: Value =
            serde_json::from_str(&text(SessionEnd::Exited(3), "v4.channel.k8s.io").unwrap())
                .unwrap();
        assert_eq!(status["reason"], "NonZeroExitCode");
        assert_eq!(status["details"]["causes"][0]["message"], "3");
        let failed = SessionEnd::Failed("why".to_owned());
        let status: Value =
            serde_json::from_str(&text(failed, "v4.channel.k8s.io").unwrap()).unwrap();
        assert_eq!(status["code"], 500);
    }

    #[test]
    fn sizes_come_line_by_line() {
        let text = b"{\"Width\":80,\"Height\":24}\n{\"Width\":99999,\"Height\":1}\n{\"Width\":1,\"Height\":2}\nx";
        assert_eq!(sizes(text), [(80, 24), (1, 2)]);
    }

    #[tokio::test]
    async fn the_end_comes_after_all_output() {
        let (stdout, out) = mpsc::channel(4);
        let (stderr, err) = mpsc::channel(4);
        let (end, ended) = oneshot::channel();
        let mut outputs = Outputs {
            stdout: out,
            stderr: err,
            end: ended,
            ended: None,
        };
        stdout.send(Bytes::from_static(b"a")).await.unwrap();
        stderr.send(Bytes::from_static(b"b")).await.unwrap();
        end.send(SessionEnd::Exited(1)).unwrap();
        let mut channels = Vec::new();
        loop {
            match outputs.next().await {
                Output::Bytes(channel, _) => channels.push(channel),
                Output::End(end) => {
                    assert_eq!(end, SessionEnd::Exited(1));
                    break;
                }
            }
        }
        channels.sort_unstable();
        assert_eq!(channels, [STDOUT, STDERR]);
    }
}
