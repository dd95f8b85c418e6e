//! `kubik run -- CMD`: a cluster for one command.
//!
//! The daemon is bound to this process by a pipe: when we end, for whatever reason, it erases the cluster itself.

use super::{
    args::{RunOptions, StartOptions},
    delete,
    failure::Failure,
    image, place, plan, start,
};
use crate::daemon::launch::Bond;
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    env,
    path::Path,
    process::{Command, ExitCode, ExitStatus},
};
use tokio::signal::unix::{SignalKind, signal};

pub fn run(options: &RunOptions) -> Result<ExitCode, Failure> {
    place::require_root()?;
    let program = options.command.first().map_or("", String::as_str);
    if !can_run(program) {
        let why = format!("there is no command \"{program}\"");
        return Err(Failure::new("HOST_COMMAND", 127, why)
            .advise("Example: kubik run -- kubectl get nodes"));
    }
    let profile = format!("run-{}", std::process::id());
    let shape = StartOptions {
        nodes: options.nodes,
        ephemeral: true,
        ..StartOptions::default()
    };
    let (layout, config) = plan::prepare(&profile, &shape)?;
    let outcome = start::bring_up(&layout, &config, Bond::Erase).and_then(|launched| {
        for file in &options.image {
            image::load(&profile, file)?;
        }
        let code = command(options, &layout.state.join("kubeconfig"));
        drop(launched);
        code
    });
    delete::one(&profile)?;
    place::tidy()?;
    outcome
}

/// Looked at before a cluster is made for it.
fn can_run(program: &str) -> bool {
    let is_there = |path: &Path| path.is_file();
    let paths = env::var_os("PATH").unwrap_or_default();
    match program.contains('/') {
        true => is_there(Path::new(program)),
        false => env::split_paths(&paths).any(|folder| is_there(&folder.join(program))),
    }
}

fn command(options: &RunOptions, kubeconfig: &std::path::Path) -> Result<ExitCode, Failure> {
    let (program, arguments) = options.command.split_first().ok_or_else(|| {
        Failure::new("MK_USAGE", 14, "no command was given")
            .advise("Example: kubik run -- kubectl get nodes")
    })?;
    let failure =
        |error: std::io::Error| Failure::new("HOST_COMMAND", 35, format!("run {program}: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let status = runtime.map_err(failure)?.block_on(async {
        // Handlers, unlike ignored signals, are not inherited by the command.
        let mut terminated = signal(SignalKind::terminate())?;
        let mut hung_up = signal(SignalKind::hangup())?;
        let mut interrupted = signal(SignalKind::interrupt())?;
        #[expect(clippy::disallowed_methods, reason = "the user's own command")]
        let mut command = Command::new(program);
        let mut child = command
            .args(arguments)
            .env("KUBECONFIG", kubeconfig)
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        let mut ended = tokio::task::spawn_blocking(move || child.wait());
        loop {
            tokio::select! {
                status = &mut ended => return status?,
                _ = terminated.recv() => drop(kill(pid, Signal::SIGTERM)),
                _ = hung_up.recv() => drop(kill(pid, Signal::SIGHUP)),
                // The terminal sends Ctrl-C to the command as well: it decides, we wait for its end.
                _ = interrupted.recv() => {}
            }
        }
    });
    Ok(ExitCode::from(code_of(status.map_err(failure)?)))
}

/// The command's code; 128 + signal when a signal ended it, as shells do.
fn code_of(status: ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    u8::try_from(code.unwrap_or(1)).unwrap_or(1)
}
