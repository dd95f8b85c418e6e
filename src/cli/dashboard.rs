//! `kubik dashboard`: a link to the daemon's dashboard, opened in a browser where there is one.

use super::{args::DashboardOptions, failure::Failure, person, place, question, screen};
use crate::daemon::control::{Answer, Request};
use std::{
    env,
    os::unix::process::CommandExt as _,
    process::{Command, Stdio},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(10);

pub fn run(profile: &str, options: &DashboardOptions) -> Result<(), Failure> {
    let (layout, _) = place::existing(profile)?;
    let request = Request::Dashboard { port: options.port };
    let refusal = ("DASHBOARD_PORT", 71);
    let asked = question::ask(profile, &layout, &request, PATIENCE, refusal, |_| {});
    let url = match asked {
        Ok(Answer::Dashboard { url }) => url,
        Err(failure) if failure.id == refusal.0 => {
            return Err(failure.advise("Choose another port with --port, or leave it out."));
        }
        other => return other.map(drop),
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
    if let Some(person) = person::by_sudo() {
        let user = person.user;
        command.uid(user).gid(person.group);
        let runtime = format!("/run/user/{user}");
        let bus = format!("unix:path={runtime}/bus");
        command.env("XDG_RUNTIME_DIR", runtime);
        command.env("DBUS_SESSION_BUS_ADDRESS", bus);
        command.env("USER", person.name).env("HOME", person.home);
    }
    command.status().is_ok_and(|status| status.success())
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
}
