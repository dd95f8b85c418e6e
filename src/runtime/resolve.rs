//! Names to addresses without the C library: a static glibc's `getaddrinfo` loads shared objects of the host.
//!
//! Follows resolv.conf(5) as far as programs notice: `/etc/hosts` first, then the name servers, the search list for
//! names with fewer dots than `ndots`. Blocking; IPv4 first.

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use std::{
    fs, io,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    str::FromStr,
    time::Duration,
};

const DNS_PORT: u16 = 53;
const ATTEMPTS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: usize = 4096;

/// The parts of `/etc/resolv.conf` that matter here.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Settings {
    servers: Vec<IpAddr>,
    search: Vec<String>,
    ndots: usize,
}

impl Settings {
    fn parse(text: &str) -> Settings {
        let mut settings = Settings {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
        };
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => settings
                    .servers
                    .extend(words.next().and_then(|word| word.parse::<IpAddr>().ok())),
                Some("search" | "domain") => settings.search = words.map(str::to_owned).collect(),
                Some("options") => {
                    let ndots = words
                        .filter_map(|word| word.strip_prefix("ndots:")?.parse().ok())
                        .next_back();
                    settings.ndots = ndots.unwrap_or(settings.ndots).min(15);
                }
                _ => {}
            }
        }
        if settings.servers.is_empty() {
            settings.servers.push(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        settings
    }

    /// The absolute names to try, in order.
    fn candidates(&self, host: &str) -> Vec<String> {
        if let Some(absolute) = host.strip_suffix('.') {
            return vec![absolute.to_owned()];
        }
        let searched = self
            .search
            .iter()
            .map(|domain| format!("{host}.{}", domain.trim_end_matches('.')));
        let bare = std::iter::once(host.to_owned());
        if host.matches('.').count() >= self.ndots {
            bare.chain(searched).collect()
        } else {
            searched.chain(bare).collect()
        }
    }
}

/// Every address of a host, which may also be an address already. `NotFound` when there is none.
pub fn lookup(host: &str) -> io::Result<Vec<IpAddr>> {
    let literal = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = literal.parse() {
        return Ok(vec![address]);
    }
    let known = in_hosts(&fs::read_to_string("/etc/hosts").unwrap_or_default(), host);
    if !known.is_empty() {
        return Ok(known);
    }
    if host == "localhost" || host.ends_with(".localhost") {
        return Ok(vec![IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }
    let settings = Settings::parse(&fs::read_to_string("/etc/resolv.conf").unwrap_or_default());
    let mut last = no_such_host(host);
    for name in settings.candidates(host) {
        match ask(&settings.servers, &name) {
            Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
            Ok(_) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

fn no_such_host(host: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::NotFound,
        format!("lookup {host}: no such host"),
    )
}

fn in_hosts(text: &str, host: &str) -> Vec<IpAddr> {
    let lines = text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default());
    lines
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            let address = words.next()?.parse().ok()?;
            words
                .any(|name| name.eq_ignore_ascii_case(host))
                .then_some(address)
        })
        .collect()
}

/// Asks one server after the other. An empty answer means that the name does not exist or has no address.
fn ask(servers: &[IpAddr], name: &str) -> io::Result<Vec<IpAddr>> {
    let mut last = no_such_host(name);
    for _ in 0..ATTEMPTS {
        for server in servers {
            match ask_one(*server, name, RecordType::A) {
                Ok(addresses) if !addresses.is_empty() => return Ok(addresses),
                Ok(_) => return ask_one(*server, name, RecordType::AAAA),
                Err(error) => last = error,
            }
        }
    }
    Err(last)
}

fn ask_one(server: IpAddr, name: &str, kind: RecordType) -> io::Result<Vec<IpAddr>> {
    let mut id = [0u8; 2];
    getrandom::fill(&mut id).map_err(io::Error::other)?;
    let id = u16::from_be_bytes(id);
    let name = Name::from_str(&format!("{name}."))
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidInput, e.to_string()))?;
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, kind));
    let query = message.to_vec().map_err(io::Error::other)?;

    let any: IpAddr = if server.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    // Connected: answers from elsewhere are dropped by the kernel.
    socket.connect(SocketAddr::new(server, DNS_PORT))?;
    socket.send(&query)?;
    let mut buffer = [0u8; ANSWER_BYTES_MAX];
    loop {
        let count = socket.recv(&mut buffer)?;
        let Ok(answer) = Message::from_vec(&buffer[..count]) else {
            continue;
        };
        if answer.metadata.id == id && answer.metadata.message_type == MessageType::Response {
            return addresses(&answer);
        }
    }
}

fn addresses(answer: &Message) -> io::Result<Vec<IpAddr>> {
    match answer.metadata.response_code {
        ResponseCode::NoError | ResponseCode::NXDomain => {}
        code => {
            return Err(io::Error::other(format!(
                "the name server answered: {code}"
            )));
        }
    }
    let records = answer
        .answers
        .iter()
        .filter_map(|record| match &record.data {
            RData::A(address) => Some(IpAddr::V4(address.0)),
            RData::AAAA(address) => Some(IpAddr::V6(address.0)),
            _ => None,
        });
    Ok(records.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_list_comes_first_for_short_names() {
        let text =
            "# pods have this\nnameserver 10.96.0.10\nsearch a.svc b.\noptions ndots:5 edns0\n";
        let settings = Settings::parse(text);
        assert_eq!(settings.servers, ["10.96.0.10".parse::<IpAddr>().unwrap()]);
        assert_eq!(settings.candidates("web"), ["web.a.svc", "web.b", "web"]);
        assert_eq!(settings.candidates("web."), ["web"]);
        let plain = Settings::parse("search x");
        assert_eq!(plain.candidates("a.b"), ["a.b", "a.b.x"]);
        assert_eq!(plain.servers, [IpAddr::V4(Ipv4Addr::LOCALHOST)]);
    }

    #[test]
    fn addresses_and_hosts_need_no_server() {
        assert_eq!(lookup("[::1]").unwrap(), ["::1".parse::<IpAddr>().unwrap()]);
        let text = "127.0.0.1 localhost # x\n10.0.0.1 web WEB.example\n";
        assert_eq!(
            in_hosts(text, "web.EXAMPLE"),
            ["10.0.0.1".parse::<IpAddr>().unwrap()]
        );
        assert!(in_hosts(text, "x").is_empty());
    }
}
