//! `kubik completion`.

use super::args::{Arguments, CompletionOptions};
use clap::CommandFactory;
use std::io::Write;

pub fn run(options: &CompletionOptions) {
    let mut text = Vec::new();
    clap_complete::generate(options.shell, &mut Arguments::command(), "kubik", &mut text);
    let _ = std::io::stdout().write_all(&text);
}
