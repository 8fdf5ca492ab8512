//! SipHash-2-4 with 128 bits: a digest of long keys that is the same in all processes.
//!
//! The hasher of the standard library may change between versions of Rust, and replicas that share a quota have to
//! agree. <https://www.aumasson.jp/siphash/siphash.pdf>

/// Any constant: replicas have to agree on it.
const KEY: [u64; 2] = [0x7472_6f70_6963_616c, 0x7175_6f74_6173_2e2e];

/// The digest of these bytes.
pub(super) fn digest(bytes: &[u8]) -> [u8; 16] {
    siphash(KEY, bytes)
}

fn siphash([k0, k1]: [u64; 2], bytes: &[u8]) -> [u8; 16] {
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d ^ 0xEE,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let words = bytes.chunks_exact(8);
    let rest = words.remainder();
    for word in words {
        compress(&mut state, u64::from_le_bytes(word.try_into().expect("eight bytes")));
    }
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    last[7] = bytes.len() as u8;
    compress(&mut state, u64::from_le_bytes(last));
    let mut digest = [0; 16];
    state[2] ^= 0xEE;
    rounds(&mut state, 4);
    digest[..8].copy_from_slice(&fold(&state));
    state[1] ^= 0xDD;
    rounds(&mut state, 4);
    digest[8..].copy_from_slice(&fold(&state));
    digest
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
    fn digests_are_those_of_the_reference() {
        // Key 00 01 … 0f and messages 00 01 …, from the reference implementation's vectors.
        let key = [0x0706_0504_0302_0100, 0x0F0E_0D0C_0B0A_0908];
        let hex = |length: u8| -> String {
            let message: Vec<u8> = (0..length).collect();
            siphash(key, &message).iter().map(|byte| format!("{byte:02x}")).collect()
        };
        assert_eq!(hex(0), "a3817f04ba25a8e66df67214c7550293");
        assert_eq!(hex(1), "da87c1d86b99af44347659119b22fc45");
    }
}
