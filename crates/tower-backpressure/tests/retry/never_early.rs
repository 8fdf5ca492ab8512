//! No retry is sent before the moment that the server named, in whichever form.

use std::convert::Infallible;
use std::future::ready;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fastrand::Rng;
use http::{HeaderName, HeaderValue, Request, Response};
use tokio::time::Instant;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::{RetryBudget, RetryLayer};

use crate::memory_server::{ok, response};

/// Calls run a thousand at a time, a hundred times.
const BATCHES: usize = 100;
const CALLS_PER_BATCH: usize = 1_000;

/// When each response was sent, on the server's clock: its `Date`, which has whole seconds.
const SENT: Duration = Duration::from_secs(1_795_248_000);

/// A response that asks for a delay of this many milliseconds.
struct Asks {
    millis: u64,
    fields: Vec<(&'static str, String)>,
}

impl Asks {
    fn draw(random: &mut Rng) -> Self {
        let seconds = random.u64(1..=60);
        let fine = random.u64(1..=60_000);
        let of_seconds = |name, value: String| (seconds * 1_000, name, value);
        let of_millis = |name, value: String| (fine, name, value);
        let at = SENT + Duration::from_secs(seconds);
        let date = httpdate::fmt_http_date(UNIX_EPOCH + at);
        let (clock, day) = (&date[17..25], &date[5..7]);
        let (millis, name, value) = match random.u8(0..20) {
            0 => of_seconds("retry-after", seconds.to_string()),
            1 => of_seconds("retry-after", format!("{seconds}.000")),
            2 => of_millis("retry-after", format!("{}.{:03}", fine / 1_000, fine % 1_000)),
            3 => of_millis("retry-after-ms", fine.to_string()),
            4 => of_millis("x-ms-retry-after-ms", fine.to_string()),
            5 => of_millis("grpc-retry-pushback-ms", fine.to_string()),
            6 => of_seconds("retry-after", format!("{seconds}s")),
            7 => of_seconds("retry-after", format!("0h{}m{}s", seconds / 60, seconds % 60)),
            8 => of_seconds("retry-after", format!("PT{seconds}S")),
            9 => of_millis("retry-after", format!("{fine}ms")),
            10 => of_seconds("retry-after", date.clone()),
            11 => of_seconds("retry-after", format!("Saturday, {day}-Nov-26 {clock} GMT")),
            12 => of_seconds("retry-after", format!("Sat Nov {day} {clock} 2026")),
            13 => of_seconds("retry-after", date.to_lowercase()),
            14 => of_seconds("retry-after", format!("2026-11-{day}T{clock}Z")),
            15 => of_seconds("retry-after", at.as_secs().to_string()),
            16 => of_seconds("retry-after", at.as_millis().to_string()),
            17 => of_seconds("retry-after", format!("1, {seconds}, 0")),
            18 => of_seconds("ratelimit", format!("\"default\";r=0;t={seconds}")),
            _ => of_seconds("x-ratelimit-reset", at.as_secs().to_string()),
        };
        let sent = httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + SENT);
        Self { millis, fields: vec![(name, value), ("date", sent)] }
    }

    fn response(&self) -> Response<String> {
        let mut response = response(503, &[]);
        for (name, value) in &self.fields {
            let value = HeaderValue::try_from(value).unwrap();
            response.headers_mut().append(HeaderName::from_static(name), value);
        }
        response
    }
}

/// Sends a request that is rejected with this, and returns how much later than asked it came again.
async fn lateness(layer: RetryLayer, asks: Asks) -> i128 {
    let rejected = Arc::new(Mutex::new(None));
    let first = Arc::clone(&rejected);
    let rejection = asks.response();
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        let is_first = first.lock().unwrap().replace(Instant::now()).is_none();
        ready(Ok::<_, Infallible>(if is_first { rejection.clone() } else { ok() }))
    }));
    let start = Instant::now();
    let response = service.ready().await.unwrap().call(Request::new(())).await.unwrap();
    assert_eq!(response.status(), 200, "{:?}", asks.fields);
    let waited = rejected.lock().unwrap().expect("two attempts") - start;
    waited.as_nanos() as i128 - i128::from(asks.millis) * 1_000_000
}

#[tokio::test(start_paused = true)]
async fn of_a_hundred_thousand_waits_in_all_forms_none_is_early() {
    let mut random = Rng::with_seed(1);
    let layer = RetryLayer::new()
        .budget(RetryBudget::new(1.0).reserve(1_000_000))
        .deadline(Duration::from_secs(3_600));
    let mut earliest = i128::MAX;
    for _ in 0..BATCHES {
        let calls: Vec<_> = (0..CALLS_PER_BATCH)
            .map(|_| tokio::spawn(lateness(layer.clone(), Asks::draw(&mut random))))
            .collect();
        for call in calls {
            earliest = earliest.min(call.await.unwrap());
        }
    }
    assert!(earliest >= 0, "{earliest} ns");
}
