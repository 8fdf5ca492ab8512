//! A log of events, and counts over it.

use std::sync::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// One event. A request is what a client wants; an attempt is one sending of it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum EventKind {
    /// A request was due.
    Offered,
    /// A request was answered successfully, this long after it was due.
    Answered(Duration),
    /// An attempt was sent.
    Sent,
    /// An attempt was rejected: 503 or 429.
    Refused,
    /// An attempt had no answer in time, and its connection was closed.
    Late,
    /// An attempt found no connection, lost it, or got another status.
    Broken,
}

/// An event, and when it happened since the start of the run.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Event {
    pub(crate) at: Duration,
    pub(crate) kind: EventKind,
}

/// The log of a run. Its length is bounded by the arrivals: a request makes at most ten events.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) start: Instant,
    events: Mutex<Vec<Event>>,
}

impl Log {
    pub(crate) fn starting(start: Instant) -> Self {
        Self { start, events: Mutex::new(Vec::new()) }
    }

    pub(crate) fn note(&self, kind: EventKind) {
        self.note_at(Instant::now(), kind);
    }

    pub(crate) fn note_at(&self, at: Instant, kind: EventKind) {
        let at = at.saturating_duration_since(self.start);
        self.events.lock().expect("no thread panics while it logs").push(Event { at, kind });
    }

    /// Takes the events logged so far.
    pub(crate) fn take(&self) -> Vec<Event> {
        std::mem::take(&mut self.events.lock().expect("no thread panics while it logs"))
    }
}

/// A span between two times since the start of the run, without its end.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Window {
    pub(crate) from: Duration,
    pub(crate) to: Duration,
}

impl Window {
    pub(crate) fn seconds(self) -> f64 {
        self.to.saturating_sub(self.from).as_secs_f64()
    }

    pub(crate) fn contains(self, at: Duration) -> bool {
        self.from <= at && at < self.to
    }
}

/// Number of events of each kind within a window.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) offered: u32,
    pub(crate) answered: u32,
    pub(crate) sent: u32,
    pub(crate) refused: u32,
    pub(crate) late: u32,
    pub(crate) broken: u32,
}

impl Counts {
    pub(crate) fn within(events: &[Event], window: Window) -> Self {
        let mut counts = Self::default();
        events
            .iter()
            .filter(|event| window.contains(event.at))
            .for_each(|event| counts.add(event.kind));
        counts
    }

    fn add(&mut self, kind: EventKind) {
        *match kind {
            EventKind::Offered => &mut self.offered,
            EventKind::Answered(_) => &mut self.answered,
            EventKind::Sent => &mut self.sent,
            EventKind::Refused => &mut self.refused,
            EventKind::Late => &mut self.late,
            EventKind::Broken => &mut self.broken,
        } += 1;
    }
}

/// Counts per bucket up to `end`; an incomplete last bucket is left out.
pub(crate) fn timeline(events: &[Event], bucket: Duration, end: Duration) -> Vec<Counts> {
    let buckets = end.as_nanos() / bucket.as_nanos().max(1);
    let mut counts = vec![Counts::default(); buckets as usize];
    for event in events {
        let place = event.at.as_nanos() / bucket.as_nanos().max(1);
        if let Some(count) = counts.get_mut(place as usize) {
            count.add(event.kind);
        }
    }
    counts
}

/// Latencies of the requests answered within a window, ascending.
pub(crate) fn latencies(events: &[Event], window: Window) -> Vec<Duration> {
    let mut all: Vec<Duration> = events
        .iter()
        .filter(|event| window.contains(event.at))
        .filter_map(|event| match event.kind {
            EventKind::Answered(latency) => Some(latency),
            _ => None,
        })
        .collect();
    all.sort_unstable();
    all
}

/// The nearest-rank percentile of ascending values: the smallest that at least this share of them does not
/// exceed.
pub(crate) fn percentile(ascending: &[Duration], share: f64) -> Option<Duration> {
    let rank = (share * ascending.len() as f64).ceil() as usize;
    ascending.get(rank.saturating_sub(1)).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(ms: u64, kind: EventKind) -> Event {
        Event { at: Duration::from_millis(ms), kind }
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        let values: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        assert_eq!(percentile(&values, 0.50), Some(Duration::from_millis(50)));
        assert_eq!(percentile(&values, 0.99), Some(Duration::from_millis(99)));
        assert_eq!(percentile(&values, 1.0), Some(Duration::from_millis(100)));
        assert_eq!(percentile(&values[..1], 0.99), Some(Duration::from_millis(1)));
        assert_eq!(percentile(&[], 0.5), None);
    }

    #[test]
    fn a_window_includes_its_start_and_not_its_end() {
        let window = Window { from: Duration::from_millis(10), to: Duration::from_millis(20) };
        let events = [9, 10, 19, 20].map(|ms| event(ms, EventKind::Offered));
        assert_eq!(Counts::within(&events, window).offered, 2);
    }

    #[test]
    fn every_event_of_the_run_falls_in_one_bucket() {
        let latency = Duration::from_millis(3);
        let events = [
            event(0, EventKind::Offered),
            event(249, EventKind::Sent),
            event(250, EventKind::Answered(latency)),
            event(600, EventKind::Late),
        ];
        let buckets = timeline(&events, Duration::from_millis(250), Duration::from_millis(700));
        assert_eq!(buckets.len(), 2);
        assert_eq!((buckets[0].offered, buckets[0].sent, buckets[1].answered), (1, 1, 1));
        assert_eq!(buckets.iter().map(|bucket| bucket.late).sum::<u32>(), 0);
    }
}
