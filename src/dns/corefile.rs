//! The Corefile that people edit in the ConfigMap `kube-system/coredns`, as far as it has a meaning here. Pure.
//!
//! Understood are server blocks for zones with `kubernetes`, `forward`, `hosts` (written out) and `rewrite name`.
//! Directives that describe what this server does anyway are taken as read; for all others the reader gets a complaint
//! that says what was left out. A text that is no Corefile is refused as a whole, with the number of the line.

use super::{
    hosts::Hosts,
    rewrite::{self, Rewrite},
};
use std::{
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

/// What the cluster begins with: the ConfigMap holds the same text.
pub const DEFAULT: &str = include_str!("../../assets/Corefile");

/// Nothing here needs deeper nesting.
const DEPTH_MAX: usize = 3;
const DNS_PORT: u16 = 53;
const HOSTS_RESOLVERS: &str = "/etc/resolv.conf";

/// Without effect, because they are true in any case or mean a process of its own.
const TAKEN_AS_READ: &[&str] = &["errors", "cache", "loop", "reload", "loadbalance"];

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Corefile {
    pub blocks: Vec<Block>,
}

/// What is done with the names below some zones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Block {
    /// Lower-case labels; none of them: everything.
    pub zones: Vec<Vec<String>>,
    pub rewrites: Vec<Rewrite>,
    pub hosts: Vec<Hosts>,
    /// The cluster's own names are answered here.
    pub has_cluster: bool,
    /// `a-b-c-d.namespace.pod` is answered.
    pub has_pods: bool,
    pub forwards: Vec<Forward>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    pub zone: Vec<String>,
    pub except: Vec<Vec<String>>,
    pub to: Upstream,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Upstream {
    /// As the host resolves names.
    Host,
    Servers(Vec<SocketAddr>),
}

/// One directive with what stands in its braces.
#[derive(Debug, Default)]
pub(super) struct Directive {
    pub line: usize,
    pub words: Vec<String>,
    pub body: Vec<Directive>,
}

impl Directive {
    pub fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    pub fn arguments(&self) -> &[String] {
        self.words.get(1..).unwrap_or_default()
    }
}

/// What is meant, and complaints about what is not understood; or why nothing is.
pub fn parse(text: &str) -> Result<(Corefile, Vec<String>), String> {
    let mut complaints = Vec::new();
    let mut corefile = Corefile::default();
    for block in directives(text)? {
        if block.body.is_empty() && block.words.len() <= 1 {
            return Err(at(block.line, "a server block needs zones and braces"));
        }
        corefile.blocks.extend(read_block(&block, &mut complaints)?);
    }
    if corefile.blocks.is_empty() {
        return Err(at(1, "there is no server block for port 53"));
    }
    Ok((corefile, complaints))
}

impl Corefile {
    /// The block whose zone is the longest that holds the name.
    pub fn block(&self, name: &[String]) -> Option<&Block> {
        let longest = |block: &Block| {
            let zones = block.zones.iter().filter(|zone| name.ends_with(zone));
            zones.map(|zone| zone.len() + 1).max()
        };
        let blocks = self.blocks.iter().rev();
        let matching = blocks.filter_map(|block| Some((longest(block)?, block)));
        matching
            .max_by_key(|(length, _)| *length)
            .map(|(_, block)| block)
    }
}

impl Block {
    pub fn upstream(&self, name: &[String]) -> Option<&Upstream> {
        let mut matching = self.forwards.iter().filter(|forward| {
            name.ends_with(&forward.zone) && !forward.except.iter().any(|zone| name.ends_with(zone))
        });
        matching.next().map(|forward| &forward.to)
    }
}

fn read_block(block: &Directive, complaints: &mut Vec<String>) -> Result<Option<Block>, String> {
    let mut read = Block {
        has_pods: true,
        ..Block::default()
    };
    for word in &block.words {
        let (zone, port) = match word.trim_start_matches("dns://").rsplit_once(':') {
            Some((zone, port)) => (zone, port.parse().ok()),
            None => (word.as_str(), Some(DNS_PORT)),
        };
        if word.contains("://") && !word.starts_with("dns://") || port != Some(DNS_PORT) {
            complaints.push(at(
                block.line,
                &format!("{word} is not served: only port 53 is"),
            ));
            continue;
        }
        read.zones.push(labels(zone));
    }
    if read.zones.is_empty() {
        return Ok(None);
    }
    for directive in &block.body {
        read_directive(directive, &mut read, complaints)?;
    }
    Ok(Some(read))
}

fn read_directive(
    directive: &Directive,
    block: &mut Block,
    complaints: &mut Vec<String>,
) -> Result<(), String> {
    match directive.name() {
        "forward" => block.forwards.push(forward(directive, complaints)?),
        "hosts" => match directive.arguments() {
            [file, ..] if file.starts_with('/') => {
                let text = "the file of hosts is not read: write the entries in braces";
                complaints.push(at(directive.line, text));
            }
            _ => block.hosts.push(Hosts::read(directive, &block.zones)?),
        },
        "rewrite" => match rewrite::read(directive)? {
            Ok(rewrite) => block.rewrites.push(rewrite),
            Err(complaint) => complaints.push(at(directive.line, &complaint)),
        },
        "kubernetes" => {
            block.has_cluster = true;
            for option in &directive.body {
                match (option.name(), option.arguments()) {
                    ("pods", [mode]) if mode == "disabled" => block.has_pods = false,
                    ("pods", [mode]) if mode == "insecure" => (),
                    ("fallthrough" | "ttl", _) => (),
                    _ => {
                        let text = format!("kubernetes: {} has no effect", option.words.join(" "));
                        complaints.push(at(option.line, &text));
                    }
                }
            }
        }
        name if TAKEN_AS_READ.contains(&name) => (),
        name => complaints.push(at(directive.line, &format!("{name} has no effect"))),
    }
    Ok(())
}

fn forward(directive: &Directive, complaints: &mut Vec<String>) -> Result<Forward, String> {
    let [from, to @ ..] = directive.arguments() else {
        return Err(wrong_count(directive));
    };
    if to.is_empty() {
        return Err(wrong_count(directive));
    }
    let upstream = if to.iter().any(|word| word == HOSTS_RESOLVERS) {
        Upstream::Host
    } else {
        let servers = to.iter().map(|word| server(directive, word));
        Upstream::Servers(servers.collect::<Result<_, String>>()?)
    };
    let mut except = Vec::new();
    for option in &directive.body {
        match option.name() {
            "except" => except.extend(option.arguments().iter().map(|zone| labels(zone))),
            // How many, how often and in which order: ours to choose.
            "max_concurrent" | "expire" | "max_fails" | "policy" | "health_check"
            | "prefer_udp" => (),
            name => complaints.push(at(option.line, &format!("forward: {name} has no effect"))),
        }
    }
    Ok(Forward {
        zone: labels(from),
        except,
        to: upstream,
    })
}

fn server(directive: &Directive, word: &str) -> Result<SocketAddr, String> {
    let bare = word.strip_prefix("dns://").unwrap_or(word);
    let address = IpAddr::from_str(bare.trim_matches(['[', ']']))
        .map(|address| SocketAddr::new(address, DNS_PORT))
        .or_else(|_| SocketAddr::from_str(bare));
    address.map_err(|_| {
        let text = format!("forward: not an IP address or file: \"{word}\"");
        at(directive.line, &text)
    })
}

pub(super) fn wrong_count(directive: &Directive) -> String {
    let text = format!(
        "Wrong argument count or unexpected line ending after '{}'",
        directive.name()
    );
    at(directive.line, &text)
}

pub(super) fn at(line: usize, text: &str) -> String {
    format!("Corefile:{line} - {text}")
}

/// `.` and the empty text have none.
pub fn labels(name: &str) -> Vec<String> {
    let labels = name.split('.').filter(|label| !label.is_empty());
    labels.map(str::to_ascii_lowercase).collect()
}

/// The whole text as a tree, by its words and braces.
fn directives(text: &str) -> Result<Vec<Directive>, String> {
    // The innermost open directive is the last.
    let mut open: Vec<Directive> = vec![Directive::default()];
    for (number, line) in (1..).zip(text.lines()) {
        let mut words = words(line);
        if words.is_empty() {
            continue;
        }
        if words == ["}"] {
            let closed = open.pop().filter(|_| !open.is_empty());
            let closed = closed.ok_or_else(|| at(number, "Unexpected '}'"))?;
            if let Some(parent) = open.last_mut() {
                parent.body.push(closed);
            }
            continue;
        }
        let opens = words.last().is_some_and(|last| last == "{");
        if opens {
            words.pop();
        }
        if let Some(stray) = words.iter().find(|word| *word == "{" || *word == "}") {
            return Err(at(number, &format!("Unexpected '{stray}'")));
        }
        let directive = Directive {
            line: number,
            // A zone list may have commas.
            words: words
                .iter()
                .map(|word| word.trim_end_matches(',').to_owned())
                .collect(),
            body: Vec::new(),
        };
        if opens && open.len() > DEPTH_MAX {
            return Err(at(number, "Unexpected '{'"));
        }
        if opens {
            open.push(directive);
        } else if let Some(parent) = open.last_mut() {
            parent.body.push(directive);
        }
    }
    match (open.pop(), open.is_empty()) {
        (Some(root), true) => Ok(root.body),
        (Some(unclosed), false) => Err(at(
            unclosed.line,
            "Unexpected EOF: the brace is never closed",
        )),
        (None, _) => Err(at(0, "Unexpected '}'")),
    }
}

/// Separated by blanks, quoted by `"`; a `#` begins a comment.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let (mut is_quoted, mut is_word) = (false, false);
    for letter in line.chars() {
        match letter {
            '"' => {
                is_quoted = !is_quoted;
                is_word = true;
            }
            '#' if !is_quoted && !is_word => break,
            blank if blank.is_whitespace() && !is_quoted => {
                if std::mem::take(&mut is_word) {
                    words.push(std::mem::take(&mut word));
                }
            }
            other => {
                word.push(other);
                is_word = true;
            }
        }
    }
    if is_word {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zones(corefile: &Corefile) -> Vec<String> {
        let blocks = corefile.blocks.iter();
        blocks
            .flat_map(|block| block.zones.iter().map(|zone| zone.join(".")))
            .collect()
    }

    #[test]
    fn the_default_is_understood_without_complaint() {
        let (corefile, complaints) = parse(DEFAULT).unwrap();
        assert_eq!(complaints, Vec::<String>::new());
        let block = corefile.block(&labels("a.cluster.local")).unwrap();
        assert!(block.has_cluster && block.has_pods);
        assert_eq!(
            block.upstream(&labels("example.org")),
            Some(&Upstream::Host)
        );
    }

    #[test]
    fn stub_domains_win_over_the_root() {
        let text = "
            .:53 {
                kubernetes cluster.local { pods disabled
                }
                forward . /etc/resolv.conf {
                    except corp.example
                }
            }
            consul.local:53, other.example {   # a stub domain
                errors
                forward . 10.150.0.1 dns://10.150.0.2:5353
            }
        ";
        let text = text.replace("{ pods disabled", "{\n pods disabled");
        let (corefile, complaints) = parse(&text).unwrap();
        assert_eq!(complaints, Vec::<String>::new());
        assert_eq!(zones(&corefile), ["", "consul.local", "other.example"]);
        let of = |name: &str| corefile.block(&labels(name)).unwrap();
        let servers = ["10.150.0.1:53", "10.150.0.2:5353"].map(|text| text.parse().unwrap());
        assert_eq!(
            of("a.Consul.LOCAL.").upstream(&labels("a.consul.local")),
            Some(&Upstream::Servers(servers.to_vec()))
        );
        assert!(!of("consul.local").has_cluster);
        assert!(of("xconsul.local").has_cluster && !of("x").has_pods);
        assert_eq!(of("x").upstream(&labels("a.corp.example")), None);
    }

    #[test]
    fn what_is_not_understood_is_named_with_its_line() {
        let text = ".:53 {\n  prometheus :9153\n  forward . 8.8.8.8 {\n    tls_servername x\n  }\n  kubernetes {\n pods verified\n}\n hosts /etc/more\n rewrite type A AAAA\n}\n.:5353 {\n whoami\n}\n";
        let (corefile, complaints) = parse(text).unwrap();
        assert_eq!(corefile.blocks.len(), 1);
        assert_eq!(
            complaints,
            [
                "Corefile:2 - prometheus has no effect",
                "Corefile:4 - forward: tls_servername has no effect",
                "Corefile:7 - kubernetes: pods verified has no effect",
                "Corefile:9 - the file of hosts is not read: write the entries in braces",
                "Corefile:10 - rewrite: only names are rewritten, not type",
                "Corefile:12 - .:5353 is not served: only port 53 is",
            ]
        );
    }

    #[test]
    fn what_is_no_corefile_is_refused() {
        let cases = [
            (
                ".:53 {\n forward . 8.8.8.8\n",
                "Corefile:1 - Unexpected EOF: the brace is never closed",
            ),
            (
                "# nothing",
                "Corefile:1 - there is no server block for port 53",
            ),
            ("}\n", "Corefile:1 - Unexpected '}'"),
            (
                ".:53 {\n forward .\n}",
                "Corefile:2 - Wrong argument count or unexpected line ending after 'forward'",
            ),
            (
                ".:53 {\n forward . nowhere\n}",
                "Corefile:2 - forward: not an IP address or file: \"nowhere\"",
            ),
            (
                ".:53 {\n a {\n b {\n c {\n}}}}",
                "Corefile:4 - Unexpected '{'",
            ),
            (
                ".:53 {\n hosts {\n 10.0.0.1\n }\n}",
                "Corefile:3 - hosts: an address needs names",
            ),
        ];
        for (text, expected) in cases {
            assert_eq!(parse(text).unwrap_err(), expected, "{text}");
        }
    }
}
