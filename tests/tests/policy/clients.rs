//! Clients whose layers follow the file.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::Full;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::policy::PolicySet;

fn file(attempts: u32, window: &str) -> String {
    format!(
        "[client.pay]\nretry = {{ max_attempts = {attempts} }}\nbudget = {{ ratio = 1.0, reserve = 100 }}\n\
         breaker = {{ min_calls = 5, window = \"{window}\", open_for = \"50s\" }}\n\
         throttle = {{ k = 2.0 }}\n"
    )
}

/// An origin that fails, and how many requests it gets.
fn origin(
    count: &Arc<AtomicUsize>,
) -> impl Service<
    Request<Full<Bytes>>,
    Response = Response<Full<Bytes>>,
    Error = Infallible,
    Future: Send,
> + Clone {
    let count = Arc::clone(count);
    service_fn(move |_: Request<Full<Bytes>>| {
        count.fetch_add(1, Ordering::Relaxed);
        async {
            let response = Response::builder().status(502).body(Full::default());
            Ok::<_, Infallible>(response.expect("a response"))
        }
    })
}

fn request() -> Request<Full<Bytes>> {
    Request::get("http://pay.internal/").body(Full::default()).expect("a request")
}

#[tokio::test(start_paused = true)]
async fn a_client_that_is_made_already_follows_the_file() {
    let policies = PolicySet::parse(&file(1, "10s")).expect("a good file");
    assert!(policies.client("other").is_none());
    assert!(policies.throttle("pay").is_some());
    let count = Arc::default();
    let client = policies.client("pay").expect("the client").layer(origin(&count));
    let attempts = async || {
        let before = count.load(Ordering::Relaxed);
        let _ = client.clone().oneshot(request()).await;
        tokio::time::sleep(Duration::from_secs(60)).await;
        count.load(Ordering::Relaxed) - before
    };
    assert_eq!(attempts().await, 1);
    policies.replace(&file(3, "10s")).expect("a good file");
    assert_eq!(attempts().await, 3);
    assert!(policies.replace(&file(11, "10s")).is_err());
    assert_eq!(attempts().await, 3);
    policies.replace("[default]\n").expect("a good file");
    assert_eq!(attempts().await, 3, "it keeps what it had");
}

#[tokio::test(start_paused = true)]
async fn layers_of_a_client_keep_their_state_unless_their_own_options_change() {
    let policies = PolicySet::parse(&file(1, "10s")).expect("a good file");
    let count = Arc::default();
    let mut client = policies.client("pay").expect("the client").layer(origin(&count));
    for _ in 0..20 {
        let Ok(_) = client.ready().await.expect("ready").call(request()).await;
    }
    let opened_at = count.load(Ordering::Relaxed);
    assert!(opened_at < 20, "the breaker has opened: {opened_at}");
    let dependency = policies.client("pay").expect("the client").stack();
    let _ = dependency.dependency(&Uri::from_static("http://pay.internal"));
    policies.replace(&file(2, "10s")).expect("a good file");
    let Ok(_) = client.ready().await.expect("ready").call(request()).await;
    assert_eq!(count.load(Ordering::Relaxed), opened_at, "the breaker is still open");
    policies.replace(&file(1, "11s")).expect("a good file");
    let Ok(_) = client.ready().await.expect("ready").call(request()).await;
    assert_eq!(count.load(Ordering::Relaxed), opened_at + 1, "it is another breaker");
}
