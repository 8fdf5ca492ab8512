//! `[client.NAME]`: the layers around an outbound client.

use std::time::Duration;

use super::QueueSection;
use crate::RetryLayer;
use crate::admission::PermitScope;
use crate::client::LongRetryAfter;
use crate::client::valid;
use crate::policy::format::amounts::Share;
use crate::policy::format::choice::{Choice, Word};
use crate::policy::format::reading::Reading;
use crate::policy::format::{Fields, Section, Setting, Table};

mod layers;

pub(in crate::policy) use self::layers::ClientLayers;

impl Choice for LongRetryAfter {
    const WORDS: &'static [(&'static str, Self)] =
        &[("give_up", Self::GiveUp), ("clamp", Self::Clamp), ("ignore", Self::Ignore)];
}

#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct ClientSection {
    deadline: Setting<Duration>,
    attempt_timeout: Setting<Duration>,
    retry: Table<RetrySection>,
    budget: Table<BudgetSection>,
    cooldown: Table<CooldownSection>,
    origin_limit: Table<OriginLimitSection>,
    breaker: Table<BreakerSection>,
    throttle: Table<ThrottleSection>,
}

#[derive(Clone, Debug, Default)]
struct RetrySection {
    max_attempts: Setting<u32>,
    backoff_first: Setting<Duration>,
    backoff_max: Setting<Duration>,
    max_retry_after: Setting<Duration>,
    long_retry_after: Setting<Word<LongRetryAfter>>,
    strict_retry_after: Setting<bool>,
    trust_not_begun: Setting<bool>,
    idempotency_keys: Setting<bool>,
    attempt_header: Setting<bool>,
    announce_retries: Setting<bool>,
    change_connection: Setting<bool>,
}

#[derive(Clone, Debug, Default)]
struct BudgetSection {
    ratio: Setting<f64>,
    reserve: Setting<u32>,
    refill: Setting<Duration>,
    per_origin: Setting<bool>,
}

#[derive(Clone, Debug, Default)]
struct CooldownSection {
    max_cooldown: Setting<Duration>,
    hold_max: Setting<usize>,
    hold_wait: Setting<Duration>,
    dry_run: Setting<bool>,
}

#[derive(Clone, Debug, Default)]
struct OriginLimitSection {
    queue: Table<QueueSection>,
    scope: Setting<Word<PermitScope>>,
    dry_run: Setting<bool>,
}

#[derive(Clone, Debug, Default)]
struct BreakerSection {
    failure_share: Setting<Share>,
    slow: Setting<Duration>,
    slow_share: Setting<Share>,
    min_calls: Setting<u32>,
    window: Setting<Duration>,
    open_for: Setting<Duration>,
    probes: Setting<u32>,
    dry_run: Setting<bool>,
}

#[derive(Clone, Debug, Default)]
struct ThrottleSection {
    k: Setting<f64>,
    window: Setting<Duration>,
    min_requests: Setting<u32>,
    max_rejected: Setting<Share>,
    dry_run: Setting<bool>,
}

impl Section for ClientSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "deadline",
            "The time from the call after which a response is worthless. Default: \"30s\".",
            &mut self.deadline,
        );
        to.field(
            "attempt_timeout",
            "How long one attempt takes until the head of its response. Default: \"30s\".",
            &mut self.attempt_timeout,
        );
        to.field("retry", "Retries.", &mut self.retry);
        to.field("budget", "How many retries there may be.", &mut self.budget);
        to.field(
            "cooldown",
            "Silence towards an origin that said when to come back.",
            &mut self.cooldown,
        );
        to.field("origin_limit", "A limit for each origin.", &mut self.origin_limit);
        to.field("breaker", "Silence towards an origin that fails.", &mut self.breaker);
        to.field("throttle", "Local rejections in proportion to those of the origin; `PolicySet::throttle` returns the layer.", &mut self.throttle);
    }
}

impl Section for RetrySection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "max_attempts",
            "Attempts of a request, the first included. Default: 3.",
            &mut self.max_attempts,
        );
        to.field(
            "backoff_first",
            "The longest wait before the first retry; it doubles. Default: \"50ms\".",
            &mut self.backoff_first,
        );
        to.field(
            "backoff_max",
            "The longest wait before any retry. Default: \"5s\".",
            &mut self.backoff_max,
        );
        to.field(
            "max_retry_after",
            "The longest Retry-After that is waited for, up to \"10min\". Default: \"60s\".",
            &mut self.max_retry_after,
        );
        to.field(
            "long_retry_after",
            "What happens when the server asks for more. Default: \"give_up\".",
            &mut self.long_retry_after,
        );
        to.field(
            "strict_retry_after",
            "Whether only the forms of RFC 9110 are understood. Default: false.",
            &mut self.strict_retry_after,
        );
        to.field("trust_not_begun", "Whether a rejection that says so allows to repeat a request that is not idempotent. Default: true.", &mut self.trust_not_begun);
        to.field(
            "idempotency_keys",
            "Whether requests get an Idempotency-Key. Default: false.",
            &mut self.idempotency_keys,
        );
        to.field(
            "attempt_header",
            "Whether a retry tells its number. Default: true.",
            &mut self.attempt_header,
        );
        to.field(
            "announce_retries",
            "Whether the first attempt says that there may be retries. Default: false.",
            &mut self.announce_retries,
        );
        to.field(
            "change_connection",
            "Whether a retry after 421, 502, 503 or 504 goes over another connection. Default: false.",
            &mut self.change_connection,
        );
    }
}

impl Section for BudgetSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "ratio",
            "Retries for each first attempt, from 0.0 to 1.0. Default: 0.1.",
            &mut self.ratio,
        );
        to.field(
            "reserve",
            "Retries at the start, and the least that can be saved. Default: 10.",
            &mut self.reserve,
        );
        to.field(
            "refill",
            "When an empty budget has a retry again; \"0\" for never. Default: \"5s\".",
            &mut self.refill,
        );
        to.field(
            "per_origin",
            "Whether each origin has a budget of its own. Default: true.",
            &mut self.per_origin,
        );
    }
}

impl Section for CooldownSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "max_cooldown",
            "The longest cool-down, up to \"10min\". Default: \"60s\".",
            &mut self.max_cooldown,
        );
        to.field(
            "hold_max",
            "Requests that wait for the end of a cool-down. Default: 1024.",
            &mut self.hold_max,
        );
        to.field("hold_wait", "How long each of them waits. Default: \"3s\".", &mut self.hold_wait);
        to.field("dry_run", "Whether it only counts. Default: false.", &mut self.dry_run);
    }
}

impl Section for OriginLimitSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "queue",
            "The queue of each origin. Default: 16384 requests, \"1s\", of which as many as run in that time, or 1024.",
            &mut self.queue,
        );
        to.field(
            "scope",
            "Until when a request counts as in flight. Default: \"body\".",
            &mut self.scope,
        );
        to.field("dry_run", "Whether it only counts. Default: false.", &mut self.dry_run);
    }
}

impl Section for BreakerSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "failure_share",
            "The share of failures that opens it, from \"1%\". Default: \"90%\".",
            &mut self.failure_share,
        );
        to.field("slow", "From when on a call is slow. Default: no call is.", &mut self.slow);
        to.field(
            "slow_share",
            "The share of slow calls that opens it, from \"1%\". Default: \"90%\".",
            &mut self.slow_share,
        );
        to.field(
            "min_calls",
            "Calls in the window before it opens. Default: 20.",
            &mut self.min_calls,
        );
        to.field(
            "window",
            "The time over which calls are counted. Default: \"10s\".",
            &mut self.window,
        );
        to.field(
            "open_for",
            "How long it is open at first, up to \"60s\". Default: \"500ms\".",
            &mut self.open_for,
        );
        to.field(
            "probes",
            "Calls that have to succeed before it closes. Default: 3.",
            &mut self.probes,
        );
        to.field("dry_run", "Whether it only counts. Default: false.", &mut self.dry_run);
    }
}

impl Section for ThrottleSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "k",
            "Requests that are sent for each that is accepted, from 1.0 to 1000.0. Default: 2.0.",
            &mut self.k,
        );
        to.field(
            "window",
            "The time over which requests are counted. Default: \"2s\".",
            &mut self.window,
        );
        to.field(
            "min_requests",
            "Requests in the window before any is rejected. Default: 20.",
            &mut self.min_requests,
        );
        to.field(
            "max_rejected",
            "The highest share that is rejected, up to \"99%\". Default: \"90%\".",
            &mut self.max_rejected,
        );
        to.field("dry_run", "Whether it only counts. Default: false.", &mut self.dry_run);
    }
}

impl ClientSection {
    pub(super) fn check(&self, path: &str, reading: &mut Reading<'_>) {
        self.deadline.check(path, reading, |time| valid::longer_than_zero("deadline", time));
        self.attempt_timeout
            .check(path, reading, |time| valid::longer_than_zero("attempt_timeout", time));
        if let Some(retry) = &self.retry.value {
            retry.check(&format!("{path}.retry"), reading);
        }
        if let Some(budget) = &self.budget.value {
            let path = format!("{path}.budget");
            budget.ratio.check(&path, reading, valid::ratio);
            budget.reserve.check(&path, reading, valid::reserve);
        }
        if let Some(cooldown) = &self.cooldown.value {
            cooldown.max_cooldown.check(&format!("{path}.cooldown"), reading, valid::max_cooldown);
        }
        if let Some(breaker) = &self.breaker.value {
            breaker.check(&format!("{path}.breaker"), reading);
        }
        if let Some(throttle) = &self.throttle.value {
            let path = format!("{path}.throttle");
            throttle.k.check(&path, reading, valid::k);
            throttle.window.check(&path, reading, |time| valid::longer_than_zero("window", time));
            throttle.max_rejected.check(&path, reading, |Share(share)| valid::max_rejected(share));
        }
    }
}

impl RetrySection {
    fn check(&self, path: &str, reading: &mut Reading<'_>) {
        self.max_attempts.check(path, reading, valid::max_attempts);
        self.max_retry_after.check(path, reading, valid::max_retry_after);
        let max = self.backoff_max.get().unwrap_or(RetryLayer::default_backoff().1);
        let first = self.backoff_first.get().unwrap_or(RetryLayer::default_backoff().0.min(max));
        self.backoff_first.check(path, reading, |first| valid::backoff(first, max));
        self.backoff_max.check(path, reading, |max| valid::backoff(first, max));
    }
}

impl BreakerSection {
    fn check(&self, path: &str, reading: &mut Reading<'_>) {
        self.failure_share
            .check(path, reading, |Share(share)| valid::share("failure_share", share));
        self.slow_share.check(path, reading, |Share(share)| valid::share("slow_share", share));
        self.slow.check(path, reading, |time| valid::longer_than_zero("slow", time));
        self.min_calls.check(path, reading, |calls| valid::at_least_one("min_calls", calls));
        self.window.check(path, reading, |time| valid::longer_than_zero("window", time));
        self.open_for.check(path, reading, valid::open_for);
        self.probes.check(path, reading, |probes| valid::at_least_one("probes", probes));
    }
}
