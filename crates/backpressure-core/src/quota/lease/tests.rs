//! Leases of several replicas against a store that loses, repeats and delays what is said.

use proptest::prelude::*;

use super::*;
use crate::quota::{Quota, QuotaDecision, QuotaUsage};

/// What a store keeps of a quota, and of each replica: what it has debited, and the last claim it has heard.
struct Store {
    quota: Quota,
    usage: [QuotaUsage; 1],
    records: Vec<Option<(u64, u64)>>,
    debited: i128,
}

impl Store {
    fn new(quota: Quota, replicas: usize) -> Self {
        Self { quota, usage: Default::default(), records: vec![None; replicas], debited: 0 }
    }

    fn exchange(&mut self, replica: usize, sequence: u64, claim: &Claim, now: Timestamp) -> Grant {
        let (last_sequence, last) = self.records[replica].unwrap_or((0, claim.base));
        if sequence <= last_sequence {
            return Grant::new(last);
        }
        let mut claimed = last.max(claim.spent);
        self.debit(claimed - last, now);
        let mut retry_after = Duration::ZERO;
        if claim.wanted > claimed {
            let available =
                self.quota.standing(&self.usage, now).next().map_or(0, |it| it.remaining);
            let granted = available.min(claim.wanted - claimed);
            self.debit(granted, now);
            claimed += granted;
            if claimed < claim.wanted {
                let mut probe = self.usage;
                if let QuotaDecision::Reject(rejection) =
                    self.quota.decide(&mut probe, 0, claim.least, now)
                {
                    retry_after = rejection.retry_after;
                }
            }
        } else {
            let rest = claimed - claim.wanted.max(claim.spent);
            self.quota.settle(&mut self.usage, &mut TakenTokens::of(rest), 0, now);
            self.debited -= i128::from(rest);
            claimed -= rest;
        }
        self.records[replica] = Some((sequence, claimed));
        Grant::new(claimed).retry_after(retry_after)
    }

    fn debit(&mut self, tokens: u64, now: Timestamp) {
        self.quota.settle(&mut self.usage, &mut TakenTokens::of(0), tokens, now);
        self.debited += i128::from(tokens);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Request {
        replica: usize,
        cost: u64,
    },
    /// Sends a claim, if one is due; it arrives `copies` times, and the answer is lost or not.
    Exchange {
        replica: usize,
        copies: usize,
        is_answered: bool,
        is_idle: bool,
    },
    /// A copy of an old claim arrives.
    Late {
        index: usize,
    },
}

fn step() -> impl Strategy<Value = (u64, Step)> {
    let gap = prop_oneof![Just(0_u64), 0..30_000_000_u64, 0..3_000_000_000_u64];
    let request =
        (0..3_usize, 0..4_u64).prop_map(|(replica, cost)| Step::Request { replica, cost });
    let exchange = (0..3_usize, 0..3_usize, any::<bool>(), any::<bool>());
    let exchange = exchange.prop_map(|(replica, copies, is_answered, is_idle)| Step::Exchange {
        replica,
        copies,
        is_answered,
        is_idle,
    });
    let late = (0..100_usize).prop_map(|index| Step::Late { index });
    (gap, prop_oneof![6 => request, 3 => exchange, 1 => late])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn whatever_is_lost_repeated_or_late_the_overdraft_is_bounded_and_each_token_debited_once(
        max in 1..12_u64,
        tokens in 1..40_u64,
        steps in proptest::collection::vec(step(), 1..400),
    ) {
        let quota = Quota::per_second(tokens).max_debt(1_000_000);
        let settings = LeaseSettings::new(max);
        let mut store = Store::new(quota, 3);
        let mut leases = [(); 3].map(|()| Lease::default());
        let (mut sequence, mut sent, mut now) = (0, Vec::new(), Timestamp::ZERO);
        let mut spent = 0_i128;
        for (gap, step) in steps {
            now = now + Duration::from_nanos(gap);
            match step {
                Step::Request { replica, cost } => {
                    let admitted = leases[replica].decide(cost, &settings, now) == LeaseDecision::Admit;
                    spent += i128::from(cost) * i128::from(admitted);
                }
                Step::Exchange { replica, copies, is_answered, is_idle } => {
                    let lease = &mut leases[replica];
                    let claim = if is_idle { lease.settle_idle() } else { lease.claim(&settings, now) };
                    let Some(claim) = claim else { continue };
                    sequence += 1;
                    sent.push((replica, sequence, claim));
                    let answers: Vec<_> =
                        (0..copies).map(|_| store.exchange(replica, sequence, &claim, now)).collect();
                    match answers.last() {
                        Some(grant) if is_answered => lease.granted(&claim, *grant, now),
                        _ => lease.failed(now),
                    }
                }
                Step::Late { index } => {
                    if let Some((replica, sequence, claim)) = sent.get(index) {
                        store.exchange(*replica, *sequence, claim, now);
                    }
                }
            }
            let recorded: i128 = store.records.iter().flatten().map(|(_, claimed)| i128::from(*claimed)).sum();
            prop_assert_eq!(store.debited, recorded, "each token is debited once");
            prop_assert!(spent <= store.debited + 3 * i128::from(max), "{spent} {}", store.debited);
            for lease in &leases {
                prop_assert!(lease.balance() >= -i128::from(max));
            }
        }
        // Once all is said, each token that was spent is debited, and no other.
        for (replica, lease) in leases.iter_mut().enumerate() {
            now = now + Duration::from_secs(1);
            for _ in 0..4 {
                if let Some(claim) = lease.settle_idle() {
                    sequence += 1;
                    let grant = store.exchange(replica, sequence, &claim, now);
                    lease.granted(&claim, grant, now);
                }
            }
            prop_assert!(lease.is_idle());
        }
        prop_assert_eq!(store.debited, spent);
    }
}

#[test]
fn a_store_that_is_wrong_mints_no_tokens_and_locks_no_tenant_out() {
    for lie in [0, 1, u64::MAX / 2, u64::MAX] {
        let (settings, mut now) = (LeaseSettings::new(10), Timestamp::ZERO);
        let (mut lease, mut admitted) = (Lease::default(), 0_u64);
        for _ in 0..1_000 {
            now = now + Duration::from_millis(10);
            admitted += u64::from(lease.decide(1, &settings, now) == LeaseDecision::Admit);
            if let Some(claim) = lease.claim(&settings, now) {
                let held = claim.base.saturating_sub(claim.spent);
                lease.granted(&claim, Grant::new(lie), now);
                assert!(lease.balance() <= i128::from(held.max(10)), "{lie}");
            }
        }
        assert!(admitted >= if lie > 1_000 { 1_000 } else { 10 }, "{lie}: {admitted}");
    }
}

#[test]
fn a_lease_follows_the_rate_within_its_bound() {
    let (settings, mut now) = (LeaseSettings::new(500), Timestamp::ZERO);
    let mut lease = Lease::default();
    let mut round_trips = |lease: &mut Lease, per_second: u64, requests: u64| {
        let mut round_trips = 0;
        for _ in 0..requests {
            now = now + Duration::from_nanos(1_000_000_000 / per_second);
            assert_eq!(lease.decide(1, &settings, now), LeaseDecision::Admit);
            if let Some(claim) = lease.claim(&settings, now) {
                round_trips += 1;
                lease.granted(&claim, Grant::new(claim.wanted), now);
            }
        }
        round_trips
    };
    // Ten a second at most.
    let fast = round_trips(&mut lease, 1_000, 10_000);
    assert!((50..=130).contains(&fast), "{fast}");
    let slow = round_trips(&mut lease, 2, 100);
    assert!(slow <= 100, "{slow}");
    assert!(lease.balance() <= 2, "{}", lease.balance());
}

#[test]
fn an_expensive_request_gets_more_than_a_lease() {
    let (settings, now) = (LeaseSettings::new(10), Timestamp::ZERO);
    let mut lease = Lease::default();
    assert_eq!(lease.decide(300, &settings, now), LeaseDecision::Unknown);
    let claim = lease.claim(&settings, now).expect("a claim is due");
    assert_eq!((claim.wanted, claim.least), (300, 300));
    lease.granted(&claim, Grant::new(120).retry_after(Duration::from_secs(3)), now);
    assert_eq!(lease.decide(300, &settings, now), LeaseDecision::Exhausted(Duration::from_secs(3)));
    assert_eq!(lease.decide(120, &settings, now), LeaseDecision::Admit);
}
