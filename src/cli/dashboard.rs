//! `kubik dashboard`: a link to the daemon's dashboard, opened in a browser where there is one.

use super::{args::DashboardOptions, failure::Failure, place, screen};
use crate::daemon::{
    control::{self, Answer, Request},
    launch,
};
use std::{
    env, fs,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(profile: &str, options: &DashboardOptions) -> Result<(), Failure> {
    let (layout, _) = place::existing(profile)?;
    if !launch::is_running(&layout) {
        return Err(Failure::not_running(profile));
    }
    let request = Request::Dashboard { port: options.port };
    let answer = control::ask(&layout, &request, PATIENCE)
        .map_err(|error| Failure::new("DASHBOARD_ERROR", 110, format!("{error:#}")))?;
    let url = match answer {
        Answer::Dashboard { url } => url,
        Answer::Failed { message } => {
            let failure = Failure::new("DASHBOARD_PORT", 71, message);
            return Err(failure.advise("Choose another port with --port, or leave it out."));
        }
        _ => {
            let why = "the cluster is still starting";
            return Err(Failure::new("GUEST_START", 83, why).advise("Try again in a moment."));
        }
    };
    screen::result(&url);
    if options.url {
        return Ok(());
    }
    match has_display(|name| env::var_os(name).is_some_and(|value| !value.is_empty())) {
        true if open(&url) => {
            screen::line("Opened in your browser. The link lets one browser in, once.");
        }
        true => screen::line(
            "No browser could be opened here: open the link above. It lets one browser in, once.",
        ),
        false => {
            screen::line(
                "Open the link above in a browser. It lets one browser in, once, within an hour.",
            );
            let port = port(&url);
            screen::line(&format!(
                "From another machine, tunnel to it first: ssh -L {port}:127.0.0.1:{port} THIS-MACHINE"
            ));
        }
    }
    Ok(())
}

/// Of a link of ours.
fn port(url: &str) -> &str {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let rest = url.rsplit_once("127.0.0.1:").map_or("", |(_, rest)| rest);
    &rest[..digits(rest)]
}

fn has_display(is_set: impl Fn(&str) -> bool) -> bool {
    is_set("DISPLAY") || is_set("WAYLAND_DISPLAY")
}

/// Under sudo the browser belongs to the person, not to root.
fn open(url: &str) -> bool {
    #[expect(
        clippy::disallowed_methods,
        reason = "a person's browser, on the person's own command"
    )]
    let mut command = Command::new("xdg-open");
    command.arg(url);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let number = |name| {
        env::var(name)
            .ok()
            .and_then(|text| text.parse::<u32>().ok())
    };
    if let (Some(user), Some(group)) = (number("SUDO_UID"), number("SUDO_GID")) {
        command.uid(user).gid(group);
        let runtime = format!("/run/user/{user}");
        let bus = format!("unix:path={runtime}/bus");
        command.env("XDG_RUNTIME_DIR", runtime);
        command.env("DBUS_SESSION_BUS_ADDRESS", bus);
        let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
        if let Some((name, home)) = person(&known, user) {
            command.env("USER", name).env("HOME", home);
        }
    }
    command.status().is_ok_and(|status| status.success())
}

/// Name and home of a user id. By hand: a static binary cannot ask the C library.
fn person(passwd: &str, wanted: u32) -> Option<(&str, &str)> {
    passwd.lines().find_map(|line| {
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, id, _, _, home, ..] = fields[..] else {
            return None;
        };
        (id.parse() == Ok(wanted)).then_some((name, home))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_browser_needs_a_display() {
        assert!(has_display(|name| name == "DISPLAY"));
        assert!(has_display(|name| name == "WAYLAND_DISPLAY"));
        assert!(!has_display(|_| false));
    }

    #[test]
    fn the_tunnel_is_to_the_links_port() {
        assert_eq!(port("http://127.0.0.1:7070/#ticket=x"), "7070");
    }

    #[test]
    fn people_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\njane:x:1000:1000::/home/jane:/bin/sh";
        assert_eq!(person(passwd, 1000), Some(("jane", "/home/jane")));
        assert_eq!(person(passwd, 1), None);
    }
}
