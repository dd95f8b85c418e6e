//! The pages, as the build packed them: compressed once, sent as they lie in the binary.

use crate::apiserver::listen::answer::{self, Answer};
use flate2::read::GzDecoder;
use http::{HeaderMap, HeaderValue, Method, header};
use std::io::Read as _;

/// One file of the table that the build script wrote.
pub struct Asset {
    path: &'static str,
    media: &'static str,
    /// A quoted entity tag.
    tag: &'static str,
    gzip: &'static [u8],
}

const ASSETS: &[Asset] = include!(concat!(env!("OUT_DIR"), "/dashboard.rs"));

/// The page is the same wherever in it a link leads: that part stands behind the `#`.
const INDEX: &str = "/index.html";

pub fn answer(method: &Method, path: &str, headers: &HeaderMap) -> Answer {
    let path = if path == "/" { INDEX } else { path };
    let Some(asset) = ASSETS.iter().find(|asset| asset.path == path) else {
        return answer::page_not_found();
    };
    let has = |name, wanted: &str| {
        let value = headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok());
        value.is_some_and(|value| value.split(',').any(|word| word.trim().starts_with(wanted)))
    };
    let mut answer = match has(header::IF_NONE_MATCH, asset.tag) {
        true => answer::empty(304),
        false if *method == Method::HEAD => answer::bytes(200, asset.media, ""),
        false if has(header::ACCEPT_ENCODING, "gzip") => {
            let mut answer = answer::bytes(200, asset.media, asset.gzip);
            let gzip = HeaderValue::from_static("gzip");
            answer.headers_mut().insert(header::CONTENT_ENCODING, gzip);
            answer
        }
        false => answer::bytes(200, asset.media, asset.plain()),
    };
    let headers = answer.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_static(asset.tag));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    answer
}

impl Asset {
    fn plain(&self) -> Vec<u8> {
        let mut plain = Vec::new();
        let read = GzDecoder::new(self.gzip).read_to_end(&mut plain);
        read.expect("the build made it");
        plain
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES_MAX: usize = 150 << 10;

    #[test]
    fn the_pages_are_small_and_whole() {
        let packed: usize = ASSETS.iter().map(|asset| asset.gzip.len()).sum();
        assert!(packed <= BYTES_MAX, "{packed} bytes");
        assert!(ASSETS.iter().any(|asset| asset.path == INDEX));
        // Every module that a module imports is there, and nothing comes from elsewhere.
        for asset in ASSETS.iter().filter(|asset| asset.path.ends_with(".js")) {
            let text = String::from_utf8(asset.plain()).unwrap();
            let imports = text.lines().filter_map(|line| {
                let quoted = line.strip_prefix("import ")?.rsplit('\'').nth(1)?;
                Some(quoted.to_owned())
            });
            for import in imports {
                let wanted = target(asset.path, &import);
                let found = ASSETS.iter().any(|other| other.path == wanted);
                assert!(found, "{} imports {import}", asset.path);
            }
        }
    }

    /// Where a module's import leads, relative as it is.
    fn target(from: &str, import: &str) -> String {
        let mut folders: Vec<&str> = from.split('/').collect();
        folders.pop();
        for part in import.split('/') {
            match part {
                "." => {}
                ".." => drop(folders.pop()),
                name => folders.push(name),
            }
        }
        folders.join("/")
    }

    #[test]
    fn browsers_ask_again_only_whether_it_changed() {
        let ask = |headers: &[(header::HeaderName, &str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.insert(name, HeaderValue::from_str(value).unwrap());
            }
            answer(&Method::GET, "/", &map)
        };
        let whole = ask(&[(header::ACCEPT_ENCODING, "br, gzip")]);
        assert_eq!(whole.headers()[header::CONTENT_ENCODING], "gzip");
        let tag = whole.headers()[header::ETAG].to_str().unwrap();
        let same = ask(&[(header::IF_NONE_MATCH, tag)]);
        assert_eq!(same.status(), 304);
        assert!(!ask(&[]).headers().contains_key(header::CONTENT_ENCODING));
        let absent = answer(&Method::GET, "/../Cargo.toml", &HeaderMap::new());
        assert_eq!(absent.status(), 404);
    }
}
