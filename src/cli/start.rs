//! `kubik start`.

use super::{
    args::{Output, StartOptions},
    carried, delete, doctor,
    failure::{Failure, for_profile},
    kubeconfig, place, plan,
    screen::{self, Steps},
    settings,
};
use crate::{
    config::{ClusterConfig, Layout},
    daemon::{
        control::{self, Answer, Request},
        launch::{self, Bond, Launched},
        progress::Line,
    },
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    path::PathBuf,
    time::{Duration, Instant},
};
use tokio::signal::unix::{SignalKind, signal};

/// The failure of a start that found another one under way.
const BUSY: &str = "GUEST_BUSY";

/// How often a start is tried again because another command was faster.
const TRIES: u32 = 3;

pub fn run(profile: &str, options: &StartOptions) -> Result<(), Failure> {
    if options.output == Output::Json {
        screen::print_events();
    }
    let options = &settings::complete(options)?;
    carried::look(options)?;
    place::require_root()?;
    let layout = place::layout(profile);
    // What could not be written in the end is said before anything is done.
    if let Some(file) = kubeconfig_file(options)? {
        kubeconfig::check(&file, profile)?;
    }
    for _ in 0..TRIES {
        if is_up(profile, &layout)? {
            return already_running(profile, &layout, options);
        }
        match bring_into_being(profile, &layout, options) {
            Err(failure) if failure.id == BUSY => {}
            outcome => return outcome,
        }
    }
    Err(Failure::new(
        BUSY,
        81,
        "other commands start and stop this cluster all the time",
    ))
}

fn bring_into_being(profile: &str, layout: &Layout, options: &StartOptions) -> Result<(), Failure> {
    let is_new = place::read(layout)?.is_none();
    doctor::fatal(&place::wanted_layout(profile, options.ephemeral).state)?;
    if options.dry_run {
        let verb = if is_new { "create" } else { "start" };
        screen::line(&format!(
            "Would {verb} the cluster \"{profile}\" in {}.",
            layout.state.display()
        ));
        return Ok(());
    }
    let outcome = started(profile, options);
    let is_ours = outcome.as_ref().is_err_and(|failure| failure.id != BUSY);
    if is_ours && options.delete_on_failure && is_new {
        delete::one(profile)?;
    }
    outcome
}

fn started(profile: &str, options: &StartOptions) -> Result<(), Failure> {
    let (layout, config) = plan::prepare(profile, options)?;
    let bond = if options.foreground {
        Bond::Stop
    } else {
        Bond::None
    };
    let mut launched = bring_up(&layout, &config, bond)?;
    for node in config.nodes.iter().filter(|node| node.stopped) {
        screen::note(&format!(
            "the node \"{}\" stays stopped, until: kubik node start {}{}",
            node.name,
            node.name,
            for_profile(profile)
        ));
    }
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

/// Whether the cluster runs. Waits for the end of another command's start or stop, and of a daemon that was killed a
/// moment ago: it still holds its lock but answers no more.
fn is_up(profile: &str, layout: &Layout) -> Result<bool, Failure> {
    const PATIENCE: Duration = Duration::from_secs(90);
    const SILENCE_MAX: Duration = Duration::from_secs(5);
    const PAUSE: Duration = Duration::from_millis(10);
    let begun = Instant::now();
    let mut heard = Instant::now();
    let mut said = "";
    while launch::is_running(layout) {
        let waits_for = match control::ask(layout, &Request::Status, SILENCE_MAX) {
            Ok(Answer::Ending) => "The cluster is being stopped; waiting for its end.",
            Ok(Answer::Starting) => "Another start of this cluster is under way; waiting for it.",
            Ok(_) => return Ok(true),
            Err(error) if heard.elapsed() > SILENCE_MAX => {
                let why =
                    format!("the daemon of \"{profile}\" runs but does not answer: {error:#}");
                return Err(Failure::new("GUEST_STATUS", 80, why)
                    .advise(format!("End it with: kubik stop{}", for_profile(profile))));
            }
            Err(_) => "",
        };
        if !waits_for.is_empty() {
            heard = Instant::now();
        }
        if !waits_for.is_empty() && said != waits_for {
            said = waits_for;
            screen::line(said);
        }
        if begun.elapsed() > PATIENCE {
            let why = "another command does not come to an end with this cluster";
            return Err(Failure::new("GUEST_START", 82, why).advise(format!(
                "Look at it with: kubik status{}",
                for_profile(profile)
            )));
        }
        std::thread::sleep(PAUSE);
    }
    Ok(false)
}

/// Spawns the daemon and follows its steps until it is ready.
pub fn bring_up(layout: &Layout, config: &ClusterConfig, bond: Bond) -> Result<Launched, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let steps = Steps::begin(&format!(
        "kubik {version}: starting cluster \"{}\"",
        config.profile
    ));
    steps.spin("starting the daemon");
    let mut launched = launch::spawn(layout, bond)
        .map_err(|e| Failure::host("start the daemon", &format!("{e:#}")))?;
    let mut notes = Vec::new();
    loop {
        match launched.next_line() {
            Some(Line::Step { name, micros }) => {
                steps.done(&name, Line::took(micros));
                steps.spin("…");
            }
            Some(Line::Note { message }) => notes.push(message),
            Some(Line::Ready) => break,
            Some(Line::Busy) => {
                steps.failed("another command was faster");
                return Err(Failure::new(BUSY, 81, "another daemon runs this cluster"));
            }
            Some(Line::Failed { message }) => {
                steps.failed(&message);
                return Err(start_failed(config, layout, message));
            }
            None => {
                let message = untimely_end(&mut launched, layout);
                steps.failed(&message);
                return Err(start_failed(config, layout, message));
            }
        }
    }
    let took = screen::millis(steps.elapsed());
    steps.done("ready: API, RBAC, node, DNS", steps.elapsed());
    screen::line(&format!("Ready in {took} ms."));
    notes.iter().for_each(|note| screen::note(note));
    Ok(launched)
}

/// Why a daemon that has said nothing is gone.
fn untimely_end(launched: &mut Launched, layout: &Layout) -> String {
    match launched.child.wait() {
        _ if !layout.config().exists() => "the cluster was deleted while it started".to_owned(),
        Ok(ended) => format!("the daemon ended before the cluster was ready: {ended}"),
        Err(error) => format!("the daemon ended before the cluster was ready: {error}"),
    }
}

fn start_failed(config: &ClusterConfig, layout: &Layout, message: String) -> Failure {
    let advice = format!(
        "See {} and run: kubik doctor{}",
        layout.daemon_log().display(),
        for_profile(&config.profile)
    );
    Failure::new("GUEST_START", 80, message).advise(advice)
}

/// The file to write credentials to; `None` when none is to be touched.
fn kubeconfig_file(options: &StartOptions) -> Result<Option<PathBuf>, Failure> {
    match options.no_kubeconfig {
        true => Ok(None),
        false => kubeconfig::path(options.kubeconfig.as_deref()).map(Some),
    }
}

fn connect_kubectl(profile: &str, layout: &Layout, options: &StartOptions) -> Result<(), Failure> {
    let own = layout.state.join("kubeconfig");
    let Some(file) = kubeconfig_file(options)? else {
        screen::line(&format!("Use it with: export KUBECONFIG={}", own.display()));
        return Ok(());
    };
    kubeconfig::merge(&file, &own, profile, layout, options.keep_context)?;
    screen::line(&match options.keep_context {
        true => format!(
            "kubectl knows the cluster as \"{profile}\" ({}): kubectl --context {profile} get nodes",
            file.display()
        ),
        false => format!(
            "kubectl now uses the cluster \"{profile}\" ({}).",
            file.display()
        ),
    });
    let kubectl = match super::kubectl::on_path() {
        Some(_) => "kubectl".to_owned(),
        None => {
            screen::line("There is no kubectl on PATH; kubik has a small one built in.");
            format!("kubik kubectl{} --", for_profile(profile))
        }
    };
    screen::line(&format!("Try: {kubectl} get nodes"));
    Ok(())
}

fn already_running(profile: &str, layout: &Layout, options: &StartOptions) -> Result<(), Failure> {
    if let Some(config) = place::load(layout) {
        plan::refuse_changes(&config, options)?;
    }
    if options.foreground {
        let why = format!("the cluster \"{profile}\" runs already, in the background");
        return Err(Failure::new("GUEST_START", 81, why)
            .advise(format!("Stop it first: kubik stop{}", for_profile(profile))));
    }
    amend_running(profile, layout, options)?;
    screen::line(&format!("The cluster \"{profile}\" is running."));
    connect_kubectl(profile, layout, options)
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
            outcome = plan::amend(config, &others, &[]);
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
