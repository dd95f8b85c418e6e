//! Tickets and sessions: who holds a secret that we gave out. Time comes in.
//!
//! Only hashes of the secrets are kept, so a lookup tells nothing about a secret by the time it takes. Both tables
//! are bounded; the oldest entry makes room.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::{SignedDuration, Timestamp};
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;

/// A link that was printed is followed soon, or printed again.
pub const TICKET_LIFE: SignedDuration = SignedDuration::from_hours(1);
const TICKETS_MAX: usize = 16;
const SESSIONS_MAX: usize = 32;

type Hash = [u8; 32];

/// Everybody who may come in, or is in.
#[derive(Debug, Default)]
pub struct Sessions {
    tickets: VecDeque<(Hash, Timestamp)>,
    open: VecDeque<Hash>,
}

impl Sessions {
    /// A new ticket: good once, for [`TICKET_LIFE`].
    pub fn ticket(&mut self, now: Timestamp) -> String {
        let secret = secret();
        if self.tickets.len() >= TICKETS_MAX {
            self.tickets.pop_front();
        }
        self.tickets.push_back((hash(&secret), now));
        secret
    }

    /// The session of a good ticket, which is good no longer.
    pub fn enter(&mut self, ticket: &str, now: Timestamp) -> Option<String> {
        let wanted = hash(ticket);
        let index = self.tickets.iter().position(|(hash, _)| *hash == wanted)?;
        let (_, made) = self.tickets.remove(index)?;
        if now.duration_since(made) > TICKET_LIFE {
            return None;
        }
        let secret = secret();
        if self.open.len() >= SESSIONS_MAX {
            self.open.pop_front();
        }
        self.open.push_back(hash(&secret));
        Some(secret)
    }

    #[must_use]
    pub fn is_open(&self, session: &str) -> bool {
        self.open.contains(&hash(session))
    }

    /// Those that are in, for [`Sessions::restored`].
    #[must_use]
    pub fn hashes(&self) -> Vec<String> {
        let hashes = self.open.iter();
        hashes.map(|hash| URL_SAFE_NO_PAD.encode(hash)).collect()
    }

    /// With everybody who was in. What is no hash is left out.
    #[must_use]
    pub fn restored(hashes: &[String]) -> Sessions {
        let hash = |text: &String| URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok();
        Sessions {
            open: hashes.iter().filter_map(hash).take(SESSIONS_MAX).collect(),
            ..Sessions::default()
        }
    }

    pub fn leave(&mut self, session: &str) {
        let left = hash(session);
        self.open.retain(|open| *open != left);
    }
}

/// 256 random bits, fit for URLs and cookies.
fn secret() -> String {
    let mut random = [0u8; 32];
    getrandom::fill(&mut random).expect("the kernel has random numbers");
    URL_SAFE_NO_PAD.encode(random)
}

fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}

/// The value of one cookie in a `Cookie` header.
#[must_use]
pub fn cookie<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let pairs = header
        .split(';')
        .filter_map(|pair| pair.trim().split_once('='));
    pairs
        .into_iter()
        .find_map(|(key, value)| (key == name).then_some(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn a_ticket_is_good_once_and_not_forever() {
        let mut sessions = Sessions::default();
        let ticket = sessions.ticket(at(0));
        let session = sessions.enter(&ticket, at(1)).unwrap();
        assert!(sessions.is_open(&session));
        assert_eq!(sessions.enter(&ticket, at(2)), None);
        let late = sessions.ticket(at(0));
        assert_eq!(sessions.enter(&late, at(3601)), None);
        assert!(!sessions.is_open(&ticket) && !sessions.is_open(""));
        sessions.leave(&session);
        assert!(!sessions.is_open(&session));
    }

    #[test]
    fn who_was_in_is_in_again_but_no_ticket_is() {
        let mut sessions = Sessions::default();
        let (used, unused) = (sessions.ticket(at(0)), sessions.ticket(at(0)));
        let session = sessions.enter(&used, at(1)).unwrap();
        let mut kept = sessions.hashes();
        kept.extend(["short".to_owned(), "?".to_owned()]);
        let mut again = Sessions::restored(&kept);
        assert!(again.is_open(&session) && again.hashes().len() == 1);
        assert_eq!(again.enter(&unused, at(2)), None);
    }

    #[test]
    fn the_oldest_make_room() {
        let mut sessions = Sessions::default();
        let first = sessions.ticket(at(0));
        let open: Vec<String> = (0..SESSIONS_MAX + 1)
            .map(|_| {
                let ticket = sessions.ticket(at(0));
                sessions.enter(&ticket, at(0)).unwrap()
            })
            .collect();
        assert!(!sessions.is_open(&open[0]) && sessions.is_open(&open[1]));
        for _ in 0..TICKETS_MAX {
            sessions.ticket(at(0));
        }
        assert_eq!(sessions.enter(&first, at(1)), None);
    }

    #[test]
    fn cookies_are_found_by_their_whole_name() {
        let header = "a=1; kubik-70=x; kubik-7070=y=z";
        assert_eq!(cookie(header, "kubik-7070"), Some("y=z"));
        assert_eq!(cookie(header, "kubik-70"), Some("x"));
        assert_eq!(cookie(header, "kubik-7"), None);
    }
}
