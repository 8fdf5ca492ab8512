//! Keys of a shared quota that the store fails for, beside others, and a runtime that ends.

use std::time::Duration;

use backpressure_tests::memory_store::{Behaviour, MemoryStore};
use tokio::time::sleep;
use tower_backpressure::server::{OnStoreFailure, QuotaLayer, SharedQuota};

use crate::shared::{LEASE, hundred_a_second};
use crate::support::{BY_KEY, request, send};

/// How many requests of each key are admitted in a minute, at 200 a second of each.
async fn admitted_in_a_minute(layer: &QuotaLayer, keys: &[&str]) -> Vec<u32> {
    let mut admitted = vec![0; keys.len()];
    for round in 0..200 * 60 {
        // Each is the first one in turn.
        for index in (0..keys.len()).map(|at| (round + at) % keys.len()) {
            let response = send(layer, request(keys[index])).await;
            admitted[index] += u32::from(response.status() == 200);
        }
        sleep(Duration::from_millis(5)).await;
    }
    admitted
}

#[tokio::test(start_paused = true)]
async fn keys_that_the_store_fails_for_have_what_was_chosen_and_the_others_their_quota() {
    for behaviour in [Behaviour::Fails, Behaviour::Hangs] {
        for (mode, least, most) in [
            // The store knows one replica, whose share is the quota.
            (OnStoreFailure::LocalShare, 5_900, 6_120),
            (OnStoreFailure::Open, 11_900, 12_000),
            (OnStoreFailure::Closed, 0, 20),
        ] {
            let store = MemoryStore::default();
            let shared = SharedQuota::new(store.clone()).lease(LEASE).on_failure(mode);
            let layer = QuotaLayer::per("shared", BY_KEY, hundred_a_second()).shared(shared);
            store.behave_to("lost", behaviour);
            let keys = ["lost 1", "lost 2", "lost 3", "lost 4", "a", "b"];
            let admitted = admitted_in_a_minute(&layer, &keys).await;
            let (lost, well) = admitted.split_at(4);
            assert!(
                lost.iter().all(|it| (least..=most).contains(it)),
                "{behaviour:?} {mode:?}: {lost:?}"
            );
            // Until it is known that the store fails for some only, it is in doubt for all: that costs a burst.
            assert!(well.iter().all(|it| (5_900..=6_220).contains(it)), "{mode:?}: {well:?}");
            // Two keys that are well ask twenty times a second, and each of the others every 1.6 s.
            assert!(store.exchanges() < 3_200, "{}", store.exchanges());
            store.behave_to("lost", Behaviour::Answers(Duration::from_millis(1)));
            sleep(Duration::from_secs(2)).await;
            let back = admitted_in_a_minute(&layer, &keys[..1]).await[0];
            assert!((5_900..=6_120).contains(&back), "{behaviour:?} {mode:?}: {back}");
        }
    }
}

#[test]
fn keys_are_forgotten_by_the_next_runtime_after_the_one_that_began_has_ended() {
    let runtime = || {
        let builder = &mut tokio::runtime::Builder::new_current_thread();
        builder.enable_time().start_paused(true).build().expect("a runtime")
    };
    let layer = runtime().block_on(async {
        let store = SharedQuota::new(MemoryStore::default());
        let layer = QuotaLayer::per("shared", BY_KEY, hundred_a_second()).shared(store);
        let _ = send(&layer, request("a")).await;
        sleep(Duration::from_millis(100)).await;
        layer
    });
    runtime().block_on(async {
        let _ = send(&layer, request("b")).await;
        assert_eq!(layer.handle().keys(), 2);
        sleep(Duration::from_secs(10)).await;
        assert_eq!(layer.handle().keys(), 0);
    });
}
