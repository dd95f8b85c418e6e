//! Commands that go to a node elsewhere and stay here: `shell`, `cp`, `mount`, `tunnel`, `docker-env`.
//!
//! A node is this machine as the cluster's daemon sees it. Where nothing is to be done, the command says why and what
//! to do instead, and succeeds: scripts go on.

use super::{
    args::{CopyOptions, MountOptions, ShellOptions},
    failure::{Failure, for_profile},
    place, screen,
};
use crate::daemon::launch;
use nix::sched::{CloneFlags, setns};
use std::{
    env,
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Replaces this process by a shell (or a command) in the daemon's namespaces. Returns only on failure.
pub fn shell(profile: &str, options: &ShellOptions) -> Failure {
    match enter(profile) {
        Ok(kubeconfig) => replace(options, &kubeconfig, profile),
        Err(failure) => failure,
    }
}

/// Joins the network and the mounts that the daemon has; mostly they are ours already.
fn enter(profile: &str) -> Result<PathBuf, Failure> {
    place::require_root()?;
    let (layout, _) = place::existing(profile)?;
    let pid = launch::pid(&layout).ok_or_else(|| Failure::not_running(profile))?;
    let here = env::current_dir().ok();
    for (name, flag) in [
        ("net", CloneFlags::CLONE_NEWNET),
        ("mnt", CloneFlags::CLONE_NEWNS),
    ] {
        let path = format!("/proc/{pid}/ns/{name}");
        if fs::read_link(&path).ok() == fs::read_link(format!("/proc/self/ns/{name}")).ok() {
            continue;
        }
        let namespace = File::open(&path).map_err(|e| Failure::host(&path, &e))?;
        setns(namespace, flag).map_err(|e| Failure::host(&format!("enter {path}"), &e))?;
    }
    if let Some(here) = here {
        // Other mounts may not have it; then the shell starts at the root.
        let _ = env::set_current_dir(here);
    }
    Ok(layout.state.join("kubeconfig"))
}

fn replace(options: &ShellOptions, kubeconfig: &Path, profile: &str) -> Failure {
    let shell = env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into());
    let line;
    let (program, arguments) = match options.command.split_first() {
        // One word with blanks is a line for the shell, as ssh takes it.
        Some((words, [])) if words.contains(char::is_whitespace) => {
            line = ["-c".to_owned(), words.clone()];
            (shell, &line[..])
        }
        Some((program, arguments)) => (program.into(), arguments),
        None => (shell, &[][..]),
    };
    #[expect(clippy::disallowed_methods, reason = "the user's own shell or command")]
    let mut command = Command::new(&program);
    let error = command
        .args(arguments)
        .env("KUBECONFIG", kubeconfig)
        .env("KUBIK_PROFILE", profile)
        .exec();
    let text = format!("run {}: {error}", program.to_string_lossy());
    Failure::new("HOST_COMMAND", 35, text)
}

/// `node:/path` and `/path` are the same file: the node is this machine.
fn path_of(text: &str) -> (&str, bool) {
    match text.split_once(':') {
        Some((node, path)) if place::profile_name(node).is_ok() && path.starts_with('/') => {
            (path, true)
        }
        _ => (text, false),
    }
}

pub fn copy(profile: &str, options: &CopyOptions) -> Result<(), Failure> {
    place::existing(profile)?;
    let ((from, _), (to, is_node)) = (path_of(&options.from), path_of(&options.to));
    let mut target = PathBuf::from(to);
    if to.ends_with('/') || target.is_dir() {
        target.push(Path::new(from).file_name().unwrap_or_default());
    }
    let failed =
        |e: std::io::Error| Failure::host(&format!("copy {from} to {}", target.display()), &e);
    if !Path::new(from).is_file() {
        let why = format!("{from} is not a file");
        return Err(Failure::new("HOST_NOT_FOUND", 35, why)
            .advise("Directories are copied with: cp -a FROM TO. The node is this machine."));
    }
    if let Some(folder) = target.parent().filter(|_| is_node) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    if fs::canonicalize(from).ok() != fs::canonicalize(&target).ok() {
        fs::copy(from, &target).map_err(failed)?;
    }
    screen::line(&format!(
        "{} is there for pods as a hostPath.",
        target.display()
    ));
    Ok(())
}

pub fn mount(options: &MountOptions) -> Result<(), Failure> {
    let (source, target) = match options.directories.rsplit_once(':') {
        Some((source, target)) => (source, target),
        None => (options.directories.as_str(), ""),
    };
    let found = fs::canonicalize(source).map_err(|e| Failure::host(source, &e))?;
    let target = if target.is_empty() { "/data" } else { target };
    screen::result(&format!(
        "Nothing has to be mounted: the node is this machine, so pods see its directories\n\
         where they are, at full speed and live. In a pod:\n\n  \
         containers:\n  - volumeMounts: [{{name: shared, mountPath: {target}}}]\n  \
         volumes:\n  - {{name: shared, hostPath: {{path: {}}}}}\n",
        found.display()
    ));
    if target != "/data" && Path::new(target) != found && !Path::new(target).exists() {
        screen::advice(&format!(
            "Manifests that name hostPath {target} find it after: mkdir -p {target} && mount --bind {} {target}",
            found.display()
        ));
    }
    Ok(())
}

pub fn tunnel(profile: &str) -> Result<(), Failure> {
    place::existing(profile)?;
    screen::result(
        "No tunnel is needed: from this machine, cluster IPs, node ports and pods are\n\
         reached at their own addresses, and Services of type LoadBalancer get one that\n\
         works at once.\n\nSee them with: kubectl get services -A",
    );
    Ok(())
}

/// Comments, so that `eval $(kubik docker-env)` changes nothing.
pub fn engine(profile: &str, engine: &str) -> Result<(), Failure> {
    let (_, config) = place::existing(profile)?;
    let port = config.registry_port;
    let insecure = if engine == "podman" {
        "--tls-verify=false "
    } else {
        ""
    };
    screen::result(&format!(
        "# There is no {engine} engine in the cluster to point to. Build with your own, then\n\
         #   {engine} push {insecure}localhost:{port}/app:1        (the image is in the cluster at once)\n\
         # or, without a registry,\n\
         #   {engine} save app:1 | kubik image load{} -",
        for_profile(profile)
    ));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_in_front_of_a_path_is_this_machine() {
        assert_eq!(path_of("kubik:/srv/x"), ("/srv/x", true));
        assert_eq!(path_of("kubik-m02:/x"), ("/x", true));
        for plain in ["/srv/x", "x", "./a:b", "a:b"] {
            assert_eq!(path_of(plain), (plain, false));
        }
    }
}
