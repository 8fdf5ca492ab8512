//! A server that counts by rate and rounds the time up to a second is used as far as it allows.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Response, StatusCode};
use tower::{Layer, ServiceBuilder};
use tower_backpressure::{CooldownLayer, RetryLayer};

use super::{Arrivals, Reply, SECOND, load, ok, reply, server};

/// A token bucket that tells all others to come back in a second.
fn bucket(rate: f64, burst: f64) -> impl Fn(Duration) -> Reply + Clone + Send {
    let state = Arc::new(Mutex::new((Duration::ZERO, burst)));
    move |at| {
        let (since, tokens) = &mut *state.lock().expect("no panic");
        *tokens = f64::min(burst, *tokens + rate * (at - *since).as_secs_f64());
        *since = at;
        if *tokens < 1.0 {
            return reply(429, &[("retry-after", "1")]);
        }
        *tokens -= 1.0;
        ok()
    }
}

fn served<B>(responses: Vec<Response<B>>) -> usize {
    responses.iter().filter(|response| response.status() == StatusCode::OK).count()
}

#[tokio::test(start_paused = true)]
async fn a_cooldown_costs_nothing_where_an_origin_answers_some_and_rejects_others() {
    let length = 20 * SECOND;
    for (rate, burst, offered) in
        [(10.0, 1.0, 20.0), (10.0, 10.0, 20.0), (100.0, 1.0, 200.0), (50.0, 50.0, 500.0)]
    {
        let every = Duration::from_secs_f64(1.0 / offered);
        let retries = || RetryLayer::named("search");
        let client = retries().layer(server(&Arrivals::new(), bucket(rate, burst)));
        let without = served(load(&client, every, length).await);
        let client = ServiceBuilder::new()
            .layer(retries())
            .layer(CooldownLayer::new("search"))
            .service(server(&Arrivals::new(), bucket(rate, burst)));
        let with = served(load(&client, every, length).await);
        let case = format!("{rate} a second, {burst} at once, of {offered}");
        assert!(with as f64 >= 0.95 * without as f64, "{case}: {with} and {without} without");
    }
}
