//! A new file for a part of the requests, until it is worse than the one in force, or has lasted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use http::{Extensions, HeaderMap, StatusCode};
use tokio::time::Instant;

use super::file::File;
use super::format::amounts::Share;
use super::version::Version;
use crate::request_info::RequestInfo;

mod counts;

use self::counts::{Counts, Signal};

/// A file that is in force for a part of the requests.
#[derive(Debug)]
pub(super) struct Canary {
    pub(super) version: Version,
    options: CanaryOptions,
    since: Instant,
    /// Counts requests without a tenant, to divide them.
    sequence: AtomicU64,
    counts: Counts,
    /// Whether its file is in force for its part. Before, both parts are compared under the file in force: tenants
    /// differ, whatever their policies are.
    is_live: AtomicBool,
    /// Requests of the canary at which it is judged next.
    next_look: AtomicU64,
    is_over: AtomicBool,
}

/// How a canary runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct CanaryOptions {
    pub(super) share: f64,
    pub(super) lasts: Duration,
    pub(super) min_requests: u64,
}

/// How a canary stands: see [`PolicySet::canary`](super::PolicySet::canary).
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct CanaryStatus {
    /// Its share of the requests, from 0 to 1.
    pub share: f64,
    /// How long it runs already.
    pub elapsed: Duration,
    /// How long it runs before it is in force for all.
    pub lasts: Duration,
    /// Whether its file is in force for its part. Before, both parts are compared under the file in force.
    pub is_live: bool,
    /// Requests of its part that have ended since its file is in force for them.
    pub requests: u64,
    /// The requests of the others that have ended meanwhile.
    pub other_requests: u64,
}

/// The part of one request in the comparison of a canary with the file in force.
#[derive(Debug)]
pub(super) struct Part {
    canary: Arc<Canary>,
    is_canary: bool,
    /// The number by which the part was chosen.
    key: u64,
    /// Whether the canary was live when the request began.
    is_live: bool,
}

/// How long a canary runs unless the file says otherwise: long enough for a few cycles of callers that retry.
const CANARY_FOR: Duration = Duration::from_secs(10 * 60);
/// Requests of a canary before it is judged, unless the file says otherwise: a rate of 5 % shows in them.
const CANARY_MIN_REQUESTS: u64 = 100;
/// How long a canary with too few requests runs, in times of what it should last.
const PATIENCE: u32 = 4;
/// With fewer failures than this share, a canary that cannot be compared is good.
const HARMLESS_SHARE: f64 = 0.01;

impl CanaryOptions {
    /// `None`: the file has no canary.
    pub(super) fn of(file: &File) -> Option<Self> {
        let Share(share) = file.canary.get()?;
        let lasts = file.canary_for.get().unwrap_or(CANARY_FOR);
        let min_requests = file.canary_min_requests.get().unwrap_or(CANARY_MIN_REQUESTS);
        Some(Self { share, lasts, min_requests })
    }
}

impl Canary {
    pub(super) fn new(version: Version, options: CanaryOptions) -> Self {
        Self {
            version,
            options,
            since: Instant::now(),
            sequence: AtomicU64::new(0),
            counts: Counts::default(),
            is_live: AtomicBool::new(false),
            next_look: AtomicU64::new(options.min_requests),
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn status(&self) -> CanaryStatus {
        let [other_requests, requests] = self.counts.requests();
        let CanaryOptions { share, lasts, .. } = self.options;
        let (elapsed, is_live) = (self.since.elapsed(), self.is_live());
        CanaryStatus { share, elapsed, lasts, is_live, requests, other_requests }
    }

    /// Whether a request is in the canary, and the number by which that was decided: always the same for one tenant,
    /// or else for one task, in all processes with this file.
    fn selects(&self, extensions: &Extensions) -> (bool, u64) {
        let info = RequestInfo::of(extensions);
        let identity = info.tenant.map(crate::Tenant::number);
        let identity = identity.or_else(|| info.task.map(crate::Task::number));
        let identity = identity.unwrap_or_else(|| self.sequence.fetch_add(1, Ordering::Relaxed));
        let key = mix(identity ^ self.version.digest);
        // 53 bits are what a float holds exactly.
        let position = (key >> 11) as f64 / (1_u64 << 53) as f64;
        (position < self.options.share, key)
    }

    fn is_live(&self) -> bool {
        self.is_live.load(Ordering::Relaxed)
    }

    /// Puts its file in force for its part once both parts are known, or a quarter of its time is over.
    fn check_live(&self) {
        let CanaryOptions { lasts, min_requests, .. } = self.options;
        if self.counts.is_calibrated(min_requests) || self.since.elapsed() * 4 >= lasts {
            self.is_live.store(true, Ordering::Relaxed);
        }
    }

    /// Whether it is good, or why it is worse; `None`: that is not known yet.
    fn verdict(&self) -> Option<Result<(), String>> {
        let [others, ours] = self.counts.requests();
        if let Some(signal) = self.counts.worse() {
            return Some(Err(self.counts.describe(signal)));
        }
        let (elapsed, CanaryOptions { lasts, min_requests, .. }) =
            (self.since.elapsed(), self.options);
        if elapsed < lasts {
            return None;
        }
        if ours >= min_requests && others >= min_requests {
            return Some(Ok(()));
        }
        if elapsed < lasts.saturating_mul(PATIENCE) {
            return None;
        }
        match self.counts.failing_shares() {
            [others, ours] if ours <= others.max(HARMLESS_SHARE) => Some(Ok(())),
            _ => Some(Err("it fails more often, in too few requests to be sure".to_owned())),
        }
    }

    /// Whether this request is the one after which the canary is judged.
    fn is_look_due(&self, is_canary: bool) -> bool {
        if self.is_over.load(Ordering::Relaxed) {
            return false;
        }
        let (elapsed, lasts) = (self.since.elapsed(), self.options.lasts);
        if elapsed >= lasts {
            return is_canary || elapsed >= lasts.saturating_mul(PATIENCE);
        }
        let [_, ours] = self.counts.requests();
        let due = self.next_look.load(Ordering::Relaxed);
        // A quarter more each time: few looks, so that chance has few occasions.
        ours >= due
            && self
                .next_look
                .compare_exchange(
                    due,
                    ours + ours.div_ceil(4),
                    Ordering::Relaxed,
                    Ordering::Relaxed,
                )
                .is_ok()
    }

    /// It is judged no more.
    pub(super) fn end(&self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Part {
    /// The part of a request with these extensions.
    pub(super) fn of(canary: &Arc<Canary>, extensions: &Extensions) -> Self {
        let (is_canary, key) = canary.selects(extensions);
        Self { canary: Arc::clone(canary), is_canary, key, is_live: canary.is_live() }
    }

    pub(super) const fn canary(&self) -> &Arc<Canary> {
        &self.canary
    }

    /// Whether the request meets the file of the canary.
    pub(super) const fn meets_canary(&self) -> bool {
        self.is_canary && self.is_live
    }

    /// Counts a request that has ended with this response, or with an error. Returns the verdict on the canary, if there
    /// is one now: whether it is good, or why it is worse.
    pub(super) fn ended(
        &self,
        latency: Duration,
        response: Option<(StatusCode, &HeaderMap)>,
    ) -> Option<Result<(), String>> {
        self.count(latency, Some(response.map_or(Some(Signal::Errors), failure)))
    }

    /// The same for a request that was dropped without a response.
    pub(super) fn abandoned(&self, latency: Duration) -> Option<Result<(), String>> {
        self.count(latency, None)
    }

    fn count(
        &self,
        latency: Duration,
        failed: Option<Option<Signal>>,
    ) -> Option<Result<(), String>> {
        let counts = &self.canary.counts;
        if !self.is_live {
            counts.calibrate(self.is_canary, latency, failed);
            self.canary.check_live();
            return None;
        }
        counts.add(self.is_canary, self.key, latency, failed);
        if self.canary.is_look_due(self.is_canary) { self.canary.verdict() } else { None }
    }
}

/// What a response says against its policy.
fn failure((status, headers): (StatusCode, &HeaderMap)) -> Option<Signal> {
    let grpc = headers.get("grpc-status").map(http::HeaderValue::as_bytes);
    match (status.as_u16(), grpc) {
        (429 | 503, _) | (_, Some(b"8" | b"14")) => Some(Signal::Rejections),
        (500.., _) | (_, Some(b"2" | b"4" | b"13" | b"15")) => Some(Signal::Errors),
        _ => None,
    }
}

/// A hash that spreads neighbours (SplitMix64).
const fn mix(number: u64) -> u64 {
    let number = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let number = (number ^ (number >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    number ^ (number >> 31)
}
