//! `kubik service` and `kubik ip`: where things are reached. Everything is reachable from the host as it is, so
//! there is no tunnel to open: these commands only print addresses.

use super::{
    args::{IpOptions, Output, ServiceCommand, ServiceOptions},
    failure::Failure,
    kubectl::connection::{Connection, is_not_found},
    place, screen,
};
use crate::{api::object::typed, daemon::launch};
use k8s_openapi::{List, api::core::v1::Service};
use serde::de::DeserializeOwned;
use serde_json::json;
use std::path::PathBuf;

pub fn ip(profile: &str, options: &IpOptions) -> Result<(), Failure> {
    let (_, config) = place::existing(profile)?;
    let name = options.node.as_deref().unwrap_or(profile);
    match config.nodes.iter().find(|node| node.name == name) {
        Some(node) => {
            screen::result(&node.address().to_string());
            Ok(())
        }
        None => Err(Failure::no_node(profile, name)),
    }
}

pub fn run(profile: &str, options: &ServiceOptions) -> Result<(), Failure> {
    let (layout, config) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    let node = config.nodes.first().map(|node| node.address().to_string());
    let place = Place {
        kubeconfig: place::credentials(&layout)?,
        node: node.unwrap_or_default(),
        scheme: if options.https { "https" } else { "http" },
    };
    match &options.command {
        Some(ServiceCommand::List { namespace, output }) => {
            list(&place, namespace.as_deref(), *output)
        }
        None if options.all => list(&place, Some(&options.namespace), Output::Text),
        None => options
            .names
            .iter()
            .try_for_each(|name| one(&place, &options.namespace, name)),
    }
}

/// Where Services are asked for and reached.
struct Place {
    kubeconfig: PathBuf,
    node: String,
    scheme: &'static str,
}

fn one(place: &Place, namespace: &str, name: &str) -> Result<(), Failure> {
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
    let found: Service = ask(place, &path)?.map_err(|error| {
        let code = if is_not_found(&error) { 115 } else { 110 };
        Failure::new("SVC_NOT_FOUND", code, format!("{error:#}"))
            .advise(format!("List them with: kubik service list -n {namespace}"))
    })?;
    let urls = urls(&found, place);
    if urls.is_empty() {
        let why = format!("service {namespace}/{name} has no port that could be reached");
        return Err(Failure::new("SVC_UNREACHABLE", 119, why).advise(
            "A headless Service is reached by the names of its pods, from inside the cluster.",
        ));
    }
    urls.iter().for_each(|(_, url)| screen::result(url));
    Ok(())
}

fn list(place: &Place, namespace: Option<&str>, output: Output) -> Result<(), Failure> {
    let path = match namespace {
        Some(namespace) => format!("/api/v1/namespaces/{namespace}/services"),
        None => "/api/v1/services".to_owned(),
    };
    let found: List<Service> =
        ask(place, &path)?.map_err(|error| Failure::new("SVC_LIST", 110, format!("{error:#}")))?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut rows = vec![
        ["NAMESPACE", "NAME", "TARGET PORT", "URL"]
            .map(str::to_owned)
            .to_vec(),
    ];
    let mut documents = Vec::new();
    for service in &found.items {
        let (namespace, name) = (
            text(&service.metadata.namespace),
            text(&service.metadata.name),
        );
        let urls = urls(service, place);
        let (names, addresses): (Vec<String>, Vec<String>) = urls.iter().cloned().unzip();
        documents.push(json!({
            "Namespace": namespace, "Name": name, "PortNames": names, "URLs": addresses,
        }));
        if urls.is_empty() {
            rows.push(vec![namespace, name, "No node port".to_owned()]);
            continue;
        }
        for (port, url) in urls {
            rows.push(vec![namespace.clone(), name.clone(), port, url]);
        }
    }
    screen::result(&match output {
        Output::Json => json!(documents).to_string(),
        Output::Text => screen::table(&rows),
    });
    Ok(())
}

/// The inner result is the server's answer, the outer one our own trouble.
fn ask<T: DeserializeOwned>(place: &Place, path: &str) -> Result<anyhow::Result<T>, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::host("start the client", &e))?;
    Ok(runtime.block_on(async {
        let found = Connection::open(&place.kubeconfig)?.get(path).await?;
        Ok(typed(&found)?)
    }))
}

/// Per port its name (as `http/80`) and a URL: the node port on the node's address if there is one, otherwise the
/// cluster IP. Datagrams have no URL but an address.
fn urls(service: &Service, place: &Place) -> Vec<(String, String)> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let cluster_ip = spec
        .cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None");
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| {
            let scheme = match port.protocol.as_deref() {
                Some("UDP") => "udp",
                Some("SCTP") => "sctp",
                _ if port.name.as_deref() == Some("https") || port.port == 443 => "https",
                _ => place.scheme,
            };
            let name = port.name.as_ref().map(|name| format!("{name}/"));
            let name = format!("{}{}", name.unwrap_or_default(), port.port);
            let address = match (port.node_port, cluster_ip) {
                (Some(node_port), _) => format!("{}:{node_port}", place.node),
                (None, Some(ip)) => format!("{ip}:{}", port.port),
                (None, None) => return None,
            };
            Some((name, format!("{scheme}://{address}")))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let place = Place {
            kubeconfig: PathBuf::new(),
            node: "10.244.0.1".to_owned(),
            scheme: "http",
        };
        urls(&serde_json::from_str(text).unwrap(), &place)
    }

    #[test]
    fn node_ports_come_before_cluster_addresses() {
        let both = r#"{"spec":{"clusterIP":"10.96.0.7","ports":[
            {"name":"web","port":80,"nodePort":30080},{"port":53,"protocol":"UDP"},{"port":443}]}}"#;
        let expected = [
            ("web/80", "http://10.244.0.1:30080"),
            ("53", "udp://10.96.0.7:53"),
            ("443", "https://10.96.0.7:443"),
        ];
        let expected = expected.map(|(name, url)| (name.to_owned(), url.to_owned()));
        assert_eq!(found(both), expected);
        assert!(found(r#"{"spec":{"clusterIP":"None","ports":[{"port":80}]}}"#).is_empty());
    }
}
