//! SipHash-2-4: hashes that are the same in all processes.
//!
//! The hasher of the standard library may change between versions of Rust, and replicas that share a quota have to
//! agree. <https://www.aumasson.jp/siphash/siphash.pdf>

use std::hash::{Hash, Hasher};

/// Any constant: replicas have to agree on it.
const KEY: [u64; 2] = [0x7472_6f70_6963_616c, 0x7175_6f74_6173_2e2e];

/// The digest of these bytes.
#[cfg(feature = "server")]
pub(crate) fn digest(bytes: &[u8]) -> [u8; 16] {
    let mut hasher = StableHasher::new(KEY);
    hasher.write(bytes);
    hasher.digest()
}

/// The hash of a value whose parts are text, bytes and integers.
pub(crate) fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = StableHasher::new(KEY);
    value.hash(&mut hasher);
    hasher.finish()
}

struct StableHasher {
    state: [u64; 4],
    /// Bytes that do not fill a word yet, and how many they are.
    rest: u64,
    rest_len: u32,
    /// Of all bytes.
    len: u8,
}

impl StableHasher {
    const fn new([k0, k1]: [u64; 2]) -> Self {
        let state = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d ^ 0xEE,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        Self { state, rest: 0, rest_len: 0, len: 0 }
    }

    /// The variant with 128 bits.
    fn digest(&self) -> [u8; 16] {
        let mut state = self.state;
        compress(&mut state, u64::from(self.len) << 56 | self.rest);
        let mut digest = [0; 16];
        state[2] ^= 0xEE;
        rounds(&mut state, 4);
        digest[..8].copy_from_slice(&fold(&state));
        state[1] ^= 0xDD;
        rounds(&mut state, 4);
        digest[8..].copy_from_slice(&fold(&state));
        digest
    }
}

/// Integers count as little-endian, and lengths as 64 bits, on every machine.
impl Hasher for StableHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.len = self.len.wrapping_add(bytes.len() as u8);
        // Whole words at once, where none is begun.
        let (words, bytes) = match self.rest_len {
            0 => bytes.split_at(bytes.len() / 8 * 8),
            _ => (&[][..], bytes),
        };
        for word in words.chunks_exact(8) {
            compress(&mut self.state, u64::from_le_bytes(word.try_into().expect("eight bytes")));
        }
        for &byte in bytes {
            self.rest |= u64::from(byte) << (8 * self.rest_len);
            self.rest_len += 1;
            if self.rest_len == 8 {
                compress(&mut self.state, self.rest);
                (self.rest, self.rest_len) = (0, 0);
            }
        }
    }

    fn write_u16(&mut self, number: u16) {
        self.write(&number.to_le_bytes());
    }

    fn write_u32(&mut self, number: u32) {
        self.write(&number.to_le_bytes());
    }

    fn write_u64(&mut self, number: u64) {
        self.write(&number.to_le_bytes());
    }

    fn write_u128(&mut self, number: u128) {
        self.write(&number.to_le_bytes());
    }

    fn write_usize(&mut self, number: usize) {
        self.write_u64(number as u64);
    }

    /// The first half of the digest.
    fn finish(&self) -> u64 {
        let digest = self.digest();
        u64::from_le_bytes(*digest.first_chunk().expect("sixteen bytes"))
    }
}

fn compress(state: &mut [u64; 4], word: u64) {
    state[3] ^= word;
    rounds(state, 2);
    state[0] ^= word;
}

fn rounds([a, b, c, d]: &mut [u64; 4], count: usize) {
    for _ in 0..count {
        *a = a.wrapping_add(*b);
        *b = b.rotate_left(13) ^ *a;
        *a = a.rotate_left(32);
        *c = c.wrapping_add(*d);
        *d = d.rotate_left(16) ^ *c;
        *a = a.wrapping_add(*d);
        *d = d.rotate_left(21) ^ *a;
        *c = c.wrapping_add(*b);
        *b = b.rotate_left(17) ^ *c;
        *c = c.rotate_left(32);
    }
}

fn fold(state: &[u64; 4]) -> [u8; 8] {
    (state[0] ^ state[1] ^ state[2] ^ state[3]).to_le_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_those_of_the_reference_however_the_bytes_are_cut() {
        // Key 00 01 … 0f and messages 00 01 …, from the reference implementation's vectors.
        let key = [0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908];
        let hex = |length: u8, piece: usize| -> String {
            let message: Vec<u8> = (0..length).collect();
            let mut hasher = StableHasher::new(key);
            message.chunks(piece).for_each(|piece| hasher.write(piece));
            hasher.digest().iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hex(0, 1), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(1, 1), "da87c1d86b99af44347659119b22fc45");
        for length in 0..40 {
            assert!((2..=length).all(|piece| hex(length, piece.into()) == hex(length, 1)));
        }
    }

    #[test]
    fn hashes_stay_what_replicas_of_the_version_before_have() {
        assert_eq!(hash_of("batch"), hash_of(String::from("batch")));
        assert_eq!(hash_of("batch"), 0xb3f7_77b5_c38a_3677);
        assert_eq!(hash_of(7_u64), 0x4473_3542_a8e3_fd1a);
        assert_eq!(hash_of(7_usize), hash_of(7_u64));
        assert_eq!(hash_of(("a", 7_u32)), 0xe053_e481_ea2b_4323);
    }
}
