//! Refusals that are held for the fraction of a second that Retry-After cannot say.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use backpressure_gate::Shed;
use tokio::time::{Instant, Sleep, sleep_until};

use crate::rejection::Caller;

/// How many refusals may be held, and how many are; nobody, by default.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holding {
    most: usize,
    now: Arc<Now>,
}

#[derive(Debug, Default)]
struct Now {
    held: AtomicUsize,
    /// Moves on by the golden ratio with each that is rounded.
    draw: AtomicU64,
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
        Self { most, now: Arc::default() }
    }

    /// Holds a refusal for as long as Retry-After would be wrong by, if anybody may be held and the
    /// caller does not give up before; rounds it otherwise.
    pub(super) fn hold(
        &self,
        shed: Shed,
        caller: Caller,
        deadline: Option<Instant>,
        now: Instant,
    ) -> (Shed, Option<Hold>) {
        let until = now + Duration::from_nanos(shed.retry_after.subsec_nanos().into());
        let in_vain = deadline.is_some_and(|deadline| deadline <= until);
        if !self.concerns(shed, caller) || in_vain {
            return (self.round(shed, caller), None);
        }
        let Some(place) = self.place() else { return (self.round(shed, caller), None) };
        let hold = Hold { sleep: Box::pin(sleep_until(until)), _place: place };
        (seconds(shed, 0), Some(hold))
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
        self.most > 0 && shed.retry_after.as_secs() > 0 && caller.hears_seconds()
    }

    fn place(&self) -> Option<Place> {
        let place = Place(Arc::clone(&self.now));
        let before = self.now.held.fetch_add(1, Ordering::Relaxed);
        (before < self.most).then_some(place)
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
        let (told, hold) = Holding::up_to(1).hold(shed(3_250), caller(), None, Instant::now());
        assert_eq!(told.retry_after, Duration::from_secs(3));
        let (mut hold, start) = (hold.expect("one may be held"), Instant::now());
        std::future::poll_fn(|cx| hold.poll_over(cx)).await;
        assert_eq!(start.elapsed().as_millis(), 250);
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_no_place_is_rounded_so_that_the_mean_stays() {
        let holding = Holding::up_to(1);
        let held = holding.hold(shed(3_250), caller(), None, Instant::now());
        let told = |_| holding.hold(shed(3_250), caller(), None, Instant::now());
        let told: Vec<_> = (0..1_000).map(told).collect();
        assert!(told.iter().all(|(_, hold)| hold.is_none()));
        let mean = told.iter().map(|(shed, _)| shed.retry_after.as_secs_f64()).sum::<f64>() / 1e3;
        assert!((mean - 3.25).abs() < 0.01, "{mean}");
        drop(held);
        assert!(holding.hold(shed(3_250), caller(), None, Instant::now()).1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_held_past_a_deadline_or_below_a_second_or_who_hears_milliseconds() {
        let (holding, now) = (Holding::up_to(10), Instant::now());
        let soon = now + Duration::from_millis(250);
        assert!(holding.hold(shed(3_250), caller(), Some(soon), now).1.is_none());
        let (told, hold) = holding.hold(shed(250), caller(), None, now);
        assert!(told.retry_after.as_millis() == 250 && hold.is_none());
        let call = Request::builder().header("content-type", "application/grpc").body(());
        let grpc = Caller::of(&call.expect("a request"));
        let (told, hold) = holding.hold(shed(3_250), grpc, None, now);
        assert!(told.retry_after.as_millis() == 3_250 && hold.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_held_or_rounded_unless_that_is_asked_for() {
        let (told, hold) = Holding::default().hold(shed(3_250), caller(), None, Instant::now());
        assert!(told.retry_after.as_millis() == 3_250 && hold.is_none());
    }
}
