//! How many handlers may run at once that are going to call an overloaded origin.

use std::time::Duration;

use crate::time::Timestamp;

/// Bounds the handlers that work before they call an origin, so that they do not work in vain.
///
/// Under overload the queue of the origin's limit is short. A handler that starts while it has room finds it full when
/// it calls: others were on the way before. The handlers that run are those on the way, those that wait and those that
/// are called. While their number is constant, one starts when one has ended, and the queue keeps its length however
/// long a handler works before its call. The window is that number. For each handler that ends it moves by a part of
/// what the queue lacks to the wanted length, so that a round of handlers corrects a quarter of the difference.
///
/// The wanted length is a quarter of the room in the queue: by chance the handlers on the way are more or fewer, and
/// a queue is not to overflow then, nor to leave permits idle. Other callers of the origin fill the queue as well, so
/// that the window is led by its own part of it.
///
/// When the overload is over the window is not lifted at once: all that came then would start, and find the queue full
/// when they call. As long as it keeps handlers from starting it doubles in the time of a handler, and it is lifted when
/// it has kept none for twice that time.
///
/// A handler that hangs before its call stays in the window and brings no call. Where a permit has been free for as
/// long as a handler takes, those on the way would have come: the window is raised by the permits that are free, once
/// in that time.
///
/// Source: Jacobson, *Congestion Avoidance and Control* (1988), for one that starts when one has ended; Brakmo and
/// Peterson, *TCP Vegas* (1995), for a window that is led by the length of the queue.
///
/// ```
/// use backpressure_core::{Backlog, HandlerWindow, Timestamp};
///
/// let (mut window, now) = (HandlerWindow::new(), Timestamp::ZERO);
/// let overload = Backlog { limit: 16, in_flight: 16, room: 8, queued: 2, is_overloaded: true };
/// assert!(window.admits(20, None, now));
/// assert!(!window.admits(20, Some(overload), now), "one starts when one has ended");
/// assert!(window.admits(19, Some(overload), now));
/// ```
#[derive(Clone, Debug)]
pub struct HandlerWindow {
    /// `None` while it bounds nothing.
    size: Option<f64>,
    /// The median time of handlers, in seconds; zero as long as none has ended. A mean would follow those that hang until
    /// their time-out.
    median: f64,
    /// Since when a permit of the origin has been free, as far as is known.
    free_since: Option<Timestamp>,
    /// When the overload was over, or the window was doubled after that.
    calm_since: Option<Timestamp>,
}

/// What the limit of an origin has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
    /// Calls that may be in flight at once.
    pub limit: usize,
    /// Calls that may be queued.
    pub room: usize,
    /// Calls in flight.
    pub in_flight: usize,
    /// Calls that wait.
    pub queued: usize,
    /// Whether more calls come than the origin answers.
    pub is_overloaded: bool,
}

/// Part of what the queue lacks that a round of handlers corrects. What is corrected shows up to a round later: above a
/// quarter the queue swings (`z² − z + GAIN` has complex roots). At a half, 7 % of the work was in vain in a service
/// that works for 200 ms before its call.
const GAIN: f64 = 0.25;
/// Wanted length of the queue, as a share of the room.
const WANTED_SHARE: f64 = 0.25;
/// Age over the median time of a handler from which on it is taken to hang: of exponential times one in 64 is longer. From
/// 4 on, handlers whose calls are in the queue are taken to hang as well: 1.5 % of the work is in vain in a service that
/// works for 200 ms before its call.
const HANGS_OVER_MEDIAN: f64 = 6.0;
/// The same where handlers are fast: pauses of the process delay all of them.
const MIN_HANGS_AFTER: Duration = Duration::from_millis(100);
/// What the median moves by with each handler: it follows a change by half in fourteen.
const MEDIAN_STEP: f64 = 1.05;

impl HandlerWindow {
    /// A window that bounds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: None, median: 0.0, free_since: None, calm_since: None }
    }

    /// Whether one more handler may start while this many run. The backlog is `None` while permits are free.
    pub fn admits(&mut self, running: usize, backlog: Option<Backlog>, now: Timestamp) -> bool {
        match backlog.filter(|backlog| backlog.is_overloaded) {
            Some(backlog) => self.admits_under_overload(running, backlog, now),
            None => self.admits_after_overload(running, now),
        }
    }

    fn admits_after_overload(&mut self, running: usize, now: Timestamp) -> bool {
        self.free_since = None;
        let Some(size) = &mut self.size else { return true };
        let calm = now.since(*self.calm_since.get_or_insert(now)).as_secs_f64();
        match running as f64 >= *size {
            true if calm < self.median => return false,
            true => (*size, self.calm_since) = (2.0 * *size, Some(now)),
            false if calm < 2.0 * self.median => {}
            false => self.size = None,
        }
        true
    }

    fn admits_under_overload(&mut self, running: usize, backlog: Backlog, now: Timestamp) -> bool {
        self.calm_since = None;
        let (running, free) = (running as f64, self.free_for_long(backlog, now));
        let size = self.size.get_or_insert(running);
        if free > 0 {
            *size = size.max(running) + free as f64;
        }
        running < *size
    }

    /// How many permits of the origin are free, if one has been for as long as a handler takes; counted once in that
    /// time.
    fn free_for_long(&mut self, backlog: Backlog, now: Timestamp) -> usize {
        let free = backlog.limit.saturating_sub(backlog.in_flight);
        if free == 0 || backlog.queued > 0 {
            self.free_since = None;
            return 0;
        }
        let since = *self.free_since.get_or_insert(now);
        if now.since(since).as_secs_f64() < self.median {
            return 0;
        }
        self.free_since = Some(now);
        free
    }

    /// One of `running` handlers has ended, after this time.
    pub fn ended(&mut self, running: usize, took: Duration, backlog: Backlog) {
        let Some(size) = self.size else { return };
        self.record(took.as_secs_f64());
        if backlog.in_flight >= backlog.limit {
            self.free_since = None;
        }
        let (running, lacking) = (running as f64, backlog.lacks(running as f64));
        if lacking > 0.0 && running < size - 1.0 {
            return;
        }
        let size = if lacking < 0.0 { size.min(running) } else { size };
        self.size = Some((size + (GAIN * lacking / size).clamp(-1.0, 1.0)).max(1.0));
    }

    fn record(&mut self, took: f64) {
        self.median = match self.median {
            0.0 => took,
            median if took > median => median * MEDIAN_STEP,
            median => median / MEDIAN_STEP,
        };
    }

    /// The age from which on a handler is taken to hang; `None`: not known.
    #[must_use]
    pub fn hangs_after(&self) -> Option<Duration> {
        let age = Duration::from_secs_f64(HANGS_OVER_MEDIAN * self.median);
        (self.median > 0.0).then(|| age.max(MIN_HANGS_AFTER))
    }

    /// Whether it bounds anything at present.
    #[must_use]
    pub const fn is_bounding(&self) -> bool {
        self.size.is_some()
    }
}

impl Default for HandlerWindow {
    fn default() -> Self {
        Self::new()
    }
}

impl Backlog {
    /// How many calls the queue is short of, as far as it is that of these handlers.
    fn lacks(self, running: f64) -> f64 {
        let calls = (self.in_flight + self.queued) as f64;
        let own_share = running / running.max(calls).max(1.0);
        WANTED_SHARE * self.room as f64 - own_share * self.queued as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A handler works for this many steps before its call; the origin answers one call a step.
    const STEPS_BEFORE_CALL: usize = 40;
    const LIMIT: usize = 16;
    const QUEUE: usize = 8;
    const STEP: Duration = Duration::from_millis(1);
    const NOW: Timestamp = Timestamp::ZERO;

    /// Runs `per_step` requests a step for a while, among `others` calls a step without a window. Returns how
    /// many of the last thousand steps answered a call of ours, and how many of our calls found the queue full.
    fn run(per_step: usize, others: usize) -> (usize, usize) {
        let mut window = HandlerWindow::new();
        let mut on_the_way = std::collections::VecDeque::from(vec![0; STEPS_BEFORE_CALL]);
        let (mut calls, mut running) = (std::collections::VecDeque::new(), 0);
        let (mut answered, mut rejected) = (0, 0);
        for step in 0..5_000 {
            let (is_judged, now) = (step >= 4_000, Timestamp::ZERO + STEP * step);
            let backlog = |calls: usize| Backlog {
                limit: LIMIT,
                room: QUEUE,
                in_flight: calls.min(LIMIT),
                queued: calls.saturating_sub(LIMIT),
                is_overloaded: step > 100,
            };
            let mut started = 0;
            for _ in 0..per_step {
                if window.admits(running, Some(backlog(calls.len())), now) {
                    (started, running) = (started + 1, running + 1);
                }
            }
            on_the_way.push_back(started);
            let own = on_the_way.pop_front().expect("forty at any time");
            let mut came = [vec![true; own], vec![false; others]].concat();
            let turn = step as usize % came.len().max(1);
            came.rotate_left(turn);
            let mut end = |calls: usize| {
                let took = STEP * (STEPS_BEFORE_CALL + LIMIT) as u32;
                window.ended(running, took, backlog(calls));
                running -= 1;
            };
            for is_own in came {
                let has_room = calls.len() < LIMIT + QUEUE;
                if has_room {
                    calls.push_back(is_own);
                } else if is_own {
                    rejected += usize::from(is_judged);
                    end(calls.len());
                }
            }
            if calls.pop_front() == Some(true) {
                answered += usize::from(is_judged);
                end(calls.len());
            }
        }
        (answered, rejected)
    }

    #[test]
    fn the_queue_is_neither_full_nor_empty_however_long_handlers_work_before_their_call() {
        for per_step in [2, 3, 10] {
            let (answered, rejected) = run(per_step, 0);
            assert!(
                answered >= 990 && rejected == 0,
                "{per_step}: {answered}, {rejected} rejected"
            );
        }
    }

    #[test]
    fn other_callers_that_could_fill_the_queue_leave_the_handlers_a_part() {
        let (answered, _) = run(3, 1);
        assert!(answered >= 80, "{answered}");
    }

    #[test]
    fn after_the_overload_it_doubles_in_the_time_of_a_handler_and_is_lifted_once_it_keeps_none() {
        let mut window = HandlerWindow::new();
        let overload = Backlog { limit: 4, room: 4, in_flight: 4, queued: 1, is_overloaded: true };
        assert!(!window.admits(10, Some(overload), NOW));
        window.ended(10, 10 * STEP, overload);
        let calm = Some(Backlog { is_overloaded: false, ..overload });
        assert!(!window.admits(10, calm, NOW) && !window.admits(10, None, NOW + 9 * STEP));
        let later = NOW + 10 * STEP;
        assert!(window.admits(10, calm, later) && window.admits(19, None, later));
        assert!(!window.admits(20, None, later + 9 * STEP));
        assert!(window.admits(20, None, later + 10 * STEP));
        assert!(window.admits(30, None, later + 29 * STEP) && window.is_bounding());
        assert!(window.admits(30, None, later + 30 * STEP) && !window.is_bounding());
        assert!(window.admits(1_000, None, later + 30 * STEP));
    }

    #[test]
    fn one_handler_may_always_run() {
        let mut window = HandlerWindow::new();
        let overload =
            Backlog { limit: 1, room: 1, in_flight: 1, queued: 1_000, is_overloaded: true };
        assert!(!window.admits(3, Some(overload), NOW));
        (0..100).for_each(|_| window.ended(3, STEP, overload));
        assert!(window.admits(0, Some(overload), NOW));
    }

    #[test]
    fn a_permit_that_stays_free_lets_handlers_pass_those_that_hang() {
        let mut window = HandlerWindow::new();
        let overload = Backlog { limit: 4, in_flight: 4, room: 4, queued: 2, is_overloaded: true };
        assert!(!window.admits(30, Some(overload), NOW));
        (0..1_000).for_each(|_| window.ended(30, 100 * STEP, overload));
        let idle = Backlog { in_flight: 1, queued: 0, ..overload };
        assert!(
            !window.admits(30, Some(idle), NOW) && !window.admits(30, Some(idle), NOW + 90 * STEP)
        );
        let later = NOW + 100 * STEP;
        assert!(window.admits(30, Some(idle), later) && window.admits(32, Some(idle), later));
        assert!(!window.admits(33, Some(idle), later), "three permits were free");
    }
}
