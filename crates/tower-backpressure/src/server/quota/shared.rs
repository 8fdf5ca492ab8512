//! A quota that replicas share: leases, and what happens when the store cannot be asked.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use backpressure_core::{Claim, TakenTokens, Timestamp};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::plan::Plan;
use super::store::QuotaStore;
use super::subject::Subject;
use super::table::{Decided, Slot, TakenFrom};
use super::telemetry::QuotaTelemetry;

mod book;
mod exchange;
mod health;
mod options;
mod shard;

pub use self::options::{OnStoreFailure, SharedQuota};

use self::book::{Due, Terms};
use self::exchange::{Sent, Sweeper};
use self::health::Health;
use self::shard::LeaseShard;

/// The leases of one replica.
#[derive(Debug)]
pub(super) struct Leases {
    shards: Box<[Mutex<LeaseShard>]>,
    store: Arc<dyn QuotaStore>,
    options: SharedQuota,
    policy: Arc<str>,
    replica: u64,
    /// The number of the last exchange, and of the last book.
    sequence: AtomicU64,
    health: Health,
    /// How many replicas use the quota, as far as is known.
    replicas: AtomicU32,
    exchanges: AtomicUsize,
    /// Keys in a shard.
    max: AtomicUsize,
    telemetry: QuotaTelemetry,
    epoch: Instant,
    /// Whether the task that gives back what is not used runs.
    is_swept: AtomicBool,
    /// Told of each answer: one for each shard.
    answers: Box<[Arc<Notify>]>,
}

const SHARDS: usize = 128;
/// The most exchanges at once. Beyond, a key waits with its claim; at a millisecond each, four million a second.
const MAX_EXCHANGES: usize = 4_096;

impl Leases {
    pub(super) fn new(
        policy: &str,
        options: SharedQuota,
        plans: &[Arc<Plan>],
        max_keys: usize,
        telemetry: QuotaTelemetry,
        epoch: Instant,
    ) -> Self {
        let replicas = options.replicas;
        let shard = |_| Mutex::new(LeaseShard::new(plans, replicas, options.max_lease));
        Self {
            shards: (0..SHARDS).map(shard).collect(),
            store: Arc::clone(&options.store),
            policy: policy.into(),
            // Two replicas draw the same number once in 10¹⁹ times.
            replica: RandomState::new().hash_one(std::process::id()),
            sequence: AtomicU64::new(0),
            health: Health::new(),
            replicas: AtomicU32::new(replicas),
            exchanges: AtomicUsize::new(0),
            max: AtomicUsize::new(max_keys.div_ceil(SHARDS)),
            telemetry,
            epoch,
            is_swept: AtomicBool::new(false),
            answers: (0..SHARDS).map(|_| Arc::default()).collect(),
            options,
        }
    }

    /// Decides on a request, without waiting for anything.
    pub(super) fn decide(self: &Arc<Self>, subject: &Subject, now: Timestamp) -> Decided {
        let terms = Terms {
            is_failing: self.health.is_failing(),
            retry_after: self.health.retry_after(now),
            on_failure: self.options.on_failure,
            max: self.max.load(Ordering::Relaxed),
        };
        let mut shard = self.shard(subject.slot);
        let (decided, forgotten) = shard.decide(subject, &terms, now, || self.next());
        let mut claim = shard.claim(subject.slot, |is_failing| self.may_send(is_failing, now), now);
        if let Some(due) = claim.take_if(|_| !self.health.take_turn(now)) {
            shard.answered(subject.slot, due.book, &due.claim, None, now);
        }
        drop(shard);
        match decided.taken_from {
            TakenFrom::Quota => {}
            TakenFrom::Share | TakenFrom::Nothing => {
                self.telemetry.fallback(self.options.on_failure.as_str())
            }
        }
        for sent in [claim, forgotten].into_iter().flatten() {
            self.send(subject.slot, sent);
        }
        decided
    }

    /// How long a request may wait for an answer of the store, and what tells it of one.
    pub(super) fn wait_for_answer(&self, slot: Slot) -> Option<(Duration, OwnedNotified)> {
        let max_wait = self.options.max_wait;
        let answer = || Arc::clone(&self.answers[shard_of(slot)]).notified_owned();
        (!max_wait.is_zero()).then(|| (max_wait, answer()))
    }

    pub(super) fn settle(
        &self,
        subject: &Subject,
        taken: &mut TakenTokens,
        tokens: u64,
        now: Timestamp,
    ) {
        self.shard(subject.slot).settle(subject, taken, tokens, now);
    }

    pub(super) fn leave(&self, slot: Slot) {
        self.shard(slot).leave(slot);
    }

    pub(super) fn peek(&self, slot: Slot) -> Option<Decided> {
        self.shard(slot).peek(slot)
    }

    pub(super) fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).len()).sum()
    }

    pub(super) fn set_max_keys(&self, max_keys: usize) {
        self.max.store(max_keys.div_ceil(SHARDS), Ordering::Relaxed);
    }

    pub(super) fn set_plan(&self, position: u32, plan: &Arc<Plan>, now: impl Fn() -> Timestamp) {
        let replicas = self.replicas.load(Ordering::Relaxed);
        for shard in &self.shards {
            lock(shard).set_plan(position, plan, replicas, now());
        }
    }

    /// Whether a claim of a key may be sent now.
    fn may_send(&self, key_is_failing: bool, now: Timestamp) -> bool {
        self.exchanges.load(Ordering::Relaxed) < MAX_EXCHANGES
            && self.health.may_send(key_is_failing, now)
    }

    /// Sends a claim in a task of its own.
    fn send(self: &Arc<Self>, slot: Slot, due: Due) {
        let sequence = self.next();
        let sent = Sent::new(Arc::clone(self), slot, due, sequence);
        // Outside a runtime there is no way to ask the store: the claim has failed.
        let Ok(runtime) = Handle::try_current() else { return };
        if !self.is_swept.swap(true, Ordering::Relaxed) {
            runtime.spawn(Sweeper::new(self).run());
        }
        runtime.spawn(sent.exchange());
    }

    /// The store says how many replicas use the quota.
    fn set_replicas(&self, replicas: u32) {
        if replicas == 0 || self.replicas.swap(replicas, Ordering::Relaxed) == replicas {
            return;
        }
        let now = self.now();
        for shard in &self.shards {
            lock(shard).set_replicas(replicas, now);
        }
    }

    fn overdue(&self, slot: Slot, book: u64) {
        self.shard(slot).overdue(slot, book);
    }

    fn answered(
        &self,
        slot: Slot,
        book: u64,
        claim: &Claim,
        grant: Option<backpressure_core::Grant>,
    ) {
        let now = self.now();
        self.shard(slot).answered(slot, book, claim, grant, now);
        self.answers[shard_of(slot)].notify_waiters();
    }

    fn next(&self) -> u64 {
        self.sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn now(&self) -> Timestamp {
        Timestamp::ZERO + Instant::now().saturating_duration_since(self.epoch)
    }

    fn shard(&self, slot: Slot) -> MutexGuard<'_, LeaseShard> {
        lock(&self.shards[shard_of(slot)])
    }
}

fn shard_of(slot: Slot) -> usize {
    (slot.0 >> 48) as usize % SHARDS
}

fn lock(shard: &Mutex<LeaseShard>) -> MutexGuard<'_, LeaseShard> {
    // Nothing panics under these locks.
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How often leases that are not used are given back.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
