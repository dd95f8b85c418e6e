//! Connections that begin inside a network namespace: port-forwarding.
//!
//! A thread made for it enters the namespace, connects, and ends; the socket stays in the namespace it was made in.

use nix::sched::{CloneFlags, setns};
use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to the port on the loopback of a namespace, IPv4 first. An empty path is the host's namespace. Blocking.
pub fn connect(netns: &Path, port: u16) -> io::Result<TcpStream> {
    let netns: PathBuf = netns.to_owned();
    let thread = thread::Builder::new().name("port-forward".to_owned());
    let connecting = thread.spawn(move || {
        if !netns.as_os_str().is_empty() {
            setns(File::open(&netns)?, CloneFlags::CLONE_NEWNET)?;
        }
        let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, port));
        TcpStream::connect_timeout(&v4, CONNECT_TIMEOUT).or_else(|failure| {
            // The first failure is the one people know.
            TcpStream::connect_timeout(&v6, CONNECT_TIMEOUT).map_err(|_| failure)
        })
    })?;
    let panicked = |_| io::Error::other("the thread that connects has panicked");
    connecting.join().map_err(panicked)?
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn the_hosts_loopback_by_an_empty_path() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        connect(Path::new(""), port).unwrap();
        drop(listener);
        let failure = connect(Path::new(""), port).unwrap_err();
        assert_eq!(failure.kind(), io::ErrorKind::ConnectionRefused);
        assert!(connect(Path::new("/nowhere"), port).is_err());
    }
}
