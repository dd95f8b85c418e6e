//! The MD5-based crypt, `$1$` and `$apr1$`.

use super::put;
use md5::{Digest as _, Md5};

const ROUNDS: usize = 1000;

/// The MD5-based crypt of FreeBSD, which Apache took over with another magic word.
pub fn md5_crypt(password: &[u8], magic: &str, salt: &[u8]) -> String {
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
    for [high, middle, low] in ORDER {
        let value =
            u32::from(hash[high]) << 16 | u32::from(hash[middle]) << 8 | u32::from(hash[low]);
        put(&mut text, value, 4);
    }
    put(&mut text, u32::from(hash[11]), 2);
    text
}
