//! bcrypt, `$2y$` and its brothers.

use base64::{
    Engine as _,
    alphabet::BCRYPT,
    engine::{GeneralPurpose, general_purpose::NO_PAD},
};
use blowfish::Blowfish;

const TEXT: GeneralPurpose =
    GeneralPurpose::new(&BCRYPT, NO_PAD.with_decode_allow_trailing_bits(true));
/// Every step takes twice as long as the one before.
const COST_MAX: u32 = 14;
const SALT_LETTERS: usize = 22;
/// What bcrypt looks at, the zero at the end included.
const PASSWORD_BYTES_MAX: usize = 72;
/// The last byte of what comes out is not kept.
const HASH_BYTES: usize = 23;
/// "OrpheanBeholderScryDoubt".
const BEGINNING: [u32; 6] = [
    0x4f72_7068,
    0x6561_6e42,
    0x6568_6f6c,
    0x6465_7253,
    0x6372_7944,
    0x6f75_6274,
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bcrypt {
    cost: u32,
    salt: Vec<u8>,
    hash: Vec<u8>,
}

impl Bcrypt {
    pub fn read(text: &str) -> Option<Bcrypt> {
        let rest = ["$2y$", "$2b$", "$2a$"]
            .iter()
            .find_map(|magic| text.strip_prefix(magic))?;
        let (cost, rest) = rest.split_once('$')?;
        let cost: u32 = cost.parse().ok()?;
        let (salt, hash) = rest.split_at_checked(SALT_LETTERS)?;
        let known = Bcrypt {
            cost,
            salt: TEXT.decode(salt).ok()?,
            hash: TEXT.decode(hash).ok()?,
        };
        let is_whole = known.salt.len() == 16 && known.hash.len() == HASH_BYTES;
        (is_whole && (4..=COST_MAX).contains(&cost)).then_some(known)
    }

    pub fn hash(&self) -> &[u8] {
        &self.hash
    }

    /// What this password leads to.
    pub fn of(&self, password: &[u8]) -> Vec<u8> {
        let mut key = [password, &[0]].concat();
        key.truncate(PASSWORD_BYTES_MAX);
        let mut state = Blowfish::bc_init_state();
        state.salted_expand_key(&self.salt, &key);
        for _ in 0..1u32 << self.cost {
            state.bc_expand_key(&key);
            state.bc_expand_key(&self.salt);
        }
        let mut hash = Vec::with_capacity(BEGINNING.len() * 4);
        for pair in BEGINNING.chunks(2) {
            let mut pair = [pair[0], pair[1]];
            for _ in 0..64 {
                pair = state.bc_encrypt(pair);
            }
            hash.extend(pair.iter().flat_map(|half| half.to_be_bytes()));
        }
        hash.truncate(HASH_BYTES);
        hash
    }
}
