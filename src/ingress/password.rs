//! The lines of an htpasswd file.
//!
//! Known are what `htpasswd` and `openssl passwd` write without being asked for more: Apache's and BSD's MD5, `{SHA}`,
//! `{SSHA}` and `{PLAIN}`. A user whose line is of another kind is never let in, and it is told.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use std::collections::HashMap;

/// Rounds of the MD5 kinds.
const ROUNDS: usize = 1000;
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Longer passwords are refused before anything is computed.
const PASSWORD_BYTES_MAX: usize = 256;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Users(HashMap<String, Proof>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Proof {
    /// `$apr1$` or `$1$`, salt, and the text that the password must lead to.
    Md5 {
        magic: &'static str,
        salt: String,
        hash: String,
    },
    /// SHA-1 of password and salt.
    Sha {
        salt: Vec<u8>,
        hash: Vec<u8>,
    },
    Plain(String),
}

impl Users {
    /// Reads `user:proof` lines. Answers the users whose kind of proof is not known as well.
    #[must_use]
    pub fn read(file: &str) -> (Users, Vec<String>) {
        let lines = file.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        Users::collect(lines.filter_map(|line| line.split_once(':')))
    }

    /// From pairs of user and proof.
    #[must_use]
    pub fn collect<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> (Users, Vec<String>) {
        let (mut users, mut unknown) = (HashMap::new(), Vec::new());
        for (user, proof) in pairs {
            // A third field is a comment.
            let proof = proof.split(':').next().unwrap_or_default().trim();
            match Proof::read(proof) {
                Some(proof) => drop(users.insert(user.to_owned(), proof)),
                None => unknown.push(user.to_owned()),
            }
        }
        (Users(users), unknown)
    }

    /// Whether an `Authorization` header lets somebody in.
    #[must_use]
    pub fn admit(&self, header: Option<&[u8]>) -> bool {
        let credentials = header.and_then(|header| std::str::from_utf8(header).ok());
        let credentials = credentials.and_then(|text| {
            let (scheme, rest) = text.split_once(' ')?;
            let decoded = STANDARD.decode(rest.trim()).ok()?;
            let is_basic = scheme.eq_ignore_ascii_case("basic");
            String::from_utf8(decoded).ok().filter(|_| is_basic)
        });
        let Some((user, password)) = credentials.as_deref().and_then(|text| text.split_once(':'))
        else {
            return false;
        };
        let proof = self.0.get(user);
        password.len() <= PASSWORD_BYTES_MAX && proof.is_some_and(|proof| proof.holds(password))
    }
}

impl Proof {
    fn read(text: &str) -> Option<Proof> {
        for magic in ["$apr1$", "$1$"] {
            if let Some(rest) = text.strip_prefix(magic) {
                let (salt, hash) = rest.split_once('$')?;
                return Some(Proof::Md5 {
                    magic,
                    salt: salt.get(..salt.len().min(8))?.to_owned(),
                    hash: hash.to_owned(),
                });
            }
        }
        if let Some(plain) = text.strip_prefix("{PLAIN}") {
            return Some(Proof::Plain(plain.to_owned()));
        }
        let coded = text
            .strip_prefix("{SHA}")
            .or_else(|| text.strip_prefix("{SSHA}"))?;
        let mut hash = STANDARD
            .decode(coded)
            .ok()
            .filter(|bytes| bytes.len() >= 20)?;
        let salt = hash.split_off(20);
        Some(Proof::Sha { salt, hash })
    }

    fn holds(&self, password: &str) -> bool {
        let (found, expected) = match self {
            Proof::Plain(expected) => (password.as_bytes().to_vec(), expected.as_bytes()),
            Proof::Sha { salt, hash } => {
                let salted = [password.as_bytes(), salt].concat();
                let digest = digest(&SHA1_FOR_LEGACY_USE_ONLY, &salted);
                (digest.as_ref().to_vec(), hash.as_slice())
            }
            Proof::Md5 { magic, salt, hash } => (
                md5_crypt(password.as_bytes(), magic, salt.as_bytes()).into_bytes(),
                hash.as_bytes(),
            ),
        };
        // How far two digests agree tells nothing about the passwords.
        digest(&SHA256, &found).as_ref() == digest(&SHA256, expected).as_ref()
    }
}

/// The MD5-based crypt of FreeBSD, which Apache took over with another magic word.
fn md5_crypt(password: &[u8], magic: &str, salt: &[u8]) -> String {
    let mut inner = Md5::new();
    for part in [password, salt, password] {
        inner.update(part);
    }
    let inner = inner.finalize();
    let mut outer = Md5::new();
    for part in [password, magic.as_bytes(), salt] {
        outer.update(part);
    }
    for chunk in password.chunks(16) {
        outer.update(&inner[..chunk.len()]);
    }
    let mut bits = password.len();
    while bits > 0 {
        let byte = if bits & 1 == 1 { 0 } else { password[0] };
        outer.update([byte]);
        bits >>= 1;
    }
    let mut hash = outer.finalize();
    for round in 0..ROUNDS {
        let mut next = Md5::new();
        let (first, last): (&[u8], &[u8]) = match round % 2 {
            0 => (&hash, password),
            _ => (password, &hash),
        };
        next.update(first);
        if round % 3 != 0 {
            next.update(salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        next.update(last);
        hash = next.finalize();
    }
    spell(&hash)
}

/// The 16 bytes in crypt's own order and alphabet.
fn spell(hash: &[u8]) -> String {
    const ORDER: [[usize; 3]; 5] = [[0, 6, 12], [1, 7, 13], [2, 8, 14], [3, 9, 15], [4, 10, 5]];
    let mut text = String::with_capacity(22);
    let mut put = |mut value: u32, count: usize| {
        for _ in 0..count {
            text.push(char::from(ALPHABET[(value & 63) as usize]));
            value >>= 6;
        }
    };
    for [high, middle, low] in ORDER {
        let value =
            u32::from(hash[high]) << 16 | u32::from(hash[middle]) << 8 | u32::from(hash[low]);
        put(value, 4);
    }
    put(u32::from(hash[11]), 2);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admits(users: &Users, user: &str, password: &str) -> bool {
        let coded = STANDARD.encode(format!("{user}:{password}"));
        users.admit(Some(format!("Basic {coded}").as_bytes()))
    }

    #[test]
    fn the_lines_of_usual_tools_are_understood() {
        // Each made by `openssl passwd` or by hand with `openssl dgst -sha1`.
        let file = "# people\n\
            apache:$apr1$salt1234$APACHE\n\
            bsd:$1$saltsalt$BSD:comment\n\
            sha:{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=\n\
            plain:{PLAIN}password\n\
            modern:$2y$05$abcdefghijklmnopqrstuu\n"
            .replace("APACHE", APACHE)
            .replace("BSD", BSD);
        let (users, unknown) = Users::read(&file);
        assert_eq!(unknown, ["modern"]);
        for user in ["apache", "bsd", "sha", "plain"] {
            assert!(admits(&users, user, "password"), "{user}");
            assert!(!admits(&users, user, "Password"), "{user}");
            assert!(!admits(&users, user, ""), "{user}");
        }
        assert!(!admits(&users, "modern", "password"));
        assert!(!admits(&users, "nobody", "password"));
        for header in [
            None,
            Some("Basic"),
            Some("Basic !!"),
            Some("Bearer cGxhaW46cGFzc3dvcmQ="),
        ] {
            assert!(!users.admit(header.map(str::as_bytes)), "{header:?}");
        }
    }

    const APACHE: &str = "k3J5yKYW6TlGmTytnkXbQ0";
    const BSD: &str = "qjXMvbEw8oaL.CzflDtaK/";
}
