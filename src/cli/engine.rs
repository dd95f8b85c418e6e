//! Images of the Docker or Podman on this machine, taken through the engine's own API on its socket. No program of theirs
//! is run, and a machine without them is no mistake.

use super::{failure::Failure, person};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use std::{
    env,
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{net::UnixStream, task::JoinSet, time::timeout};

/// For an engine to begin its answer: it may have to pack a large image first.
const PATIENCE: Duration = Duration::from_secs(120);
/// Of its own sentence when it refuses.
const REASON_BYTES_MAX: usize = 4 << 10;

/// Writes the image as an archive to `target`; answers the socket it came from, or `None` when no engine has it.
pub fn export(image: &str, target: &Path) -> Result<Option<PathBuf>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::host("start the client", &e))?;
    let docker_host = env::var("DOCKER_HOST").ok();
    let user = person::by_sudo().map(|person| person.user);
    for socket in sockets(docker_host.as_deref(), user) {
        let taken = runtime.block_on(take(&socket, image, target));
        match taken.with_context(|| format!("ask {} for {image}", socket.display())) {
            Ok(true) => return Ok(Some(socket)),
            Ok(false) => {}
            Err(error) => return Err(Failure::new("RT_IMAGE", 90, format!("{error:#}"))),
        }
    }
    Ok(None)
}

/// Where engines listen: the one that is named, root's, and those of whoever called sudo. Pure.
fn sockets(docker_host: Option<&str>, user: Option<u32>) -> Vec<PathBuf> {
    let named = docker_host.and_then(|host| host.strip_prefix("unix://"));
    let of_root = ["/var/run/docker.sock", "/run/podman/podman.sock"];
    let of_user = user.into_iter().flat_map(|user| {
        ["docker.sock", "podman/podman.sock"].map(|name| format!("/run/user/{user}/{name}"))
    });
    named
        .into_iter()
        .chain(of_root)
        .map(str::to_owned)
        .chain(of_user)
        .map(PathBuf::from)
        .collect()
}

/// False when nobody listens there or the engine does not have the image.
async fn take(socket: &Path, image: &str, target: &Path) -> Result<bool> {
    let Ok(stream) = UnixStream::connect(socket).await else {
        return Ok(false);
    };
    let (mut sender, driver) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut tasks = JoinSet::new();
    tasks.spawn(async move { drop(driver.await) });
    let request = Request::get(format!("/images/{image}/get"))
        .header(header::HOST, "localhost")
        .body(Empty::<Bytes>::new())?;
    let answer = timeout(PATIENCE, sender.send_request(request)).await??;
    let status = answer.status();
    let mut body = answer.into_body();
    if status == StatusCode::NOT_FOUND {
        return Ok(false);
    }
    if status != StatusCode::OK {
        let mut reason = Vec::new();
        while let Some(frame) = body.frame().await {
            reason.extend_from_slice(&frame?.into_data().unwrap_or_default());
            if reason.len() > REASON_BYTES_MAX {
                break;
            }
        }
        bail!("{status}: {}", String::from_utf8_lossy(&reason).trim());
    }
    let mut file = File::create(target).with_context(|| format!("make {}", target.display()))?;
    while let Some(frame) = timeout(PATIENCE, body.frame()).await? {
        if let Ok(data) = frame?.into_data() {
            file.write_all(&data)
                .with_context(|| format!("write {}", target.display()))?;
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_named_engine_comes_first_and_other_hosts_are_not_asked() {
        let found = sockets(Some("unix:///x.sock"), Some(1000));
        assert_eq!(found[0], Path::new("/x.sock"));
        assert!(found.contains(&PathBuf::from("/run/user/1000/podman/podman.sock")));
        assert_eq!(sockets(Some("tcp://elsewhere:2375"), None).len(), 2);
    }
}
