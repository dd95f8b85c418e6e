//! `kubik start`.

use super::{
    args::{Output, StartOptions},
    carried, delete, doctor,
    failure::{Failure, for_profile},
    kubeconfig, place,
    screen::{self, Steps},
    settings,
};
use crate::{
    config::{ClusterConfig, Layout, plan_cluster},
    daemon::{
        control::{self, Answer, Request},
        launch::{self, Bond, Launched},
        progress::Line,
    },
    runtime::image::certificates,
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

const FIRST_API_PORT: u16 = 8443;
/// Where Docker's users expect a local registry.
const FIRST_REGISTRY_PORT: u16 = 5000;

pub fn run(profile: &str, options: &StartOptions) -> Result<(), Failure> {
    if options.output == Output::Json {
        screen::print_events();
    }
    let options = &settings::complete(options)?;
    carried::look(options)?;
    place::require_root()?;
    let layout = place::layout(profile);
    let is_new = place::load(&layout).is_none();
    if launch::is_running(&layout) && !is_dying(&layout) {
        return already_running(profile, &layout, options);
    }
    doctor::fatal()?;
    if options.dry_run {
        let verb = if is_new { "create" } else { "start" };
        screen::line(&format!(
            "Would {verb} the cluster \"{profile}\" in {}.",
            layout.state.display()
        ));
        return Ok(());
    }
    let outcome = started(profile, options);
    if outcome.is_err() && options.delete_on_failure && is_new {
        delete::one(profile)?;
    }
    outcome
}

fn started(profile: &str, options: &StartOptions) -> Result<(), Failure> {
    let (layout, config) = prepare(profile, options)?;
    let bond = if options.foreground {
        Bond::Stop
    } else {
        Bond::None
    };
    let mut launched = bring_up(&layout, &config, bond)?;
    connect_kubectl(profile, &layout, options)?;
    if options.foreground {
        let ended = stay(&mut launched);
        kubeconfig::release(profile, &layout, false)?;
        return ended;
    }
    Ok(())
}

/// `kubik update-context`: the kubeconfig's entries as a start writes them.
pub fn update_context(profile: &str) -> Result<(), Failure> {
    let (layout, _) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    connect_kubectl(profile, &layout, &StartOptions::default())
}

/// A daemon that was killed a moment ago still holds its lock but answers no more: waits for its end. One that hangs
/// holds the lock longer than this waits.
fn is_dying(layout: &Layout) -> bool {
    const PATIENCE: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE {
        if !launch::is_running(layout) {
            return true;
        }
        if control::ask(layout, &Request::Status, PATIENCE).is_ok() {
            return false;
        }
        std::thread::sleep(PAUSE);
    }
    false
}

/// Saves (or loads) the cluster's configuration. Locked, so that two starts do not choose the same slot.
pub fn prepare(profile: &str, options: &StartOptions) -> Result<(Layout, ClusterConfig), Failure> {
    let _guard = place::lock()?;
    let layout = if options.ephemeral {
        place::ephemeral_layout(profile)
    } else {
        place::layout(profile)
    };
    let others: Vec<ClusterConfig> = place::profiles()
        .iter()
        .filter(|name| *name != profile)
        .filter_map(|name| place::load(&place::layout(name)))
        .collect();
    if let Some(mut config) = place::load(&layout) {
        refuse_changes(&config, options)?;
        amend(&mut config, options, &others)?;
        save(&layout, &config)?;
        return Ok((layout, config));
    }
    let slot = free_slot(&others).ok_or_else(|| {
        Failure::new(
            "RSRC_NO_SUBNET",
            21,
            "all 64 subnets for clusters are taken on this machine",
        )
        .advise("Delete a cluster you no longer need: kubik profile list")
    })?;
    let port = api_port(options.api_port, &others)?;
    let nodes = options.nodes.unwrap_or(1);
    let mut config = plan_cluster(profile, slot, port, nodes, options.ephemeral);
    if let Some(domain) = &options.dns_domain {
        config.cluster_domain.clone_from(domain);
    }
    amend(&mut config, options, &others)?;
    save(&layout, &config)?;
    Ok((layout, config))
}

fn save(layout: &Layout, config: &ClusterConfig) -> Result<(), Failure> {
    place::save(layout, config)
        .map_err(|e| Failure::host(&layout.config().display().to_string(), &e))
}

/// What may be given again at a later start: it adds to what the cluster has.
fn amend(
    config: &mut ClusterConfig,
    options: &StartOptions,
    others: &[ClusterConfig],
) -> Result<(), Failure> {
    for mirror in &options.registry_mirror {
        let (host, address) = split_mirror(mirror);
        let known = config.registry_mirrors.entry(host.to_owned()).or_default();
        if known.iter().all(|other| other != address) {
            known.push(address.to_owned());
        }
    }
    config
        .insecure_registries
        .extend(options.insecure_registry.iter().cloned());
    for text in &options.extra_config {
        // What is wrong with it, or has no meaning here, was said before.
        let _ = config.kubelet.set(text);
    }
    if let Some(port) = options.ingress_http_port {
        config.ingress.http_port = port;
    }
    if let Some(port) = options.ingress_https_port {
        config.ingress.https_port = port;
    }
    if !options.ingress_listen.is_empty() {
        let addresses = options.ingress_listen.iter();
        config.ingress.listen = addresses.filter_map(|listen| listen.0).collect();
    }
    for file in &options.registry_ca {
        let text = authority(file)?;
        if !config.registry_authorities.contains(&text) {
            config.registry_authorities.push(text);
        }
    }
    for name in &options.addons {
        super::addons::named(name, true)?;
        config.addons.insert(name.clone(), true);
    }
    if config.registry_port == 0 || options.registry_port.is_some() {
        config.registry_port = registry_port(options.registry_port, config.api_port, others)?;
    }
    Ok(())
}

fn authority(file: &Path) -> Result<String, Failure> {
    let text = fs::read_to_string(file)
        .map_err(|e| Failure::host(&format!("read {}", file.display()), &e))?;
    if certificates(text.as_bytes()).is_empty() {
        let why = format!("{} holds no certificate in PEM form", file.display());
        return Err(Failure::new("HOST_CERTIFICATE", 38, why)
            .advise("Give the file of the authority that signed the registry's certificate."));
    }
    Ok(text)
}

/// A port that was asked for is believed: the daemon says if it cannot have it.
fn registry_port(
    wanted: Option<u16>,
    api_port: u16,
    others: &[ClusterConfig],
) -> Result<u16, Failure> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let unused = |port: u16| {
        port != api_port
            && others
                .iter()
                .all(|other| ![other.registry_port, other.api_port].contains(&port))
    };
    let mut ports = FIRST_REGISTRY_PORT..u16::MAX;
    wanted
        .or_else(|| ports.find(|&port| unused(port) && free(port)))
        .ok_or_else(|| Failure::new("IF_PORT_IN_USE", 71, "no port is free for the registry"))
}

/// `HOST=URL`; without a host it is Docker's own registry that is mirrored.
fn split_mirror(text: &str) -> (&str, &str) {
    match text.split_once('=') {
        Some((host, address)) if !host.contains('/') => (host, address),
        _ => ("docker.io", text),
    }
}

fn refuse_changes(config: &ClusterConfig, options: &StartOptions) -> Result<(), Failure> {
    let nodes = options.nodes.map(usize::from);
    let changed = match () {
        () if nodes.is_some_and(|n| n != config.nodes.len()) => "--nodes",
        () if options
            .dns_domain
            .as_ref()
            .is_some_and(|d| *d != config.cluster_domain) =>
        {
            "--dns-domain"
        }
        () if options.api_port.is_some_and(|port| port != config.api_port) => "--api-port",
        () => return Ok(()),
    };
    let why = format!(
        "the cluster \"{}\" exists with another {changed}",
        config.profile
    );
    let again = format!(
        "Delete it first: kubik delete{}",
        for_profile(&config.profile)
    );
    Err(Failure::new("MK_CONFIG", 18, why).advise(again))
}

fn free_slot(others: &[ClusterConfig]) -> Option<u8> {
    let addresses = local_addresses();
    (0..64u8).find(|&slot| {
        let plan = plan_cluster("x", slot, 0, 1, false);
        let taken = others.iter().any(|other| other.slot == slot);
        let linked = nix::net::if_::if_nametoindex(plan.bridge().as_str()).is_ok();
        let clash = addresses
            .iter()
            .any(|ip| plan.pod_cidr.contains(ip) || plan.service_cidr.contains(ip));
        !taken && !linked && !clash
    })
}

fn local_addresses() -> Vec<Ipv4Addr> {
    let interfaces = nix::ifaddrs::getifaddrs().into_iter().flatten();
    interfaces
        .filter_map(|one| Some(one.address?.as_sockaddr_in()?.ip()))
        .collect()
}

fn api_port(wanted: Option<u16>, others: &[ClusterConfig]) -> Result<u16, Failure> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let unused = |port: u16| {
        let taken = |other: &ClusterConfig| [other.api_port, other.registry_port].contains(&port);
        !others.iter().any(taken)
    };
    match wanted {
        Some(port) if free(port) => Ok(port),
        Some(port) => Err(
            Failure::new("IF_PORT_IN_USE", 71, format!("port {port} is in use"))
                .advise("Choose another --api-port, or leave it out and kubik finds a free one."),
        ),
        None => (FIRST_API_PORT..u16::MAX)
            .find(|&port| unused(port) && free(port))
            .ok_or_else(|| {
                Failure::new("IF_PORT_IN_USE", 71, "no port is free for the API server")
            }),
    }
}

/// Spawns the daemon and follows its steps until it is ready.
pub fn bring_up(layout: &Layout, config: &ClusterConfig, bond: Bond) -> Result<Launched, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let mut steps = Steps::begin(&format!(
        "kubik {version}: starting cluster \"{}\"",
        config.profile
    ));
    steps.spin("starting the daemon");
    let mut launched = launch::spawn(layout, bond)
        .map_err(|e| Failure::host("start the daemon", &format!("{e:#}")))?;
    loop {
        match launched.next_line() {
            Some(Line::Step { name, micros }) => {
                steps.done(&name, Line::took(micros));
                steps.spin("…");
            }
            Some(Line::Ready) => break,
            Some(Line::Failed { message }) => {
                steps.failed(&message);
                return Err(start_failed(config, layout, message));
            }
            None => {
                let message = "the daemon ended before the cluster was ready".to_owned();
                steps.failed(&message);
                return Err(start_failed(config, layout, message));
            }
        }
    }
    let took = screen::millis(steps.elapsed());
    steps.done("ready: API, RBAC, node, DNS", steps.elapsed());
    screen::line(&format!("Ready in {took} ms."));
    Ok(launched)
}

fn start_failed(config: &ClusterConfig, layout: &Layout, message: String) -> Failure {
    let advice = format!(
        "See {} and run: kubik doctor{}",
        layout.daemon_log().display(),
        for_profile(&config.profile)
    );
    Failure::new("GUEST_START", 80, message).advise(advice)
}

fn connect_kubectl(profile: &str, layout: &Layout, options: &StartOptions) -> Result<(), Failure> {
    let own = layout.state.join("kubeconfig");
    if options.no_kubeconfig {
        screen::line(&format!("Use it with: export KUBECONFIG={}", own.display()));
        return Ok(());
    }
    let file = kubeconfig::path(options.kubeconfig.as_deref())?;
    kubeconfig::merge(&file, &own, profile, layout, options.keep_context)?;
    screen::line(&format!(
        "kubectl now uses the cluster \"{profile}\" ({}).",
        file.display()
    ));
    screen::line("Try: kubectl get pods -A");
    Ok(())
}

fn already_running(profile: &str, layout: &Layout, options: &StartOptions) -> Result<(), Failure> {
    if let Some(config) = place::load(layout) {
        refuse_changes(&config, options)?;
    }
    match control::ask(layout, &Request::Status, Duration::from_secs(30)) {
        Ok(Answer::Done) => {
            amend_running(profile, layout, options)?;
            screen::line(&format!("The cluster \"{profile}\" is running."));
            connect_kubectl(profile, layout, options)
        }
        Ok(_) => Err(Failure::new(
            "GUEST_START",
            81,
            "another start of this cluster is under way",
        )
        .advise(format!(
            "Watch it with: kubik status{}",
            for_profile(profile)
        ))),
        Err(error) => Err(Failure::new(
            "GUEST_STATUS",
            80,
            format!("the daemon of \"{profile}\" runs but does not answer: {error:#}"),
        )
        .advise(format!("End it with: kubik stop{}", for_profile(profile)))),
    }
}

/// Options that a running cluster can still take: addons at once, registries from the next start on.
fn amend_running(profile: &str, layout: &Layout, options: &StartOptions) -> Result<(), Failure> {
    let about_registries = !options.registry_mirror.is_empty()
        || !options.registry_ca.is_empty()
        || !options.insecure_registry.is_empty()
        || options.registry_port.is_some();
    if about_registries {
        let mut outcome = Ok(());
        place::change(layout, |config| {
            let others = StartOptions {
                addons: Vec::new(),
                ..options.clone()
            };
            outcome = amend(config, &others, &[]);
        })?;
        outcome?;
        screen::line("What was said about registries counts from the next start on.");
    }
    let names = options.addons.iter();
    names
        .into_iter()
        .try_for_each(|name| super::addons::set(profile, name, true))
}

/// Waits for the daemon's end, which the first signal to us begins. A second one ends us, and so, by the bond, it.
fn stay(launched: &mut Launched) -> Result<(), Failure> {
    screen::line("Press Ctrl-C to stop the cluster.");
    let failed = |e: std::io::Error| Failure::host("wait for the daemon", &e);
    let daemon = Pid::from_raw(launched.child.id().cast_signed());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let ended = runtime.block_on(async {
        let mut terminated = signal(SignalKind::terminate())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        // The child's own end is seen by a look at it: a signal of ours or SIGCHLD wakes us.
        let mut children = signal(SignalKind::child())?;
        let mut asked = false;
        loop {
            if let Some(ended) = launched.child.try_wait()? {
                return Ok(Some(ended));
            }
            tokio::select! {
                _ = children.recv() => continue,
                _ = terminated.recv() => {}
                _ = interrupted.recv() => {}
            }
            if asked {
                return Ok(None);
            }
            asked = true;
            screen::line("Stopping the cluster; once more ends it at once.");
            let _ = kill(daemon, Signal::SIGTERM);
        }
    });
    match ended.map_err(failed)? {
        Some(ended) if ended.success() => Ok(()),
        Some(ended) => {
            let text = format!("the daemon ended: {ended}");
            Err(Failure::new("GUEST_ERROR", 80, text))
        }
        None => Err(Failure::new(
            "MK_INTERRUPTED",
            2,
            "interrupted while stopping",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_cannot_silently_change_its_shape() {
        let config = plan_cluster("kubik", 0, 8443, 1, false);
        let options = |nodes, api_port| StartOptions {
            nodes,
            api_port,
            ..StartOptions::default()
        };
        assert!(refuse_changes(&config, &options(None, None)).is_ok());
        assert!(refuse_changes(&config, &options(Some(1), Some(8443))).is_ok());
        assert_eq!(
            refuse_changes(&config, &options(Some(3), None))
                .unwrap_err()
                .code,
            18
        );
        assert_eq!(
            refuse_changes(&config, &options(None, Some(1)))
                .unwrap_err()
                .code,
            18
        );
    }
}
