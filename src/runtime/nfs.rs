//! Directories of NFS servers, mounted by the kernel's own client: what `mount.nfs` does, without the program.
//!
//! The kernel takes addresses, not names, and tries one protocol version at a time. A server that does not answer is
//! noticed before the kernel is asked, because mount(2) would wait for minutes and cannot be interrupted.

use super::resolve;
use nix::{
    errno::Errno,
    mount::{MsFlags, mount},
};
use std::{
    fs, io,
    net::{IpAddr, SocketAddr, TcpStream},
    path::Path,
    time::Duration,
};

const PORT: u16 = 2049;
const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// The newest first, as mount.nfs goes down.
const VERSIONS: &[&str] = &["4.2", "4.1", "4.0", "3"];

/// What is to be mounted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Share {
    /// A name or an address.
    pub server: String,
    pub export: String,
    pub read_only: bool,
    /// As of mount(8): `vers=3`, `noatime` …
    pub options: Vec<String>,
}

/// Mounts a share on `target` (made if missing) unless something is mounted there. Blocks.
pub fn mount_share(share: &Share, target: &Path) -> io::Result<()> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    let point = target.display().to_string();
    if table
        .lines()
        .any(|line| line.split(' ').nth(4) == Some(&point))
    {
        return Ok(());
    }
    fs::create_dir_all(target)?;
    if !has_client(target) {
        return Err(told(
            share,
            "the kernel of this machine has no NFS client (no file system \"nfs\"): load its module with `modprobe nfs`, or use a kernel that has it",
        ));
    }
    let (flags, options) = split(&share.options);
    let flags = if share.read_only {
        flags | MsFlags::MS_RDONLY
    } else {
        flags
    };
    let addresses = resolve::lookup(&share.server).map_err(|error| told(share, &error))?;
    let server = *addresses
        .first()
        .ok_or_else(|| told(share, &"no address"))?;
    let port = value(&options, &["port"]).and_then(|port| port.parse().ok());
    let place = SocketAddr::new(server, port.unwrap_or(PORT));
    let stream = TcpStream::connect_timeout(&place, CONNECT_PATIENCE)
        .map_err(|error| told(share, &format!("connect to {place}: {error}")))?;
    let own = stream.local_addr()?.ip();
    drop(stream);
    let source = format!("{}:{}", share.server, share.export);
    let mut last = Errno::EPROTONOSUPPORT;
    for data in attempts(&options, server, own) {
        let (source, data) = (Some(source.as_str()), Some(data.as_str()));
        match mount(source, target, Some("nfs"), flags, data) {
            Ok(()) => return Ok(()),
            Err(error @ (Errno::EPROTONOSUPPORT | Errno::EOPNOTSUPP | Errno::EINVAL)) => {
                last = error;
            }
            Err(error) => return Err(told(share, &error.desc())),
        }
    }
    Err(told(share, &last.desc()))
}

fn told(share: &Share, why: &(impl std::fmt::Display + ?Sized)) -> io::Error {
    let (server, export) = (&share.server, &share.export);
    io::Error::other(format!("mount NFS share {server}:{export}: {why}"))
}

/// Asks the kernel to load its client where it is a module; an empty mount is refused in a way that tells.
fn has_client(target: &Path) -> bool {
    let refused = mount(
        Some("none"),
        target,
        Some("nfs"),
        MsFlags::empty(),
        Some(""),
    );
    refused != Err(Errno::ENODEV)
}

/// Flags of mount(2), and what is left for the file system.
fn split(options: &[String]) -> (MsFlags, Vec<String>) {
    let mut flags = MsFlags::empty();
    let mut rest = Vec::new();
    let words = options.iter().flat_map(|text| text.split(','));
    for word in words.map(str::trim).filter(|word| !word.is_empty()) {
        match word {
            "ro" => flags |= MsFlags::MS_RDONLY,
            "noatime" => flags |= MsFlags::MS_NOATIME,
            "nodiratime" => flags |= MsFlags::MS_NODIRATIME,
            "relatime" => flags |= MsFlags::MS_RELATIME,
            "nosuid" => flags |= MsFlags::MS_NOSUID,
            "nodev" => flags |= MsFlags::MS_NODEV,
            "noexec" => flags |= MsFlags::MS_NOEXEC,
            "sync" => flags |= MsFlags::MS_SYNCHRONOUS,
            "rw" | "defaults" | "async" | "atime" | "suid" | "dev" | "exec" | "_netdev" => {}
            other => rest.push(other.to_owned()),
        }
    }
    (flags, rest)
}

fn value<'a>(options: &'a [String], names: &[&str]) -> Option<&'a str> {
    let mut pairs = options.iter().filter_map(|option| option.split_once('='));
    pairs
        .find(|(name, _)| names.contains(name))
        .map(|(_, value)| value)
}

/// The kernel's option strings to try, one after another.
fn attempts(options: &[String], server: IpAddr, own: IpAddr) -> Vec<String> {
    let asked = value(options, &["vers", "nfsvers"]);
    let versions: Vec<&str> = match asked {
        Some("4") => vec!["4.2", "4.1", "4.0"],
        Some(version) => vec![version],
        None => VERSIONS.to_vec(),
    };
    let rest = options.iter().filter(|option| {
        let name = option.split('=').next().unwrap_or_default();
        !["vers", "nfsvers"].contains(&name)
    });
    let rest: Vec<&str> = rest.map(String::as_str).collect();
    let of = |version: &str| {
        let mut all = vec![format!("vers={version}"), format!("addr={server}")];
        if version.starts_with('4') {
            all.push(format!("clientaddr={own}"));
        } else {
            // The kernel asks the port mapper itself. No lock daemon of ours runs, so locks stay local.
            all.push(format!(
                "mountaddr={server},mountproto=tcp,proto=tcp,nolock"
            ));
        }
        all.extend(rest.iter().map(|option| (*option).to_owned()));
        all.join(",")
    };
    versions.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_become_flags_and_attempts() {
        let options = ["noatime,hard", "vers=4", "timeo=600"].map(str::to_owned);
        let (flags, rest) = split(&options);
        assert_eq!(flags, MsFlags::MS_NOATIME);
        let (server, own) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        let found = attempts(&rest, server, own);
        assert_eq!(
            found[0],
            "vers=4.2,addr=10.0.0.1,clientaddr=10.0.0.2,hard,timeo=600"
        );
        assert_eq!(found.len(), 3);
        let third = attempts(&["nfsvers=3".to_owned()], server, own);
        assert_eq!(
            third,
            ["vers=3,addr=10.0.0.1,mountaddr=10.0.0.1,mountproto=tcp,proto=tcp,nolock"]
        );
        assert_eq!(attempts(&[], server, own).len(), VERSIONS.len());
    }
}
