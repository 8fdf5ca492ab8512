//! The books of what tenants hold, while they become known and are forgotten, and the orders in which they run and give way.

use super::*;
use crate::request_info::RequestInfo;

/// Requests of eight tenants with costs of one to five units, over three hours: some run at once, some are queued
/// first, and each ends at any time.
fn run(seed: u64) -> FairShares {
    let (mut shares, mut rng) = (FairShares::default(), fastrand::Rng::with_seed(seed));
    let (mut queued, mut held) = (Vec::<Hold>::new(), Vec::<Hold>::new());
    let mut now = Timestamp::ZERO;
    for step in 0..4_000 {
        // A pause of hours makes the tenants unknown again, with permits in flight.
        let millis = if step % 1_000 == 999 { 9_000_000 } else { rng.u64(..400) };
        now = now + Duration::from_millis(millis);
        let (tenant, units) = (rng.u64(..8), rng.u32(1..=5));
        let share = shares.share_of(&RequestInfo::default().tenant(tenant), now);
        let hold = Hold { units, share, tenant: Some(tenant), weight: 1, since: now };
        let share = share.expect("a tenant is named");
        if rng.bool() {
            held.push(Hold { share: Some(shares.admitted(share, &hold, now)), ..hold });
        } else {
            shares.queued(share, 1, now);
            queued.push(hold);
        }
        if rng.bool() && !queued.is_empty() {
            let hold = Hold { since: now, ..queued.swap_remove(rng.usize(..queued.len())) };
            let share = hold.share.expect("a tenant is named");
            held.push(Hold { share: Some(shares.dispatched(share, &hold, now)), ..hold });
        }
        if rng.bool() && !held.is_empty() {
            let hold = held.swap_remove(rng.usize(..held.len()));
            shares.released(hold.share.expect("a tenant is named"), &hold, now);
        }
        let class = &mut shares.classes[Priority::Normal as usize];
        class.advance(now);
        class.assert_orders_are_exact();
        let units: u64 = held.iter().map(|hold| u64::from(hold.units)).sum();
        assert_eq!(class.in_flight(), units, "seed {seed}, step {step}");
    }
    for hold in held {
        shares.released(hold.share.expect("a tenant is named"), &hold, now);
    }
    queued.iter().for_each(|hold| shares.dequeued(hold.share.expect("a tenant is named")));
    shares
}

#[test]
fn tenants_that_queue_and_leave_while_no_permit_is_released_take_bounded_memory() {
    let mut shares = FairShares::default();
    let mut queued = std::collections::VecDeque::new();
    for step in 0..20_000 {
        let now = Timestamp::ZERO + Duration::from_millis(step);
        let info = RequestInfo::default().tenant(step % 5_000);
        let share = shares.share_of(&info, now).expect("a tenant is named");
        shares.queued(share, 1, now);
        queued.push_back(share);
        if queued.len() > 100 {
            shares.dequeued(queued.pop_front().expect("a hundred are queued"));
        }
        shares.classes[Priority::Normal as usize].assert_orders_are_exact();
    }
}

#[test]
fn what_newcomers_hold_when_they_become_known_is_returned_to_the_last_unit() {
    for seed in 0..50 {
        let shares = run(seed);
        for class in &shares.classes {
            assert_eq!(class.in_flight(), 0, "seed {seed}");
            assert!(class.newcomers_hold_nothing(), "seed {seed}");
        }
    }
}
