//! The few sysctls that outlive the bridge: forwarding, and ICMP redirects, which pods must not be sent.
//!
//! The old values are written into the alias of the bridge: it lives exactly as long as the change does, survives a
//! killed daemon, and the clusters on one host see each other's. The last one to go puts the values back. Who reads aliases
//! and acts on them holds the lock meanwhile. The alias also says whose the bridge is.

use std::{
    fs::{self, File},
    io, iter,
};

const ROOT: &str = "/proc/sys/net/ipv4";
const ALIAS: &str = "kubik: before";
/// Between the values and the bridge's owner.
const OWNER: &str = " for ";

/// Path and the value we need. `all/send_redirects` is combined with every link's own setting, which stays: switching
/// it off changes nothing but what our bridge does.
const SHARED: [(&str, &str); 2] = [("ip_forward", "1"), ("conf/all/send_redirects", "0")];

/// Of the bridge alone, gone with it. 127.0.0.1 must be able to reach pods, for NodePorts.
const OF_BRIDGE: [(&str, &str); 2] = [("route_localnet", "1"), ("send_redirects", "0")];

/// Until it is dropped, no other cluster of this network namespace changes aliases and values: of two that start at once
/// the second would take the first one's values for the host's, of two that go at once neither would be the last.
/// The kernel's own file is locked: every namespace has its own, and a killed holder holds nothing.
pub fn lock() -> io::Result<File> {
    let file = File::open(format!("{ROOT}/{}", SHARED[0].0))?;
    file.lock()?;
    Ok(file)
}

/// What the bridge's alias should say, given those of all links: values recorded before, else today's, and its owner.
pub fn alias<'a>(mut aliases: impl Iterator<Item = &'a str>, owner: &str) -> String {
    let values = match aliases.find(|alias| alias.starts_with(ALIAS)) {
        Some(older) => values(older).to_owned(),
        None => describe(read),
    };
    format!("{values}{OWNER}{owner}")
}

/// Whose a bridge is, by its alias; nobody's if it is not ours, or was made half.
pub fn owner(alias: &str) -> Option<&str> {
    let ours = alias.strip_prefix(ALIAS)?;
    ours.split_once(OWNER).map(|(_, owner)| owner)
}

fn values(alias: &str) -> &str {
    alias.split_once(OWNER).map_or(alias, |(values, _)| values)
}

/// To be called when the alias is in place.
pub fn set(bridge: &str) -> io::Result<()> {
    let of_bridge = OF_BRIDGE.map(|(name, value)| (format!("conf/{bridge}/{name}"), value));
    let shared = SHARED.map(|(name, value)| (name.to_owned(), value));
    for (name, value) in shared.into_iter().chain(of_bridge) {
        write(&name, value)?;
    }
    Ok(())
}

/// Puts back what `alias` remembers unless another cluster still needs our values.
pub fn restore<'a>(alias: &str, mut others: impl Iterator<Item = &'a str>) -> io::Result<()> {
    if others.any(|other| other.starts_with(ALIAS)) {
        return Ok(());
    }
    let mut outcome = Ok(());
    for (name, value) in recorded(alias) {
        outcome = outcome.and(write(name, value));
    }
    outcome
}

fn describe(value: impl Fn(&str) -> String) -> String {
    let values = SHARED.map(|(name, _)| format!("{name}={}", value(name)));
    iter::once(ALIAS.to_owned())
        .chain(values)
        .collect::<Vec<_>>()
        .join(" ")
}

fn recorded(alias: &str) -> impl Iterator<Item = (&'static str, &str)> {
    let words = values(alias).strip_prefix(ALIAS).unwrap_or_default();
    words.split_whitespace().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        let (known, _) = SHARED.iter().find(|(known, _)| *known == name)?;
        Some((*known, value))
    })
}

fn read(name: &str) -> String {
    let text = fs::read_to_string(format!("{ROOT}/{name}")).unwrap_or_default();
    text.trim().to_owned()
}

/// A value that is right already is not written: `/proc/sys` may be read-only.
fn write(name: &str, value: &str) -> io::Result<()> {
    if read(name) == value {
        return Ok(());
    }
    let path = format!("{ROOT}/{name}");
    fs::write(&path, value).map_err(|error| {
        let text = format!("write {value} to {path}: {error}");
        io::Error::new(error.kind(), text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_alias_says_is_put_back() {
        let alias = describe(|name| if name == "ip_forward" { "0" } else { "1" }.to_owned());
        assert_eq!(
            alias,
            "kubik: before ip_forward=0 conf/all/send_redirects=1"
        );
        let values: Vec<_> = recorded(&alias).collect();
        assert_eq!(
            values,
            [("ip_forward", "0"), ("conf/all/send_redirects", "1")]
        );
    }

    #[test]
    fn bridges_have_owners_and_share_what_was_before() {
        let first = "kubik: before ip_forward=0 conf/all/send_redirects=1 for /srv/a for b/x";
        assert_eq!(owner(first), Some("/srv/a for b/x"));
        assert_eq!(
            alias(["uplink", first].into_iter(), "/y"),
            "kubik: before ip_forward=0 conf/all/send_redirects=1 for /y"
        );
        assert_eq!(recorded(first).count(), 2);
        for nobodys in ["", "uplink for x", "kubik: before ip_forward=0"] {
            assert_eq!(owner(nobodys), None, "{nobodys}");
        }
    }

    #[test]
    fn foreign_aliases_name_no_files() {
        for alias in ["", "uplink", "kubik: before ../../kernel/x=1 ip_forward"] {
            assert_eq!(recorded(alias).count(), 0, "{alias}");
        }
    }
}
