//! From a path to what is meant. Pure; names, tags and digests are checked here once, so that they are safe as file
//! names everywhere else.

use crate::runtime::image::reference::{is_digest, is_repository, is_tag};
use percent_encoding::percent_decode_str;

/// Longest repository name, as the reference implementation has it.
const NAME_BYTES_MAX: usize = 255;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    Base,
    Catalog,
    Tags(String),
    Referrers(String, String),
    Manifest(String, Wanted),
    Blob(String, String),
    /// Where uploads begin.
    Uploads(String),
    Upload(String, String),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    Tag(String),
    Digest(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRoute {
    Unknown,
    Name,
    Digest,
    Tag,
}

/// Repositories may be called `blobs` or `tags`: paths are read from their ends.
pub fn route(path: &str) -> Result<Route, NoRoute> {
    let path = percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| NoRoute::Unknown)?;
    let rest = match path.as_ref() {
        "/v2" | "/v2/" => return Ok(Route::Base),
        "/v2/_catalog" => return Ok(Route::Catalog),
        other => other.strip_prefix("/v2/").ok_or(NoRoute::Unknown)?,
    };
    let parts: Vec<&str> = rest.split('/').collect();
    let named = |length: usize| {
        let name = parts[..length].join("/");
        let fits = name.len() <= NAME_BYTES_MAX && is_repository(&name);
        if fits { Ok(name) } else { Err(NoRoute::Name) }
    };
    let digest = |text: &str| {
        if is_digest(text) {
            Ok(text.to_owned())
        } else {
            Err(NoRoute::Digest)
        }
    };
    match parts.as_slice() {
        [name @ .., "tags", "list"] => Ok(Route::Tags(named(name.len())?)),
        [name @ .., "blobs", "uploads"] | [name @ .., "blobs", "uploads", ""] => {
            Ok(Route::Uploads(named(name.len())?))
        }
        [name @ .., "blobs", "uploads", id] => {
            let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_hexdigit());
            let id = is_id.then(|| (*id).to_owned()).ok_or(NoRoute::Unknown)?;
            Ok(Route::Upload(named(name.len())?, id))
        }
        [name @ .., "blobs", text] => Ok(Route::Blob(named(name.len())?, digest(text)?)),
        [name @ .., "referrers", text] => Ok(Route::Referrers(named(name.len())?, digest(text)?)),
        [name @ .., "manifests", text] => {
            let name = named(name.len())?;
            match () {
                () if text.contains(':') => {
                    Ok(Route::Manifest(name, Wanted::Digest(digest(text)?)))
                }
                () if is_tag(text) => Ok(Route::Manifest(name, Wanted::Tag((*text).to_owned()))),
                () => Err(NoRoute::Tag),
            }
        }
        _ => Err(NoRoute::Unknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_from_their_ends() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let name = || "a/b".to_owned();
        let cases = [
            ("/v2/".to_owned(), Route::Base),
            ("/v2/_catalog".to_owned(), Route::Catalog),
            ("/v2/a/b/tags/list".to_owned(), Route::Tags(name())),
            ("/v2/a/b/blobs/uploads/".to_owned(), Route::Uploads(name())),
            (
                "/v2/a/b/blobs/uploads/0f".to_owned(),
                Route::Upload(name(), "0f".into()),
            ),
            (
                format!("/v2/a/b/blobs/{digest}"),
                Route::Blob(name(), digest.clone()),
            ),
            (
                format!("/v2/a/b/manifests/{}", digest.replace(':', "%3A")),
                Route::Manifest(name(), Wanted::Digest(digest.clone())),
            ),
            (
                "/v2/a/b/manifests/1.0".to_owned(),
                Route::Manifest(name(), Wanted::Tag("1.0".into())),
            ),
            (
                "/v2/tags/blobs/tags/list".to_owned(),
                Route::Tags("tags/blobs".into()),
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(route(&path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn nothing_leads_out_of_a_repository() {
        let cases = [
            ("/", NoRoute::Unknown),
            ("/v2/a", NoRoute::Unknown),
            ("/v2/../tags/list", NoRoute::Name),
            ("/v2/a%2F..%2Fb/tags/list", NoRoute::Name),
            ("/v2//tags/list", NoRoute::Name),
            ("/v2/tags/list", NoRoute::Name),
            ("/v2/A/tags/list", NoRoute::Name),
            ("/v2/a/manifests/..", NoRoute::Tag),
            ("/v2/a/manifests/", NoRoute::Tag),
            ("/v2/a/blobs/sha256:12", NoRoute::Digest),
            ("/v2/a/blobs/uploads/..", NoRoute::Unknown),
            ("/v2/a/blobs/uploads/%00", NoRoute::Unknown),
        ];
        for (path, expected) in cases {
            assert_eq!(route(path), Err(expected), "{path}");
        }
    }
}
