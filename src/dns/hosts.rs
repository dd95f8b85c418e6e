//! Names that stand in a list, as in `/etc/hosts`. Pure.

use super::corefile::{Directive, at, labels};
use hickory_proto::{
    op::Query,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};
use std::{collections::BTreeMap, net::IpAddr};

const TTL_DEFAULT: u32 = 3600;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Hosts {
    /// Names outside these are not looked for; none: every name is.
    zones: Vec<Vec<String>>,
    by_name: BTreeMap<Vec<String>, Vec<IpAddr>>,
    by_address: BTreeMap<IpAddr, String>,
    ttl: u32,
    /// `None`: what is not listed does not exist. No zones: everything else is asked further.
    fallthrough: Option<Vec<Vec<String>>>,
}

/// What the list says of a question.
#[derive(Debug, PartialEq)]
pub enum Listed {
    /// Perhaps nothing of the wanted type.
    Records(Vec<Record>),
    /// Not there, and nobody else is to be asked.
    Nothing,
    /// Not for this list.
    Pass,
}

impl Hosts {
    /// The directive `hosts [ZONES] { ADDRESS NAMES… }`.
    pub(super) fn read(directive: &Directive, block: &[Vec<String>]) -> Result<Hosts, String> {
        let own = directive.arguments().iter().map(|zone| labels(zone));
        let mut hosts = Hosts {
            zones: own.collect(),
            ttl: TTL_DEFAULT,
            ..Hosts::default()
        };
        if hosts.zones.is_empty() {
            hosts.zones = block.to_vec();
        }
        for entry in &directive.body {
            let arguments = entry.arguments();
            match (entry.name(), arguments) {
                ("fallthrough", zones) => {
                    hosts.fallthrough = Some(zones.iter().map(|zone| labels(zone)).collect());
                }
                ("ttl", [seconds]) => {
                    let seconds = seconds
                        .parse()
                        .ok()
                        .filter(|seconds| (1..=65_535).contains(seconds));
                    let text = "hosts: ttl is a number of seconds up to 65535";
                    hosts.ttl = seconds.ok_or_else(|| at(entry.line, text))?;
                }
                ("no_reverse" | "reload", _) => (),
                (address, names) => {
                    let address = address.parse().map_err(|_| {
                        at(entry.line, &format!("hosts: unknown property '{address}'"))
                    })?;
                    if names.is_empty() {
                        return Err(at(entry.line, "hosts: an address needs names"));
                    }
                    hosts.add(address, names.iter().map(String::as_str));
                }
            }
        }
        Ok(hosts)
    }

    /// The host's own file. Loopback addresses are left out: in a pod they would mean the pod.
    pub fn of_host(text: &str) -> Hosts {
        let mut hosts = Hosts {
            ttl: 5,
            fallthrough: Some(Vec::new()),
            ..Hosts::default()
        };
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let address = words.next().and_then(|word| word.parse().ok());
            if let Some(address) = address.filter(|address: &IpAddr| !address.is_loopback()) {
                hosts.add(address, words);
            }
        }
        hosts
    }

    fn add<'a>(&mut self, address: IpAddr, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let all = self.by_name.entry(labels(name)).or_default();
            if !all.contains(&address) {
                all.push(address);
            }
            let first = self.by_address.entry(address);
            first.or_insert_with(|| name.to_owned());
        }
    }

    /// `name` are the lower-case labels of the question.
    pub fn answer(&self, query: &Query, name: &[String]) -> Listed {
        let record = |data| Record::from_rdata(query.name().clone(), self.ttl, data);
        if query.query_type() == RecordType::PTR {
            let listed = address(name).and_then(|address| self.by_address.get(&address));
            return match listed.and_then(|text| Name::from_ascii(text).ok()) {
                Some(mut target) => {
                    target.set_fqdn(true);
                    Listed::Records(vec![record(RData::PTR(PTR(target)))])
                }
                None => Listed::Pass,
            };
        }
        if !(self.zones.is_empty() || self.zones.iter().any(|zone| name.ends_with(zone))) {
            return Listed::Pass;
        }
        let Some(addresses) = self.by_name.get(name) else {
            return match &self.fallthrough {
                Some(zones)
                    if zones.is_empty() || zones.iter().any(|zone| name.ends_with(zone)) =>
                {
                    Listed::Pass
                }
                _ => Listed::Nothing,
            };
        };
        let wanted = addresses.iter().filter_map(|address| match address {
            IpAddr::V4(address) if query.query_type() == RecordType::A => {
                Some(RData::A(A(*address)))
            }
            IpAddr::V6(address) if query.query_type() == RecordType::AAAA => {
                Some(RData::AAAA(AAAA(*address)))
            }
            _ => None,
        });
        Listed::Records(wanted.map(record).collect())
    }
}

fn address(name: &[String]) -> Option<IpAddr> {
    match name {
        [d, c, b, a, arpa @ ..] if arpa == ["in-addr", "arpa"] => {
            format!("{a}.{b}.{c}.{d}").parse().ok()
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(hosts: &Hosts, name: &str, kind: RecordType) -> String {
        let query = Query::query(Name::from_ascii(name).unwrap(), kind);
        match hosts.answer(&query, &labels(name)) {
            Listed::Records(records) => {
                let data = records.iter().map(|record| record.data.to_string());
                data.collect::<Vec<_>>().join(" ")
            }
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn the_hosts_file_is_read_without_its_loopback() {
        let hosts = Hosts::of_host(
            "127.0.0.1 localhost\n192.0.2.1\tregistry.lan registry # ours\nfe80::1%lo x\n192.0.2.2 registry.lan\n2001:db8::1 six\n",
        );
        for (name, kind, expected) in [
            ("Registry.lan.", RecordType::A, "192.0.2.1 192.0.2.2"),
            ("registry", RecordType::A, "192.0.2.1"),
            ("registry", RecordType::AAAA, ""),
            ("six", RecordType::AAAA, "2001:db8::1"),
            ("localhost", RecordType::A, "Pass"),
            ("x", RecordType::A, "Pass"),
            ("1.2.0.192.in-addr.arpa", RecordType::PTR, "registry.lan."),
            ("9.2.0.192.in-addr.arpa", RecordType::PTR, "Pass"),
        ] {
            assert_eq!(ask(&hosts, name, kind), expected, "{name} {kind}");
        }
    }

    #[test]
    fn a_list_in_a_corefile_ends_the_search_unless_told() {
        let read = |more: &str| {
            let text =
                format!(".:53 {{\n hosts {{\n 10.0.0.1 a.example b.example\n {more}\n }}\n}}");
            let (corefile, _) = super::super::corefile::parse(&text).unwrap();
            corefile.blocks[0].hosts[0].clone()
        };
        let closed = read("ttl 60");
        assert_eq!(ask(&closed, "b.example", RecordType::A), "10.0.0.1");
        assert_eq!(ask(&closed, "c.example", RecordType::A), "Nothing");
        assert_eq!(
            ask(&read("fallthrough"), "c.example", RecordType::A),
            "Pass"
        );
        let some = read("fallthrough example");
        assert_eq!(ask(&some, "c.example", RecordType::A), "Pass");
        assert_eq!(ask(&some, "c.other", RecordType::A), "Nothing");
    }
}
