//! `kubik service` and `kubik ip`: where things are reached. Everything is reachable from the host as it is, so
//! there is no tunnel to open: these commands only print addresses.

use super::{
    args::ServiceOptions,
    failure::Failure,
    kubectl::connection::{Connection, is_not_found},
    place, screen,
};
use crate::daemon::launch;
use k8s_openapi::api::core::v1::Service;

pub fn ip(profile: &str) -> Result<(), Failure> {
    let (_, config) = place::existing(profile)?;
    if let Some(node) = config.nodes.first() {
        screen::result(&node.address().to_string());
    }
    Ok(())
}

pub fn run(profile: &str, options: &ServiceOptions) -> Result<(), Failure> {
    let (layout, config) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    let node = config
        .nodes
        .first()
        .map(|node| node.address().to_string())
        .unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::host("start the client", &e))?;
    let (namespace, name) = (&options.namespace, &options.name);
    let path = format!("/api/v1/namespaces/{namespace}/services/{name}");
    let found = runtime.block_on(async {
        Connection::open(&layout.state.join("kubeconfig"))?
            .get(&path)
            .await
    });
    let found = found.map_err(|error| {
        let code = if is_not_found(&error) { 115 } else { 110 };
        Failure::new("SVC_NOT_FOUND", code, format!("{error:#}")).advise(format!(
            "List them with: kubectl get services -n {namespace}"
        ))
    })?;
    let found: Service = serde_json::from_value(found)
        .map_err(|e| Failure::new("SVC_ERROR", 110, format!("read service {name}: {e}")))?;
    let urls = urls(&found, &node);
    if urls.is_empty() {
        let why = format!("service {namespace}/{name} has no port that could be reached");
        return Err(Failure::new("SVC_UNREACHABLE", 119, why));
    }
    urls.iter().for_each(|url| screen::result(url));
    Ok(())
}

/// One URL per port: the node port on the node's address if there is one, otherwise the cluster IP.
fn urls(service: &Service, node: &str) -> Vec<String> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let cluster_ip = spec
        .cluster_ip
        .as_deref()
        .filter(|ip| !ip.is_empty() && *ip != "None");
    let ports = spec.ports.iter().flatten();
    ports
        .filter_map(|port| match (port.node_port, cluster_ip) {
            (Some(node_port), _) => Some(format!("http://{node}:{node_port}")),
            (None, Some(ip)) => Some(format!("http://{ip}:{}", port.port)),
            (None, None) => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(text: &str) -> Service {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn node_ports_come_before_cluster_addresses() {
        let both = service(
            r#"{"spec":{"clusterIP":"10.96.0.7","ports":[{"port":80,"nodePort":30080},{"port":81}]}}"#,
        );
        assert_eq!(
            urls(&both, "10.244.0.1"),
            ["http://10.244.0.1:30080", "http://10.96.0.7:81"]
        );
        let headless = service(r#"{"spec":{"clusterIP":"None","ports":[{"port":80}]}}"#);
        assert!(urls(&headless, "10.244.0.1").is_empty());
    }
}
