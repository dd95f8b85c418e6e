//! Image references: what people write, and the one form everything else uses. Pure.
//!
//! The rules are those of the distribution project, as Docker and Kubernetes apply them: no domain means `docker.io`,
//! no path there means `library/`, neither tag nor digest means `:latest`.

use std::fmt;

const DEFAULT_DOMAIN: &str = "docker.io";
const NAME_LENGTH_MAX: usize = 255;
const TAG_LENGTH_MAX: usize = 128;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// `docker.io`, `localhost:5000`.
    pub domain: String,
    /// `library/nginx`.
    pub path: String,
    pub tag: Option<String>,
    /// `sha256:…`; wins over the tag.
    pub digest: Option<String>,
}

impl Reference {
    /// The error is the text that users know.
    pub fn parse(text: &str) -> Result<Reference, String> {
        let refuse = |why: &str| Err(format!("couldn't parse image name \"{text}\": {why}"));
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) if is_digest(digest) => (rest, Some(digest.to_owned())),
            Some(_) => return refuse("invalid reference format"),
            None => (text, None),
        };
        // A colon after the last slash starts a tag; one before it belongs to a port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return refuse("invalid reference format");
        }
        let (domain, path) = match name.split_once('/') {
            Some((first, path)) if is_domain_like(first) => (first, path.to_owned()),
            _ => (DEFAULT_DOMAIN, name.to_owned()),
        };
        if path.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return refuse("invalid reference format: repository name must be lowercase");
        }
        if !path.split('/').all(is_component) || !is_domain(domain) || name.len() > NAME_LENGTH_MAX
        {
            return refuse("invalid reference format");
        }
        let domain = if domain == "index.docker.io" {
            DEFAULT_DOMAIN
        } else {
            domain
        };
        let path = match path.contains('/') || domain != DEFAULT_DOMAIN {
            true => path,
            false => format!("library/{path}"),
        };
        let tag = match (tag, &digest) {
            (Some(tag), _) => Some(tag.to_owned()),
            (None, Some(_)) => None,
            (None, None) => Some("latest".to_owned()),
        };
        Ok(Reference {
            domain: domain.to_owned(),
            path,
            tag,
            digest,
        })
    }

    /// `docker.io/library/nginx`.
    pub fn name(&self) -> String {
        format!("{}/{}", self.domain, self.path)
    }

    /// `docker.io/library/nginx:1.25`; without a tag the digest form.
    pub fn tagged(&self) -> Option<String> {
        let tag = self.tag.as_ref()?;
        Some(format!("{}:{tag}", self.name()))
    }

    /// What a registry is asked for: the digest if there is one, otherwise the tag.
    pub fn wanted(&self) -> &str {
        self.digest
            .as_deref()
            .or(self.tag.as_deref())
            .unwrap_or("latest")
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name())?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// `sha256:` and 64 hexadecimal digits: the only algorithm in use.
pub fn is_digest(text: &str) -> bool {
    text.strip_prefix("sha256:").is_some_and(|hex| {
        hex.len() == 64
            && hex
                .bytes()
                .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    })
}

pub fn is_tag(text: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= TAG_LENGTH_MAX
        && text.bytes().next().is_some_and(word)
        && text
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

/// A repository's name without its domain: `team/app`.
pub fn is_repository(text: &str) -> bool {
    text.split('/').all(is_component)
}

/// Whether the first part of a name is a registry rather than a folder.
fn is_domain_like(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost" || text.bytes().any(|b| b.is_ascii_uppercase())
}

fn is_domain(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, rest)) => {
            let is_address = address.bytes().all(|b| b.is_ascii_hexdigit() || b == b':');
            return is_address && (rest.is_empty() || rest.strip_prefix(':').is_some_and(is_port));
        }
        None => text
            .split_once(':')
            .map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    host.split('.').all(label) && port.is_none_or(is_port)
}

fn is_port(text: &str) -> bool {
    text.parse::<u16>().is_ok()
}

/// Letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_component(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = text.as_bytes();
    if !bytes.first().copied().is_some_and(plain) || !bytes.last().copied().is_some_and(plain) {
        return false;
    }
    let separators = text.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    separators
        .into_iter()
        .all(|run| matches!(run, "" | "." | "_" | "__") || run.bytes().all(|byte| byte == b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalized() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let cases = [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("yoonjeong/red-app:1.0", "docker.io/yoonjeong/red-app:1.0"),
            ("localhost/a", "localhost/a:latest"),
            ("localhost:5000/a/b:x", "localhost:5000/a/b:x"),
            ("[::1]:5000/a", "[::1]:5000/a:latest"),
            ("ghcr.io/a__b/c-d.e", "ghcr.io/a__b/c-d.e:latest"),
            ("index.docker.io/library/a", "docker.io/library/a:latest"),
        ];
        for (text, normal) in cases {
            assert_eq!(
                Reference::parse(text).unwrap().to_string(),
                normal,
                "{text}"
            );
        }
        let by_digest = Reference::parse(&format!("nginx@{digest}")).unwrap();
        assert_eq!(
            by_digest.to_string(),
            format!("docker.io/library/nginx@{digest}")
        );
        assert_eq!(
            (by_digest.tagged(), by_digest.wanted()),
            (None, digest.as_str())
        );
    }

    #[test]
    fn what_is_no_reference_is_refused_in_known_words() {
        for bad in [
            "",
            " ",
            "a b",
            "nginx:",
            ":x",
            "a//b",
            "/a",
            "a/",
            "nginx@sha256:12",
            "a..b",
            "a___b",
            "x:y:z",
            "-a",
            "h:99999/a",
        ] {
            let why = Reference::parse(bad).unwrap_err();
            assert_eq!(
                why,
                format!("couldn't parse image name \"{bad}\": invalid reference format")
            );
        }
        let why = Reference::parse("Nginx").unwrap_err();
        assert!(why.ends_with("repository name must be lowercase"), "{why}");
    }

    #[test]
    fn random_text_never_panics() {
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let text: String = (0..12)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    char::from(b"ab/:@.-_A0[]"[(seed >> 16) as usize % 12])
                })
                .collect();
            if let Ok(reference) = Reference::parse(&text) {
                assert_eq!(
                    Reference::parse(&reference.to_string()),
                    Ok(reference),
                    "{text}"
                );
            }
        }
    }
}
