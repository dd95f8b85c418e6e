//! The documents of `assets` with this cluster's addresses in it. Pure.

use crate::dns::corefile;
use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use std::net::Ipv4Addr;

const DOCUMENTS: &[&str] = &[
    include_str!("../../../assets/dns.yaml"),
    include_str!("../../../assets/ingress.yaml"),
];

/// What differs from cluster to cluster.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub dns_service_ip: Ipv4Addr,
    pub dns_port: u16,
    /// Of the first node.
    pub node_ip: Ipv4Addr,
}

pub fn all(addresses: &Addresses) -> Result<Vec<Value>> {
    let words = [
        ("$DNS_SERVICE_IP", addresses.dns_service_ip.to_string()),
        ("$DNS_PORT", addresses.dns_port.to_string()),
        ("$NODE_IP", addresses.node_ip.to_string()),
        // A JSON string is a YAML string.
        ("$COREFILE", serde_json::to_string(corefile::DEFAULT)?),
    ];
    let mut all = Vec::new();
    for documents in DOCUMENTS {
        let text = words
            .iter()
            .fold((*documents).to_owned(), |text, (word, value)| {
                text.replace(word, value)
            });
        for document in serde_yaml_ng::Deserializer::from_str(&text) {
            all.push(Value::deserialize(document).context("read the first objects")?);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_replaced_and_every_object_has_a_kind() {
        let addresses = Addresses {
            dns_service_ip: Ipv4Addr::new(10, 96, 0, 10),
            dns_port: 53,
            node_ip: Ipv4Addr::new(10, 244, 0, 1),
        };
        let documents = all(&addresses).unwrap();
        assert!(documents.len() == 8);
        for document in documents {
            assert!(!document.to_string().contains('$'), "{document}");
            let (group, version) =
                crate::api::name::split_api_version(document["apiVersion"].as_str().unwrap());
            let kind = crate::kinds::find_kind(group, version, document["kind"].as_str().unwrap());
            assert!(kind.is_some(), "{document}");
        }
    }
}
