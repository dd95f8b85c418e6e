//! Starting a shim and reading its report.

use crate::{
    runtime::{
        SHIM_ANSWER_TIMEOUT,
        model::{RuntimeError, SandboxInfo, SandboxSpec},
        shim::{
            self,
            protocol::{Failure, SANDBOX_FILE, SandboxFile},
        },
    },
    task::Tasks,
};
use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::{fs::DirBuilderExt, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};
use tokio::{io::AsyncReadExt, net::unix::pipe, time::timeout};

/// A report is one sandbox without containers, or a reason.
const REPORT_MAX: u64 = 1 << 20;

/// Makes the sandbox's run directory and the shim that lives in it. `exe` is the program to run as the shim.
pub async fn shim(
    exe: PathBuf,
    dir: PathBuf,
    spec: SandboxSpec,
) -> Result<(Child, SandboxInfo), RuntimeError> {
    let started = Tasks::blocking(move || start(&exe, &dir, spec)).await;
    let (mut child, report) = started
        .map_err(|error| RuntimeError::Failed(error.to_string()))?
        .map_err(|error| RuntimeError::Failed(format!("start the shim: {error}")))?;
    match read_report(report).await {
        Ok(sandbox) => Ok((child, sandbox)),
        Err(error) => {
            // A shim that has reported a failure has ended; one that has not must.
            let ended = Tasks::blocking(move || child.kill().and_then(|()| child.wait()));
            let _ = ended.await;
            Err(error)
        }
    }
}

async fn read_report(report: pipe::Receiver) -> Result<SandboxInfo, RuntimeError> {
    let mut text = Vec::new();
    let mut report = report.take(REPORT_MAX);
    match timeout(SHIM_ANSWER_TIMEOUT, report.read_to_end(&mut text)).await {
        Err(_) => return Err(RuntimeError::Timeout(SHIM_ANSWER_TIMEOUT)),
        Ok(result) => result
            .map_err(|error| RuntimeError::Failed(format!("read the shim's report: {error}")))?,
    };
    let report: Result<SandboxInfo, Failure> = serde_json::from_slice(&text)
        .map_err(|_| RuntimeError::Failed("the shim ended before it reported".to_owned()))?;
    Ok(report?)
}

fn start(exe: &Path, dir: &Path, spec: SandboxSpec) -> io::Result<(Child, pipe::Receiver)> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
    let file = serde_json::to_vec(&SandboxFile { spec })?;
    fs::write(dir.join(SANDBOX_FILE), file)?;
    let (report, theirs) = io::pipe()?;
    #[expect(clippy::disallowed_methods, reason = "this is where shims are started")]
    let mut command = Command::new(exe);
    // A clean environment: what the daemon was started with is nobody's business in a pod.
    command
        .arg0("kubik")
        .arg(shim::COMMAND)
        .arg(dir)
        .env_clear()
        .current_dir("/");
    command
        .stdin(Stdio::null())
        .stdout(theirs)
        .stderr(File::create(dir.join("log"))?);
    let child = command.spawn()?;
    // The command holds the other end of the report until it is dropped.
    drop(command);
    Ok((child, pipe::Receiver::from_owned_fd(report.into())?))
}
