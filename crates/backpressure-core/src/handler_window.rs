//! How many handlers may run at once that are going to call an overloaded origin.

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
/// Source: Jacobson, *Congestion Avoidance and Control* (1988), for one that starts when one has ended; Brakmo and
/// Peterson, *TCP Vegas* (1995), for a window that is led by the length of the queue.
///
/// ```
/// use backpressure_core::{Backlog, HandlerWindow};
///
/// let mut window = HandlerWindow::new();
/// let overload = Backlog { room: 8, in_flight: 16, queued: 2, is_overloaded: true };
/// assert!(window.admits(20, Backlog { is_overloaded: false, ..overload }));
/// assert!(!window.admits(20, overload), "one starts when one has ended");
/// assert!(window.admits(19, overload));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct HandlerWindow {
    /// `None` while the origin is not overloaded.
    size: Option<f64>,
}

/// What the limit of an origin has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backlog {
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
/// that works for 200 ms before its call; at a quarter up to 2 %.
const GAIN: f64 = 0.25;
/// Wanted length of the queue, as a share of the room.
const WANTED_SHARE: f64 = 0.25;

impl HandlerWindow {
    /// A window that bounds nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { size: None }
    }

    /// Whether one more handler may start while this many run.
    pub fn admits(&mut self, running: usize, backlog: Backlog) -> bool {
        if !backlog.is_overloaded {
            self.size = None;
            return true;
        }
        let running = running as f64;
        running < *self.size.get_or_insert(running)
    }

    /// One of `running` handlers has ended.
    pub fn ended(&mut self, running: usize, backlog: Backlog) {
        let Some(size) = self.size else { return };
        let (running, lacking) = (running as f64, backlog.lacks(running as f64));
        if lacking > 0.0 && running < size - 1.0 {
            return;
        }
        let size = if lacking < 0.0 { size.min(running) } else { size };
        self.size = Some((size + (GAIN * lacking / size).clamp(-1.0, 1.0)).max(1.0));
    }

    /// Whether it bounds anything at present.
    #[must_use]
    pub const fn is_bounding(&self) -> bool {
        self.size.is_some()
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

    /// Runs `per_step` requests a step for a while, among `others` calls a step without a window. Returns how
    /// many of the last thousand steps answered a call of ours, and how many of our calls found the queue full.
    fn run(per_step: usize, others: usize) -> (usize, usize) {
        let mut window = HandlerWindow::new();
        let mut on_the_way = std::collections::VecDeque::from(vec![0; STEPS_BEFORE_CALL]);
        let (mut calls, mut running) = (std::collections::VecDeque::new(), 0);
        let (mut answered, mut rejected) = (0, 0);
        for step in 0..5_000 {
            let is_judged = step >= 4_000;
            let backlog = |calls: usize| Backlog {
                room: QUEUE,
                in_flight: calls.min(LIMIT),
                queued: calls.saturating_sub(LIMIT),
                is_overloaded: step > 100,
            };
            let mut started = 0;
            for _ in 0..per_step {
                if window.admits(running, backlog(calls.len())) {
                    (started, running) = (started + 1, running + 1);
                }
            }
            on_the_way.push_back(started);
            let own = on_the_way.pop_front().expect("forty at any time");
            let mut came = [vec![true; own], vec![false; others]].concat();
            let turn = step % came.len().max(1);
            came.rotate_left(turn);
            for is_own in came {
                let has_room = calls.len() < LIMIT + QUEUE;
                if has_room {
                    calls.push_back(is_own);
                } else if is_own {
                    rejected += usize::from(is_judged);
                    window.ended(running, backlog(calls.len()));
                    running -= 1;
                }
            }
            if calls.pop_front() == Some(true) {
                answered += usize::from(is_judged);
                window.ended(running, backlog(calls.len()));
                running -= 1;
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
    fn it_bounds_nothing_once_the_overload_is_over() {
        let mut window = HandlerWindow::new();
        let overload = Backlog { room: 4, in_flight: 4, queued: 9, is_overloaded: true };
        assert!(!window.admits(10, overload));
        assert!(window.is_bounding());
        assert!(window.admits(1_000, Backlog { is_overloaded: false, ..overload }));
        assert!(!window.is_bounding());
    }

    #[test]
    fn one_handler_may_always_run() {
        let mut window = HandlerWindow::new();
        let overload = Backlog { room: 1, in_flight: 1, queued: 1_000, is_overloaded: true };
        assert!(!window.admits(3, overload));
        (0..100).for_each(|_| window.ended(3, overload));
        assert!(window.admits(0, overload));
    }
}
