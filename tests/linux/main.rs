//! The runtime on a real kernel: shims, containers, images. Needs root; says why it is skipped otherwise.
//!
//! No libtest harness: inside the containers the same program runs as the probe. Every test has its own directory
//! below /run and its own cgroup, and looks at its end that nothing is left. A name as an argument runs only the tests
//! whose names contain it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "a test program"
)]
#![allow(clippy::disallowed_methods, reason = "a test program reads the clock")]

mod containers;
mod images;
mod probe;
mod world;

use futures_util::future::BoxFuture;
use std::process::ExitCode;

type Test = (&'static str, fn() -> BoxFuture<'static, ()>);

macro_rules! tests {
    ($($module:ident :: $name:ident),* $(,)?) => {
        &[$((concat!(stringify!($module), "::", stringify!($name)), || Box::pin($module::$name()))),*]
    };
}

const TESTS: &[Test] = tests![
    containers::runs_and_logs_and_exits,
    containers::processes_find_what_was_asked_for,
    containers::mounts_and_read_only_roots,
    containers::what_cannot_run_says_why,
    containers::devices_of_the_host_stay_closed,
    containers::memory_limits_kill,
    containers::signals_end_containers,
    containers::exec_joins_the_container,
    containers::terminals_work,
    containers::attach_feeds_standard_input_once,
    containers::a_sandbox_that_cannot_be_made_leaves_nothing,
    containers::missing_sources_become_directories,
    containers::mounts_flow_only_where_asked,
    containers::resources_change_while_running,
    containers::many_pods_at_once,
    containers::usage_is_read,
    containers::sandboxes_survive_the_daemon,
    containers::a_dead_shim_is_noticed_and_swept,
    containers::namespaces_are_shared_as_asked,
    images::the_built_in_image_serves,
    containers::costs_are_measured,
];

fn main() -> ExitCode {
    // The program of the built-in image, which is made of whatever program runs.
    if let Some(code) = kubik::runtime::hidden_command(std::env::args_os()) {
        return code;
    }
    probe::main_if_asked();
    let filters: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let chosen =
        |name: &str| filters.is_empty() || filters.iter().any(|filter| name.contains(filter));
    let chosen: Vec<&Test> = TESTS.iter().filter(|(name, _)| chosen(name)).collect();
    if std::env::args().any(|word| word == "--list") {
        for (name, _) in chosen {
            println!("{name}: test");
        }
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: containers need root");
        return ExitCode::SUCCESS;
    }
    for (name, test) in &chosen {
        println!("test {name} ...");
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(test());
        println!("test {name} ok");
    }
    println!("test result: ok. {} passed", chosen.len());
    ExitCode::SUCCESS
}
