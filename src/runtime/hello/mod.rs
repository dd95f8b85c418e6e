//! The program inside the built-in image `kubik/hello`: a small web server and a few words for trying things out.
//!
//! Standard library only, one thread per connection; as process 1 of a container it ends on SIGTERM at once.

mod fetch;
mod scrub;
mod serve;

use nix::sys::signal::{SigSet, Signal};
use std::{io::Write, path::Path, process::ExitCode, thread, time::Duration};

const USAGE: &str =
    "usage: kubik-hello [serve [PORT]]   a web server that says what it was given (port 8080)
       kubik-hello sleep [--resolve NAME]   wait; first resolve NAME and create /tmp/resolved
       kubik-hello fetch URL   print what an http URL answers
       kubik-hello exists PATH   succeed if PATH exists
       kubik-hello cat PATH   print a file
       kubik-hello scrub PATH   remove everything in a directory";

/// Whether the program was called by the name it has inside its image.
#[must_use]
pub fn is_named(program: &str) -> bool {
    Path::new(program)
        .file_name()
        .is_some_and(|name| name == "kubik-hello")
}

/// Entry of the hidden subcommand and of the image.
#[must_use]
pub fn main(words: &[String]) -> ExitCode {
    end_on_signals();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        [] | ["serve"] => serve::run(8080),
        ["serve", port] => match port.parse() {
            Ok(port) => serve::run(port),
            Err(_) => Err(format!("{port} is no port")),
        },
        ["sleep"] => sleep(),
        ["sleep", "--resolve", name] => resolve(name).and_then(|()| sleep()),
        ["fetch", url] => fetch::run(url).map(|text| say(&text)),
        ["exists", path] if Path::new(path).exists() => Ok(()),
        ["exists", path] => Err(format!("{path} does not exist")),
        ["cat", path] => std::fs::read_to_string(path)
            .map(|text| say(&text))
            .map_err(|e| format!("{path}: {e}")),
        ["scrub", path] => scrub::run(path),
        _ => Err(USAGE.to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            let _ = writeln!(std::io::stderr(), "{message}");
            ExitCode::FAILURE
        }
    }
}

/// Process 1 of a container dies of no signal that it does not ask for: a thread asks.
fn end_on_signals() {
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGTERM);
    signals.add(Signal::SIGINT);
    // Blocked before other threads exist, so that they inherit it and only ours takes the signals.
    if signals.thread_block().is_ok() {
        let wait = move || {
            if signals.wait().is_ok() {
                end();
            }
        };
        let _ = thread::Builder::new().stack_size(64 << 10).spawn(wait);
    }
}

#[expect(
    clippy::exit,
    reason = "connections in progress are what SIGTERM cuts off"
)]
fn end() -> ! {
    std::process::exit(0)
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn sleep() -> Result<(), String> {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

fn resolve(name: &str) -> Result<(), String> {
    super::resolve::lookup(name).map_err(|e| e.to_string())?;
    std::fs::write("/tmp/resolved", name).map_err(|e| format!("/tmp/resolved: {e}"))
}
