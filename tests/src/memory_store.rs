//! A store of shared quotas in memory, which can be slow, fail, hang, lose answers and lie.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use backpressure_core::{Claim, Quota, QuotaDecision, QuotaUsage, TakenTokens, Timestamp};
use tokio::time::{Instant, sleep};
use tower_backpressure::Grant;
use tower_backpressure::server::{Exchange, ExchangeFuture, QuotaStore};

/// A store in memory; clones are the same one. Its time is tokio's.
#[derive(Clone, Debug)]
pub struct MemoryStore {
    shared: Arc<Shared>,
}

/// How the store behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// It answers after this time.
    Answers(Duration),
    /// It answers with an error.
    Fails,
    /// It never answers, and does nothing.
    Hangs,
    /// It does what it is asked for, and never answers.
    LosesAnswers,
    /// It answers with this number, and does nothing.
    Lies(u64),
}

#[derive(Debug)]
struct Shared {
    behaviour: Mutex<Behaviour>,
    /// How it behaves to exchanges of keys with a prefix.
    to_some: Mutex<Option<(Vec<u8>, Behaviour)>>,
    keys: Mutex<HashMap<Vec<u8>, State>>,
    exchanges: AtomicU64,
    epoch: Instant,
}

#[derive(Debug, Default)]
struct State {
    usage: [QuotaUsage; 4],
    /// What the usage is counted by.
    quota: Option<Quota>,
    replicas: HashMap<u64, Record>,
}

/// What is known of one replica.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    book: u64,
    sequence: u64,
    claimed: u64,
    excess: i64,
    /// What each window has forgiven.
    forgiven: [u64; 4],
}

impl Default for MemoryStore {
    fn default() -> Self {
        let shared = Shared {
            behaviour: Mutex::new(Behaviour::Answers(Duration::from_millis(1))),
            to_some: Mutex::default(),
            keys: Mutex::default(),
            exchanges: AtomicU64::new(0),
            epoch: Instant::now(),
        };
        Self { shared: Arc::new(shared) }
    }
}

impl MemoryStore {
    /// Changes how the store behaves from now on.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Changes how the store behaves to exchanges of keys with this prefix from now on, as a cluster does that has
    /// lost a node.
    pub fn behave_to(&self, prefix: &str, behaviour: Behaviour) {
        *lock(&self.shared.to_some) = Some((prefix.as_bytes().to_vec(), behaviour));
    }

    /// How many exchanges were begun.
    #[must_use]
    pub fn exchanges(&self) -> u64 {
        self.shared.exchanges.load(Ordering::Relaxed)
    }

    /// The store has lost all it knew.
    pub fn lose_data(&self) {
        lock(&self.shared.keys).clear();
    }

    /// What is claimed of a key by all replicas together.
    #[must_use]
    pub fn claimed(&self, key: &str) -> u64 {
        let keys = lock(&self.shared.keys);
        let state = keys.get(key.as_bytes());
        state.map_or(0, |state| state.replicas.values().map(|record| record.claimed).sum())
    }

    fn behaviour(&self, key: &[u8]) -> Behaviour {
        match &*lock(&self.shared.to_some) {
            Some((prefix, behaviour)) if key.starts_with(prefix) => *behaviour,
            _ => *lock(&self.shared.behaviour),
        }
    }

    fn apply(&self, exchange: &Exchange) -> Grant {
        let now = Timestamp::ZERO + self.shared.epoch.elapsed();
        let mut keys = lock(&self.shared.keys);
        keys.entry(exchange.key.as_bytes().to_vec()).or_default().exchange(exchange, now)
    }
}

impl State {
    /// The steps of `QuotaStore`.
    fn exchange(&mut self, exchange: &Exchange, now: Timestamp) -> Grant {
        let Exchange { quota, replica, book, sequence, claim, .. } = exchange;
        if let Some(old) = self.quota.replace(*quota).filter(|old| old != quota) {
            self.usage = quota.usage_after(&old, &self.usage, now);
        }
        let known = self.replicas.get(replica).copied();
        if let Some(known) = known
            && (known.book, known.sequence) >= (*book, *sequence)
        {
            return self.answer(quota, known.claimed, Duration::ZERO, now);
        }
        let in_book = known.filter(|known| known.book == *book);
        let last = in_book.map_or(claim.base, |known| known.claimed);
        let withdrawn = in_book.map_or(0, |known| known.excess).saturating_sub(claim.excess).max(0);
        let mut forgiven = known.unwrap_or_default().forgiven;
        let mut claimed = last.max(claim.spent).min(claim.wanted.max(claim.spent));
        for (index, window) in quota.windows().enumerate() {
            let window = Quota::unlimited().try_with(*window).expect("a quota of one window");
            let corrected = forgiven[index].min(withdrawn.unsigned_abs());
            forgiven[index] -= corrected;
            let mut taken = TakenTokens::of(last);
            let usage = &mut self.usage[index..=index];
            forgiven[index] += window.settle(usage, &mut taken, claimed + corrected, now);
            forgiven[index] = forgiven[index].min(claim.excess.max(0).unsigned_abs());
        }
        let mut retry_after = Duration::ZERO;
        if claim.wanted > claimed {
            let left = quota.standing(&self.usage, now).map(|it| it.remaining).min().unwrap_or(0);
            let granted = left.min(claim.wanted - claimed);
            quota.settle(&mut self.usage, &mut TakenTokens::of(0), granted, now);
            claimed += granted;
            if claimed < claim.wanted {
                retry_after = self.wait(quota, claim, granted, now);
            }
        }
        let (book, sequence, excess) = (*book, *sequence, claim.excess);
        self.replicas.insert(*replica, Record { book, sequence, claimed, excess, forgiven });
        self.answer(quota, claimed, retry_after, now)
    }

    fn wait(&self, quota: &Quota, claim: &Claim, granted: u64, now: Timestamp) -> Duration {
        let missing = claim.least.saturating_sub(granted).max(1);
        match quota.decide(&mut self.usage.clone(), 0, missing, now) {
            QuotaDecision::Reject(rejection) => rejection.retry_after,
            QuotaDecision::Admit | QuotaDecision::Delay(_) => Duration::ZERO,
        }
    }

    fn answer(&self, quota: &Quota, claimed: u64, wait: Duration, now: Timestamp) -> Grant {
        let mut remaining = [0; 4];
        for (slot, standing) in remaining.iter_mut().zip(quota.standing(&self.usage, now)) {
            *slot = standing.remaining;
        }
        let replicas = u32::try_from(self.replicas.len()).expect("a few");
        Grant::new(claimed).retry_after(wait).remaining(remaining).replicas(replicas)
    }
}

impl QuotaStore for MemoryStore {
    fn exchange(&self, exchange: Exchange) -> ExchangeFuture<'_> {
        self.shared.exchanges.fetch_add(1, Ordering::Relaxed);
        let behaviour = self.behaviour(exchange.key.as_bytes());
        Box::pin(async move {
            match behaviour {
                Behaviour::Answers(time) => {
                    let store = self.clone();
                    // In a task of its own, as that of a connection.
                    let answer = tokio::spawn(async move {
                        sleep(time).await;
                        store.apply(&exchange)
                    });
                    Ok(answer.await?)
                }
                Behaviour::Fails => Err("the store fails".into()),
                Behaviour::Hangs => std::future::pending().await,
                Behaviour::LosesAnswers => {
                    let _ = self.apply(&exchange);
                    std::future::pending().await
                }
                Behaviour::Lies(claimed) => Ok(Grant::new(claimed)),
            }
        })
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
