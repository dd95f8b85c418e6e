//! `get` and `list`.

use super::{
    Request, convert,
    options::{Moment, list_moment, parse_version, too_large},
    selection::Selection,
};
use crate::{
    api::{
        ApiError,
        call::{List, Outcome, Reply},
        name::group_version,
    },
    kinds::Kind,
    store::{Entry, Snapshot},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;

/// How long a reader waits for a revision that was not reached yet.
const CATCH_UP: Duration = Duration::from_secs(3);

const TOKEN_VERSION: &str = "meta.k8s.io/v1";
const TOKEN_EXPIRED: &str = "The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results. Continuing with the provided token results in an inconsistent list - objects that were created, modified, or deleted between the time the first chunk was returned and now may show up in the list.";
const VERSION_EXPIRED: &str = "The resourceVersion for the provided list is too old.";

/// What a continue token says.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Token {
    v: String,
    /// −1: go on from the newest state.
    rv: i64,
    /// Where the next page starts, below the kind's prefix: the last key shown and a NUL.
    start: String,
}

impl Token {
    fn after(key: &str, prefix: &str, revision: i64) -> Token {
        let last = key.strip_prefix(prefix).unwrap_or(key);
        Token {
            v: TOKEN_VERSION.to_owned(),
            rv: revision,
            start: format!("{last}\0"),
        }
    }

    fn encode(&self) -> String {
        BASE64_URL_SAFE_NO_PAD.encode(serde_json::to_vec(self).expect("a token serializes"))
    }

    fn decode(text: &str) -> Result<Token, ApiError> {
        let refused =
            |why: &str| ApiError::bad_request(format!("continue key is not valid: {why}"));
        let bytes = BASE64_URL_SAFE_NO_PAD
            .decode(text.trim_end_matches('='))
            .map_err(|error| refused(&error.to_string()))?;
        let token: Token =
            serde_json::from_slice(&bytes).map_err(|error| refused(&error.to_string()))?;
        if token.v != TOKEN_VERSION {
            return Err(refused("server does not recognize this encoded version"));
        }
        if token.rv == 0 {
            return Err(refused(
                "incorrect encoded start resourceVersion (version meta.k8s.io/v1)",
            ));
        }
        if token.start.is_empty() || token.start.contains("../") {
            return Err(refused("encoded start key empty (version meta.k8s.io/v1)"));
        }
        Ok(token)
    }
}

pub(super) async fn get(request: &Request<'_>) -> Result<Reply, ApiError> {
    let version = request.options.resource_version.as_deref();
    if let Some(revision) = parse_version(version.unwrap_or_default())? {
        catch_up(request, revision).await?;
    }
    let entry = request.entry()?;
    let bytes = match request.view() {
        None => presented(&entry, request.kind)?,
        Some(view) => {
            let document = convert::parse(&entry.bytes, request.kind)?;
            view.project(request.kind, &document)?.to_string().into()
        }
    };
    Ok(Outcome::Object {
        bytes,
        created: false,
    }
    .into())
}

pub(super) async fn list(request: &Request<'_>) -> Result<Reply, ApiError> {
    let options = &request.options;
    let moment = list_moment(options)?;
    let kind = request.kind;
    let selection = Selection::parse(kind, &request.namespace, options)?;
    let prefix = selection.prefix(kind);
    let token = options
        .continue_token
        .as_deref()
        .filter(|token| !token.is_empty());
    let token = token.map(Token::decode).transpose()?;
    let snapshot = match &token {
        Some(token) => resume(request, token)?,
        None => at_moment(request, moment).await?,
    };
    let after = token.map(|token| {
        let last = token.start.trim_end_matches('\0');
        format!("{prefix}{last}")
    });
    let limit = options.limit.filter(|&limit| limit > 0).unwrap_or(u64::MAX);
    let page = page(&snapshot, &prefix, after.as_deref(), &selection, limit);
    let items: Result<Vec<Bytes>, ApiError> = page
        .entries
        .iter()
        .map(|entry| presented(entry, kind))
        .collect();
    Ok(Outcome::List(List {
        api_version: group_version(kind.group, kind.version),
        kind: format!("{}List", kind.name),
        revision: snapshot.revision,
        continue_token: page.more.then(|| {
            let last = page.entries.last().map_or("", |entry| &*entry.key);
            let revision = i64::try_from(snapshot.revision).unwrap_or(i64::MAX);
            Token::after(last, &prefix, revision).encode()
        }),
        remaining: page.remaining,
        items: items?,
    })
    .into())
}

/// The stored bytes in the version that was asked for.
pub(super) fn presented(entry: &Entry, kind: &Kind) -> Result<Bytes, ApiError> {
    if !convert::is_view(kind) {
        return Ok(entry.bytes.clone());
    }
    let document: Value = convert::parse(&entry.bytes, kind)?;
    Ok(document.to_string().into())
}

struct Page {
    entries: Vec<Entry>,
    more: bool,
    /// Unknown (`None`) when a selector is at work.
    remaining: Option<u64>,
}

fn page(
    snapshot: &Snapshot,
    prefix: &str,
    after: Option<&str>,
    selection: &Selection,
    limit: u64,
) -> Page {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut rest = snapshot
        .range(prefix, after)
        .filter(|entry| selection.matches(entry));
    let entries: Vec<Entry> = rest.by_ref().take(limit).cloned().collect();
    let full = entries.len() == limit;
    let remaining = match (full, selection.is_filtered()) {
        (false, _) => 0,
        (true, true) => u64::from(rest.next().is_some()),
        (true, false) => rest.count() as u64,
    };
    Page {
        entries,
        more: remaining > 0,
        remaining: (remaining > 0 && !selection.is_filtered()).then_some(remaining),
    }
}

fn resume(request: &Request<'_>, token: &Token) -> Result<Snapshot, ApiError> {
    let store = &request.registry.store;
    let Ok(revision) = u64::try_from(token.rv) else {
        return Ok(store.snapshot());
    };
    store.snapshot_at(revision).map_err(|_| {
        let fresh = Token {
            rv: -1,
            v: token.v.clone(),
            start: token.start.clone(),
        };
        let mut expired = ApiError::expired(TOKEN_EXPIRED);
        expired.continue_token = Some(fresh.encode());
        expired
    })
}

async fn at_moment(request: &Request<'_>, moment: Moment) -> Result<Snapshot, ApiError> {
    let store = &request.registry.store;
    match moment {
        Moment::Newest => Ok(store.snapshot()),
        Moment::NotOlderThan(revision) => {
            catch_up(request, revision).await?;
            Ok(store.snapshot())
        }
        Moment::Exactly(revision) => {
            catch_up(request, revision).await?;
            let past = store.snapshot_at(revision);
            past.map_err(|_| ApiError::expired(VERSION_EXPIRED))
        }
    }
}

/// Waits until the store has reached the revision, but not long.
pub(super) async fn catch_up(request: &Request<'_>, revision: u64) -> Result<(), ApiError> {
    let store = &request.registry.store;
    let current = store.revision();
    if revision <= current {
        return Ok(());
    }
    let reached = async {
        let Ok(mut watch) = store.watch("/", current) else {
            return;
        };
        while let Some(event) = watch.next().await {
            if event.revision >= revision {
                break;
            }
        }
    };
    // Whether it was reached is read from the store below.
    let _ = tokio::time::timeout(CATCH_UP, reached).await;
    let current = store.revision();
    if revision <= current {
        return Ok(());
    }
    Err(too_large(revision, current))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_upstreams() {
        let token = Token::after("/pods/ns/a", "/pods/", 12);
        let text = token.encode();
        let json = BASE64_URL_SAFE_NO_PAD.decode(&text).unwrap();
        assert_eq!(
            String::from_utf8(json).unwrap(),
            r#"{"v":"meta.k8s.io/v1","rv":12,"start":"ns/a\u0000"}"#
        );
        assert_eq!(Token::decode(&text), Ok(token));
        for bad in ["", "!", "e30"] {
            let error = Token::decode(bad).unwrap_err();
            assert!(
                error.message.starts_with("continue key is not valid: "),
                "{error}"
            );
        }
    }
}
