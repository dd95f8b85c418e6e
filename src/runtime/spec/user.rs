//! Who a container's process is: numbers from the image's own `/etc/passwd` and `/etc/group`, never the host's.

use crate::runtime::model::{ContainerSpec, ProcessUser};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct User {
    pub process: ProcessUser,
    pub home: String,
}

struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// `image_user` is the image's `USER` (`name`, `uid`, `name:group` …); what the container asks for overrides its parts.
/// The error is a text for people.
pub fn resolve(
    image_user: &str,
    container: &ContainerSpec,
    passwd: &str,
    group: &str,
) -> Result<User, String> {
    let wanted = container.user.as_ref();
    let (user_text, group_text) = image_user.split_once(':').unwrap_or((image_user, ""));
    let wanted_uid = wanted.and_then(|user| user.uid);
    let account = match (wanted_uid, user_text) {
        (Some(uid), _) => by_uid(passwd, uid),
        (None, "") => by_uid(passwd, 0),
        (None, text) => match text.parse() {
            Ok(uid) => by_uid(passwd, uid),
            Err(_) => {
                let found = accounts(passwd).find(|account| account.name == text);
                Some(found.ok_or_else(|| {
                    format!("unable to find user {text}: no matching entries in passwd file")
                })?)
            }
        },
    };
    let uid = match (wanted_uid, &account) {
        (Some(uid), _) => uid,
        (None, Some(account)) => account.uid,
        (None, None) => user_text.parse().unwrap_or(0),
    };
    let gid = match (wanted.and_then(|user| user.gid), group_text) {
        (Some(gid), _) => gid,
        // The image's group goes with the image's user only.
        (None, text) if !text.is_empty() && wanted_uid.is_none() => match text.parse() {
            Ok(gid) => gid,
            Err(_) => group_by_name(group, text).ok_or_else(|| {
                format!("unable to find group {text}: no matching entries in group file")
            })?,
        },
        _ => account.as_ref().map_or(0, |account| account.gid),
    };
    let mut groups = vec![gid];
    groups.extend_from_slice(&container.supplemental_groups);
    if let Some(account) = account.as_ref().filter(|_| !container.strict_groups) {
        groups.extend(memberships(group, account.name));
    }
    groups.sort_unstable();
    groups.dedup();
    let home = account
        .map(|account| account.home)
        .filter(|home| !home.is_empty());
    Ok(User {
        process: ProcessUser { uid, gid, groups },
        home: home.unwrap_or("/").to_owned(),
    })
}

fn accounts(passwd: &str) -> impl Iterator<Item = Account<'_>> {
    passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        let home = fields.nth(1).unwrap_or_default();
        Some(Account {
            name,
            uid,
            gid,
            home,
        })
    })
}

fn by_uid(passwd: &str, uid: u32) -> Option<Account<'_>> {
    accounts(passwd).find(|account| account.uid == uid)
}

/// Name, number and members of every group.
fn groups(text: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    text.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let gid = fields.nth(1)?.parse().ok()?;
        Some((name, gid, fields.next().unwrap_or_default()))
    })
}

fn group_by_name(text: &str, name: &str) -> Option<u32> {
    groups(text)
        .find(|(other, ..)| *other == name)
        .map(|(_, gid, _)| gid)
}

fn memberships<'a>(text: &'a str, user: &'a str) -> impl Iterator<Item = u32> + 'a {
    let is_member = move |members: &str| members.split(',').any(|member| member.trim() == user);
    groups(text)
        .filter(move |(_, _, members)| is_member(members))
        .map(|(_, gid, _)| gid)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime::model::UserSpec;

    const PASSWD: &str =
        "root:x:0:0:root:/root:/bin/sh\nweb:x:101:102::/var/www:/bin/false\nbroken\n";
    const GROUP: &str = "root:x:0:\nweb:x:102:\nlogs:x:5:web,other\n";

    #[track_caller]
    fn check(
        image: &str,
        wanted: Option<(Option<u32>, Option<u32>)>,
        expected: (u32, u32, &[u32], &str),
    ) {
        let container = ContainerSpec {
            user: wanted.map(|(uid, gid)| UserSpec { uid, gid }),
            supplemental_groups: vec![2000],
            ..ContainerSpec::default()
        };
        let user = resolve(image, &container, PASSWD, GROUP).unwrap();
        let ProcessUser { uid, gid, groups } = &user.process;
        assert_eq!((*uid, *gid, &groups[..], user.home.as_str()), expected);
    }

    #[test]
    fn the_image_adds_no_groups_where_it_may_not() {
        let container = ContainerSpec {
            supplemental_groups: vec![2000],
            strict_groups: true,
            ..ContainerSpec::default()
        };
        let user = resolve("web", &container, PASSWD, GROUP).unwrap();
        assert_eq!(user.process.groups, [102, 2000]);
    }

    #[test]
    fn users_are_resolved_in_the_image() {
        check("", None, (0, 0, &[0, 2000], "/root"));
        check("web", None, (101, 102, &[5, 102, 2000], "/var/www"));
        check("101", None, (101, 102, &[5, 102, 2000], "/var/www"));
        check("web:logs", None, (101, 5, &[5, 2000], "/var/www"));
        check("1234", None, (1234, 0, &[0, 2000], "/"));
        check("1234:77", None, (1234, 77, &[77, 2000], "/"));
        check(
            "web:logs",
            Some((Some(1000), None)),
            (1000, 0, &[0, 2000], "/"),
        );
        check(
            "web",
            Some((None, Some(3000))),
            (101, 3000, &[5, 2000, 3000], "/var/www"),
        );
        check("web", Some((Some(0), Some(0))), (0, 0, &[0, 2000], "/root"));
    }

    #[test]
    fn unknown_names_are_errors() {
        let plain = ContainerSpec::default();
        let error = resolve("nobody", &plain, PASSWD, GROUP).unwrap_err();
        assert_eq!(
            error,
            "unable to find user nobody: no matching entries in passwd file"
        );
        assert!(resolve("web:nope", &plain, PASSWD, GROUP).is_err());
    }
}
