//! `exec` over a WebSocket (`v5.channel.k8s.io`): the first byte of a message names its channel.

use super::{arguments::ExecOptions, connection::Connection};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use nix::sys::termios::{self, SetArg, Termios};
use serde_json::{Value, json};
use std::{
    io::{Read, Write, stdin, stdout},
    process::ExitCode,
};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest, http::HeaderValue};

const STDIN: u8 = 0;
const STDOUT: u8 = 1;
const STDERR: u8 = 2;
const STATUS: u8 = 3;
const RESIZE: u8 = 4;
/// Followed by the number of the channel that is closed.
const CLOSE: u8 = 255;

pub async fn run(
    connection: &Connection,
    namespace: &str,
    options: &ExecOptions,
) -> Result<ExitCode> {
    let url = format!(
        "wss://{}{}",
        connection.authority(),
        path(namespace, options)
    );
    let mut request = url.into_client_request().context("build the request")?;
    let protocol = HeaderValue::from_static("v5.channel.k8s.io");
    request
        .headers_mut()
        .insert("Sec-WebSocket-Protocol", protocol);
    let stream = connection.stream().await?;
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .context("error: the server refused the session")?;
    let _raw = options.tty.then(RawTerminal::enter).flatten();
    let (mut sink, mut source) = socket.split();
    let mut input = input(options);
    if options.tty
        && let Some(size) = terminal_size()
    {
        sink.send(Message::Binary(size)).await?;
    }
    loop {
        tokio::select! {
            Some(message) = input.recv() => sink.send(Message::Binary(message)).await?,
            message = source.next() => match message {
                Some(Ok(Message::Binary(data))) => match data.first() {
                    Some(&STDOUT) => show(&mut stdout(), &data[1..])?,
                    Some(&STDERR) => show(&mut std::io::stderr(), &data[1..])?,
                    Some(&STATUS) if data.len() > 1 => return end(&data[1..]),
                    _ => {}
                },
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(error).context("error: the session broke"),
                None => bail!("error: the session ended without a status"),
            },
        }
    }
}

fn path(namespace: &str, options: &ExecOptions) -> String {
    let pod = options
        .pod
        .trim_start_matches("pods/")
        .trim_start_matches("pod/");
    let mut query = form_urlencoded::Serializer::new(String::new());
    for word in &options.command {
        query.append_pair("command", word);
    }
    if let Some(container) = &options.container {
        query.append_pair("container", container);
    }
    for (name, set) in [
        ("stdin", options.stdin),
        ("stdout", true),
        ("stderr", !options.tty),
        ("tty", options.tty),
    ] {
        query.append_pair(name, if set { "true" } else { "false" });
    }
    format!(
        "/api/v1/namespaces/{namespace}/pods/{pod}/exec?{}",
        query.finish()
    )
}

fn show(out: &mut impl Write, data: &[u8]) -> Result<()> {
    out.write_all(data)
        .and_then(|()| out.flush())
        .context("print the output")
}

/// The last message of a session: success, the command's exit code, or why it could not be run.
fn end(text: &[u8]) -> Result<ExitCode> {
    let status: Value = serde_json::from_slice(text).context("read the session's status")?;
    if status["status"] == "Success" {
        return Ok(ExitCode::SUCCESS);
    }
    let causes = status["details"]["causes"].as_array();
    let code = causes
        .into_iter()
        .flatten()
        .find(|cause| cause["reason"] == "ExitCode");
    let code = code.and_then(|cause| cause["message"].as_str()?.parse::<u8>().ok());
    match code {
        Some(code) => Ok(ExitCode::from(code)),
        None => bail!(
            "error: {}",
            status["message"].as_str().unwrap_or("the command failed")
        ),
    }
}

/// Reads standard input on a thread of its own: it cannot be waited for otherwise.
fn input(options: &ExecOptions) -> mpsc::Receiver<Bytes> {
    let (tx, rx) = mpsc::channel(4);
    if options.stdin {
        tokio::task::spawn_blocking(move || {
            let mut buffer = [0u8; 8192];
            loop {
                let count = stdin().read(&mut buffer).unwrap_or(0);
                let mut message = vec![STDIN];
                message.extend_from_slice(&buffer[..count]);
                if count == 0 {
                    message = vec![CLOSE, STDIN];
                }
                if tx.blocking_send(message.into()).is_err() || count == 0 {
                    return;
                }
            }
        });
    }
    rx
}

fn terminal_size() -> Option<Bytes> {
    let (columns, rows) = environment_size()?;
    let mut message = vec![RESIZE];
    message.extend(
        json!({"Width": columns, "Height": rows})
            .to_string()
            .bytes(),
    );
    Some(message.into())
}

/// From the environment, which shells keep; asking the terminal itself is the kernel's business.
fn environment_size() -> Option<(u16, u16)> {
    let number = |name: &str| std::env::var(name).ok()?.parse().ok();
    Some((number("COLUMNS")?, number("LINES")?))
}

/// Keys go to the container as they are typed; the terminal's mode is restored on drop.
struct RawTerminal(Termios);

impl RawTerminal {
    fn enter() -> Option<RawTerminal> {
        let before = termios::tcgetattr(stdin()).ok()?;
        let mut raw = before.clone();
        termios::cfmakeraw(&mut raw);
        termios::tcsetattr(stdin(), SetArg::TCSANOW, &raw).ok()?;
        Some(RawTerminal(before))
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        let _ = termios::tcsetattr(stdin(), SetArg::TCSANOW, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_status_carries_the_exit_code() {
        let failed = br#"{"status":"Failure","reason":"NonZeroExitCode","details":{"causes":[{"reason":"ExitCode","message":"7"}]}}"#;
        assert_eq!(end(failed).unwrap(), ExitCode::from(7));
        assert_eq!(end(br#"{"status":"Success"}"#).unwrap(), ExitCode::SUCCESS);
        let error = end(br#"{"status":"Failure","message":"no such file"}"#).unwrap_err();
        assert_eq!(error.to_string(), "error: no such file");
    }
}
