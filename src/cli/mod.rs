//! Commands for people.

use crate::runtime;
use std::process::ExitCode;

pub fn main() -> ExitCode {
    if let Some(code) = runtime::hidden_command(std::env::args_os()) {
        return code;
    }
    ExitCode::SUCCESS
}
