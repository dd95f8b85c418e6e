//! Services, endpoints, network policies, ingress classes.

use super::{items, part, put, text};
use serde_json::{Value, json};

pub fn service(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    put(spec, "sessionAffinity", "None");
    put(spec, "type", "ClusterIP");
    if spec["sessionAffinity"] == "None" {
        spec.as_object_mut()
            .map(|spec| spec.remove("sessionAffinityConfig"));
    } else if spec["sessionAffinity"] == "ClientIP" {
        put(spec, "sessionAffinityConfig", json!({}));
        let config = &mut spec["sessionAffinityConfig"];
        put(config, "clientIP", json!({}));
        put(&mut config["clientIP"], "timeoutSeconds", 10800);
    }
    for port in items(spec, "ports") {
        put(port, "protocol", "TCP");
        if port["targetPort"] == 0 || port["targetPort"] == "" {
            port["targetPort"] = Value::Null;
        }
        let number = port["port"].clone();
        put(port, "targetPort", number);
    }
    // The single address and the first of the list are the same thing.
    let address = text(spec, "clusterIP").to_owned();
    if !address.is_empty() {
        put(spec, "clusterIPs", json!([address]));
    }
    let kind = text(spec, "type").to_owned();
    let has_addresses = spec["externalIPs"]
        .as_array()
        .is_some_and(|list| !list.is_empty());
    let is_outside = ["NodePort", "LoadBalancer"].contains(&kind.as_str())
        || (kind == "ClusterIP" && has_addresses);
    if is_outside {
        if spec["externalTrafficPolicy"] == "" {
            spec["externalTrafficPolicy"] = Value::Null;
        }
        put(spec, "externalTrafficPolicy", "Cluster");
    }
    if ["NodePort", "LoadBalancer", "ClusterIP"].contains(&kind.as_str()) {
        put(spec, "internalTrafficPolicy", "Cluster");
    }
    if kind == "LoadBalancer" {
        put(spec, "allocateLoadBalancerNodePorts", true);
    }
    if let Some(balancer) = part(object, "status").and_then(|status| part(status, "loadBalancer")) {
        for ingress in items(balancer, "ingress") {
            if !text(ingress, "ip").is_empty() {
                put(ingress, "ipMode", "VIP");
            }
        }
    }
}

pub fn new_service(object: &mut Value) {
    object["status"] = json!({"loadBalancer": {}});
}

pub fn endpoints(object: &mut Value) {
    for subset in items(object, "subsets") {
        for port in items(subset, "ports") {
            put(port, "protocol", "TCP");
        }
    }
}

pub fn slice(object: &mut Value) {
    for port in items(object, "ports") {
        put(port, "name", "");
        put(port, "protocol", "TCP");
    }
}

pub fn network_policy(object: &mut Value) {
    let Some(spec) = part(object, "spec") else {
        return;
    };
    for direction in ["ingress", "egress"] {
        for rule in items(spec, direction) {
            for port in items(rule, "ports") {
                put(port, "protocol", "TCP");
            }
        }
    }
    if spec["policyTypes"].as_array().is_none_or(Vec::is_empty) {
        let has_egress = spec["egress"]
            .as_array()
            .is_some_and(|rules| !rules.is_empty());
        spec["policyTypes"] = match has_egress {
            true => json!(["Ingress", "Egress"]),
            false => json!(["Ingress"]),
        };
    }
}

pub fn new_ingress(object: &mut Value) {
    object["status"] = json!({"loadBalancer": {}});
}

pub fn ingress_class(object: &mut Value) {
    if let Some(parameters) = part(object, "spec").and_then(|spec| part(spec, "parameters")) {
        put(parameters, "scope", "Cluster");
    }
}
