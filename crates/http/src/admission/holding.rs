//! Refusals that are held for the fraction of a second that Retry-After cannot say.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_gate::Shed;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::rejection::Caller;

/// How many refusals may be held, how many are, and when.
#[derive(Clone, Debug)]
pub(crate) struct Holding {
    most: usize,
    when: When,
    now: Arc<Now>,
}

/// When refusals are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// Always, for the fraction of a second that Retry-After cannot say.
    Always,
    /// In a flood, for [`IN_A_FLOOD`].
    Flooded,
}

#[derive(Debug)]
struct Now {
    held: AtomicUsize,
    /// Moves on by the golden ratio with each that is rounded.
    draw: AtomicU64,
    made: Instant,
    /// Milliseconds since `made` up to which there is a flood.
    flood_ends: AtomicU64,
}

/// The default bound on refusals that are held: some megabytes of sleeping connections.
const MOST_HELD: usize = 1_024;
/// How long a refusal is held in a flood. It slows a caller that asks again at once from thousands of
/// times a second down to one; longer would outlast the time-outs of callers that would obey.
const IN_A_FLOOD: Duration = Duration::from_secs(1);
/// How long a flood is taken to go on after its last sign: refusals that are held hide it, and one caller
/// alone needs this long to make another.
const FLOOD_GOES_ON: Duration = Duration::from_secs(30);
/// So many refusals on hold are a sign of it.
const SIGN_OF_FLOOD: usize = 32;

impl Default for Holding {
    fn default() -> Self {
        Self::new(MOST_HELD, When::Flooded)
    }
}

impl Default for Now {
    fn default() -> Self {
        let (held, draw, flood_ends) = (AtomicUsize::new(0), AtomicU64::new(0), AtomicU64::new(0));
        Self { held, draw, made: Instant::now(), flood_ends }
    }
}

/// A refusal on hold: until then, and in this place.
#[derive(Debug)]
pub(super) struct Hold {
    sleep: Pin<Box<Sleep>>,
    _place: Place,
}

/// One of the places.
#[derive(Debug)]
struct Place(Arc<Now>);

impl Holding {
    pub(super) fn up_to(most: usize) -> Self {
        Self::new(most, When::Always)
    }

    fn new(most: usize, when: When) -> Self {
        Self { most, when, now: Arc::default() }
    }

    /// Holds a refusal for as long as Retry-After would be wrong by, or in a flood for longer, if
    /// there is a place for it and the caller does not give up before; rounds it otherwise.
    pub(super) fn hold(
        &self,
        shed: Shed,
        caller: Caller,
        deadline: Option<Instant>,
        is_flooded: impl FnOnce() -> bool,
        now: Instant,
    ) -> (Shed, Option<Hold>) {
        if self.when == When::Flooded {
            return self.hold_in_a_flood(shed, deadline, is_flooded(), now);
        }
        let until = now + Duration::from_nanos(shed.retry_after.subsec_nanos().into());
        let in_vain = deadline.is_some_and(|deadline| deadline <= until);
        if !self.concerns(shed, caller) || in_vain {
            return (self.round(shed, caller), None);
        }
        let Some(place) = self.place() else { return (self.round(shed, caller), None) };
        let hold = Hold { sleep: Box::pin(sleep_until(until)), _place: place };
        (seconds(shed, 0), Some(hold))
    }

    /// Whether it makes up for fractions of a second: a request that has waited is not held for one.
    pub(super) fn is_for_fractions(&self) -> bool {
        self.when == When::Always
    }

    fn hold_in_a_flood(
        &self,
        shed: Shed,
        deadline: Option<Instant>,
        is_flooded: bool,
        now: Instant,
    ) -> (Shed, Option<Hold>) {
        let until = now + IN_A_FLOOD;
        let in_vain = deadline.is_some_and(|deadline| deadline <= until);
        if !self.now.is_flooded(is_flooded, now) || in_vain {
            return (shed, None);
        }
        let Some(place) = self.place() else { return (shed, None) };
        let left = shed.retry_after.saturating_sub(IN_A_FLOOD).max(Duration::from_nanos(1));
        let hold = Hold { sleep: Box::pin(sleep_until(until)), _place: place };
        (Shed { retry_after: left, ..shed }, Some(hold))
    }

    /// Rounds up as often as the fraction says, so that on average nobody is early or late.
    pub(super) fn round(&self, shed: Shed, caller: Caller) -> Shed {
        if !self.concerns(shed, caller) {
            return shed;
        }
        const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
        let draw = self.now.draw.fetch_add(GOLDEN, Ordering::Relaxed) >> 32;
        let nanos = (draw * NANOS) >> 32;
        seconds(shed, u64::from(nanos < u64::from(shed.retry_after.subsec_nanos())))
    }

    /// Whether this caller hears whole seconds where a fraction was meant. Below a second it is told
    /// a second in any case.
    fn concerns(&self, shed: Shed, caller: Caller) -> bool {
        self.when == When::Always
            && self.most > 0
            && shed.retry_after.as_secs() > 0
            && caller.hears_seconds()
    }

    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.now));
        let before = self.now.held.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(place)
    }
}

impl Now {
    /// Whether there is a flood, or was one a moment ago.
    fn is_flooded(&self, sign: bool, now: Instant) -> bool {
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let now = now.saturating_duration_since(self.made);
        if sign || self.held.load(Ordering::Relaxed) >= SIGN_OF_FLOOD {
            self.flood_ends.store(millis(now + FLOOD_GOES_ON), Ordering::Relaxed);
            return true;
        }
        millis(now) < self.flood_ends.load(Ordering::Relaxed)
    }
}

/// The same in whole seconds, and so many more.
fn seconds(shed: Shed, more: u64) -> Shed {
    Shed { retry_after: Duration::from_secs(shed.retry_after.as_secs() + more), ..shed }
}

const NANOS: u64 = 1_000_000_000;

impl Hold {
    pub(super) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.sleep.as_mut().poll(cx)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.held.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use backpressure_gate::Reason;
    use http::Request;

    fn shed(millis: u64) -> Shed {
        Shed { reason: Reason::Limit, retry_after: Duration::from_millis(millis) }
    }

    fn caller() -> Caller {
        Caller::of(&Request::new(()))
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_is_held_for_the_fraction_and_says_the_rest() {
        let (told, hold) =
            Holding::up_to(1).hold(shed(3_250), caller(), None, || false, Instant::now());
        assert_eq!(told.retry_after, Duration::from_secs(3));
        let (mut hold, start) = (hold.expect("one may be held"), Instant::now());
        std::future::poll_fn(|cx| hold.poll_over(cx)).await;
        assert_eq!(start.elapsed().as_millis(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_rounded_so_that_the_mean_stays() {
        let holding = Holding::up_to(1);
        let held = holding.hold(shed(3_250), caller(), None, || false, Instant::now());
        let told = |_| holding.hold(shed(3_250), caller(), None, || false, Instant::now());
        let told: Vec<_> = (0..1_000).map(told).collect();
        assert!(told.iter().all(|(_, hold)| hold.is_none()));
        let mean = told.iter().map(|(shed, _)| shed.retry_after.as_secs_f64()).sum::<f64>() / 1e3;
        assert!((mean - 3.25).abs() < 0.01, "{mean}");
        drop(held);
        assert!(holding.hold(shed(3_250), caller(), None, || false, Instant::now()).1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_held_past_a_deadline_or_below_a_second_or_who_hears_milliseconds() {
        let (holding, now) = (Holding::up_to(10), Instant::now());
        let soon = now + Duration::from_millis(250);
        assert!(holding.hold(shed(3_250), caller(), Some(soon), || false, now).1.is_none());
        let (told, hold) = holding.hold(shed(250), caller(), None, || false, now);
        assert!(told.retry_after.as_millis() == 250 && hold.is_none());
        let call = Request::builder().header("content-type", "application/grpc").body(());
        let grpc = Caller::of(&call.expect("a request"));
        let (told, hold) = holding.hold(shed(3_250), grpc, None, || false, now);
        assert!(told.retry_after.as_millis() == 3_250 && hold.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn by_default_a_refusal_is_neither_held_nor_rounded_unless_there_is_a_flood() {
        let (holding, now) = (Holding::default(), Instant::now());
        let (told, hold) = holding.hold(shed(3_250), caller(), None, || false, now);
        assert!(told.retry_after.as_millis() == 3_250 && hold.is_none());
        let (told, hold) = holding.hold(shed(3_250), caller(), None, || true, now);
        assert!(told.retry_after.as_millis() == 2_250 && hold.is_some());
        let soon = now + Duration::from_millis(900);
        assert!(holding.hold(shed(3_250), caller(), Some(soon), || true, now).1.is_none());
        // It goes on for half a minute after its last sign.
        for (seconds, held) in [(29, true), (31, false)] {
            let later = now + Duration::from_secs(seconds);
            let (_, hold) = holding.hold(shed(3_250), caller(), None, || false, later);
            assert_eq!(hold.is_some(), held, "after {seconds} s");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn no_more_than_the_bound_are_held_in_a_flood_and_none_where_that_is_switched_off() {
        let (holding, now) = (Holding::default(), Instant::now());
        let holds: Vec<_> = (0..2 * MOST_HELD)
            .map(|_| holding.hold(shed(3_250), caller(), None, || true, now).1)
            .collect();
        assert_eq!(holds.iter().flatten().count(), MOST_HELD);
        drop(holds);
        assert_eq!(holding.now.held.load(Ordering::Relaxed), 0);
        assert!(Holding::up_to(0).hold(shed(3_250), caller(), None, || true, now).1.is_none());
    }
}
