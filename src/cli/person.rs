//! The person behind sudo: their files and their browser are meant, not root's. Read from sudo's own variables and
//! `/etc/passwd`; by hand, because a static binary cannot ask the C library.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    pub user: u32,
    pub group: u32,
    pub name: String,
    pub home: PathBuf,
}

/// Whoever typed `sudo kubik …`. In a shell that sudo opened root is meant, and so is nobody.
pub fn behind_sudo() -> Option<Person> {
    let command = env::var("SUDO_COMMAND").ok()?;
    is_us(&command, &env::args().next()?)
        .then(by_sudo)
        .flatten()
}

/// Whoever sudo made root of, in whatever way.
pub fn by_sudo() -> Option<Person> {
    let number = |name| env::var(name).ok()?.parse().ok();
    let (user, group) = (number("SUDO_UID")?, number("SUDO_GID")?);
    if user == 0 {
        return None;
    }
    let known = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let (name, home) = named(&known, user)?;
    Some(Person {
        user,
        group,
        name: name.to_owned(),
        home: PathBuf::from(home),
    })
}

/// Whether sudo's command is the program we were called as.
fn is_us(command: &str, program: &str) -> bool {
    let first = command.split_whitespace().next().unwrap_or_default();
    let base = |path: &str| Path::new(path).file_name().map(ToOwned::to_owned);
    base(first).is_some() && base(first) == base(program)
}

/// Name and home of a user id.
fn named(passwd: &str, wanted: u32) -> Option<(&str, &str)> {
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
    fn people_are_found_by_number() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nbroken\njane:x:1000:1000::/home/jane:/bin/sh";
        assert_eq!(named(passwd, 1000), Some(("jane", "/home/jane")));
        assert_eq!(named(passwd, 1), None);
    }

    #[test]
    fn a_shell_of_sudo_is_roots() {
        assert!(is_us("/usr/local/bin/kubik start -p x", "kubik"));
        assert!(is_us("./kubik start", "./kubik"));
        for other in ["/bin/bash", "/usr/bin/make demo", ""] {
            assert!(!is_us(other, "kubik"), "{other}");
        }
    }
}
