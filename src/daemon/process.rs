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
        Err(failure) => {
            error!("{failure:#}");
            let message = format!("{failure:#}");
            progress.send(&Line::Failed { message });
            ExitCode::FAILURE
        }
    }
}

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
    let Ok(mut lock) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else {
        bail!("another daemon runs this cluster");
    };
    lock.set_len(0)?;
    writeln!(lock, "{}", std::process::id())?;
    Ok(lock)
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
    let end = runtime.block_on(live(&layout, &config, bond, progress))?;
    // Blocking threads may sit in a kernel call; they hold nothing that must be flushed.
    runtime.shutdown_background();
    if end == End::Orphaned && bond == Bond::Erase {
        drop(lock);
        erase::everything(&config.profile, &layout, Some(&config))?;
    }
    Ok(())
}

async fn live(
    layout: &Layout,
    config: &ClusterConfig,
    bond: Bond,
    progress: &Progress,
) -> Result<End> {
    let mut end = ends(bond)?;
    let (stop_tx, mut stop_rx) = mpsc::channel(1);
    let control = Control::new(stop_tx);
    let control_tasks = Tasks::new();
    control.serve(layout, &control_tasks)?;
    let cluster = tokio::select! {
        cluster = Cluster::start(config, layout, progress) => cluster?,
        // A start that is given up half-way is safe: the next one adopts or erases what it finds.
        end = end.recv() => return Ok(end.unwrap_or(End::Stop)),
        _ = stop_rx.recv() => return Ok(End::Stop),
    };
    control.ready(&cluster);
    progress.send(&Line::Ready);
    let (end, goodbye) = tokio::select! {
        end = end.recv() => (end.unwrap_or(End::Stop), None),
        asked = stop_rx.recv() => (End::Stop, asked),
    };
    info!(?end, "ending");
    if end == End::Stop || bond == Bond::Stop {
        cluster.stop_pods().await;
    }
    cluster.stop().await;
    // Answers the command that asked for the stop.
    drop(goodbye);
    control_tasks.shutdown(CONTROL_DEADLINE).await;
    Ok(end)
}

/// Everything that can end the daemon from outside the control socket.
fn ends(bond: Bond) -> Result<mpsc::Receiver<End>> {
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
    if bond != Bond::None {
        // Reads until the process that holds the other end is gone, however it ended.
        tokio::task::spawn_blocking(move || {
            let mut sink = [0u8; 64];
            while std::io::stdin().read(&mut sink).is_ok_and(|n| n > 0) {}
            let _ = tx.blocking_send(End::Orphaned);
        });
    }
    Ok(rx)
}

#[expect(
    clippy::disallowed_methods,
    reason = "lives as long as the process, before any group exists"
)]
fn watcher(work: impl Future<Output = ()> + Send + 'static) {
    drop(tokio::spawn(work));
}
