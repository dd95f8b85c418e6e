//! The SHA-based crypt, `$5$` and `$6$`, as Ulrich Drepper has specified it.

use super::put;
use ring::digest::{Algorithm, Context, SHA256, SHA512};

const ROUNDS: u32 = 5000;
const ROUNDS_MIN: u32 = 1000;
/// More would take seconds.
const ROUNDS_MAX: u32 = 200_000;
const SALT_BYTES_MAX: usize = 16;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShaCrypt {
    is_long: bool,
    rounds: u32,
    salt: String,
    hash: String,
}

impl ShaCrypt {
    pub fn read(text: &str) -> Option<ShaCrypt> {
        let short = text.strip_prefix("$5$").map(|rest| (false, rest));
        let (is_long, rest) = short.or_else(|| Some((true, text.strip_prefix("$6$")?)))?;
        let (rounds, rest) = match rest.strip_prefix("rounds=") {
            None => (ROUNDS, rest),
            Some(rest) => {
                let (count, rest) = rest.split_once('$')?;
                let count: u32 = count.parse().ok()?;
                (count.max(ROUNDS_MIN), rest)
            }
        };
        let (salt, hash) = rest.split_once('$')?;
        let known = ShaCrypt {
            is_long,
            rounds,
            salt: salt.get(..salt.len().min(SALT_BYTES_MAX))?.to_owned(),
            hash: hash.to_owned(),
        };
        (rounds <= ROUNDS_MAX).then_some(known)
    }

    pub fn hash(&self) -> &[u8] {
        self.hash.as_bytes()
    }

    /// What this password leads to.
    pub fn of(&self, password: &[u8]) -> String {
        let algorithm = if self.is_long { &SHA512 } else { &SHA256 };
        let salt = self.salt.as_bytes();
        let size = algorithm.output_len();
        let inner = digest(algorithm, &[password, salt, password]);
        let mut outer = Context::new(algorithm);
        outer.update(password);
        outer.update(salt);
        for chunk in password.chunks(size) {
            outer.update(&inner[..chunk.len()]);
        }
        let mut bits = password.len();
        while bits > 0 {
            outer.update(if bits & 1 == 1 { &inner } else { password });
            bits >>= 1;
        }
        let mut hash = outer.finish().as_ref().to_vec();
        let repeated = digest(algorithm, &vec![password; password.len()]);
        let word: Vec<u8> = repeated.into_iter().cycle().take(password.len()).collect();
        let repeated = digest(algorithm, &vec![salt; 16 + usize::from(hash[0])]);
        let grain: Vec<u8> = repeated.into_iter().cycle().take(salt.len()).collect();
        for round in 0..self.rounds {
            let (first, last) = match round % 2 {
                0 => (&hash, &word),
                _ => (&word, &hash),
            };
            let mut parts: Vec<&[u8]> = vec![first];
            if round % 3 != 0 {
                parts.push(&grain);
            }
            if round % 7 != 0 {
                parts.push(&word);
            }
            parts.push(last);
            hash = digest(algorithm, &parts);
        }
        spell(&hash)
    }
}

fn digest(algorithm: &'static Algorithm, parts: &[&[u8]]) -> Vec<u8> {
    let mut context = Context::new(algorithm);
    for part in parts {
        context.update(part);
    }
    context.finish().as_ref().to_vec()
}

/// Threes of bytes from the three thirds of the hash; which third comes first goes round.
fn spell(hash: &[u8]) -> String {
    let third = hash.len() / 3;
    let is_long = hash.len() == 64;
    let mut text = String::with_capacity(86);
    for at in 0..third {
        let mut places = [at, at + third, at + 2 * third];
        places.rotate_left(match is_long {
            true => at % 3,
            false => (3 - at % 3) % 3,
        });
        let [high, middle, low] = places.map(|place| u32::from(hash[place]));
        put(&mut text, high << 16 | middle << 8 | low, 4);
    }
    match is_long {
        true => put(&mut text, u32::from(hash[63]), 2),
        false => put(&mut text, u32::from(hash[31]) << 8 | u32::from(hash[30]), 3),
    }
    text
}
