//! Which address belongs to which sandbox: one small file per lease.
//!
//! The files lie in the run directory and go with a reboot, as the links do. A file is renamed into place, so a
//! crash leaves the old state or the new one. Addresses are handed out in a circle: one that was just given back is
//! the last to be given again, because clients and DNS answers may remember it for a while.

use super::model::{Attached, HostPort, NetError};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::Ipv4Addr,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    #[serde(flatten)]
    pub attached: Attached,
    pub range: Ipv4Net,
    #[serde(default)]
    pub host_ports: Vec<HostPort>,
}

pub struct Leases {
    directory: PathBuf,
    by_sandbox: BTreeMap<String, Lease>,
    /// The address given last, per range.
    last: BTreeMap<Ipv4Net, Ipv4Addr>,
}

impl Leases {
    /// Reads what an earlier daemon left. Files that are no leases are skipped: the link they stood for is found by
    /// its name anyway.
    pub fn open(directory: &Path) -> io::Result<Leases> {
        fs::create_dir_all(directory)?;
        let mut by_sandbox = BTreeMap::new();
        for entry in fs::read_dir(directory)? {
            let text = fs::read(entry?.path()).unwrap_or_default();
            if let Ok(lease) = serde_json::from_slice::<Lease>(&text) {
                by_sandbox.insert(lease.attached.sandbox.clone(), lease);
            }
        }
        Ok(Leases {
            directory: directory.to_owned(),
            by_sandbox,
            last: BTreeMap::new(),
        })
    }

    pub fn get(&self, sandbox: &str) -> Option<&Lease> {
        self.by_sandbox.get(sandbox)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Lease> {
        self.by_sandbox.values()
    }

    /// A free address of the range: the wanted one if possible.
    pub fn choose(
        &mut self,
        range: Ipv4Net,
        wanted: Option<Ipv4Addr>,
    ) -> Result<Ipv4Addr, NetError> {
        let taken: BTreeSet<Ipv4Addr> = self.iter().map(|lease| lease.attached.address).collect();
        let chosen = choose(range, &taken, self.last.get(&range).copied(), wanted);
        let chosen = chosen.ok_or(NetError::Exhausted(range))?;
        self.last.insert(range, chosen);
        Ok(chosen)
    }

    pub fn put(&mut self, lease: Lease) -> io::Result<()> {
        let path = self.path(&lease.attached.sandbox);
        let unfinished = path.with_extension("new");
        fs::write(&unfinished, serde_json::to_vec(&lease)?)?;
        fs::rename(&unfinished, &path)?;
        self.by_sandbox
            .insert(lease.attached.sandbox.clone(), lease);
        Ok(())
    }

    pub fn remove(&mut self, sandbox: &str) -> io::Result<()> {
        match fs::remove_file(self.path(sandbox)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
        self.by_sandbox.remove(sandbox);
        Ok(())
    }

    fn path(&self, sandbox: &str) -> PathBuf {
        // Ids are ours, but a path must not depend on that.
        let name: String = sandbox
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '-' })
            .collect();
        self.directory.join(format!("{name}.json"))
    }
}

/// Network address, gateway (the first) and broadcast address are never given.
fn choose(
    range: Ipv4Net,
    taken: &BTreeSet<Ipv4Addr>,
    last: Option<Ipv4Addr>,
    wanted: Option<Ipv4Addr>,
) -> Option<Ipv4Addr> {
    let first = u32::from(range.network()).checked_add(2)?;
    let end = u32::from(range.broadcast());
    let is_free = |address: &Ipv4Addr| {
        (first..end).contains(&u32::from(*address)) && !taken.contains(address)
    };
    if let Some(wanted) = wanted.filter(is_free) {
        return Some(wanted);
    }
    let next = last.map_or(first, |last| u32::from(last).saturating_add(1));
    let next = next.clamp(first, end.max(first));
    (next..end)
        .chain(first..next)
        .map(Ipv4Addr::from)
        .find(is_free)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_go_round() {
        let range: Ipv4Net = "10.0.0.0/29".parse().unwrap();
        let at = |last: u8| Ipv4Addr::new(10, 0, 0, last);
        let taken = |last: &[u8]| last.iter().map(|&last| at(last)).collect();
        type Case = (&'static [u8], Option<u8>, Option<u8>, Option<u8>);
        let cases: &[Case] = &[
            (&[], None, None, Some(2)),
            (&[2], None, None, Some(3)),
            (&[], Some(4), None, Some(5)),
            (&[], Some(6), None, Some(2)),
            (&[2, 3, 4, 5, 6], Some(3), None, None),
            (&[], None, Some(5), Some(5)),
            (&[5], None, Some(5), Some(2)),
            (&[], None, Some(1), Some(2)),
            (&[], None, Some(7), Some(2)),
        ];
        for (used, last, wanted, expected) in cases {
            let found = choose(range, &taken(used), last.map(at), wanted.map(at));
            assert_eq!(found, expected.map(at), "{used:?} {last:?} {wanted:?}");
        }
        let none: Ipv4Net = "10.0.0.0/31".parse().unwrap();
        assert_eq!(choose(none, &BTreeSet::new(), None, None), None);
    }

    #[test]
    fn leases_survive_the_daemon() {
        let directory = tempfile::tempdir().unwrap();
        let lease = Lease {
            attached: Attached {
                sandbox: "a/b".to_owned(),
                address: [10, 0, 0, 2].into(),
                host_link: "x".to_owned(),
            },
            range: "10.0.0.0/24".parse().unwrap(),
            host_ports: Vec::new(),
        };
        let mut leases = Leases::open(directory.path()).unwrap();
        leases.put(lease.clone()).unwrap();
        fs::write(directory.path().join("torn.json"), "{").unwrap();
        let mut again = Leases::open(directory.path()).unwrap();
        assert_eq!(again.get("a/b"), Some(&lease));
        again.remove("a/b").unwrap();
        again.remove("a/b").unwrap();
        assert_eq!(Leases::open(directory.path()).unwrap().iter().count(), 0);
    }
}
