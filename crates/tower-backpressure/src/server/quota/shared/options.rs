//! The options of a shared quota.

use std::sync::Arc;
use std::time::Duration;

use crate::server::quota::store::QuotaStore;

/// How replicas share a quota: see [`QuotaLayer::shared`](crate::QuotaLayer::shared).
///
/// | option | default | why |
/// |---|---|---|
/// | [`lease`](Self::lease) | a tenth of the burst | ten replicas that have just begun admit at most twice the burst |
/// | [`max_wait`](Self::max_wait) | none | a request does not wait for a store; turn it on for bursts of new tenants |
/// | [`timeout`](Self::timeout) | 250 ms | a store in the same region answers in 1 ms; no request waits for it |
/// | [`on_failure`](Self::on_failure) | [`OnStoreFailure::LocalShare`] | neither an outage for all tenants nor a quota for none |
/// | [`replicas`](Self::replicas) | 1, until the store says how many there are | the share of a replica while the store fails |
#[derive(Clone, Debug)]
pub struct SharedQuota {
    pub(super) store: Arc<dyn QuotaStore>,
    pub(super) max_lease: Option<u64>,
    pub(super) max_wait: Duration,
    pub(super) timeout: Duration,
    pub(super) on_failure: OnStoreFailure,
    pub(super) replicas: u32,
}

/// What happens to requests for which there are no tokens at hand while the store cannot be asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum OnStoreFailure {
    /// Each replica gives each key its share: the quota divided by the number of replicas.
    #[default]
    LocalShare,
    /// They are admitted.
    Open,
    /// They are rejected.
    Closed,
}

/// How long a store may take for an answer.
const TIMEOUT: Duration = Duration::from_millis(250);
impl SharedQuota {
    /// Shares a quota through this store.
    #[must_use]
    pub fn new(store: impl QuotaStore) -> Self {
        Self {
            store: Arc::new(store),
            max_lease: None,
            max_wait: Duration::ZERO,
            timeout: TIMEOUT,
            on_failure: OnStoreFailure::default(),
            replicas: 1,
        }
    }

    /// The most tokens of a key that a replica holds, and by which it may overdraw what it holds before the store
    /// has answered. All replicas together admit at most the quota and this many each. A larger lease takes fewer
    /// round trips; a smaller one leaves fewer tokens where they are not needed.
    ///
    /// # Panics
    /// When `tokens` is 0.
    #[must_use]
    pub fn lease(mut self, tokens: u64) -> Self {
        assert!(tokens > 0, "lease must be at least 1");
        self.max_lease = Some(tokens);
        self
    }

    /// Lets a request wait for the answer of the store for up to this long, where its replica has no tokens of the key
    /// and has not heard yet whether there are more. Without it, a burst at a replica that a tenant has not used lately
    /// is cut to a lease. 10 ms are enough for a store in the same region. While the store fails, no request waits.
    #[must_use]
    pub const fn max_wait(mut self, max_wait: Duration) -> Self {
        self.max_wait = max_wait;
        self
    }

    /// After how long an exchange with the store has failed. A pause of the process does not count: the store has answered
    /// meanwhile.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// What happens to requests while the store cannot be asked. Tokens that a replica holds are used in any case.
    #[must_use]
    pub const fn on_failure(mut self, on_failure: OnStoreFailure) -> Self {
        self.on_failure = on_failure;
        self
    }

    /// How many replicas there are, until the store says it.
    ///
    /// # Panics
    /// When `replicas` is 0.
    #[must_use]
    pub fn replicas(mut self, replicas: u32) -> Self {
        assert!(replicas > 0, "replicas must be at least 1");
        self.replicas = replicas;
        self
    }
}

impl OnStoreFailure {
    pub(in crate::server::quota) const fn as_str(self) -> &'static str {
        match self {
            Self::LocalShare => "local-share",
            Self::Open => "open",
            Self::Closed => "closed",
        }
    }
}
