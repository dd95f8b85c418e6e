//! What daemon and shim say to each other over the sandbox's unix socket.
//!
//! A frame is a little-endian `u32` length and that many bytes of JSON; descriptors travel with a frame's first byte.
//! One request per connection and one answer, except that `Subscribe` and `Exec` go on: events, or the exit. Both
//! ends must stay able to talk to the other's previous release: fields are added with defaults, never renamed.

use crate::runtime::model::{ContainerInfo, ContainerSpec, RuntimeError, SandboxInfo, SandboxSpec};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Longest frame; a container's specification with a large environment stays far below.
pub const FRAME_MAX: usize = 8 << 20;

/// Names within `<run>/shims/<sandbox>/`.
pub const SOCKET_FILE: &str = "sock";
pub const SANDBOX_FILE: &str = "sandbox.json";
pub const RECORDS_DIR: &str = "c";
pub const SHM_DIR: &str = "shm";

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "do")]
pub enum Request {
    Info,
    Create {
        container: Box<NewContainer>,
    },
    Start {
        container: String,
    },
    Signal {
        container: String,
        signal: i32,
    },
    Remove {
        container: String,
    },
    /// Descriptors: stdin (if `stdin`), stdout, stderr; none with a terminal, whose master comes with the answer.
    Exec {
        container: String,
        process: ExecProcess,
    },
    /// Descriptors: stdin (if `stdin`), stdout, stderr (not with a terminal).
    Attach {
        container: String,
        stdin: bool,
    },
    Resize {
        container: String,
        columns: u16,
        rows: u16,
    },
    /// SIGKILL for the process of the `Exec` this connection carries.
    Kill,
    Subscribe,
    /// Ends every process of the sandbox, pause and the shim; answered before the shim leaves.
    Shutdown,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub enum Reply {
    Done,
    Sandbox {
        sandbox: Box<SandboxInfo>,
    },
    Container {
        container: Box<ContainerInfo>,
    },
    /// An exec runs. Descriptor: the terminal's master, if it has one.
    Started,
    /// An exec has ended.
    Exited {
        code: i32,
    },
    /// To subscribers.
    Event {
        container: Box<ContainerInfo>,
    },
    /// To subscribers: pause has died.
    SandboxDied,
    Failed {
        failure: Failure,
    },
}

/// [`RuntimeError`] as it crosses the socket.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "kind", content = "text")]
pub enum Failure {
    NotFound(String),
    CannotRun(String),
    Failed(String),
}

impl From<Failure> for RuntimeError {
    fn from(failure: Failure) -> RuntimeError {
        match failure {
            Failure::NotFound(text) => RuntimeError::NotFound(text),
            Failure::CannotRun(text) => RuntimeError::CannotRun(text),
            Failure::Failed(text) => RuntimeError::Failed(text),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<nix::Error> for Failure {
    fn from(error: nix::Error) -> Failure {
        Failure::Failed(error.desc().to_owned())
    }
}

/// Written by the daemon before it starts the shim, kept for adoption.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SandboxFile {
    pub spec: SandboxSpec,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct NewContainer {
    pub id: String,
    pub spec: ContainerSpec,
    pub root: ImageRoot,
}

/// What of an image the shim needs: where its layers lie and what it says about the process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ImageRoot {
    /// Short names in `layers_dir`, the bottom layer first.
    pub layers: Vec<String>,
    pub layers_dir: PathBuf,
    pub env: Vec<String>,
    pub entrypoint: Vec<String>,
    pub cmd: Vec<String>,
    pub working_dir: String,
    pub user: String,
    /// Places that the image's programs write to.
    pub volumes: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ExecProcess {
    pub command: Vec<String>,
    pub env: Vec<(String, String)>,
    pub tty: bool,
    pub stdin: bool,
}

/// A frame ready to be sent.
pub fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    let mut frame = vec![0; 4];
    serde_json::to_writer(&mut frame, message).expect("protocol types have string keys only");
    let length = u32::try_from(frame.len() - 4).expect("frames are far below 4 GiB");
    frame[..4].copy_from_slice(&length.to_le_bytes());
    frame
}

/// Takes one complete frame off the front of `buffer`. An error means that the peer speaks something else.
pub fn decode<T: for<'de> Deserialize<'de>>(buffer: &mut Vec<u8>) -> Result<Option<T>, String> {
    let Some(length) = buffer.first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_le_bytes(*length) as usize;
    if length > FRAME_MAX {
        return Err(format!("a frame of {length} bytes"));
    }
    if buffer.len() < 4 + length {
        return Ok(None);
    }
    let message = serde_json::from_slice(&buffer[4..4 + length]).map_err(|e| e.to_string())?;
    buffer.drain(..4 + length);
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_survive_being_cut_and_joined() {
        let mut wire = encode(&Request::Info);
        wire.extend(encode(&Request::Start {
            container: "a".to_owned(),
        }));
        let mut buffer = Vec::new();
        let mut seen = Vec::new();
        for byte in wire {
            buffer.push(byte);
            seen.extend(decode::<Request>(&mut buffer).unwrap());
        }
        assert!(
            matches!(&seen[..], [Request::Info, Request::Start { container }] if container == "a")
        );
        assert!(buffer.is_empty());
    }

    #[test]
    fn nonsense_is_an_error_not_a_panic() {
        assert!(decode::<Request>(&mut vec![255, 255, 255, 255]).is_err());
        assert!(decode::<Request>(&mut vec![1, 0, 0, 0, b'x']).is_err());
        assert!(decode::<Request>(&mut vec![9, 0, 0]).unwrap().is_none());
    }
}
