//! Commands for people: what they type, what they read, with which code we exit.
//!
//! `COMMANDS` are the variants of [`args::Command`], one file each. Progress goes to standard error, results to
//! standard output, so that pipes stay clean. Nothing here talks to the kernel or keeps state of its own.

mod addons;
mod args;
mod carried;
mod completion;
mod dashboard;
mod delete;
mod doctor;
mod engine;
mod event;
mod failure;
mod image;
mod kubeconfig;
pub mod kubectl;
mod logs;
mod node;
mod node_view;
mod pause;
mod person;
mod place;
mod plan;
mod profile;
mod question;
mod run;
mod screen;
mod service;
mod settings;
mod start;
mod status;
mod stop;
mod version;

use args::{Arguments, Command};
use clap::{CommandFactory, Parser};
use failure::Failure;
use std::process::ExitCode;

/// The whole program. Hidden entries come first: the shim must run before any thread exists.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = crate::runtime::hidden_command(std::env::args_os()) {
        return code;
    }
    let words: Vec<String> = std::env::args_os()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    if let Some(code) = hidden(&words) {
        return code;
    }
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(refusal) => {
            return refuse(&refusal);
        }
    };
    match dispatch(arguments) {
        Ok(code) => code,
        Err(failure) => {
            failure.print();
            ExitCode::from(failure.code)
        }
    }
}

/// What cannot be understood. A command that lacks its next word shows which there are, which is no mistake.
fn refuse(refusal: &clap::Error) -> ExitCode {
    use clap::error::ErrorKind;
    let asks = ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if refusal.kind() == ErrorKind::MissingSubcommand && std::env::args_os().len() == 1 {
        let _ = Arguments::command().print_help();
        return ExitCode::SUCCESS;
    }
    let _ = refusal.print();
    let is_mistake = refusal.use_stderr() && refusal.kind() != asks;
    ExitCode::from(if is_mistake { 14 } else { 0 })
}

/// Entries that people never type. Called `kubectl` (by a link), the program is that.
fn hidden(words: &[String]) -> Option<ExitCode> {
    let program = std::path::Path::new(words.first()?);
    if program.file_name().is_some_and(|name| name == "kubectl") {
        let code = kubectl::run(&settings::profile(), &words[1..]);
        return Some(code.unwrap_or_else(|failure| {
            failure.print();
            ExitCode::from(failure.code)
        }));
    }
    match words.get(1).map(String::as_str) {
        Some("daemon") => Some(crate::daemon::main(&words[2..])),
        Some("hello") => Some(crate::runtime::hello::main(&words[2..])),
        _ => crate::runtime::hello::is_named(words.first()?)
            .then(|| crate::runtime::hello::main(&words[1..])),
    }
}

fn dispatch(arguments: Arguments) -> Result<ExitCode, Failure> {
    let profile = arguments.profile.unwrap_or_else(settings::profile);
    let done = |()| ExitCode::SUCCESS;
    match arguments.command {
        Command::Start(options) => start::run(&profile, &options).map(done),
        Command::Stop(options) => stop::run(&profile, &options).map(done),
        Command::Pause(options) => pause::run(&profile, &options, true).map(done),
        Command::Unpause(options) => pause::run(&profile, &options, false).map(done),
        Command::Delete(options) => delete::run(&profile, &options).map(done),
        Command::Status(options) => status::run(&profile, &options),
        Command::Logs(options) => logs::run(&profile, &options).map(done),
        Command::Run(options) => run::run(&options),
        Command::Image(command) => image::run(&profile, &command).map(done),
        Command::Addons(command) => addons::run(&profile, &command).map(done),
        Command::Kubectl(options) => kubectl::run(&profile, &options.arguments),
        Command::Service(options) => service::run(&profile, &options).map(done),
        Command::Dashboard(options) => dashboard::run(&profile, &options).map(done),
        Command::Ip(options) => service::ip(&profile, &options).map(done),
        Command::Node(command) => node::run(&profile, &command).map(done),
        Command::Shell(options) => Err(node_view::shell(&profile, &options)),
        Command::Cp(options) => node_view::copy(&profile, &options).map(done),
        Command::Mount(options) => node_view::mount(&options).map(done),
        Command::Tunnel(_) => node_view::tunnel(&profile).map(done),
        Command::Profile(options) => profile::run(&profile, &options).map(done),
        Command::Config(command) => settings::run(&command).map(done),
        Command::UpdateContext => start::update_context(&profile).map(done),
        Command::DockerEnv(_) => node_view::engine(&profile, "docker").map(done),
        Command::PodmanEnv(_) => node_view::engine(&profile, "podman").map(done),
        Command::Doctor => doctor::run(&profile),
        Command::Version(options) => version::run(&options).map(done),
        Command::Completion(options) => {
            completion::run(&options);
            Ok(ExitCode::SUCCESS)
        }
    }
}
