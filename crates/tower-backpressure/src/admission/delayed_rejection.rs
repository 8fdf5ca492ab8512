//! Rejections that are delayed: by the fraction of a second that Retry-After cannot say, or in a flood.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_core::Shed;
use tokio::time::{Instant, Sleep, sleep_until};

use super::rejection::Caller;

/// When rejections are delayed, and how many at once.
#[derive(Clone, Debug)]
pub(crate) struct DelayedRejection {
    max: usize,
    when: When,
    state: Arc<DelayState>,
}

/// When rejections are delayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Always, for the fraction of a second that Retry-After cannot say.
    Always,
    /// In a flood, by [`FLOOD_DELAY`].
    InFlood,
}

#[derive(Debug, Default)]
struct DelayState {
    delayed: AtomicUsize,
    /// Advances by the golden ratio with each rejection that is rounded.
    draw: AtomicU64,
}

/// The default bound on delayed rejections: some megabytes of sleeping connections.
const DEFAULT_MAX_DELAYED: usize = 1_024;
/// Delay of a rejection in a flood. It slows a client that retries immediately from thousands of
/// attempts a second down to one; a longer delay would outlast the time-outs of clients that obey.
const FLOOD_DELAY: Duration = Duration::from_secs(1);

impl Default for DelayedRejection {
    fn default() -> Self {
        Self::new(DEFAULT_MAX_DELAYED, When::InFlood)
    }
}

/// A rejection that is being delayed.
#[derive(Debug)]
pub(super) struct Delay {
    sleep: Pin<Box<Sleep>>,
    _slot: Slot,
}

/// One of the bounded number of delays.
#[derive(Debug)]
struct Slot(Arc<DelayState>);

impl DelayedRejection {
    pub(crate) fn always(max: usize) -> Self {
        Self::new(max, When::Always)
    }

    fn new(max: usize, when: When) -> Self {
        Self { max, when, state: Arc::default() }
    }

    /// Delays a rejection by the error of a Retry-After in whole seconds, or in a flood by more, unless
    /// too many are delayed or the caller's deadline comes first; rounds Retry-After otherwise.
    pub(super) fn delay(
        &self,
        shed: Shed,
        caller: Caller,
        deadline: Option<Instant>,
        is_flooded: impl FnOnce() -> bool,
        now: Instant,
    ) -> (Shed, Option<Delay>) {
        if self.when == When::InFlood {
            return self.delay_in_flood(shed, deadline, is_flooded(), now);
        }
        let until = now + Duration::from_nanos(shed.retry_after.subsec_nanos().into());
        let in_vain = deadline.is_some_and(|deadline| deadline <= until);
        if !self.applies_to(shed, caller) || in_vain {
            return (self.round(shed, caller), None);
        }
        let Some(slot) = self.slot() else { return (self.round(shed, caller), None) };
        let delay = Delay { sleep: Box::pin(sleep_until(until)), _slot: slot };
        (seconds(shed, 0), Some(delay))
    }

    /// Whether delays make up for fractions of a second. A request that has waited gets no such delay.
    pub(super) fn is_for_fractions(&self) -> bool {
        self.when == When::Always
    }

    fn delay_in_flood(
        &self,
        shed: Shed,
        deadline: Option<Instant>,
        is_flooded: bool,
        now: Instant,
    ) -> (Shed, Option<Delay>) {
        let until = now + FLOOD_DELAY;
        let in_vain = deadline.is_some_and(|deadline| deadline <= until);
        if !is_flooded || in_vain {
            return (shed, None);
        }
        let Some(slot) = self.slot() else { return (shed, None) };
        let left = shed.retry_after.saturating_sub(FLOOD_DELAY).max(Duration::from_nanos(1));
        let delay = Delay { sleep: Box::pin(sleep_until(until)), _slot: slot };
        (Shed::new(shed.reason, left), Some(delay))
    }

    /// Rounds up as often as the fraction says, so that the mean Retry-After is exact.
    pub(super) fn round(&self, shed: Shed, caller: Caller) -> Shed {
        if !self.applies_to(shed, caller) {
            return shed;
        }
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let draw = self.state.draw.fetch_add(GOLDEN, Ordering::Relaxed) >> 32;
        let nanos = (draw * NANOS) >> 32;
        seconds(shed, u64::from(nanos < u64::from(shed.retry_after.subsec_nanos())))
    }

    /// Whether this caller reads whole seconds where a fraction was meant. Below a second it is told a
    /// second in any case.
    fn applies_to(&self, shed: Shed, caller: Caller) -> bool {
        self.when == When::Always
            && self.max > 0
            && shed.retry_after.as_secs() > 0
            && caller.reads_seconds()
    }

    fn slot(&self) -> Option<Slot> {
        let slot = Slot(Arc::clone(&self.state));
        let before = self.state.delayed.fetch_add(1, Ordering::Relaxed);
        (before < self.max).then_some(slot)
    }
}

/// The whole seconds of Retry-After, plus `more`.
fn seconds(shed: Shed, more: u64) -> Shed {
    Shed::new(shed.reason, Duration::from_secs(shed.retry_after.as_secs() + more))
}

const NANOS: u64 = 1_000_000_000;

impl Delay {
    pub(super) fn until(&self) -> Instant {
        self.sleep.deadline()
    }

    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.delayed.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backpressure_core::Reason;
    use http::Request;

    fn shed(millis: u64) -> Shed {
        Shed::new(Reason::Limit, Duration::from_millis(millis))
    }

    fn caller() -> Caller {
        Caller::of(&Request::new(()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_rejection_is_delayed_by_the_fraction_and_says_the_rest() {
        let (told, delay) = DelayedRejection::always(1).delay(
            shed(3_250),
            caller(),
            None,
            || false,
            Instant::now(),
        );
        assert_eq!(told.retry_after, Duration::from_secs(3));
        let (mut delay, start) = (delay.expect("one may be delayed"), Instant::now());
        std::future::poll_fn(|cx| delay.poll(cx)).await;
        assert_eq!(start.elapsed().as_millis(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn beyond_the_bound_retry_after_is_rounded_so_that_its_mean_is_exact() {
        let delayed = DelayedRejection::always(1);
        let is_delayed = delayed.delay(shed(3_250), caller(), None, || false, Instant::now());
        let told = |_| delayed.delay(shed(3_250), caller(), None, || false, Instant::now());
        let told: Vec<_> = (0..1_000).map(told).collect();
        assert!(told.iter().all(|(_, delay)| delay.is_none()));
        let mean = told.iter().map(|(shed, _)| shed.retry_after.as_secs_f64()).sum::<f64>() / 1e3;
        assert!((mean - 3.25).abs() < 0.01, "{mean}");
        drop(is_delayed);
        assert!(delayed.delay(shed(3_250), caller(), None, || false, Instant::now()).1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn no_delay_past_a_deadline_below_a_second_or_where_milliseconds_are_read() {
        let (delayed, now) = (DelayedRejection::always(10), Instant::now());
        let soon = now + Duration::from_millis(250);
        assert!(delayed.delay(shed(3_250), caller(), Some(soon), || false, now).1.is_none());
        let (told, delay) = delayed.delay(shed(250), caller(), None, || false, now);
        assert!(told.retry_after.as_millis() == 250 && delay.is_none());
        let call = Request::builder().header("content-type", "application/grpc").body(());
        let grpc = Caller::of(&call.expect("a request"));
        let (told, delay) = delayed.delay(shed(3_250), grpc, None, || false, now);
        assert!(told.retry_after.as_millis() == 3_250 && delay.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn by_default_a_rejection_is_neither_delayed_nor_rounded_without_a_flood() {
        let (delayed, now) = (DelayedRejection::default(), Instant::now());
        let (told, delay) = delayed.delay(shed(3_250), caller(), None, || false, now);
        assert!(told.retry_after.as_millis() == 3_250 && delay.is_none());
        let (told, delay) = delayed.delay(shed(3_250), caller(), None, || true, now);
        assert!(told.retry_after.as_millis() == 2_250 && delay.is_some());
        let soon = now + Duration::from_millis(900);
        assert!(delayed.delay(shed(3_250), caller(), Some(soon), || true, now).1.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn in_a_flood_no_more_than_the_bound_are_delayed_and_none_where_switched_off() {
        let (delayed, now) = (DelayedRejection::default(), Instant::now());
        let delays: Vec<_> = (0..2 * DEFAULT_MAX_DELAYED)
            .map(|_| delayed.delay(shed(3_250), caller(), None, || true, now).1)
            .collect();
        assert_eq!(delays.iter().flatten().count(), DEFAULT_MAX_DELAYED);
        drop(delays);
        assert_eq!(delayed.state.delayed.load(Ordering::Relaxed), 0);
        assert!(
            DelayedRejection::always(0)
                .delay(shed(3_250), caller(), None, || true, now)
                .1
                .is_none()
        );
    }
}
