//! Tenants share the permits of a controller fairly, in virtual time.

use std::time::Duration;

use backpressure_core::{QueueBounds, Reason};
use proptest::prelude::*;

mod world;

use self::world::{Load, Outcomes, World, jain};

const MILLIS_50: Duration = Duration::from_millis(50);
const NOISY: usize = 99;

/// A hundred permits of 50 ms, 2 000 requests a second: 99 tenants with a hundredth each, and one with twenty
/// times as much if `is_noisy`. Where requests come at random, the 99 send nine tenths of that, as any queue grows
/// without end at a load of exactly 1.
fn one_noisy_tenant(seed: u64, queue: QueueBounds, paced: bool, is_noisy: bool) -> Vec<Outcomes> {
    let load = if paced { Load::paced } else { Load::random };
    let rate = if paced { 20.0 } else { 18.0 };
    let mut loads: Vec<_> = (0..99).map(|tenant| load(tenant, rate, MILLIS_50)).collect();
    if is_noisy {
        loads.push(load(99, 400.0, MILLIS_50));
    }
    let mut world = World::new(100, queue, loads, seed);
    world.run(5, 20);
    assert!(world.most_in_flight <= 100);
    world.outcomes
}

fn p99_of_all(outcomes: &[Outcomes]) -> f64 {
    let times = outcomes.iter().flat_map(|it| it.times.clone()).collect();
    Outcomes { times, ..Outcomes::default() }.p99()
}

fn share_served(outcomes: &[Outcomes]) -> f64 {
    let served: u32 = outcomes.iter().map(|it| it.served).sum();
    f64::from(served) / f64::from(outcomes.iter().map(|it| it.sent).sum::<u32>())
}

#[test]
fn a_tenant_at_twenty_times_its_share_leaves_the_others_theirs() {
    for seed in 0..2 {
        let all = one_noisy_tenant(seed, QueueBounds::default(), true, true);
        let worst = (5..20)
            .map(|second| jain(all.iter().map(|it| it.work_in(second, second + 1))))
            .fold(1.0, f64::min);
        println!("seed {seed}: Jain's index over 1 s {worst:.5}, {:?}", all[NOISY].rejected);
        assert!(worst >= 0.999);
        assert!(all[..NOISY].iter().all(|it| it.rejected.is_empty()));
        let rejected: u32 = all[NOISY].rejected.values().sum();
        assert_eq!(all[NOISY].rejected.get(&Reason::TenantShare), Some(&rejected));
    }
}

#[test]
fn a_tenant_at_twenty_times_its_share_adds_little_to_the_latency_of_the_others() {
    for seed in 0..2 {
        let alone = one_noisy_tenant(seed, QueueBounds::default(), false, false);
        let all = one_noisy_tenant(seed, QueueBounds::default(), false, true);
        let victims = &all[..NOISY];
        let ratio = p99_of_all(victims) / p99_of_all(&alone);
        let served = share_served(victims) / share_served(&alone);
        println!("seed {seed}: p99 {ratio:.3} of solo, served {served:.4} of solo");
        assert!(ratio <= 1.05 && served >= 0.99);
    }
}

#[test]
fn a_tenant_at_twenty_times_its_share_leaves_the_others_theirs_where_there_is_no_queue() {
    for seed in 0..2 {
        let alone = one_noisy_tenant(seed, QueueBounds::NONE, false, false);
        let all = one_noisy_tenant(seed, QueueBounds::NONE, false, true);
        let served = share_served(&all[..NOISY]) / share_served(&alone);
        let noisy = share_served(&all[NOISY..]);
        println!("seed {seed}: served {served:.4} of solo, noisy {noisy:.4}");
        assert!(served >= 0.97, "it gets what the others leave");
    }
}

/// A thousand tenants, of which the n-th sends 1/n of what the first one does; twice what can be served.
#[test]
fn of_a_thousand_tenants_of_very_different_size_only_the_large_ones_are_cut() {
    let total: f64 = (1..=1_000).map(|n| 1.0 / f64::from(n)).sum();
    let rate = |n: u32| 4_000.0 / (f64::from(n) * total);
    let loads =
        (1..=1_000).map(|n| Load::random(u64::from(n), rate(n), MILLIS_50)).collect::<Vec<_>>();
    let mut world = World::new(100, QueueBounds::default(), loads, 7);
    world.run(10, 30);
    // The max-min fair share: what is left by those that want less, over the others.
    let mut demands: Vec<_> = (1..=1_000).map(rate).collect();
    demands.sort_by(f64::total_cmp);
    let (mut left, mut share) = (2_000.0, 0.0);
    for (done, demand) in demands.iter().enumerate() {
        share = left / (1_000 - done) as f64;
        if *demand > share {
            break;
        }
        left -= demand;
    }
    let served = |n: u32| world.outcomes[n as usize - 1].work_in(10, 30) / 0.05 / 20.0;
    let index = jain((1..=1_000).map(|n| served(n) / rate(n).min(share)));
    let large = jain((1..=20).map(|n| served(n) / rate(n).min(share)));
    let small: Vec<_> = world.outcomes[200..].to_vec();
    println!(
        "fair share {share:.1} a second; Jain's index {index:.4}, of the twenty largest {large:.4}; \
         of the 800 smallest {:.4} are served; the largest gets {:.1}",
        share_served(&small),
        served(1)
    );
    assert!(large >= 0.999, "what they are cut to is equal");
    assert!(share_served(&small) >= 0.99);
}

#[test]
fn a_tenant_with_requests_a_hundred_times_as_long_gets_as_much_permit_time() {
    {
        let seed = 1;
        let mut loads: Vec<_> =
            (0..9).map(|tenant| Load::random(tenant, 1_000.0, Duration::from_millis(10))).collect();
        loads.push(Load::random(9, 100.0, Duration::from_secs(1)));
        let mut world = World::new(60, QueueBounds::default(), loads, seed);
        world.run(5, 35);
        let index = jain(world.outcomes.iter().map(|it| it.work_in(5, 35)));
        let long = world.outcomes[9].work_in(5, 35) / 180.0;
        println!("seed {seed}: Jain's index {index:.5}, the long ones have {long:.3} of a share");
        assert!(index >= 0.999);
    }
}

#[test]
fn tenants_share_by_their_weights() {
    let loads = [1, 2, 4, 13]
        .map(|weight| Load { weight, ..Load::random(u64::from(weight), 1_000.0, MILLIS_50) });
    let mut world = World::new(20, QueueBounds::default(), loads.into(), 3);
    world.run(5, 65);
    let index = jain(
        world
            .outcomes
            .iter()
            .zip(loads)
            .map(|(it, load)| it.work_in(5, 65) / f64::from(load.weight)),
    );
    println!("Jain's index by weight {index:.5}");
    // Permits are whole, and few.
    assert!(index >= 0.998);
}

#[test]
fn a_flood_of_invented_names_competes_as_one_tenant() {
    for seed in 0..2 {
        let mut loads: Vec<_> =
            (0..99).map(|tenant| Load::random(tenant, 18.0, MILLIS_50)).collect();
        loads.push(Load { is_minted: true, ..Load::random(99, 10_000.0, MILLIS_50) });
        let mut world = World::new(100, QueueBounds::default(), loads, seed);
        world.run(5, 12);
        let served = share_served(&world.outcomes[..NOISY]);
        println!("seed {seed}: {served:.4} served beside {} names", world.outcomes[NOISY].sent);
        assert!(served >= 0.97);
    }
}

/// Of 20 permits, cheap requests ask for 1.5 times as many as there are; one in fifty costs `units`.
fn expensive_requests(units: u32) -> Vec<Outcomes> {
    let mut loads = vec![Load::random(1, 590.0, MILLIS_50)];
    loads.push(Load { cost: units, ..Load::random(1, 2.0, MILLIS_50) });
    let queue = QueueBounds::in_order(64, Duration::from_secs(10));
    let mut world = World::new(20, queue, loads, 5);
    world.run(1, 31);
    assert!(world.most_in_flight <= 20, "units are never above the limit");
    world.outcomes
}

#[test]
fn an_expensive_request_is_not_passed_by_cheap_ones_for_ever() {
    for units in [2, 10, 20] {
        let outcomes = expensive_requests(units);
        let served = outcomes.iter().map(|it| f64::from(it.served) / f64::from(it.sent));
        let served: Vec<_> = served.collect();
        println!("{units} units: served {served:.3?}, in {:.3} s", outcomes[1].p99());
        assert!(served[1] > 0.8 * served[0]);
    }
}

#[test]
fn a_request_that_costs_more_than_the_limit_runs_alone() {
    let outcomes = expensive_requests(1_000_000);
    assert!(outcomes[1].served > 20, "{} of {}", outcomes[1].served, outcomes[1].sent);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn no_permit_is_free_while_a_request_is_queued_and_none_starves(
        limit in 1..40usize,
        seed in any::<u64>(),
        cost in prop_oneof![Just(1u32), 1..60u32],
        tenants in prop::collection::vec((1..8u16, 1..400u64, 0.2..3.0f64), 2..8),
    ) {
        let weights: f64 = tenants.iter().map(|it| f64::from(it.0)).sum();
        // Each asks for 0.2 to 3 times as much as it has a right to.
        let loads: Vec<_> = tenants.iter().zip(0..).map(|(&(weight, millis, load), tenant)| {
            let service = Duration::from_millis(millis);
            let share = limit as f64 * f64::from(weight) / weights;
            let rate = load * share / service.as_secs_f64();
            let rate = (rate / f64::from(cost.min(limit as u32))).min(2_000.0);
            Load { weight, cost, ..Load::paced(tenant, rate, service) }
        }).collect();
        let queue = QueueBounds::in_order(1_024, Duration::from_secs(3_600));
        let mut world = World::new(limit, queue, loads.clone(), seed);
        world.run(0, 30);
        prop_assert!(world.most_in_flight <= limit);
        if cost == 1 {
            prop_assert_eq!(world.idle_with_queue, Duration::ZERO);
        }
        let longest = loads.iter().map(|it| it.service.as_secs_f64()).fold(0.0, f64::max);
        for (load, outcomes) in loads.iter().zip(&world.outcomes) {
            let share = limit as f64 * f64::from(load.weight) / weights;
            // Where requests do not fit in side by side, what is left beside them is of no use.
            let units = load.cost.min(limit as u32) as usize;
            let usable = (limit / units * units) as f64 / limit as f64;
            let asked = load.rate * load.service.as_secs_f64() * units as f64;
            let wanted = asked.min(share * usable) * 10.0;
            let got = outcomes.work_in(15, 25);
            // Work counts when it ends: each permit may hold one request at either end of the ten seconds.
            let slack = 2.0 * longest * (share + units as f64) + 0.1 * wanted;
            prop_assert!(got + slack >= wanted, "{:?}: {} of {}", load, got, wanted);
        }
    }
}
