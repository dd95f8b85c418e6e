//! End to end: the real binary, stock kubectl, real containers.
//!
//! This program is its own test runner. It first moves into a network namespace of its own, so that no missing rule
//! can send a packet outside and nothing on the machine can be in the way; then it runs `STORIES` in order. Words on
//! the command line choose stories by part of their names.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a failed unwrap is a failed test, and stories run programs as people do"
)]

mod browser;
mod census;
mod cluster;
mod concepts;
mod images;
mod place;
mod registry;
mod stories;
mod terminal;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    process::ExitCode,
    time::Instant,
};

/// A story: its name and what it does. It panics where it fails.
pub type Story = (&'static str, fn());

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let is_wanted =
        |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    if std::env::args().any(|word| word == "--list") {
        stories::all().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    if !nix::unistd::geteuid().is_root() {
        println!("end-to-end tests make real containers and need root: run them with sudo");
        return ExitCode::FAILURE;
    }
    cluster::enter_own_network();
    let (mut passed, mut failed) = (0, Vec::new());
    for (name, story) in stories::all().filter(|(name, _)| is_wanted(name)) {
        let begun = Instant::now();
        let outcome = catch_unwind(AssertUnwindSafe(story));
        let took = begun.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => {
                passed += 1;
                println!("test {name} ... ok ({took:.1} s)");
            }
            Err(_) => {
                println!("test {name} ... FAILED ({took:.1} s)");
                failed.push(name);
            }
        }
    }
    cluster::end_shared();
    for name in &failed {
        println!("failed: {name}");
    }
    let word = if failed.is_empty() { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {word}. {passed} passed; {} failed; 0 ignored; 0 measured; 0 filtered out\n",
        failed.len()
    );
    if failed.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
