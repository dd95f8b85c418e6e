//! What an idle cluster costs, the size of the binary, and the machine it was measured on.

use crate::{
    Settings,
    figure::Figure,
    https::{Access, runtime},
    measured::binary as program,
    place::Place,
    pods,
};
use std::{
    fs,
    time::{Duration, Instant},
};

pub fn describe() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpu = read("/proc/cpuinfo");
    let model = cpu
        .lines()
        .find_map(|line| line.strip_prefix("model name\t: "))
        .unwrap_or("unknown CPU")
        .to_owned();
    let cores = cpu
        .lines()
        .filter(|line| line.starts_with("processor"))
        .count();
    let memory = read("/proc/meminfo");
    let memory = memory.lines().next().unwrap_or_default().to_owned();
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{cores} x {model}, {memory}, Linux {}, load {}",
        kernel.trim(),
        load.trim()
    )
}

pub fn binary(_settings: &Settings) -> Vec<Figure> {
    let bytes = fs::metadata(program()).unwrap().len();
    vec![Figure::new(
        "binary, stripped",
        "MB",
        "<= 30",
        vec![bytes as f64 / 1e6],
    )]
}

pub fn idle(settings: &Settings) -> Vec<Figure> {
    const PODS: usize = 20;
    let (mut memory, mut cpu, mut writes) = (Vec::new(), Vec::new(), Vec::new());
    let place = Place::new();
    place.start();
    let pid = place.daemon_pid();
    for _ in 0..5 {
        let (cpu_before, written_before, begun) = (cpu_seconds(pid), written(pid), Instant::now());
        std::thread::sleep(Duration::from_secs(settings.seconds));
        let elapsed = begun.elapsed().as_secs_f64();
        cpu.push((cpu_seconds(pid) - cpu_before) / elapsed * 100.0);
        writes.push((written(pid) - written_before) / elapsed);
        memory.push(pss_mb(pid));
    }
    let access = Access::read(&place.kubeconfig());
    runtime().block_on(async {
        for n in 0..PODS {
            let mut connection = access.connect().await;
            pods::until_ready(&mut connection, &format!("idle{n}"), pods::SLEEPS).await;
        }
    });
    let base = memory.last().copied().unwrap_or_default();
    let shims: f64 = descendants(pid).into_iter().map(pss_mb).sum();
    let per_pod = (shims + pss_mb(pid) - base) / PODS as f64;
    vec![
        Figure::new("idle memory (PSS), daemon", "MB", "<= 40", memory),
        Figure::new("idle CPU", "% core", "<= 0.1", cpu),
        Figure::new("idle disk writes", "B/s", "0", writes),
        Figure::new(
            "memory per running pod (PSS, workload too)",
            "MB",
            "<= 1.5",
            vec![per_pod],
        ),
    ]
}

/// Proportional set size; zero for a process that is gone.
pub fn pss_mb(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kilobytes.unwrap_or(0.0) / 1024.0
}

fn cpu_seconds(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    let fields: Vec<&str> = text
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .collect();
    let ticks: f64 = fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap();
    ticks / 100.0
}

fn written(pid: i32) -> f64 {
    let text = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes: "));
    line.and_then(|line| line.parse().ok()).unwrap_or(0.0)
}

/// Shims, pauses and containers of this binary, apart from the daemon itself: shims leave its process tree.
pub fn descendants(daemon: i32) -> Vec<i32> {
    let own = fs::read_link(format!("/proc/{daemon}/exe")).unwrap();
    let pids = fs::read_dir("/proc")
        .unwrap()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid: &i32| {
        let exe = fs::read_link(format!("/proc/{pid}/exe"));
        pid != daemon && exe.is_ok_and(|exe| exe == own || exe.ends_with("kubik-hello"))
    })
    .collect()
}
