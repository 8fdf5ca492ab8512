//! Over services in memory, on a paused clock.

use std::convert::Infallible;
use std::future::{Future, Ready, ready};
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use tokio::time::{Instant, advance, sleep, timeout};
use tower::limit::ConcurrencyLimit;
use tower::util::ServiceFn;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::client::Deadline;
use tower_backpressure::{Attempts, Retry, RetryBudget, RetryLayer};

const SECOND: Duration = Duration::from_secs(1);

/// When each attempt arrived.
#[derive(Clone, Debug, Default)]
struct Arrivals(Arc<Mutex<Vec<Instant>>>);

impl Arrivals {
    fn note(&self) -> usize {
        let mut arrivals = self.0.lock().unwrap();
        arrivals.push(Instant::now());
        arrivals.len()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn gaps(&self) -> Vec<Duration> {
        let arrivals = self.0.lock().unwrap();
        arrivals.windows(2).map(|pair| pair[1] - pair[0]).collect()
    }
}

type Answers = Ready<Result<Response<&'static str>, Infallible>>;

/// A server that gives these answers in turn, the last one for ever.
fn server(
    arrivals: &Arrivals,
    answers: &[Response<&'static str>],
) -> ServiceFn<impl FnMut(Request<()>) -> Answers + Clone + Send + use<>> {
    let arrivals = arrivals.clone();
    let answers: Arc<[_]> = answers.into();
    service_fn(move |_request| {
        let turn = arrivals.note().min(answers.len());
        ready(Ok(answers[turn - 1].clone()))
    })
}

fn answer(status: u16, headers: &[(&'static str, &str)]) -> Response<&'static str> {
    let mut response = Response::new("the server's own words");
    *response.status_mut() = StatusCode::from_u16(status).unwrap();
    for (name, value) in headers {
        response.headers_mut().append(*name, value.parse().unwrap());
    }
    response
}

fn ok() -> Response<&'static str> {
    answer(200, &[])
}

fn request(method: Method) -> Request<()> {
    Request::builder().method(method).body(()).unwrap()
}

fn get() -> Request<()> {
    request(Method::GET)
}

/// Enough for tests that are not about the budget.
fn rich() -> RetryBudget {
    RetryBudget::new(1.0).reserve(1_000)
}

/// How often such a request is sent when the first answer is this one.
async fn sent(request: Request<()>, first: Response<&'static str>) -> usize {
    let arrivals = Arrivals::default();
    let service = RetryLayer::new().layer(server(&arrivals, &[first, ok()]));
    service.oneshot(request).await.unwrap();
    arrivals.count()
}

#[tokio::test(start_paused = true)]
async fn nobody_comes_back_before_the_server_said() {
    let layer = RetryLayer::new().budget(rich());
    for _ in 0..100 {
        let arrivals = Arrivals::default();
        let [one, two] = ["1", "2"].map(|value| answer(503, &[("retry-after", value)]));
        let service = layer.layer(server(&arrivals, &[one, two, ok()]));
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.status(), 200);
        let gaps = arrivals.gaps();
        assert!(gaps[0] >= SECOND, "{gaps:?}");
        assert!(gaps[1] >= 2 * SECOND, "{gaps:?}");
        // Tokio's timer counts in milliseconds and rounds up.
        let late = Duration::from_millis(1);
        assert!(gaps[0] <= 2 * SECOND + late, "{gaps:?}");
        assert!(gaps[1] <= 3 * SECOND + late, "{gaps:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_against_a_plain_503_is_sent_once() {
    assert_eq!(sent(request(Method::POST), answer(503, &[])).await, 1);
    assert_eq!(sent(request(Method::PATCH), answer(502, &[])).await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_post_that_was_not_begun_is_sent_again() {
    let shed = answer(503, &[("x-shed-reason", "limit"), ("retry-after", "1")]);
    assert_eq!(sent(request(Method::POST), shed).await, 2);
    for status in [421, 425, 429] {
        assert_eq!(sent(request(Method::POST), answer(status, &[])).await, 2);
    }
}

#[tokio::test(start_paused = true)]
async fn a_post_with_an_idempotency_key_is_sent_again() {
    let mut post = request(Method::POST);
    let key = "\"8e03978e\"".parse().unwrap();
    post.headers_mut().insert("idempotency-key", key);
    assert_eq!(sent(post, answer(503, &[])).await, 2);
}

#[tokio::test(start_paused = true)]
async fn a_get_is_sent_again_after_whatever_passes() {
    for status in [408, 429, 502, 503, 504] {
        assert_eq!(sent(get(), answer(status, &[])).await, 2, "{status}");
    }
    for status in [200, 404, 500, 501] {
        assert_eq!(sent(get(), answer(status, &[])).await, 1, "{status}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_last_answer_is_the_servers_own() {
    let arrivals = Arrivals::default();
    let busy = answer(503, &[("retry-after", "1"), ("x-queue", "91")]);
    let service = RetryLayer::new().layer(server(&arrivals, &[busy]));
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.status(), 503);
    assert_eq!(response.headers()["retry-after"], "1");
    assert_eq!(response.headers()["x-queue"], "91");
    assert_eq!(response.extensions().get(), Some(&Attempts(3)));
    assert_eq!(*response.body(), "the server's own words");
    assert_eq!(arrivals.count(), 3);
}

#[tokio::test(start_paused = true)]
async fn errors_are_retried_for_idempotent_requests_only() {
    for (method, attempts) in [(Method::GET, 3), (Method::PUT, 3), (Method::POST, 1)] {
        let arrivals = Arrivals::default();
        let noted = arrivals.clone();
        let broken = service_fn(move |_: Request<()>| {
            noted.note();
            ready(Err::<Response<()>, _>("connection reset"))
        });
        let outcome = RetryLayer::new()
            .layer(broken)
            .oneshot(request(method))
            .await;
        assert_eq!(outcome.unwrap_err(), "connection reset");
        assert_eq!(arrivals.count(), attempts);
    }
}

#[tokio::test(start_paused = true)]
async fn what_nobody_understands_is_left_to_the_backoff() {
    for nonsense in [
        "soon",
        "-1",
        "1.5",
        "",
        "0",
        "Sun, 06 Nov 1994 08:49:37 GMT",
    ] {
        let arrivals = Arrivals::default();
        let first = answer(503, &[("retry-after", nonsense)]);
        let service = RetryLayer::new().layer(server(&arrivals, &[first.clone(), first, ok()]));
        service.oneshot(get()).await.unwrap();
        let gaps = arrivals.gaps();
        // Tokio's timer counts in milliseconds and rounds up.
        assert!(gaps[0] <= Duration::from_millis(51), "{nonsense}: {gaps:?}");
        assert!(
            gaps[1] <= Duration::from_millis(101),
            "{nonsense}: {gaps:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_date_is_counted_from_the_servers_own_clock() {
    let arrivals = Arrivals::default();
    let first = answer(
        429,
        &[
            ("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT"),
            ("date", "Sun, 06 Nov 1994 08:49:30 GMT"),
        ],
    );
    let service = RetryLayer::new().layer(server(&arrivals, &[first, ok()]));
    service.oneshot(get()).await.unwrap();
    let gap = arrivals.gaps()[0];
    assert!(gap >= 7 * SECOND && gap < 9 * SECOND, "{gap:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wait_nobody_would_sit_out_is_handed_over_at_once() {
    for long in ["61", "1742000000", "99999999999999999999"] {
        let arrivals = Arrivals::default();
        let layer = RetryLayer::new().deadline(Duration::MAX);
        let service = layer.layer(server(&arrivals, &[answer(429, &[("retry-after", long)])]));
        let start = Instant::now();
        let response = service.oneshot(get()).await.unwrap();
        assert_eq!(response.headers()["retry-after"], long);
        assert_eq!(start.elapsed(), Duration::ZERO);
        assert_eq!(arrivals.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_past_the_deadline_is_not_begun() {
    let arrivals = Arrivals::default();
    let layer = RetryLayer::new().deadline(5 * SECOND);
    let busy = answer(503, &[("retry-after", "3")]);
    let service = layer.layer(server(&arrivals, &[busy]));
    let start = Instant::now();
    let response = service.oneshot(get()).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Attempts(2)));
    assert!(start.elapsed() < 5 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_the_requests_own_counts_where_it_is_earlier() {
    let arrivals = Arrivals::default();
    let service =
        RetryLayer::new().layer(server(&arrivals, &[answer(503, &[("retry-after", "3")])]));
    let mut hurried = get();
    hurried
        .extensions_mut()
        .insert(Deadline(Instant::now() + 2 * SECOND));
    let response = service.oneshot(hurried).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Attempts(1)));
}

#[tokio::test(start_paused = true)]
async fn without_budget_there_is_no_retry() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.0).reserve(1);
    let layer = RetryLayer::new().budget(budget);
    let service = layer.layer(server(&arrivals, &[answer(503, &[])]));
    let first = service.clone().oneshot(get()).await.unwrap();
    let second = layer
        .layer(service.into_inner())
        .oneshot(get())
        .await
        .unwrap();
    assert_eq!(first.extensions().get(), Some(&Attempts(2)));
    assert_eq!(second.extensions().get(), Some(&Attempts(1)));
}

#[tokio::test(start_paused = true)]
async fn giving_up_during_the_wait_pays_the_retry_back_once() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.0).reserve(10);
    let busy = answer(503, &[("retry-after", "10")]);
    let layer = RetryLayer::new().budget(budget.clone());
    let mut service = layer.layer(server(&arrivals, &[busy, ok()]));

    let cancelled = timeout(SECOND, service.call(get()));
    let charged = async {
        sleep(SECOND / 2).await;
        budget.balance()
    };
    let (cancelled, charged) = tokio::join!(cancelled, charged);
    assert!(cancelled.is_err());
    assert_eq!(charged, 9.0);
    assert_eq!(budget.balance(), 10.0);
    advance(20 * SECOND).await;
    assert_eq!(arrivals.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_was_sent_stays_charged_though_it_is_cancelled() {
    let budget = RetryBudget::new(0.0).reserve(10);
    let arrivals = Arrivals::default();
    let noted = arrivals.clone();
    let stuck = service_fn(move |_: Request<()>| {
        let first = noted.note() == 1;
        async move {
            if !first {
                std::future::pending::<()>().await;
            }
            Ok::<_, Infallible>(answer(503, &[("retry-after", "1")]))
        }
    });
    let service = RetryLayer::new().budget(budget.clone()).layer(stuck);
    assert!(timeout(10 * SECOND, service.oneshot(get())).await.is_err());
    assert_eq!(arrivals.count(), 2);
    assert_eq!(budget.balance(), 9.0);
}

/// The waits of several callers who were all told the same.
async fn waits(layer: RetryLayer, callers: usize) -> Vec<Duration> {
    let layer = layer.budget(rich());
    let mut waits = Vec::new();
    for _ in 0..callers {
        let arrivals = Arrivals::default();
        let busy = answer(503, &[("retry-after", "1")]);
        let service = layer.layer(server(&arrivals, &[busy, ok()]));
        service.clone().oneshot(get()).await.unwrap();
        waits.extend(arrivals.gaps());
    }
    waits
}

#[tokio::test(start_paused = true)]
async fn no_two_callers_draw_the_same_jitter() {
    let mut spread = waits(RetryLayer::new(), 20).await;
    spread.sort();
    spread.dedup();
    // Twenty draws of a thousand milliseconds may collide; that most do has no chance.
    assert!(spread.len() > 10, "{spread:?}");
}

#[tokio::test(start_paused = true)]
async fn the_same_seed_gives_the_same_waits() {
    let once = waits(RetryLayer::new().seed(42), 20).await;
    let again = waits(RetryLayer::new().seed(42), 20).await;
    let other = waits(RetryLayer::new().seed(43), 20).await;
    assert_eq!(once, again);
    assert_ne!(once, other);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_callers_of_a_dead_server_amplify_no_more_than_the_budget() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.1).reserve(10);
    let layer = RetryLayer::new().budget(budget);
    let service = layer.layer(server(&arrivals, &[answer(503, &[])]));
    let callers: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(service.clone().oneshot(get())))
        .collect();
    for caller in callers {
        assert_eq!(caller.await.unwrap().unwrap().status(), 503);
    }
    assert!(arrivals.count() <= 1_000 + 100 + 10, "{}", arrivals.count());
    assert!(arrivals.count() > 1_000, "a budget is there to be used");
}

#[tokio::test(start_paused = true)]
async fn nothing_is_held_while_waiting() {
    let arrivals = Arrivals::default();
    let busy = answer(503, &[("retry-after", "5")]);
    let inner = ConcurrencyLimit::new(server(&arrivals, &[busy, ok()]), 1);
    let service = RetryLayer::new().layer(inner);
    let start = Instant::now();
    let waiting = tokio::spawn(service.clone().oneshot(get()));
    sleep(SECOND).await;
    service.oneshot(get()).await.unwrap();
    assert!(start.elapsed() < 2 * SECOND, "the permit was free");
    assert_eq!(waiting.await.unwrap().unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_dropped_before_the_wait() {
    let held = Arc::new(());
    let lent = Arc::clone(&held);
    let refusing = service_fn(move |_: Request<()>| {
        let body = Arc::clone(&lent);
        ready(Ok::<_, Infallible>(
            answer(503, &[("retry-after", "5")]).map(|_| body),
        ))
    });
    let service = RetryLayer::new().layer(refusing);
    let waiting = tokio::spawn(service.oneshot(get()));
    sleep(SECOND).await;
    assert_eq!(Arc::strong_count(&held), 2, "the server's own and mine");
    waiting.abort();
}

#[tokio::test(start_paused = true)]
async fn giving_up_before_the_inner_service_is_ready_pays_the_retry_back() {
    let arrivals = Arrivals::default();
    let budget = RetryBudget::new(0.0).reserve(10);
    let busy = answer(503, &[("retry-after", "2")]);
    let limited = ConcurrencyLimit::new(server(&arrivals, &[busy, ok()]), 1);
    let layer = RetryLayer::new().budget(budget.clone());
    let waiting = timeout(10 * SECOND, layer.layer(limited.clone()).oneshot(get()));
    let occupying = async {
        sleep(SECOND).await;
        // Ready and never called: the only permit is taken.
        let mut limited = limited;
        limited.ready().await.unwrap();
        sleep(20 * SECOND).await;
    };
    let (waiting, ()) = tokio::join!(waiting, occupying);
    assert!(waiting.is_err());
    assert_eq!(arrivals.count(), 1);
    assert_eq!(budget.balance(), 10.0);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_awaited_within_the_future_before_every_attempt() {
    /// Panics when called without having been asked, as the contract of `Service` allows.
    #[derive(Debug, Default)]
    struct Strict {
        ready: bool,
        calls: Arc<AtomicU32>,
    }

    impl Clone for Strict {
        fn clone(&self) -> Self {
            let calls = Arc::clone(&self.calls);
            Self {
                ready: false,
                calls,
            }
        }
    }

    impl Service<Request<()>> for Strict {
        type Response = Response<()>;
        type Error = Infallible;
        type Future = Ready<Result<Response<()>, Infallible>>;

        fn poll_ready(
            &mut self,
            _cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Infallible>> {
            self.ready = true;
            std::task::Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: Request<()>) -> Self::Future {
            assert!(std::mem::take(&mut self.ready), "called before ready");
            self.calls.fetch_add(1, SeqCst);
            ready(Ok(answer(503, &[]).map(drop)))
        }
    }

    let strict = Strict::default();
    let calls = Arc::clone(&strict.calls);
    let service = RetryLayer::new().layer(strict);
    service.clone().oneshot(get()).await.unwrap();
    assert_eq!(calls.load(SeqCst), 3);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_is_sent_without_a_copy() {
    #[derive(Debug)]
    struct Once;

    impl Clone for Once {
        fn clone(&self) -> Self {
            panic!("a copy nobody will send");
        }
    }

    let layer = RetryLayer::new().max_attempts(1);
    let service = layer.layer(service_fn(|_: Request<Once>| {
        ready(Ok::<_, Infallible>(answer(503, &[])))
    }));
    let response = service.oneshot(Request::new(Once)).await.unwrap();
    assert_eq!(response.extensions().get(), Some(&Attempts(1)));
}

#[tokio::test(start_paused = true)]
async fn every_attempt_carries_the_same_request() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&seen);
    let echo = service_fn(move |request: Request<&'static str>| {
        let (parts, body) = request.into_parts();
        noted
            .lock()
            .unwrap()
            .push((parts.method, parts.uri, parts.headers, body));
        ready(Ok::<_, Infallible>(answer(503, &[])))
    });
    let put = Request::put("/a?b=c")
        .header("x-id", "1")
        .body("body")
        .unwrap();
    RetryLayer::new().layer(echo).oneshot(put).await.unwrap();
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3);
    assert!(seen.iter().all(|each| *each == seen[0]));
}

#[test]
fn wrong_options_are_refused_when_they_are_chosen() {
    fn refused<T>(choose: impl FnOnce() -> T + std::panic::UnwindSafe) -> bool {
        std::panic::catch_unwind(choose).is_err()
    }
    assert!(refused(|| RetryLayer::new().max_attempts(0)));
    assert!(refused(|| RetryLayer::new().max_attempts(11)));
    assert!(refused(|| RetryLayer::new().deadline(Duration::ZERO)));
    assert!(refused(|| RetryLayer::new().max_retry_after(601 * SECOND)));
    assert!(refused(|| RetryLayer::new().backoff(Duration::ZERO, SECOND)));
    assert!(refused(|| RetryLayer::new().backoff(2 * SECOND, SECOND)));
    assert!(refused(|| RetryLayer::new().backoff(SECOND, 601 * SECOND)));
    assert!(refused(|| RetryBudget::new(1.1)));
    assert!(refused(|| RetryBudget::new(-0.1)));
    assert!(refused(|| RetryBudget::new(0.1).reserve(1_000_001)));
}

#[test]
fn a_service_builder_makes_it_send_and_clone() {
    fn fits<S>(_: &S)
    where
        S: Service<Request<()>, Future: Future + Send> + Clone + Send + Sync + 'static,
    {
    }
    let service: Retry<_> = ServiceBuilder::new()
        .layer(RetryLayer::named("payments-api"))
        .service(service_fn(|_: Request<()>| {
            ready(Ok::<_, Infallible>(ok()))
        }));
    fits(&service);
}
