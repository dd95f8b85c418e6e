//! Links of a page that is shown below the proxy's path: they lead back to it. Pure, and in pieces as they come.
//!
//! Only values of attributes change; everything else of a page is passed on byte by byte. What looks like a tag but
//! never ends is passed on too: bytes held back are bounded.

/// Tags and those of their attributes that hold an address.
const ADDRESSES: &[(&str, &[&str])] = &[
    ("a", &["href"]),
    ("area", &["href"]),
    ("audio", &["src"]),
    ("base", &["href"]),
    ("blockquote", &["cite"]),
    ("body", &["background"]),
    ("button", &["formaction"]),
    ("del", &["cite"]),
    ("embed", &["src"]),
    ("form", &["action"]),
    ("frame", &["longdesc", "src"]),
    ("html", &["manifest"]),
    ("iframe", &["longdesc", "src"]),
    ("img", &["longdesc", "src", "usemap"]),
    ("input", &["src", "usemap", "formaction"]),
    ("ins", &["cite"]),
    ("link", &["href"]),
    ("object", &["classid", "codebase", "data", "usemap"]),
    ("q", &["cite"]),
    ("script", &["src"]),
    ("source", &["src"]),
    ("video", &["poster", "src"]),
];
/// What stands between these and their end is no markup.
const RAW: &[&str] = &["script", "style", "textarea", "title"];
/// Longest tag that is looked into.
const TAG_BYTES_MAX: usize = 64 << 10;

/// Where the page is shown.
#[derive(Clone, Debug)]
pub struct Links {
    /// Path of the proxy, without a slash at its end.
    pub prefix: String,
    /// Names under which client and proxy know the other end.
    pub hosts: [String; 2],
}

impl Links {
    /// `None`: the address stays as it is.
    pub fn moved(&self, address: &str) -> Option<String> {
        let bare = ["http://", "https://"]
            .iter()
            .find_map(|scheme| address.strip_prefix(scheme));
        let path = match bare {
            None => address,
            Some(rest) => {
                let (host, _) = rest.split_at(rest.find('/')?);
                let is_ours = self.hosts.iter().any(|ours| ours == host);
                rest.strip_prefix(host).filter(|_| is_ours)?
            }
        };
        let is_absolute = path.starts_with('/') && !path.starts_with("//");
        if !is_absolute {
            return None;
        }
        match path.starts_with(&self.prefix) {
            true => (path != address).then(|| path.to_owned()),
            false => Some(format!("{}{path}", self.prefix)),
        }
    }
}

pub struct Rewriter {
    links: Links,
    /// Begins with what may become a tag.
    held: Vec<u8>,
    /// The element whose text is passed over.
    raw: Option<&'static str>,
}

impl Rewriter {
    pub fn new(links: Links) -> Rewriter {
        Rewriter {
            links,
            held: Vec::new(),
            raw: None,
        }
    }

    pub fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.held.extend_from_slice(bytes);
        let held = std::mem::take(&mut self.held);
        let mut out = Vec::with_capacity(held.len() + self.links.prefix.len());
        let mut rest = held.as_slice();
        while let Some(at) = rest.iter().position(|byte| *byte == b'<') {
            out.extend_from_slice(&rest[..at]);
            rest = &rest[at..];
            let Some(length) = length(rest, self.raw) else {
                if rest.len() < TAG_BYTES_MAX {
                    self.held = rest.to_vec();
                    return out;
                }
                break;
            };
            let (markup, after) = rest.split_at(length);
            self.tag(markup, &mut out);
            rest = after;
        }
        out.extend_from_slice(rest);
        out
    }

    /// What was held back, when nothing follows.
    pub fn end(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    fn tag(&mut self, markup: &[u8], out: &mut Vec<u8>) {
        let name = name(&markup[1..]).to_ascii_lowercase();
        if self.raw.is_some() {
            let ends = markup.starts_with(b"</") && markup.len() > 2;
            self.raw = self.raw.filter(|_| !ends);
            return out.extend_from_slice(markup);
        }
        self.raw = RAW.iter().copied().find(|raw| raw.as_bytes() == name);
        let known = ADDRESSES.iter().find(|(tag, _)| tag.as_bytes() == name);
        let Some((_, wanted)) = known else {
            return out.extend_from_slice(markup);
        };
        let mut from = 0;
        for (attribute, value) in attributes(markup, 1 + name.len()) {
            let attribute = markup[attribute].to_ascii_lowercase();
            let is_wanted = wanted.iter().any(|one| one.as_bytes() == attribute);
            let text = std::str::from_utf8(&markup[value.clone()]).ok();
            if let Some(moved) = text
                .filter(|_| is_wanted)
                .and_then(|it| self.links.moved(it))
            {
                out.extend_from_slice(&markup[from..value.start]);
                out.extend_from_slice(moved.as_bytes());
                from = value.end;
            }
        }
        out.extend_from_slice(&markup[from..]);
    }
}

/// Of the markup at the beginning, which is a `<`; `None`: its end has not come yet.
fn length(bytes: &[u8], raw: Option<&str>) -> Option<usize> {
    if let Some(raw) = raw {
        let end = [b"</", raw.as_bytes()].concat();
        let here = bytes.get(..end.len())?;
        return Some(if here.eq_ignore_ascii_case(&end) {
            end.len()
        } else {
            1
        });
    }
    let comment = b"<!--";
    if bytes.len() < comment.len() && comment.starts_with(bytes) {
        return None;
    }
    if bytes.starts_with(comment) {
        let end = bytes
            .windows(3)
            .skip(comment.len())
            .position(|it| it == b"-->")?;
        return Some(comment.len() + end + 3);
    }
    match bytes.get(1)? {
        letter if letter.is_ascii_alphabetic() || *letter == b'/' => (),
        _ => return Some(1),
    }
    let mut quote = None;
    for (at, &byte) in bytes.iter().enumerate().skip(1) {
        match (quote, byte) {
            (Some(open), byte) if byte == open => quote = None,
            (Some(_), _) => (),
            (None, b'"' | b'\'') => quote = Some(byte),
            (None, b'>') => return Some(at + 1),
            (None, _) => (),
        }
    }
    None
}

fn name(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric());
    &bytes[..end.unwrap_or(bytes.len())]
}

type Span = std::ops::Range<usize>;

/// Names and values, without quotes, of a tag from `at` on.
fn attributes(tag: &[u8], mut at: usize) -> Vec<(Span, Span)> {
    let mut found = Vec::new();
    let is_space = |at: usize| tag.get(at).is_some_and(u8::is_ascii_whitespace);
    let until = |mut at: usize, ends: &dyn Fn(u8) -> bool| {
        while tag.get(at).is_some_and(|byte| !ends(*byte)) {
            at += 1;
        }
        at
    };
    while at < tag.len() {
        if is_space(at) || matches!(tag[at], b'/' | b'>' | b'=') {
            at += 1;
            continue;
        }
        let name = at..until(at, &|byte| {
            byte.is_ascii_whitespace() || matches!(byte, b'=' | b'/' | b'>')
        });
        at = until(name.end, &|byte| !byte.is_ascii_whitespace());
        if tag.get(at) != Some(&b'=') {
            continue;
        }
        at = until(at + 1, &|byte| !byte.is_ascii_whitespace());
        let value = match tag.get(at) {
            Some(&quote @ (b'"' | b'\'')) => at + 1..until(at + 1, &|byte| byte == quote),
            _ => at..until(at, &|byte| byte.is_ascii_whitespace() || byte == b'>'),
        };
        // A closing quote is passed over as well.
        at = value.end + 1;
        found.push((name, value));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links() -> Links {
        Links {
            prefix: "/api/v1/namespaces/d/pods/p/proxy".to_owned(),
            hosts: ["127.0.0.1:8443".to_owned(), "10.0.0.1:80".to_owned()],
        }
    }

    #[test]
    fn addresses_below_the_root_move() {
        let moved = |address: &str| {
            let moved = links().moved(address).unwrap_or_else(|| address.to_owned());
            moved.replace("/api/v1/namespaces/d/pods/p/proxy", "PROXY")
        };
        let cases = [
            ("/x", "PROXY/x"),
            ("/", "PROXY/"),
            ("x/y", "x/y"),
            ("", ""),
            ("#top", "#top"),
            ("//other/x", "//other/x"),
            ("http://other/x", "http://other/x"),
            ("http://127.0.0.1:8443/x", "PROXY/x"),
            ("https://10.0.0.1:80/x?y", "PROXY/x?y"),
            ("/api/v1/namespaces/d/pods/p/proxy/x", "PROXY/x"),
            ("mailto:a@b", "mailto:a@b"),
        ];
        for (address, expected) in cases {
            assert_eq!(moved(address), expected, "{address}");
        }
    }

    #[test]
    fn only_addresses_in_pages_change() {
        let cases = [
            (
                r#"<a href="/rewriteme">test</a>"#,
                r#"<a href="PROXY/rewriteme">test</a>"#,
            ),
            ("<A class=x HREF='/y' >", "<A class=x HREF='PROXY/y' >"),
            ("<img src=/a.png alt=/b>", "<img src=PROXY/a.png alt=/b>"),
            (
                r#"<a title="a > b" href="/x">"#,
                r#"<a title="a > b" href="PROXY/x">"#,
            ),
            ("<link href=\"/s.css\"/>", "<link href=\"PROXY/s.css\"/>"),
            ("<p href=\"/x\">", "<p href=\"/x\">"),
            (
                "<!-- <a href=\"/x\"> --><a href=\"/y\">",
                "<!-- <a href=\"/x\"> --><a href=\"PROXY/y\">",
            ),
            (
                "<script src=\"/j.js\">if (a</b/) '<a href=\"/x\">'</script><a href=\"/z\">",
                "<script src=\"PROXY/j.js\">if (a</b/) '<a href=\"/x\">'</script><a href=\"PROXY/z\">",
            ),
            ("1 < 2 <", "1 < 2 <"),
            ("<a href=\"/never", "<a href=\"/never"),
            ("한글 <a href=\"/링크\">", "한글 <a href=\"PROXY/링크\">"),
            ("<a href", "<a href"),
            ("<a =/x href=>", "<a =/x href=>"),
        ];
        for (page, expected) in cases {
            for size in [1, 2, 3, 7, page.len()] {
                let mut rewriter = Rewriter::new(links());
                let mut out = Vec::new();
                for piece in page.as_bytes().chunks(size) {
                    out.extend(rewriter.push(piece));
                }
                out.extend(rewriter.end());
                let out = String::from_utf8(out)
                    .unwrap()
                    .replace(&links().prefix, "PROXY");
                assert_eq!(out, expected, "in pieces of {size}");
            }
        }
    }

    #[test]
    fn what_never_ends_is_not_held_for_ever() {
        let mut rewriter = Rewriter::new(links());
        let mut out = rewriter.push(b"<a href=\"");
        for _ in 0..100 {
            out.extend(rewriter.push(&[b'x'; 1 << 10]));
            assert!(rewriter.held.len() <= TAG_BYTES_MAX);
        }
        out.extend(rewriter.end());
        assert_eq!(out.len(), 9 + 100 * (1 << 10));
    }
}
