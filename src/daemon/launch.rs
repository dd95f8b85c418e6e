//! Starting and ending a daemon process, seen from a command.

use super::{
    control::{self, Answer, Request},
    progress::Line,
};
use crate::{config::Layout, node::pause};
use anyhow::{Context, Result, bail};
use nix::{
    fcntl::{Flock, FlockArg},
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

/// What the daemon does when the process that started it is gone, once it is ready. Before, it gives up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Bond {
    /// Lives on.
    #[default]
    None,
    /// Stops gracefully.
    Stop,
    /// Removes the cluster with every trace.
    Erase,
}

impl Bond {
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Bond::None => "none",
            Bond::Stop => "stop",
            Bond::Erase => "erase",
        }
    }

    #[must_use]
    pub fn parse(text: &str) -> Option<Bond> {
        [Bond::None, Bond::Stop, Bond::Erase]
            .into_iter()
            .find(|bond| bond.as_str() == text)
    }
}

/// A daemon that has been spawned. Dropping it closes the bond's pipe.
pub struct Launched {
    pub child: Child,
    lines: BufReader<std::process::ChildStdout>,
}

/// Spawns the running binary as a daemon. Its configuration must have been saved.
pub fn spawn(layout: &Layout, bond: Bond) -> Result<Launched> {
    for folder in [&layout.state, &layout.run] {
        fs::create_dir_all(folder).with_context(|| format!("create {}", folder.display()))?;
    }
    let log = layout.daemon_log();
    let errors = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("open {}", log.display()))?;
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where a daemon is started"
    )]
    let mut command = Command::new(own_binary());
    command
        .arg("daemon")
        .args([&layout.state, &layout.run])
        .arg(bond.as_str())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(errors);
    let mut child = command.spawn().context("start the daemon process")?;
    let stdout = child
        .stdout
        .take()
        .context("the daemon's standard output")?;
    Ok(Launched {
        child,
        lines: BufReader::new(stdout),
    })
}

/// The running program, also when its file was replaced by an upgrade.
fn own_binary() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

impl Launched {
    /// The next line of progress; `None` when the daemon has ended or closed its output.
    pub fn next_line(&mut self) -> Option<Line> {
        let mut text = String::new();
        loop {
            text.clear();
            if self.lines.read_line(&mut text).ok()? == 0 {
                return None;
            }
            if let Some(line) = Line::parse(text.trim_end()) {
                return Some(line);
            }
        }
    }
}

/// Whether a daemon holds the cluster's lock.
#[must_use]
pub fn is_running(layout: &Layout) -> bool {
    let Ok(file) = File::open(layout.daemon_lock()) else {
        return false;
    };
    Flock::lock(file, FlockArg::LockSharedNonblock).is_err()
}

/// The namespaces that are frozen; `*` stands for all.
#[must_use]
pub fn paused(layout: &Layout) -> BTreeSet<String> {
    pause::read(layout)
}

/// The running daemon.
#[must_use]
pub fn pid(layout: &Layout) -> Option<Pid> {
    daemon_pid(layout).filter(|_| is_running(layout))
}

/// The pid the daemon wrote into its lock file.
fn daemon_pid(layout: &Layout) -> Option<Pid> {
    let text = fs::read_to_string(layout.daemon_lock()).ok()?;
    text.trim().parse().ok().map(Pid::from_raw)
}

/// Asks the daemon to end its pods gracefully and then itself; waits until it has. A daemon that does not answer is
/// killed at the deadline. No daemon is no error.
pub fn stop(layout: &Layout, deadline: Duration) -> Result<()> {
    let begun = Instant::now();
    if !is_running(layout) {
        return Ok(());
    }
    let asked = control::ask(layout, &Request::Stop, deadline);
    let answered = matches!(asked, Ok(Answer::Done));
    while is_running(layout) {
        if !answered || begun.elapsed() > deadline {
            return end_by_force(layout);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// SIGKILL, for a daemon that hangs or is to be erased anyway.
pub fn end_by_force(layout: &Layout) -> Result<()> {
    let Some(pid) = daemon_pid(layout) else {
        return Ok(());
    };
    let begun = Instant::now();
    while is_running(layout) {
        // The lock proves that the pid is still the daemon's: it is released only by the daemon's end.
        let _ = kill(pid, Signal::SIGKILL);
        if begun.elapsed() > Duration::from_secs(10) {
            bail!("the daemon (pid {pid}) does not end, even by SIGKILL");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}
