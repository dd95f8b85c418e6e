//! The budgets, measured: the release binary in a network namespace of its own, driven over HTTPS as clients do.
//!
//! Prints a table and writes `target/bench.json`. Words on the command line choose figures by part of their names;
//! `--quick` takes fewer samples. Nothing here asserts a time: a slow machine is not a failed build.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "a measurement that fails ends the program"
)]

mod figure;
mod https;
mod ingress;
mod load;
mod machine;
mod measured;
#[path = "../e2e/place.rs"]
mod place;
mod pods;
mod scale;
mod starts;
mod traffic;

use figure::Figure;

/// A group of measurements that share a cluster.
type Group = (&'static str, fn(&Settings) -> Vec<Figure>);

const GROUPS: &[Group] = &[
    ("binary", machine::binary),
    ("start", starts::measure),
    ("idle", machine::idle),
    ("pods", pods::one_by_one),
    ("replicas", pods::replicas),
    ("load", load::measure),
    ("rollout", scale::rollout),
    ("stateful", scale::stateful),
    ("crowd", scale::crowd),
    ("services", traffic::services),
    ("dns", traffic::names),
    ("policy", traffic::policy),
    ("ingress", ingress::measure),
];

pub struct Settings {
    /// Samples per figure; never below 5 in a figure that is published.
    pub samples: usize,
    /// How long load is kept up and idleness watched.
    pub seconds: u64,
    /// Smaller crowds and fewer runs of what takes long.
    pub is_quick: bool,
}

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let quick = words.iter().any(|word| word == "--quick");
    let chosen: Vec<&String> = words.iter().filter(|word| !word.starts_with('-')).collect();
    let settings = Settings {
        samples: if quick { 5 } else { 20 },
        seconds: if quick { 5 } else { 20 },
        is_quick: quick,
    };
    place::enter_own_network();
    let mut figures = Vec::new();
    for (name, measure) in GROUPS {
        if chosen.is_empty() || chosen.iter().any(|word| name.contains(word.as_str())) {
            let new = measure(&settings);
            new.iter().for_each(|figure| println!("{}", figure.line()));
            figures.extend(new);
        }
    }
    let machine = machine::describe();
    println!("\n{machine}");
    let report = figure::report(&machine, &figures);
    let path = place::project().join("target/bench.json");
    std::fs::write(&path, report).unwrap();
    println!("wrote {}", path.display());
}
