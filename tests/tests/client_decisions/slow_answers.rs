//! Origins whose answers take half a second, and whose rejections come at once and name a second: a row of rejections is no
//! sign that all requests are rejected.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::Request;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};
use tower::{Layer, service_fn};
use tower_backpressure::CooldownLayer;

use super::{MS, Reply, SECOND, load, ok, reply};

const SERVICE: Duration = Duration::from_millis(500);

/// Which requests an origin rejects.
#[derive(Clone, Copy, Debug)]
enum Rejects {
    /// A share, as where a balancer sends it to a replica that is overloaded.
    Share(f64),
    /// Those beyond this number at once.
    Beyond(usize),
    /// All of every other span of this length.
    Spans(Duration),
}

/// Of the requests of twenty seconds, where the origin rejects some from then on.
async fn served(rejects: Rejects, from: Duration, status: u16, rate: u32, dry_run: bool) -> usize {
    let (start, dice) = (Instant::now(), Arc::new(Mutex::new(fastrand::Rng::with_seed(1))));
    let places = match rejects {
        Rejects::Beyond(places) => places,
        Rejects::Share(_) | Rejects::Spans(_) => Semaphore::MAX_PERMITS,
    };
    let places = Arc::new(Semaphore::new(places));
    let service = service_fn(move |_: Request<()>| {
        let (dice, places) = (Arc::clone(&dice), Arc::clone(&places));
        async move {
            sleep(2 * MS).await;
            let is_rejected = match rejects {
                _ if start.elapsed() < from => false,
                Rejects::Share(share) => dice.lock().expect("no panic").f64() < share,
                Rejects::Beyond(_) => false,
                Rejects::Spans(span) => start.elapsed().as_millis() / span.as_millis() % 2 == 1,
            };
            let place = places.try_acquire().ok().filter(|_| !is_rejected);
            let Some(_place) = place else {
                return Ok::<Reply, Infallible>(reply(status, &[("retry-after", "1")]));
            };
            sleep(SERVICE).await;
            Ok(ok())
        }
    });
    let client = CooldownLayer::new("slow").seed(1).dry_run(dry_run).layer(service);
    load(&client, SECOND / rate, 20 * SECOND).await.iter().filter(|it| it.status() == 200).count()
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_costs_little_where_rejections_come_before_the_answers_to_earlier_requests() {
    let shares = [0.2, 0.5].map(|share| (Rejects::Share(share), 503));
    let spans = [503, 429].map(|status| (Rejects::Spans(300 * MS), status));
    // To a client that has had no answer yet, the first rejections say more.
    for (from, percent) in [(Duration::ZERO, 60), (2 * SECOND, 97)] {
        for (rejects, status) in shares.into_iter().chain(spans) {
            for rate in [20, 50, 500] {
                let without = served(rejects, from, status, rate, true).await;
                let with = served(rejects, from, status, rate, false).await;
                let context = format!("{rejects:?} from {from:?}, {rate}/s: {with}, {without}");
                assert!(with * 100 >= without * percent, "{context} without");
            }
        }
    }
    for (places, rate) in [(21, 50), (210, 500)] {
        let rejects = Rejects::Beyond(places);
        let without = served(rejects, Duration::ZERO, 503, rate, true).await;
        let with = served(rejects, Duration::ZERO, 503, rate, false).await;
        assert!(with * 100 >= without * 97, "{rejects:?}, {rate}/s: {with}, {without} without");
    }
}
