//! What there is: repositories, tags, and what refers to a manifest.

use super::{
    Registry,
    answer::{self, Answer, FILTERS, Refusal},
    manifest,
    store::Part,
};
use http::{StatusCode, header};
use serde_json::{Value, json};

/// Entries of one page when the client names no number, and at most.
const PAGE_MAX: usize = 1000;
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// `n` and `last` of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Page {
    count: usize,
    after: Option<String>,
}

impl Page {
    pub fn parse(query: Option<&str>) -> Page {
        let mut page = Page {
            count: PAGE_MAX,
            after: None,
        };
        for (key, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match key.as_ref() {
                "n" => page.count = value.parse().unwrap_or(PAGE_MAX).min(PAGE_MAX),
                "last" => page.after = Some(value.into_owned()),
                _ => {}
            }
        }
        page
    }

    /// The entries of this page (`all` is in order), and the last of them if more follow.
    fn cut(&self, all: Vec<String>) -> (Vec<String>, Option<String>) {
        let after = self.after.as_deref().unwrap_or_default();
        let mut rest = all.into_iter().filter(|entry| entry.as_str() > after);
        let page: Vec<String> = rest.by_ref().take(self.count).collect();
        let next = rest.next().and(page.last().cloned());
        (page, next)
    }
}

impl Registry {
    pub fn catalog(&self, page: &Page) -> Answer {
        let (names, next) = page.cut(self.0.store.repositories()?);
        let document = json!({ "repositories": names });
        Ok(paged(&document, "/v2/_catalog", page, next))
    }

    pub fn tags(&self, name: &str, page: &Page) -> Answer {
        if !self.0.store.has_repository(name) {
            return Err(Refusal::name_unknown());
        }
        let (tags, next) = page.cut(self.0.store.entries(name, Part::Tags)?);
        let document = json!({ "name": name, "tags": tags });
        Ok(paged(
            &document,
            &format!("/v2/{name}/tags/list"),
            page,
            next,
        ))
    }

    /// Manifests whose subject is `digest`, as an index; an empty one when there is none.
    pub fn referrers(&self, name: &str, digest: &str, query: Option<&str>) -> Answer {
        let wanted = form_urlencoded::parse(query.unwrap_or_default().as_bytes())
            .find(|(key, _)| key == "artifactType")
            .map(|(_, value)| value.into_owned());
        let store = &self.0.store;
        let mut found = Vec::new();
        for hex in store.entries(name, Part::Manifests)? {
            let id = format!("sha256:{hex}");
            let Ok((bytes, note)) = store.manifest(name, &id) else {
                continue;
            };
            if manifest::leads_to(&bytes).2.as_deref() != Some(digest) {
                continue;
            }
            let document: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let artifact = document["artifactType"]
                .as_str()
                .or(document["config"]["mediaType"].as_str())
                .unwrap_or_default()
                .to_owned();
            if wanted.as_ref().is_none_or(|wanted| *wanted == artifact) {
                found.push(json!({
                    "mediaType": note.media_type, "digest": id, "size": bytes.len(),
                    "artifactType": artifact, "annotations": document["annotations"],
                }));
            }
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": found });
        let mut response = answer::json_answer(StatusCode::OK, &index);
        answer::set(&mut response, header::CONTENT_TYPE, INDEX);
        if wanted.is_some() {
            answer::set(&mut response, FILTERS, "artifactType");
        }
        Ok(response)
    }
}

fn paged(
    document: &Value,
    path: &str,
    page: &Page,
    next: Option<String>,
) -> http::Response<answer::Body> {
    let mut response = answer::json_answer(StatusCode::OK, document);
    if let Some(last) = next {
        let query = form_urlencoded::Serializer::new(String::new())
            .append_pair("n", &page.count.to_string())
            .append_pair("last", &last)
            .finish();
        let link = format!("<{path}?{query}>; rel=\"next\"");
        answer::set(&mut response, header::LINK, &link);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other() {
        let all = || ["a", "b", "c"].map(str::to_owned).to_vec();
        let cases = [
            (None, vec!["a", "b", "c"], None),
            (Some("n=2"), vec!["a", "b"], Some("b")),
            (Some("n=2&last=b"), vec!["c"], None),
            (Some("n=0"), vec![], None),
            (Some("n=x"), vec!["a", "b", "c"], None),
            (Some("last=z"), vec![], None),
        ];
        for (query, expected, next) in cases {
            let (page, more) = Page::parse(query).cut(all());
            assert_eq!(page, expected, "{query:?}");
            assert_eq!(more.as_deref(), next, "{query:?}");
        }
    }
}
