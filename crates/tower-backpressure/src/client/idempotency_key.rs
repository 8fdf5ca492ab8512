//! Makes the keys by which servers recognise a repeated request.

use std::hash::{BuildHasher, RandomState};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use http::HeaderValue;

/// A key that no other request has: a quoted random UUID (RFC 9562, version 4), as
/// draft-ietf-httpapi-idempotency-key-header asks for.
///
/// The numbers are keyed hashes of a counter. The keys of the standard library's SipHash come from the
/// operating system. A generator with a seed would repeat its keys, and two requests would count as one.
pub(crate) fn new_idempotency_key() -> HeaderValue {
    static KEYS: OnceLock<[RandomState; 2]> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let keys = KEYS.get_or_init(|| [RandomState::new(), RandomState::new()]);
    let count = COUNT.fetch_add(1, Relaxed);
    let [high, low] = keys.each_ref().map(|key| key.hash_one(count));
    let (high, low) = (high & !0xF000 | 0x4000, low >> 2 | 1 << 63);
    let key = format!(
        "\"{:08x}-{:04x}-{:04x}-{:04x}-{:012x}\"",
        high >> 32,
        high >> 16 & 0xFFFF,
        high & 0xFFFF,
        low >> 48,
        low & 0xFFFF_FFFF_FFFF
    );
    HeaderValue::try_from(key).expect("hexadecimal digits in quotes are a valid value")
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_key_is_made_twice_and_each_is_a_quoted_uuid() {
        let keys: HashSet<_> = (0..10_000).map(|_| new_idempotency_key()).collect();
        assert_eq!(keys.len(), 10_000);
        for key in keys {
            let key = key.to_str().unwrap();
            let parts: Vec<_> = key.trim_matches('"').split('-').map(str::len).collect();
            assert_eq!((key.len(), parts), (38, vec![8, 4, 4, 4, 12]), "{key}");
            assert_eq!(&key[15..16], "4", "{key}");
            assert!(matches!(&key[20..21], "8" | "9" | "a" | "b"), "{key}");
        }
    }
}
