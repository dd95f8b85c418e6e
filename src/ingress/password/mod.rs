//! The lines of an htpasswd file.
//!
//! Known are what `htpasswd` and `openssl passwd` write today: bcrypt, SHA-crypt, Apache's and BSD's MD5, `{SHA}`,
//! `{SSHA}` and `{PLAIN}`. A user whose line is of another kind (the old `crypt` with its eight letters), or so
//! expensive that a request would take seconds, is never let in, and it is told.

mod bcrypt;
mod md5;
mod sha;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bcrypt::Bcrypt;
use md5::md5_crypt;
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use sha::ShaCrypt;
use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

/// Of crypt's own spelling of bytes.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Longer passwords are refused before anything is computed.
const PASSWORD_BYTES_MAX: usize = 256;

#[derive(Clone, Debug, Default)]
pub struct Users {
    proofs: HashMap<String, Proof>,
    /// Digests of credentials that were right before: proofs are slow on purpose, and requests are many.
    admitted: Arc<Mutex<HashMap<String, Vec<u8>>>>,
}

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
    ShaCrypt(ShaCrypt),
    Bcrypt(Bcrypt),
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
        let users = Users {
            proofs: users,
            admitted: Arc::default(),
        };
        (users, unknown)
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
        let proof = self.proofs.get(user);
        let Some(proof) = proof.filter(|_| password.len() <= PASSWORD_BYTES_MAX) else {
            return false;
        };
        let given = digest(&SHA256, password.as_bytes()).as_ref().to_vec();
        let admitted = || self.admitted.lock().expect("no panic while locked");
        if admitted().get(user) == Some(&given) {
            return true;
        }
        let is_right = proof.holds(password);
        if is_right {
            admitted().insert(user.to_owned(), given);
        }
        is_right
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
        if let Some(known) = Bcrypt::read(text) {
            return Some(Proof::Bcrypt(known));
        }
        if let Some(known) = ShaCrypt::read(text) {
            return Some(Proof::ShaCrypt(known));
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
            Proof::ShaCrypt(known) => (known.of(password.as_bytes()).into_bytes(), known.hash()),
            Proof::Bcrypt(known) => (known.of(password.as_bytes()), known.hash()),
        };
        // How far two digests agree tells nothing about the passwords.
        digest(&SHA256, &found).as_ref() == digest(&SHA256, expected).as_ref()
    }
}

/// The lowest six bits first, in crypt's alphabet.
fn put(text: &mut String, mut value: u32, letters: usize) {
    for _ in 0..letters {
        text.push(char::from(ALPHABET[(value & 63) as usize]));
        value >>= 6;
    }
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
            old:rqXexS6ZhobKA\n\
            cut:$2y$05$abcdefghijklmnopqrstuu\n\
            dear:$2y$31$zvwUbIW4gJlQzbyTRxmNzOQwlbJDzQ8R4rzqkJ.O3csQ6XP6U6Yii\n"
            .replace("APACHE", APACHE)
            .replace("BSD", BSD);
        let (users, unknown) = Users::read(&file);
        assert_eq!(unknown, ["old", "cut", "dear"]);
        for user in ["apache", "bsd", "sha", "plain"] {
            // The second time it is remembered.
            for _ in 0..2 {
                assert!(admits(&users, user, "password"), "{user}");
                assert!(!admits(&users, user, "Password"), "{user}");
                assert!(!admits(&users, user, ""), "{user}");
            }
        }
        assert!(!admits(&users, "old", "password"));
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

    /// Passwords, and what `htpasswd -B`, `openssl passwd -5` and `-6` make of them.
    const SLOW: [(&str, &str); 9] = [
        (
            "secret",
            "$2y$04$zvwUbIW4gJlQzbyTRxmNzOQwlbJDzQ8R4rzqkJ.O3csQ6XP6U6Yii",
        ),
        (
            "비밀 번호",
            "$2y$04$fGCsEEXxBH9rc8xi2AEsgOX8G2m.EQHPlAITvVRi0RNQHLyhYra4e",
        ),
        (
            LONG,
            "$2y$04$FqkjNRlEfNbwiBdi/tzEVenxSSK3DTM3j1sUAUiHDyyK2IzO8iWTW",
        ),
        (
            "secret",
            "$5$saltstring$C3o4O1TC6aRHF4FI.QSZMXtHbaj2gSXr4sUc/3NcUi.",
        ),
        (
            "비밀 번호",
            "$5$saltstring$HgHzdmPFxQUyNr6S3XmjnanOeZ36Hh9DZwGUyz0PAU9",
        ),
        (
            LONG,
            "$5$saltstring$Xq8lbPEsSst9iTOaJ7y6ElyMbZn0g.STP3ms2TO0df1",
        ),
        (
            "secret",
            "$6$saltstringsaltst$UXuBvBuPfQU4z1.hi3CoNXH4C7ulNXpsepRT322IE4RHFhcT/ge6WV1Wz4Ryq8EGyu0hllpHMecmXcc/Pudmo.",
        ),
        (
            LONG,
            "$6$saltstringsaltst$hyzw/DDmLQ/V7mflm1oiIv8KMwsLo8998LtMPVYxiBlJjyRGAzAgvjDE5ijKZJhnA7HZ.4N97XczwFdF7z..H0",
        ),
        (
            "secret",
            "$6$rounds=1500$abc$F2.P6iSAFLF.06eJJhrWJrLoNFr9TdmGOJ3HNhFCs4KFYVW3TBrMkDC4CRKRjihyhxez15iQzKMjQRhcJcFz90",
        ),
    ];
    const LONG: &str = "a very long password that is much longer than sixty four bytes, so that every loop is taken twice";

    #[test]
    fn slow_proofs_hold() {
        for (password, proof) in SLOW {
            let (users, unknown) = Users::read(&format!("u:{proof}"));
            assert!(unknown.is_empty(), "{proof}");
            assert!(!admits(&users, "u", &format!("x{password}")), "{proof}");
            assert!(admits(&users, "u", password), "{proof}");
        }
    }

    const APACHE: &str = "k3J5yKYW6TlGmTytnkXbQ0";
    const BSD: &str = "qjXMvbEw8oaL.CzflDtaK/";
}
