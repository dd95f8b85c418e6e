//! Bodies: what type they are, how large they may be, what documents they hold.

use crate::{
    api::{
        ApiError,
        call::{Body, Document, PatchKind, Verb},
        decode,
    },
    apiserver::codec::protobuf,
    kinds::Kind,
};
use bytes::Bytes;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};

pub const BODY_MAX: usize = 3 * 1024 * 1024;

const FORMATS: &[&str] = &[
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];
const PATCHES: &[(&str, PatchKind)] = &[
    ("application/json-patch+json", PatchKind::Json),
    ("application/merge-patch+json", PatchKind::Merge),
    (
        "application/strategic-merge-patch+json",
        PatchKind::Strategic,
    ),
    ("application/apply-patch+yaml", PatchKind::Apply),
];

/// Reads a body up to [`BODY_MAX`].
pub async fn read<B>(body: B) -> Result<Bytes, ApiError>
where
    B: http_body::Body<Data = Bytes>,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    match Limited::new(body, BODY_MAX).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(failure) if failure.is::<LengthLimitError>() => Err(ApiError::new(
            413,
            "RequestEntityTooLarge",
            format!("Request entity too large: limit is {BODY_MAX}"),
        )),
        Err(failure) => Err(ApiError::bad_request(format!("read the body: {failure}"))),
    }
}

/// What kind of patch a content type announces. Custom resources know no strategic merge.
pub fn patch_kind(content_type: Option<&str>, is_custom: bool) -> Result<PatchKind, ApiError> {
    let media = media_type(content_type.unwrap_or_default());
    let served = || {
        let all = PATCHES.iter();
        all.filter(|(_, kind)| !(is_custom && *kind == PatchKind::Strategic))
    };
    match served().find(|(name, _)| *name == media) {
        Some((_, kind)) => Ok(*kind),
        None => Err(unsupported(
            &served().map(|(name, _)| *name).collect::<Vec<_>>(),
        )),
    }
}

/// The body of a call. Only of `create` and `update` it must be there.
pub fn decode(
    verb: Verb,
    patch: Option<PatchKind>,
    content_type: Option<&str>,
    bytes: Bytes,
    kind: &Kind,
) -> Result<Body, ApiError> {
    match (verb, patch) {
        (Verb::Patch, Some(kind)) => Ok(Body::Patch(kind, bytes)),
        (Verb::Create | Verb::Update, _) => {
            document(content_type, &bytes, kind).map(Body::Document)
        }
        (Verb::Delete | Verb::DeleteCollection, _) if !bytes.is_empty() => {
            document(content_type, &bytes, kind).map(Body::Document)
        }
        _ => Ok(Body::None),
    }
}

/// No content type means JSON, as some clients rely on.
fn document(content_type: Option<&str>, bytes: &[u8], kind: &Kind) -> Result<Document, ApiError> {
    let refused = |why: String| {
        let (kind, shown) = (kind.name, summary(bytes));
        ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {kind}): {why} ({shown})"
        ))
    };
    let in_json = |why| format!("couldn't get version/kind; json parse error: {why}");
    match media_type(content_type.unwrap_or_default()).as_str() {
        "" | "application/json" | "text/json" => {
            decode::json(bytes).map_err(|why| refused(in_json(why)))
        }
        "application/yaml" => decode::yaml(bytes).map_err(refused),
        "application/vnd.kubernetes.protobuf" => protobuf::decode(bytes, kind),
        _ => Err(unsupported(FORMATS)),
    }
}

/// The beginning of a body that could not be read, as upstream shows it.
fn summary(bytes: &[u8]) -> String {
    const SHOWN_MAX: usize = 30;
    let shown = &bytes[..bytes.len().min(SHOWN_MAX)];
    let more = if bytes.len() > SHOWN_MAX { " ..." } else { "" };
    match bytes.first() {
        None => "<empty>".to_owned(),
        Some(b'{') => format!("{}{more}", String::from_utf8_lossy(shown)),
        Some(_) => {
            let digits: Vec<String> = shown.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("{}{more}", digits.concat())
        }
    }
}

fn media_type(content_type: &str) -> String {
    let media = content_type.split(';').next().unwrap_or_default();
    media.trim().to_ascii_lowercase()
}

fn unsupported(accepted: &[&str]) -> ApiError {
    let known = accepted.join(", ");
    ApiError::new(
        415,
        "UnsupportedMediaType",
        format!(
            "the body of the request was in an unknown format - accepted media types include: {known}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[test]
    fn content_types_decide() {
        let kind = |media| patch_kind(Some(media), false).ok();
        assert_eq!(kind("application/apply-patch+yaml"), Some(PatchKind::Apply));
        assert_eq!(
            kind("Application/merge-patch+json; charset=utf-8"),
            Some(PatchKind::Merge)
        );
        assert_eq!(kind("application/json"), None);
        let strategic = Some("application/strategic-merge-patch+json");
        assert_eq!(patch_kind(strategic, true).unwrap_err().code, 415);
        let kind = crate::kinds::find("", "v1", "configmaps").unwrap();
        let text = || Bytes::from_static(br#"{"a":1}"#);
        for media in [None, Some("application/json"), Some("application/yaml")] {
            let body = decode(Verb::Create, None, media, text(), kind).unwrap();
            assert!(matches!(body, Body::Document(document) if document.value["a"] == 1));
        }
        let refusal = decode(Verb::Create, None, Some("text/html"), text(), kind).unwrap_err();
        assert_eq!(refusal.code, 415);
        let cases = [
            (
                "",
                "couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)",
            ),
            (
                "{",
                "couldn't get version/kind; json parse error: unexpected end of JSON input ({)",
            ),
            (
                "한",
                "couldn't get version/kind; json parse error: invalid character 'í' looking for beginning of value (ed959c)",
            ),
        ];
        for (text, expected) in cases {
            let body = Bytes::from(text);
            let refusal = decode(Verb::Create, None, None, body, kind).unwrap_err();
            let start = "the object provided is unrecognized (must be of type ConfigMap): ";
            assert_eq!(refusal.message, format!("{start}{expected}"));
        }
        let nothing = decode(Verb::Delete, None, None, Bytes::new(), kind).unwrap();
        assert!(matches!(nothing, Body::None));
    }

    #[tokio::test]
    async fn large_bodies_are_refused() {
        let body = Full::new(Bytes::from(vec![b' '; BODY_MAX + 1]));
        let refusal = read(body).await.unwrap_err();
        assert_eq!(
            refusal.message,
            "Request entity too large: limit is 3145728"
        );
        let body = Full::new(Bytes::from(vec![b' '; BODY_MAX]));
        assert_eq!(read(body).await.unwrap().len(), BODY_MAX);
    }
}
