//! The daemon process: its lock, its log, its signals, its end.

use super::{
    boot::Cluster,
    erase,
    launch::Bond,
    progress::{Line, Progress},
    serve::Control,
};
use crate::{
    config::{ClusterConfig, Layout},
    task::Tasks,
};
use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs::{self, File, OpenOptions},
    io::{Read, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tracing::{error, info};

/// Threads that run tasks. Two are enough for a laptop's load and keep stacks and allocator arenas few.
const WORKERS: usize = 2;
const CONTROL_DEADLINE: Duration = Duration::from_secs(1);

/// Why the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Asked by a command or a signal.
    Stop,
    /// The process it was bound to is gone.
    Orphaned,
}

/// Entry of the hidden subcommand `daemon STATE RUN BOND`.
#[must_use]
pub fn main(words: &[String]) -> ExitCode {
    let progress = Progress::default();
    match prepare(words).and_then(|prepared| serve(prepared, &progress)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) if failure.is::<Busy>() => {
            progress.send(&Line::Busy);
            ExitCode::FAILURE
        }
        Err(failure) => {
            error!("{failure:#}");
            let message = format!("{failure:#}");
            progress.send(&Line::Failed { message });
            ExitCode::FAILURE
        }
    }
}

/// Another daemon has the cluster's lock.
#[derive(Debug, thiserror::Error)]
#[error("another daemon runs this cluster")]
struct Busy;

struct Prepared {
    layout: Layout,
    config: ClusterConfig,
    bond: Bond,
    /// Held until the process ends: it is how others see that we run.
    lock: Flock<File>,
}

fn prepare(words: &[String]) -> Result<Prepared> {
    let [state, run, bond] = words else {
        bail!("usage: kubik daemon STATE RUN BOND (kubik start does it for you)");
    };
    let layout = Layout {
        state: PathBuf::from(state),
        run: PathBuf::from(run),
    };
    let bond = Bond::parse(bond).with_context(|| format!("unknown bond {bond:?}"))?;
    // The terminal's signals are for the command that started us, not for the cluster.
    let _ = nix::unistd::setsid();
    start_log();
    let lock = take_lock(&layout)?;
    let text = fs::read(layout.config()).context("read the cluster's configuration")?;
    let config = serde_json::from_slice(&text).context("read the cluster's configuration")?;
    Ok(Prepared {
        layout,
        config,
        bond,
        lock,
    })
}

/// Standard error is the log file. `KUBIK_LOG` takes tracing's filters: `debug`, `kubik::node=trace`.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("KUBIK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        // Complaints about the log would go to the log, and panic there: on a full disk that ended the store's writer.
        .log_internal_errors(false)
        .try_init();
}

fn take_lock(layout: &Layout) -> Result<Flock<File>> {
    let path = layout.daemon_lock();
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .with_context(|| format!("open {}", path.display()))?;
    let mut lock = exclusive(file)?;
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
}

/// Commands that look whether a daemon runs hold the lock for an instant: one refusal proves nothing.
fn exclusive(mut file: File) -> Result<Flock<File>> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(5);
    for _ in 0..TRIES {
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => return Ok(lock),
            Err((unlocked, _)) => file = unlocked,
        }
        std::thread::sleep(PAUSE);
    }
    Err(Busy.into())
}

fn serve(prepared: Prepared, progress: &Progress) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WORKERS)
        .enable_all()
        .build()
        .context("start the async runtime")?;
    let Prepared {
        layout,
        config,
        bond,
        lock,
    } = prepared;
    let end = runtime.block_on(live(&layout, &config, bond, progress));
    // Blocking threads may sit in a kernel call; they hold nothing that must be flushed. One of them reads a pipe that whoever
    // waits for our last word keeps open.
    runtime.shutdown_background();
    let end = end?;
    if end == End::Orphaned && bond == Bond::Erase {
        drop(lock);
        erase::everything(&config.host_name, &layout, Some(&config))?;
    }
    Ok(())
}

async fn live(
    layout: &Layout,
    config: &ClusterConfig,
    bond: Bond,
    progress: &Progress,
) -> Result<End> {
    let mut end = ends()?;
    let (stop_tx, mut stop_rx) = mpsc::channel(1);
    let control = Control::new(stop_tx);
    let control_tasks = Tasks::new();
    control.serve(layout, &control_tasks)?;
    let cluster = tokio::select! {
        cluster = Cluster::start(config, layout, progress) => cluster?,
        // A start that is given up half-way is safe: the next one adopts or erases what it finds. Whoever began it and is
        // gone does not want it any more.
        end = end.recv() => return Ok(given_up(progress, end)),
        _ = stop_rx.recv() => return Ok(given_up(progress, None)),
    };
    control.ready(&cluster);
    progress.send(&Line::Ready);
    let (end, goodbye) = tokio::select! {
        end = until_over(&mut end, bond) => (end, None),
        asked = stop_rx.recv() => (End::Stop, asked),
    };
    info!(?end, "ending");
    control.ending();
    if end == End::Stop || bond == Bond::Stop {
        cluster.stop_pods().await;
    }
    cluster.stop().await;
    // Answers the command that asked for the stop.
    drop(goodbye);
    control_tasks.shutdown(CONTROL_DEADLINE).await;
    Ok(end)
}

fn given_up(progress: &Progress, end: Option<End>) -> End {
    let message = "the cluster was stopped while it started".to_owned();
    progress.send(&Line::Failed { message });
    end.unwrap_or(End::Stop)
}

/// A command that has brought the cluster up may go, unless the cluster is bound to it.
async fn until_over(ends: &mut mpsc::Receiver<End>, bond: Bond) -> End {
    loop {
        match ends.recv().await {
            Some(End::Orphaned) if bond == Bond::None => {}
            end => return end.unwrap_or(End::Stop),
        }
    }
}

/// Everything that can end the daemon from outside the control socket.
fn ends() -> Result<mpsc::Receiver<End>> {
    let (tx, rx) = mpsc::channel(4);
    for kind in [SignalKind::terminate(), SignalKind::interrupt()] {
        let mut signals = signal(kind).context("listen for signals")?;
        let tx = tx.clone();
        watcher(async move {
            while signals.recv().await.is_some() {
                let _ = tx.send(End::Stop).await;
            }
        });
    }
    // Reads until the process that holds the other end is gone, however it ended.
    tokio::task::spawn_blocking(move || {
        let mut sink = [0u8; 64];
        while std::io::stdin().read(&mut sink).is_ok_and(|n| n > 0) {}
        let _ = tx.blocking_send(End::Orphaned);
    });
    Ok(rx)
}

#[expect(
    clippy::disallowed_methods,
    reason = "lives as long as the process, before any group exists"
)]
fn watcher(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}
