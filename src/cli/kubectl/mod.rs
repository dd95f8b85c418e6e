//! `kubik kubectl -- …`: kubectl with this cluster's credentials: the one on PATH, otherwise a small built-in one.
//!
//! The built-in one knows get, apply, delete, describe, logs, exec and wait. It prints the tables the server makes, so
//! its columns are Kubernetes' own.

mod apply;
mod arguments;
pub mod connection;
mod describe;
mod exec;
mod get;
mod resource;
mod wait;

use super::{failure::Failure, place, screen};
use crate::daemon::launch;
use arguments::{Builtin, Verb};
use clap::Parser;
use connection::Connection;
use std::{
    env,
    os::unix::{fs::PermissionsExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

/// Set to anything, it makes us use the built-in kubectl even where another is on PATH.
const USE_BUILTIN: &str = "KUBIK_BUILTIN_KUBECTL";

pub fn run(profile: &str, arguments: &[String]) -> Result<ExitCode, Failure> {
    let (layout, _) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    let kubeconfig = place::credentials(&layout)?;
    match on_path() {
        Some(kubectl) => Err(replace_by(&kubectl, arguments, &kubeconfig)),
        None => builtin(arguments, &kubeconfig),
    }
}

/// Replaces this process: signals, terminal and exit code are kubectl's own. Returns only on failure.
fn replace_by(kubectl: &Path, arguments: &[String], kubeconfig: &Path) -> Failure {
    #[expect(clippy::disallowed_methods, reason = "the user's own kubectl")]
    let mut command = Command::new(kubectl);
    let error = command.args(arguments).env("KUBECONFIG", kubeconfig).exec();
    Failure::new(
        "HOST_COMMAND",
        35,
        format!("run {}: {error}", kubectl.display()),
    )
}

/// The user's own kubectl, unless it is not wanted. Ourselves under its name is not it.
pub fn on_path() -> Option<PathBuf> {
    let paths = env::var_os("PATH").filter(|_| env::var_os(USE_BUILTIN).is_none())?;
    let ourselves = env::current_exe().ok();
    env::split_paths(&paths)
        .map(|folder| folder.join("kubectl"))
        .filter(|path| path.canonicalize().ok() != ourselves)
        .find(|path| {
            let meta = path.metadata();
            meta.is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
        })
}

fn builtin(arguments: &[String], kubeconfig: &Path) -> Result<ExitCode, Failure> {
    let words = std::iter::once("kubectl".to_owned()).chain(arguments.iter().cloned());
    let parsed = match Builtin::try_parse_from(words) {
        Ok(parsed) => parsed,
        Err(refusal) => {
            let _ = refusal.print();
            return Ok(ExitCode::from(if refusal.use_stderr() { 1 } else { 0 }));
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::host("start the client", &e))?;
    let outcome = runtime.block_on(async {
        let connection = Connection::open(kubeconfig)?;
        let namespace = parsed.namespace.as_deref().unwrap_or("default");
        dispatch(&connection, namespace, &parsed.verb).await
    });
    // Standard input may still be read by a thread that nothing can wake.
    runtime.shutdown_background();
    outcome.or_else(|error| {
        // kubectl's own form and code.
        screen::line(&format!("{error:#}"));
        Ok(ExitCode::FAILURE)
    })
}

async fn dispatch(
    connection: &Connection,
    namespace: &str,
    verb: &Verb,
) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Get(options) => get::run(connection, namespace, options).await?,
        Verb::Apply(options) => apply::apply(connection, namespace, &options.filename).await?,
        Verb::Delete(options) => apply::delete(connection, namespace, options).await?,
        Verb::Describe(options) => describe::run(connection, namespace, options).await?,
        Verb::Logs(options) => get::logs(connection, namespace, options).await?,
        Verb::Exec(options) => return exec::run(connection, namespace, options).await,
        Verb::Wait(options) => wait::run(connection, namespace, options).await?,
    }
    Ok(ExitCode::SUCCESS)
}
