//! OpenAPI documents over HTTP; their content is `api::openapi`.
//!
//! Documents are built when asked for and not kept: clients keep them by the token in the index, which follows from
//! the build. The version 2 document is offered in protobuf too, the others in JSON alone; anything else is 406.

use super::{
    codec::accept::{self, clauses},
    discovery::subresource::{self, subresources},
    listen::answer::{self, Answer, JSON},
};
use crate::{
    api::{
        ApiError,
        openapi::{self, Resource, Subresource, gnostic},
        schema,
    },
    config::KUBERNETES,
    kinds::{self, Kind},
};
use http::{HeaderValue, header, request::Parts};
use serde_json::{Map, Value};
use std::borrow::Cow;

/// A document under its token never changes, so that this day need never come.
const NEVER: HeaderValue = HeaderValue::from_static("Thu, 31 Dec 2099 23:59:59 GMT");

#[derive(Default)]
pub struct OpenApi {}

impl OpenApi {
    /// `None` when the path is none of ours.
    pub async fn answer(&self, parts: &Parts) -> Result<Option<Answer>, ApiError> {
        let Some(rest) = parts.uri.path().strip_prefix("/openapi/") else {
            return Ok(None);
        };
        let document = match rest.trim_end_matches('/').split_once('/') {
            None if rest == "v2" => Document::Everything,
            None if rest.starts_with("v3") => Document::Index,
            Some(("v3", path)) => match find(path) {
                Some(kinds) => Document::Version(path, kinds),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        let form = form(parts, &document)?;
        Ok(Some(document.answer(parts, form)))
    }
}

enum Document<'a> {
    Everything,
    Index,
    /// Path and kinds of one group version.
    Version(&'a str, &'static [Kind]),
}

impl Document<'_> {
    fn answer(&self, parts: &Parts, form: Form) -> Answer {
        let token = match self {
            Document::Everything => token("v2"),
            Document::Index => token("v3"),
            Document::Version(path, _) => token(path),
        };
        let wanted = query_token(parts);
        if let (Document::Version(path, _), Some(wanted)) = (self, &wanted)
            && *wanted != token
        {
            let mut answer = answer::empty(301);
            let place = format!("/openapi/v3/{path}?hash={token}");
            let place = HeaderValue::from_str(&place).expect("paths of groups are plain text");
            answer.headers_mut().insert(header::LOCATION, place);
            return answer;
        }
        let tag = match form {
            Form::Json => format!("\"{token}\""),
            Form::Protobuf => format!("\"{token}P\""),
        };
        let etag = HeaderValue::from_str(&tag).expect("hexadecimal digits");
        let mut answer = if parts.headers.get(header::IF_NONE_MATCH) == Some(&etag) {
            answer::empty(304)
        } else {
            match form {
                Form::Json => answer::bytes(200, JSON, self.content().to_string()),
                Form::Protobuf => {
                    answer::bytes(200, gnostic::MEDIA, gnostic::encode(&self.content()))
                }
            }
        };
        let headers = answer.headers_mut();
        headers.insert(header::ETAG, etag);
        headers.insert(header::VARY, HeaderValue::from_static("Accept"));
        if wanted.is_some() {
            let forever = HeaderValue::from_static("public, immutable");
            headers.insert(header::CACHE_CONTROL, forever);
            headers.insert(header::EXPIRES, NEVER);
        }
        answer
    }

    fn content(&self) -> Value {
        let release = KUBERNETES;
        match self {
            Document::Everything => {
                let all: Vec<_> = kinds::all().iter().copied().map(resource).collect();
                openapi::v2_document(&all, &Map::new(), release)
            }
            Document::Index => {
                let paths = paths();
                let tokens: Vec<String> = paths.iter().map(|path| token(path)).collect();
                let texts = paths.iter().map(String::as_str);
                openapi::v3_index(texts.zip(tokens.iter().map(String::as_str)))
            }
            Document::Version(_, kinds) => {
                let all: Vec<_> = kinds.iter().map(resource).collect();
                openapi::v3_document(&all, &Map::new(), release)
            }
        }
    }
}

/// Index keys of all served group versions.
fn paths() -> Vec<String> {
    let path = |kind: &&Kind| openapi::path_of(kind.group, kind.version);
    let mut paths: Vec<String> = kinds::all().iter().map(path).collect();
    paths.dedup();
    paths
}

fn find(path: &str) -> Option<&'static [Kind]> {
    let (group, version) = match path.split('/').collect::<Vec<_>>().as_slice() {
        ["api", version] => ("", *version),
        ["apis", group, version] => (*group, *version),
        _ => return None,
    };
    let kinds = kinds::group_version(group, version);
    (!kinds.is_empty()).then_some(kinds)
}

/// Documents follow from the build alone; a path tells them apart.
fn token(path: &str) -> String {
    let build = concat!(env!("CARGO_PKG_VERSION"), "/openapi/");
    let text = format!("{build}{path}");
    format!(
        "{:016X}{:016X}",
        schema::fingerprint(&openapi::fingerprint().to_le_bytes()),
        schema::fingerprint(text.as_bytes())
    )
}

fn query_token(parts: &Parts) -> Option<String> {
    let query = parts.uri.query()?;
    let mut pairs = form_urlencoded::parse(query.as_bytes());
    let (_, token) = pairs.find(|(name, _)| name == "hash")?;
    Some(token.into_owned())
}

#[derive(Clone, Copy)]
enum Form {
    Json,
    Protobuf,
}

/// The first form that the client names and the document has.
fn form(parts: &Parts, document: &Document<'_>) -> Result<Form, ApiError> {
    let accepted = parts.headers.get(header::ACCEPT);
    let accepted = accepted.and_then(|value| value.to_str().ok());
    let has_protobuf = matches!(document, Document::Everything);
    let form = clauses(accepted)
        .iter()
        .find_map(|clause| match clause.media {
            gnostic::MEDIA | gnostic::MEDIA_ASKED if has_protobuf => Some(Form::Protobuf),
            _ => clause.is_json().then_some(Form::Json),
        });
    form.ok_or_else(|| accept::not_acceptable(false))
}

fn resource(kind: &'static Kind) -> Resource<'static> {
    let sub = |sub: subresource::Subresource| Subresource {
        name: Cow::Borrowed(sub.name),
        group: Cow::Borrowed(sub.response.group),
        version: Cow::Borrowed(sub.response.version),
        kind: Cow::Borrowed(sub.response.kind),
        verbs: sub.verbs,
    };
    Resource {
        group: Cow::Borrowed(kind.group),
        version: Cow::Borrowed(kind.version),
        kind: Cow::Borrowed(kind.name),
        list_kind: Cow::Owned(format!("{}List", kind.name)),
        plural: Cow::Borrowed(kind.plural),
        is_namespaced: kind.is_namespaced(),
        verbs: kind.verbs,
        definition: Cow::Borrowed(kind.definition),
        is_custom: false,
        subresources: subresources(kind).into_iter().map(sub).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;
    use http_body_util::BodyExt as _;

    async fn get(uri: &str, headers: &[(&str, &str)]) -> Option<Answer> {
        let mut request = Request::get(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        OpenApi::default().answer(&parts).await.unwrap()
    }

    async fn document(answer: Answer) -> Value {
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        serde_json::from_slice(&bytes).unwrap()
    }

    #[tokio::test]
    async fn every_document_of_the_index_is_there_under_its_token() {
        let index = document(get("/openapi/v3", &[]).await.unwrap()).await;
        let paths = index["paths"].as_object().unwrap();
        assert!(paths.contains_key("api/v1") && paths.contains_key("apis/apps/v1"));
        for entry in paths.values() {
            let url = entry["serverRelativeURL"].as_str().unwrap();
            let answer = get(url, &[("accept", "application/json")]).await.unwrap();
            assert_eq!(
                answer.headers()["cache-control"],
                "public, immutable",
                "{url}"
            );
            let document = document(answer).await;
            assert!(
                document["components"]["schemas"].as_object().unwrap().len() > 5,
                "{url}"
            );
        }
    }

    #[tokio::test]
    async fn tokens_and_types_are_judged() {
        let moved = get("/openapi/v3/apis/apps/v1?hash=0", &[]).await.unwrap();
        assert_eq!(moved.status(), 301);
        let whole = get("/openapi/v2", &[]).await.unwrap();
        let etag = whole.headers()["etag"].to_str().unwrap().to_owned();
        let definitions = &document(whole).await["definitions"];
        assert!(definitions["io.k8s.api.core.v1.Pod"].is_object());
        let same = get("/openapi/v2", &[("if-none-match", &etag)])
            .await
            .unwrap();
        assert_eq!(same.status(), 304);
        assert!(get("/openapi/v3/apis/nope/v1", &[]).await.is_none());
        let packed = get("/openapi/v2", &[("accept", gnostic::MEDIA_ASKED)])
            .await
            .unwrap();
        assert_eq!(packed.headers()["content-type"], gnostic::MEDIA);
        assert_ne!(packed.headers()["etag"], *etag);
        let (parts, ()) = Request::get("/openapi/v3/api/v1")
            .header("accept", gnostic::MEDIA_ASKED)
            .body(())
            .unwrap()
            .into_parts();
        assert_eq!(
            OpenApi::default().answer(&parts).await.unwrap_err().code,
            406
        );
    }
}
