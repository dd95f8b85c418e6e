//! Questions and answers as tables.

use super::*;
use crate::dns::records;
use hickory_proto::op::Message;
use serde_json::{Value, json};
use std::sync::Arc;

fn zone() -> Zone {
    let mut zone = Zone::new("cluster.local", Ipv4Addr::new(10, 96, 0, 10));
    let web = json!({"type": "ClusterIP", "clusterIP": "10.96.0.20", "ports": [
        {"name": "http", "port": 80, "protocol": "TCP"}, {"name": "udp", "port": 81, "protocol": "UDP"}]});
    let set = json!({"clusterIP": "None", "ports": [{"name": "db", "port": 5432}]});
    let services = [
        ("web", web, vec![("10.244.0.2", None, true)]),
        (
            "set",
            set.clone(),
            vec![
                ("10.244.0.3", Some("set-0"), true),
                ("10.244.0.4", None, true),
                ("10.244.0.5", Some("set-2"), false),
            ],
        ),
        ("none", set, vec![("10.244.0.9", None, false)]),
        (
            "away",
            json!({"type": "ExternalName", "externalName": "example.org"}),
            vec![],
        ),
        (
            "number",
            json!({"type": "ExternalName", "externalName": "192.0.2.1"}),
            vec![],
        ),
    ];
    for (name, spec, endpoints) in services {
        let endpoints: Vec<Value> = endpoints
            .into_iter()
            .map(|(address, hostname, ready)| {
                json!({"addresses": [address], "hostname": hostname, "conditions": {"ready": ready}})
            })
            .collect();
        let slice = json!({"addressType": "IPv4", "metadata": {}, "endpoints": endpoints,
            "ports": [{"name": "db", "port": 5432, "protocol": "TCP"}]});
        let slice = Arc::new(serde_json::from_value(slice).unwrap());
        let service = json!({"metadata": {}, "spec": spec});
        let service = serde_json::from_value(service).unwrap();
        let entry = records::entry(&service, std::iter::once(&slice));
        zone.set(("default".to_owned(), name.to_owned()), entry);
    }
    zone.is_complete = true;
    zone
}

/// `NXDOMAIN`, `NODATA`, `FORWARD`, or the answers as text.
fn ask(zone: &Zone, kind: &str, name: &str) -> String {
    let query = Query::query(Name::from_ascii(name).unwrap(), kind.parse().unwrap());
    let Some(reply) = answer(zone, &query) else {
        return "FORWARD".to_owned();
    };
    if reply.answers.is_empty() {
        let has_soa = reply.authorities[0].record_type() == RecordType::SOA;
        assert!(has_soa, "{name}: a negative answer without SOA");
    }
    match (reply.code, reply.answers.as_slice()) {
        (ResponseCode::NXDomain, _) => "NXDOMAIN".to_owned(),
        (ResponseCode::NoError, []) => "NODATA".to_owned(),
        (_, answers) => {
            let text = |record: &Record| format!("{} {}", record.ttl, record.data);
            answers.iter().map(text).collect::<Vec<_>>().join(", ")
        }
    }
}

#[test]
fn questions_and_answers() {
    let zone = zone();
    let cases = [
        ("A", "web.default.svc.cluster.local.", "30 10.96.0.20"),
        ("A", "WEB.Default.svc.CLUSTER.local.", "30 10.96.0.20"),
        ("AAAA", "web.default.svc.cluster.local.", "NODATA"),
        (
            "SRV",
            "_http._tcp.web.default.svc.cluster.local.",
            "30 0 100 80 web.default.svc.cluster.local.",
        ),
        (
            "SRV",
            "_http._udp.web.default.svc.cluster.local.",
            "NXDOMAIN",
        ),
        ("A", "_http._tcp.web.default.svc.cluster.local.", "NODATA"),
        (
            "A",
            "10-244-0-2.web.default.svc.cluster.local.",
            "5 10.244.0.2",
        ),
        (
            "A",
            "set.default.svc.cluster.local.",
            "5 10.244.0.3, 5 10.244.0.4",
        ),
        ("A", "set-0.set.default.svc.cluster.local.", "5 10.244.0.3"),
        ("AAAA", "set-0.set.default.svc.cluster.local.", "NODATA"),
        ("A", "set-2.set.default.svc.cluster.local.", "NXDOMAIN"),
        (
            "SRV",
            "_db._tcp.set.default.svc.cluster.local.",
            "5 0 100 5432 set-0.set.default.svc.cluster.local., 5 0 100 5432 10-244-0-4.set.default.svc.cluster.local.",
        ),
        ("A", "none.default.svc.cluster.local.", "NXDOMAIN"),
        ("CNAME", "away.default.svc.cluster.local.", "5 example.org."),
        ("A", "away.default.svc.cluster.local.", "5 example.org."),
        ("A", "number.default.svc.cluster.local.", "5 192.0.2.1"),
        ("A", "1-2-3-4.any.pod.cluster.local.", "5 1.2.3.4"),
        ("A", "1-2-3.any.pod.cluster.local.", "NXDOMAIN"),
        (
            "PTR",
            "20.0.96.10.in-addr.arpa.",
            "5 web.default.svc.cluster.local.",
        ),
        (
            "PTR",
            "3.0.244.10.in-addr.arpa.",
            "5 set-0.set.default.svc.cluster.local.",
        ),
        ("PTR", "8.8.8.8.in-addr.arpa.", "FORWARD"),
        ("TXT", "dns-version.cluster.local.", "30 \"1.1.0\""),
        ("A", "ns.dns.cluster.local.", "30 10.96.0.10"),
        ("NS", "cluster.local.", "30 ns.dns.cluster.local."),
        ("A", "default.svc.cluster.local.", "NODATA"),
        ("A", "nothing.svc.cluster.local.", "NXDOMAIN"),
        ("A", "svc.cluster.local.", "NODATA"),
        ("A", "example.org.default.svc.cluster.local.", "NXDOMAIN"),
        ("A", "example.org.cluster.local.", "NXDOMAIN"),
        ("A", "example.org.", "FORWARD"),
        ("A", "local.", "FORWARD"),
        ("A", ".", "FORWARD"),
    ];
    for (kind, name, expected) in cases {
        let found = ask(&zone, kind, name).replace("\"1.1.0\"", "1.1.0");
        assert_eq!(
            found,
            expected.replace("\"1.1.0\"", "1.1.0"),
            "{kind} {name}"
        );
    }
}

#[test]
fn aliases_that_lead_out_are_to_be_followed() {
    let query = |kind| {
        let name = Name::from_ascii("away.default.svc.cluster.local.").unwrap();
        answer(&zone(), &Query::query(name, kind)).unwrap().chase
    };
    assert_eq!(query(RecordType::A).unwrap().to_ascii(), "example.org.");
    assert_eq!(query(RecordType::CNAME), None);
}

#[test]
fn what_is_replaced_leaves_no_names() {
    let mut zone = zone();
    zone.set(("default".to_owned(), "web".to_owned()), None);
    assert_eq!(ask(&zone, "PTR", "20.0.96.10.in-addr.arpa."), "FORWARD");
    assert_eq!(
        ask(&zone, "A", "web.default.svc.cluster.local."),
        "NXDOMAIN"
    );
}

#[test]
fn before_the_first_list_nobody_is_told_that_a_name_does_not_exist() {
    let zone = Zone::new("cluster.local", Ipv4Addr::LOCALHOST);
    let name = Name::from_ascii("web.default.svc.cluster.local.").unwrap();
    let reply = answer(&zone, &Query::query(name, RecordType::A)).unwrap();
    assert_eq!(reply.code, ResponseCode::ServFail);
}

/// Seeded: damaged questions must neither panic nor be answered with what cannot be sent.
#[test]
fn any_bytes_may_arrive() {
    let zone = zone();
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let mut question = Message::query();
    let name = Name::from_ascii("_db._tcp.set.default.svc.cluster.local.").unwrap();
    question.add_query(Query::query(name, RecordType::SRV));
    let whole = question.to_vec().unwrap();
    for _ in 0..20_000 {
        let mut bytes = whole.clone();
        bytes.truncate(usize::try_from(random() % 80).unwrap());
        for _ in 0..random() % 4 {
            if !bytes.is_empty() {
                let at = usize::try_from(random()).unwrap() % bytes.len();
                bytes[at] = random().to_le_bytes()[0];
            }
        }
        let Ok(message) = Message::from_vec(&bytes) else {
            continue;
        };
        for query in &message.queries {
            if let Some(reply) = answer(&zone, query) {
                let mut answer = Message::response(1, message.metadata.op_code);
                answer.insert_answers(reply.answers);
                assert!(answer.to_vec().is_ok(), "{bytes:?}");
            }
        }
    }
}
