//! Any sequence of responses: the retries obey them and stay within their bounds.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use proptest::prelude::*;
use tokio::runtime;
use tokio::time::Instant;
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::RetryBody;
use tower_backpressure::{Attempts, RetryBudget, RetryLayer};

#[derive(Clone, Debug)]
struct Scripted {
    status: u16,
    retry_after: Option<u64>,
    marked: bool,
}

impl Scripted {
    fn response(&self) -> Response<String> {
        let mut response = Response::builder().status(self.status);
        if let Some(seconds) = self.retry_after {
            response = response.header("retry-after", seconds);
        }
        if self.marked {
            response = response.header("x-shed-reason", "limit");
        }
        response.body(String::new()).unwrap()
    }

    fn says_not_begun(&self) -> bool {
        matches!(self.status, 421 | 425 | 429) || self.status == 503 && self.marked
    }
}

fn scripted() -> impl Strategy<Value = Scripted> {
    let status = prop::sample::select(&[200, 408, 425, 429, 500, 502, 503, 503, 503, 504][..]);
    let retry_after = prop::option::of(prop_oneof![0_u64..5, 0_u64..90, any::<u64>()]);
    (status, retry_after, any::<bool>()).prop_map(|(status, retry_after, marked)| Scripted {
        status,
        retry_after,
        marked,
    })
}

/// The time of each attempt, the time at which the response was returned, and the response.
fn run(
    layer: &RetryLayer,
    method: Method,
    script: &[Scripted],
) -> (Vec<Duration>, Duration, Response<RetryBody<String>>) {
    let clock =
        runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    clock.block_on(async {
        let start = Instant::now();
        let sent = Arc::new(Mutex::new(Vec::new()));
        let recorder = Arc::clone(&sent);
        let script = script.to_vec();
        let service = layer.layer(service_fn(move |_: Request<()>| {
            let mut sent = recorder.lock().unwrap();
            sent.push(start.elapsed());
            ready(Ok::<_, Infallible>(script[sent.len() - 1].response()))
        }));
        let request = Request::builder().method(method).body(()).unwrap();
        let last = service.oneshot(request).await.unwrap();
        let sent = sent.lock().unwrap().clone();
        (sent, start.elapsed(), last)
    })
}

proptest! {
    #[test]
    fn retries_obey_every_response_and_stay_within_their_bounds(
        script in prop::collection::vec(scripted(), 10),
        max_attempts in 1_u32..=10,
        deadline in 1_u64..200,
        reserve in 0_u32..6,
        seed in any::<u64>(),
        post in any::<bool>(),
    ) {
        let deadline = Duration::from_secs(deadline);
        let budget = RetryBudget::new(0.0).reserve(reserve);
        let layer = RetryLayer::new()
            .max_attempts(max_attempts)
            .deadline(deadline)
            .budget(budget.clone())
            .seed(seed);
        let method = if post { Method::POST } else { Method::GET };
        let (sent, ended, last) = run(&layer, method, &script);

        let retries = sent.len() - 1;
        prop_assert!(sent.len() <= max_attempts as usize);
        prop_assert_eq!(budget.balance(), f64::from(reserve) - retries as f64);
        // Tokio's timer counts in milliseconds and rounds up.
        prop_assert!(*sent.last().unwrap() <= deadline + Duration::from_millis(1));
        prop_assert_eq!(&ended, sent.last().unwrap(), "the last response is returned without delay");
        let status = StatusCode::from_u16(script[retries].status).unwrap();
        prop_assert_eq!(last.status(), status);
        prop_assert_eq!(Attempts::of(last.extensions()), Attempts(sent.len() as u32));

        for (scripted, pair) in script.iter().zip(sent.windows(2)) {
            let delay = Duration::from_secs(scripted.retry_after.unwrap_or(0));
            prop_assert!(pair[1] - pair[0] >= delay, "{scripted:?} was not obeyed");
            prop_assert!(delay <= Duration::from_secs(60));
            prop_assert!(!post || scripted.says_not_begun(), "{scripted:?} may have been begun");
            prop_assert!(!matches!(scripted.status, 200 | 500));
        }
    }
}
