//! How tenants share the permits of one priority: each its fair share, and what others leave.

use std::time::Duration;

use crate::flow::{Flow, Share};
use crate::hold::Hold;
use crate::priority::Priority;
use crate::request_info::RequestInfo;
use crate::time::Timestamp;

mod account;
mod class;
mod known;
mod newcomers;
mod numbers;
mod orders;
mod ranking;
mod seeded;
#[cfg(test)]
mod tests;

use self::class::Class;
use self::known::Known;

/// Shares the permits between the tenants within each priority, by the time for which they hold them.
///
/// # The order
/// Start-time fair queueing (Goyal, Vin and Cheng, 1996) on measured permit-time. A flow starts its next request where it has
/// arrived by the permit-time that it has used, over its weight. Of the flows with queued requests that with the
/// earliest start goes next. A flow that begins anew starts at the virtual time, so that it can neither save up what it did
/// not use nor be made to pay for what no other flow wanted. It differs from the paper in three points:
///
/// - What a request will use is not known at its start. A flow in service is charged its own mean for each
///   permit that it holds, or the time for which it has held them if that is longer. The release settles it.
/// - Several requests run at once. The virtual time is the highest start of an admitted request, and also moves by
///   itself: by the permits in use over the weight of the active flows. Without the second, tenants that come
///   once would leave it where it is, and a tenant that keeps coming would never have its turn.
/// - A flow that is idle and not ahead of the virtual time has no state at all.
///
/// # Which tenant gives way
/// Where the queue is full, the flow with the most in flight and queued over its weight gives way ("longest
/// queue drop"). Where there is no queue, a rejection of a flow within its share reserves a permit: flows that
/// hold more than their share must leave that many free, for as long as such rejections go on.
///
/// Each operation takes O(log n) for n flows with queued requests, amortised: the orders are brought up to date where
/// they are read.
#[derive(Debug, Default)]
pub(crate) struct FairShares {
    classes: [Class; 4],
    /// `None`: no tenant was named so far, and no shares are kept. It is large, and most controllers have none.
    known: Option<Box<Known>>,
}

/// What a flow asks for beside its share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// It competes with no other flow.
    Alone,
    /// It has asked for no more than its share.
    Within,
    /// It has asked for more.
    Over,
}

/// Number of flows that new tenants share: a single one of them then disturbs an
/// eighth of the others, and two different ones rarely meet. Together they have the weight of one tenant.
pub(crate) const NEWCOMER_FLOWS: u8 = 8;

impl FairShares {
    /// Whether any tenant was named so far.
    pub(crate) const fn are_kept(&self) -> bool {
        self.known.is_some()
    }

    /// The share that a request uses; `None`: no shares are kept.
    pub(crate) fn share_of(&mut self, info: &RequestInfo, now: Timestamp) -> Option<Share> {
        let flow = match (info.tenant, &mut self.known) {
            (None, None) => return None,
            (None, Some(_)) => Flow::Anonymous,
            (Some(tenant), known) => {
                let known = known.get_or_insert_with(|| Box::new(Known::new(now)));
                let is_known = known.meet(tenant, now);
                self.class(info.priority, now).flow_of(tenant, is_known, info.weight)
            }
        };
        Some(Share { priority: info.priority, flow })
    }

    /// A request is admitted on arrival; the share that it uses from now on.
    pub(crate) fn admitted(&mut self, share: Share, hold: &Hold, now: Timestamp) -> Share {
        let flow = self.class(share.priority, now).admitted(share.flow, hold);
        Share { flow, ..share }
    }

    /// A queued request is admitted; the share that it uses from now on.
    pub(crate) fn dispatched(&mut self, share: Share, hold: &Hold, now: Timestamp) -> Share {
        let flow = self.class(share.priority, now).dispatched(share.flow, hold);
        Share { flow, ..share }
    }

    /// A request returns what it held.
    pub(crate) fn released(&mut self, share: Share, hold: &Hold, now: Timestamp) {
        let newcomer = hold.tenant.filter(|_| matches!(share.flow, Flow::Newcomers(_)));
        if let (Some(tenant), Some(known)) = (newcomer, &mut self.known) {
            known.serve(tenant, now);
        }
        self.class(share.priority, now).released(share.flow, hold);
    }

    /// A request is queued.
    pub(crate) fn queued(&mut self, share: Share, weight: u16, now: Timestamp) {
        self.class(share.priority, now).enqueued(share.flow, weight);
    }

    /// A request leaves the queue without being admitted.
    pub(crate) fn dequeued(&mut self, share: Share) {
        self.classes[share.priority as usize].dequeued(share.flow);
    }

    /// The flow whose request runs next; `None`: none is queued.
    pub(crate) fn next(&mut self, priority: Priority, now: Timestamp) -> Option<Flow> {
        let class = &mut self.classes[priority as usize];
        class.advance(now);
        class.next()
    }

    /// The flow that gives way; `None`: none is queued.
    pub(crate) fn fattest(&self, priority: Priority) -> Option<Flow> {
        self.classes[priority as usize].fattest()
    }

    /// Whether the flow that gives way to a new request of this share is another one.
    pub(crate) fn another_gives_way(&self, share: Share, weight: u16) -> bool {
        self.classes[share.priority as usize].another_gives_way(share.flow, weight)
    }

    /// A request arrives that is not admitted at once.
    pub(crate) fn asked(&mut self, share: Share, weight: u16, units: u32, now: Timestamp) {
        self.class(share.priority, now).asked(share.flow, weight, units);
    }

    /// Whether a flow keeps to its share.
    pub(crate) fn standing(&self, share: Share) -> Standing {
        self.classes[share.priority as usize].standing(share.flow)
    }

    /// How many requests of the same priority may run before a new one of this share, if that is known.
    pub(crate) fn ahead_of(&self, share: Share) -> usize {
        self.classes[share.priority as usize].ahead_of(share.flow)
    }

    /// When a rejected request of this share may come back, where `per_second` requests a second run in all;
    /// each one after the other at the pace of its own share.
    pub(crate) fn time_to_return(
        &mut self,
        share: Share,
        per_second: f64,
        now: Timestamp,
    ) -> Duration {
        self.class(share.priority, now).time_to_return(share.flow, per_second)
    }

    fn class(&mut self, priority: Priority, now: Timestamp) -> &mut Class {
        let class = &mut self.classes[priority as usize];
        class.advance(now);
        class
    }
}

/// Where there is no queue.
impl FairShares {
    /// Whether a request must leave a free permit to flows that hold less than their share.
    pub(crate) fn holds(&mut self, share: Share, room: Room, now: Timestamp) -> bool {
        self.class(share.priority, now).holds(share.flow, room)
    }

    /// A request of a flow that keeps to its share was rejected for want of a permit.
    pub(crate) fn reserve(&mut self, share: Share, room: Room, now: Timestamp) {
        self.class(share.priority, now).reserve(room);
    }
}

/// What there is for a request, and what it asks for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    pub(crate) limit: usize,
    /// Units that are free.
    pub(crate) free: usize,
    pub(crate) units: u32,
}
