//! Selectors against upstream's grammar, matching rules and messages.

use super::*;
use crate::api::random::Random;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector as Spec;
use serde_json::{Value, json};
use std::collections::BTreeMap;

fn labels(text: &str) -> BTreeMap<String, String> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn label_selectors_match() {
    let cases = [
        ("", "", true),
        ("a=b", "a=b", true),
        ("a==b", "a=c", false),
        ("a=", "a=", true),
        ("a!=b", "", true),
        ("a!=b", "a=b", false),
        (" a in ( b , c ) ", "a=c", true),
        ("a in (b,c)", "", false),
        ("a in (,b)", "a=", true),
        ("a notin (b)", "", true),
        ("a notin (b)", "a=b", false),
        ("a", "a=", true),
        ("!a", "a=", false),
        ("!a,b=c", "b=c", true),
        ("a>5", "a=6", true),
        ("a>5", "a=5", false),
        ("a<5", "a=x", false),
        ("in in (in,notin)", "in=notin", true),
        ("a,", "a=b", false),
    ];
    for (selector, object, expected) in cases {
        let parsed = LabelSelector::parse(selector);
        let matches = parsed.is_ok_and(|selector| selector.matches(&labels(object)));
        assert_eq!(matches, expected, "{selector:?} {object:?}");
    }
}

#[test]
fn label_selector_errors_read_like_upstreams() {
    let cases = [
        ("a,", "found '', expected: identifier after ','"),
        (
            ",a",
            "found ',', expected: !, identifier, or 'end of string'",
        ),
        (
            "a b",
            "unable to parse requirement: found 'b', expected: in, notin, =, ==, !=, gt, lt",
        ),
        ("a=b c", "found 'c', expected: ',' or 'end of string'"),
        (
            "a in b",
            "unable to parse requirement: found 'b' expected: '('",
        ),
        (
            "a in (b c)",
            "unable to parse requirement: found 'c', expected: ',' or ')'",
        ),
        (
            "a in (",
            "unable to parse requirement: found '', expected: ',', ')' or identifier",
        ),
        (
            "a===b",
            "unable to parse requirement: found '=', expected: identifier",
        ),
        ("!a=b", "found '=', expected: ',' or 'end of string'"),
        (
            "!",
            "unable to parse requirement: found '', expected: identifier",
        ),
        (
            "a>b",
            "unable to parse requirement: values[0]: Invalid value: \"b\": for 'Gt', 'Lt' operators, the value must be an integer",
        ),
    ];
    for (text, expected) in cases {
        assert_eq!(LabelSelector::parse(text).unwrap_err(), expected, "{text}");
    }
    let text = LabelSelector::parse("a@b=c").unwrap_err();
    assert!(
        text.starts_with(
            "unable to parse requirement: <nil>: Invalid value: \"a@b\": name part must consist of"
        ),
        "{text}"
    );
    let text = LabelSelector::parse("a=b@c").unwrap_err();
    assert!(
        text.starts_with(
            "unable to parse requirement: values[0][a]: Invalid value: \"b@c\": a valid label must"
        ),
        "{text}"
    );
}

#[test]
fn selector_documents() {
    let spec = |value: Value| serde_json::from_value::<Spec>(value).unwrap();
    let of = |value| LabelSelector::from_spec(Some(&spec(value)));
    let selector = of(json!({"matchLabels": {"z": "1", "a": "b"},
        "matchExpressions": [{"key": "c", "operator": "In", "values": ["e", "d"]}, {"key": "f", "operator": "DoesNotExist"}]}));
    let selector = selector.unwrap();
    assert_eq!(selector.to_string(), "a=b,c in (d,e),!f,z=1");
    assert!(selector.matches(&labels("a=b,c=d,z=1")));
    assert!(!selector.matches(&labels("a=b,c=d,z=1,f=")));
    assert!(of(json!({})).unwrap().is_everything());
    assert!(!LabelSelector::from_spec(None).unwrap().matches(&labels("")));
    assert_eq!(
        of(json!({"matchExpressions": [{"key": "a", "operator": "Near"}]})).unwrap_err(),
        "\"Near\" is not a valid label selector operator"
    );
    assert_eq!(
        of(json!({"matchExpressions": [{"key": "a", "operator": "In"}]})).unwrap_err(),
        "values: Invalid value: []: for 'in', 'notin' operators, values set can't be empty"
    );
}

#[test]
fn field_selectors() {
    let pod = json!({"metadata": {"name": "p", "namespace": "n"}, "spec": {"nodeName": "a,b=c"}, "status": {"phase": "Running"}});
    let cases = [
        ("", true),
        ("metadata.name=p", true),
        ("metadata.name==p,metadata.namespace!=m", true),
        ("metadata.name!=p", false),
        ("spec.nodeName=a\\,b\\=c", true),
        ("spec.hostNetwork=false", true),
        ("status.podIP=", true),
        ("status.phase!=Running,", false),
    ];
    for (text, expected) in cases {
        let selector = FieldSelector::parse(text).unwrap();
        assert_eq!(selector.matches_document(&pod), expected, "{text}");
        let again = FieldSelector::parse(&selector.to_string()).unwrap();
        assert_eq!(again, selector);
    }
    let errors = [
        ("foo", "invalid selector: 'foo'; can't understand 'foo'"),
        (
            "a=b=c",
            "invalid field selector: unescaped character in value: =",
        ),
        (
            "a=b\\x",
            "invalid field selector: invalid escape sequence: \\x",
        ),
        (
            "a=b\\",
            "invalid field selector: invalid escape sequence: \\",
        ),
    ];
    for (text, expected) in errors {
        assert_eq!(FieldSelector::parse(text).unwrap_err(), expected);
    }
    let selector = FieldSelector::parse("metadata.name=p,spec.foo=x").unwrap();
    assert_eq!(selector.exact("metadata.name"), Some("p"));
    assert_eq!(selector.unknown_field(&["metadata.name"]), Some("spec.foo"));
}

#[test]
fn event_fields_are_found_under_both_names() {
    let core =
        json!({"involvedObject": {"kind": "Pod"}, "reportingComponent": "kubelet", "source": {}});
    let new = json!({"regarding": {"kind": "Pod"}, "reportingController": "kubelet"});
    for event in [core, new] {
        for text in [
            "involvedObject.kind=Pod",
            "regarding.kind=Pod",
            "source=kubelet",
            "reportingController=kubelet",
        ] {
            assert!(
                FieldSelector::parse(text).unwrap().matches_document(&event),
                "{text}"
            );
        }
    }
    let job = json!({"status": {"succeeded": 2}});
    assert_eq!(selectable(&job, "status.successful"), "2");
}

#[test]
fn random_selectors_never_panic_and_print_what_they_parse() {
    let mut random = Random::new(11);
    for _ in 0..20_000 {
        let text = random.text("ab/.=!<>(),\\ \t\0näotin15", 16);
        if let Ok(selector) = LabelSelector::parse(&text) {
            let shown = selector.to_string();
            assert_eq!(
                LabelSelector::parse(&shown).as_ref(),
                Ok(&selector),
                "{text:?} {shown:?}"
            );
        }
        if let Ok(selector) = FieldSelector::parse(&text) {
            assert_eq!(
                FieldSelector::parse(&selector.to_string()),
                Ok(selector),
                "{text:?}"
            );
        }
    }
}
