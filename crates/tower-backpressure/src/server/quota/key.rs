//! The keys of quotas: what has a quota of its own.

use std::fmt;
use std::net::IpAddr;

use http::HeaderName;
use http::request::Parts;

use crate::request_info::{RequestInfo, Tenant};
use crate::stable_hash::digest;

mod client_address;

pub use self::client_address::ClientAddress;

/// What has a quota of its own: a tenant, an API key, an address.
///
/// Keys are equal if their bytes are. A long key counts by its start and a digest, so that a key takes 48 bytes
/// whatever a caller sends.
///
/// ```
/// use tower_backpressure::server::QuotaKey;
///
/// assert_eq!(QuotaKey::from("batch"), QuotaKey::from("batch".to_owned()));
/// assert_ne!(QuotaKey::from("batch"), QuotaKey::from("other"));
/// let (one, other) = ("a".repeat(1_000_000), "a".repeat(1_000_001));
/// assert_ne!(QuotaKey::from(one), QuotaKey::from(other));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct QuotaKey {
    /// The rest is zero.
    bytes: [u8; MAX_LENGTH],
    length: u8,
}

/// The longest key that is kept as it is: an identifier of 36 characters and a prefix.
const MAX_LENGTH: usize = 48;
/// The bytes of a digest.
const DIGEST: usize = 16;
/// The length of what stands for all requests without a key.
const UNKNOWN: u8 = u8::MAX;

impl QuotaKey {
    /// The key with these bytes.
    #[must_use]
    pub fn new(key: &[u8]) -> Self {
        let mut bytes = [0; MAX_LENGTH];
        if let Some(start) = bytes.get_mut(..key.len()) {
            start.copy_from_slice(key);
            return Self { bytes, length: key.len() as u8 };
        }
        let start = MAX_LENGTH - DIGEST;
        bytes[..start].copy_from_slice(&key[..start]);
        bytes[start..].copy_from_slice(&digest(key));
        // No key that is kept as it is has this length.
        Self { bytes, length: MAX_LENGTH as u8 + 1 }
    }

    /// What stands for all requests of which the tenant is unknown.
    pub(super) const fn unknown() -> Self {
        Self { bytes: [0; MAX_LENGTH], length: UNKNOWN }
    }

    /// The bytes of the key, or of what it counts by. Equal for equal keys in all processes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        if self.length == UNKNOWN {
            return b"(unknown)";
        }
        &self.bytes[..usize::from(self.length).min(MAX_LENGTH)]
    }

    /// Whether the bytes are not those of the key: a digest, or the unknown key.
    pub(super) const fn stands_for_others(&self) -> bool {
        self.length as usize > MAX_LENGTH
    }
}

impl From<&str> for QuotaKey {
    fn from(key: &str) -> Self {
        Self::new(key.as_bytes())
    }
}

impl From<String> for QuotaKey {
    fn from(key: String) -> Self {
        Self::new(key.as_bytes())
    }
}

impl From<u64> for QuotaKey {
    fn from(key: u64) -> Self {
        Self::new(&key.to_be_bytes())
    }
}

impl From<IpAddr> for QuotaKey {
    /// The address as it is. [`ClientAddress`] takes a whole network for one tenant where that is IPv6.
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::new(&address.octets()),
            IpAddr::V6(address) => Self::new(&address.octets()),
        }
    }
}

impl From<Tenant> for QuotaKey {
    fn from(tenant: Tenant) -> Self {
        Self::new(&tenant.number().to_be_bytes())
    }
}

impl fmt::Debug for QuotaKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QuotaKey({})", self.as_bytes().escape_ascii())
    }
}

/// Tells what has a quota of its own. Closures from the head of a request to a key are of this kind.
///
/// ```
/// use http::request::Parts;
/// use tower_backpressure::server::{ExtractKey, QuotaKey};
///
/// /// Set by an authentication layer further out.
/// #[derive(Clone)]
/// struct Account(u64);
///
/// let by_account = |head: &Parts| {
///     head.extensions.get().map(|&Account(number)| QuotaKey::from(number))
/// };
/// # fn takes(_: impl ExtractKey) {}
/// # takes(by_account);
/// ```
pub trait ExtractKey: Send + Sync + 'static {
    /// The key of a request with this head; `None`: unknown.
    fn extract(&self, head: &Parts) -> Option<QuotaKey>;
}

impl<F: Fn(&Parts) -> Option<QuotaKey> + Send + Sync + 'static> ExtractKey for F {
    fn extract(&self, head: &Parts) -> Option<QuotaKey> {
        self(head)
    }
}

/// The tenant that the [`RequestInfo`] of a request names: see [`ByTenant`].
#[derive(Clone, Copy, Debug, Default)]
pub struct ByTenant;

impl ExtractKey for ByTenant {
    fn extract(&self, head: &Parts) -> Option<QuotaKey> {
        RequestInfo::of(&head.extensions).tenant.map(QuotaKey::from)
    }
}

/// The value of a header, for example an API key.
///
/// A caller that may choose the value has as many quotas as it likes: put the layer inside the one that has
/// verified it.
///
/// ```
/// use http::HeaderName;
/// use tower_backpressure::server::ByHeader;
///
/// let by_api_key = ByHeader::new(HeaderName::from_static("x-api-key"));
/// # let _ = by_api_key;
/// ```
#[derive(Clone, Debug)]
pub struct ByHeader(HeaderName);

impl ByHeader {
    /// The value of this header; of several the first.
    #[must_use]
    pub const fn new(name: HeaderName) -> Self {
        Self(name)
    }
}

impl ExtractKey for ByHeader {
    fn extract(&self, head: &Parts) -> Option<QuotaKey> {
        head.headers.get(&self.0).map(|value| QuotaKey::new(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_equal_if_their_bytes_are_at_any_length() {
        let lengths = [0, 1, 8, 47, 48, 49, 1_000_000];
        let keys: Vec<_> = lengths.iter().map(|&length| vec![b'k'; length]).collect();
        for one in &keys {
            for other in &keys {
                assert_eq!(QuotaKey::new(one) == QuotaKey::new(other), one == other);
            }
        }
        // Neither zeros at the end nor the bytes that a long key counts by make another key.
        assert_ne!(QuotaKey::new(b"a"), QuotaKey::new(b"a\0"));
        let long = QuotaKey::new(&keys[6]);
        assert_ne!(QuotaKey::new(long.as_bytes()), long);
        assert_ne!(QuotaKey::new(QuotaKey::unknown().as_bytes()), QuotaKey::unknown());
    }

    #[test]
    fn a_key_of_any_bytes_is_printed_as_ascii() {
        assert_eq!(format!("{:?}", QuotaKey::new(b"a\0\xFF\n")), r"QuotaKey(a\x00\xff\n)");
    }
}
