//! Finding and executing a container's program, with the messages people know.
//!
//! libcontainer's own executor wants the `x` bit for others and asks the C library for the environment; this one asks
//! the kernel as the container's user, and passes the specification's environment as it stands.

use crate::runtime::sys;
use libcontainer::workload::{
    Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError,
};
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, AtFlags},
    unistd::{AccessFlags, execve, faccessat},
};
use oci_spec::runtime::Spec;
use std::{
    collections::HashMap,
    ffi::CString,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

/// Marks, in libcontainer's chain of error texts, what came from here.
pub const CANNOT_RUN: &str = "cannot-run:";

#[derive(Clone)]
pub struct Program;

impl Executor for Program {
    fn exec(&self, spec: &Spec) -> Result<(), ExecutorError> {
        let (arguments, env) = parts(spec);
        let error = match find(&arguments, &env) {
            Ok(path) => execute(&path, &arguments, &env),
            Err(error) => error,
        };
        // As runc does once the container counts as started: into the container's own log.
        let _ = writeln!(std::io::stderr(), "{error}");
        sys::leave(255)
    }

    fn validate(&self, spec: &Spec) -> Result<(), ExecutorValidationError> {
        let (arguments, env) = parts(spec);
        let checked = find(&arguments, &env).map(drop);
        checked.map_err(|error| {
            ExecutorValidationError::ArgValidationError(format!("{CANNOT_RUN}{error}"))
        })
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        Ok(())
    }
}

fn parts(spec: &Spec) -> (Vec<String>, Vec<String>) {
    let process = spec.process().as_ref();
    let arguments = process.and_then(|process| process.args().clone());
    let env = process.and_then(|process| process.env().clone());
    (arguments.unwrap_or_default(), env.unwrap_or_default())
}

/// The program's file, by the rules of Go's `LookPath`, as the current user and in the current root.
pub fn find(arguments: &[String], env: &[String]) -> Result<PathBuf, String> {
    let Some(name) = arguments.first() else {
        return Err("no command specified".to_owned());
    };
    if name.contains('/') {
        return executable(Path::new(name)).map_err(|error| match error {
            Errno::ENOENT => format!("exec: {name:?}: stat {name}: no such file or directory"),
            error => format!("exec: {name:?}: {}", text(error)),
        });
    }
    let path = env.iter().find_map(|entry| entry.strip_prefix("PATH="));
    let dirs = path
        .unwrap_or_default()
        .split(':')
        .filter(|dir| !name.is_empty() && !dir.is_empty());
    let mut denied = None;
    for dir in dirs {
        match executable(&Path::new(dir).join(name)) {
            Ok(path) => return Ok(path),
            Err(Errno::EACCES) => denied = Some(Errno::EACCES),
            Err(_) => {}
        }
    }
    Err(match denied {
        Some(error) => format!("exec: {name:?}: {}", text(error)),
        None => format!("exec: {name:?}: executable file not found in $PATH"),
    })
}

fn executable(path: &Path) -> Result<PathBuf, Errno> {
    let metadata =
        fs::metadata(path).map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0)))?;
    if metadata.is_dir() {
        return Err(Errno::EISDIR);
    }
    faccessat(AT_FDCWD, path, AccessFlags::X_OK, AtFlags::AT_EACCESS)?;
    Ok(path.to_owned())
}

/// Replaces this process; returns only with the reason why it could not.
pub fn execute(path: &Path, arguments: &[String], env: &[String]) -> String {
    sys::restore_signals();
    let strings = |list: &[String]| -> Vec<CString> {
        list.iter()
            .filter_map(|text| CString::new(text.as_bytes()).ok())
            .collect()
    };
    let Ok(file) = CString::new(path.as_os_str().as_encoded_bytes()) else {
        return format!("exec {}: invalid argument", path.display());
    };
    let error = execve(&file, &strings(arguments), &strings(env)).unwrap_err();
    format!("exec {}: {}", path.display(), text(error))
}

/// Linux' own words, in lower case as Go prints them.
fn text(error: Errno) -> String {
    error.desc().to_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn programs_are_found_or_explained() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::write(at("tool"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(at("tool"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(at("data"), "").unwrap();
        fs::set_permissions(at("data"), fs::Permissions::from_mode(0o644)).unwrap();
        let env = vec![format!("PATH=/nonexistent:{}", dir.path().display())];
        let check = |name: &str, expected: Result<String, String>| {
            let found = find(&[name.to_owned()], &env).map(|path| path.display().to_string());
            assert_eq!(found, expected);
        };
        check("tool", Ok(at("tool")));
        check(&at("tool"), Ok(at("tool")));
        check(
            "nope",
            Err(r#"exec: "nope": executable file not found in $PATH"#.to_owned()),
        );
        check(
            "/nope",
            Err(r#"exec: "/nope": stat /nope: no such file or directory"#.to_owned()),
        );
        check("data", Err(r#"exec: "data": permission denied"#.to_owned()));
        check("/tmp", Err(r#"exec: "/tmp": is a directory"#.to_owned()));
        assert!(find(&[], &env).is_err());
    }
}
