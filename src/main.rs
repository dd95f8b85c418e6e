//! The `kubik` binary. The shim's entry comes first: it must run before any thread exists.

use std::process::ExitCode;

fn main() -> ExitCode {
    kubik::cli::main()
}
