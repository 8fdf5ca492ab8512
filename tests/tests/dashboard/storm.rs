//! The dashboard of a service that is overloaded, on sockets; and what open pages cost.
//!
//! Ignored by default, as they take a while; `.ci/run` runs them. Times are printed, not judged: the machine may have
//! other work.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_dashboard::router;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Builder;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};
use tower_backpressure::AdmissionLayer;

const SECOND: Duration = Duration::from_secs(1);
/// Of a worker, for each request: a hundred requests a second.
const WORK: Duration = Duration::from_millis(10);

/// A service on one thread of its own.
fn serve(app: Router) -> SocketAddr {
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
            tell.send(listener.local_addr().expect("bound")).expect("the test waits");
            // Inside the runtime, so that its history begins now.
            axum::serve(listener, app.nest("/backpressure", router())).await
        })
    });
    told.recv().expect("the service has started")
}

async fn compute() -> &'static str {
    let start = Instant::now();
    while start.elapsed() < WORK {
        std::hint::spin_loop();
    }
    "done"
}

/// The data of the next event that has any.
async fn next(events: &mut Response, text: &mut String) -> Value {
    loop {
        if let Some((event, rest)) = text.split_once("\n\n") {
            let data = event.lines().find_map(|line| line.strip_prefix("data: "));
            let state = serde_json::from_str(data.expect("each event has data")).expect("JSON");
            *text = rest.to_owned();
            return state;
        }
        let chunk = events.chunk().await.expect("the stream goes on").expect("it has not ended");
        text.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "takes 20 s: part of the step of .ci/run that looks at the dashboard"]
async fn at_ten_times_the_load_each_second_has_its_state() {
    let app = Router::new().route("/", get(compute)).layer(AdmissionLayer::adaptive("ten-times"));
    let address = serve(app);
    let (client, url) = (Client::new(), format!("http://{address}/"));
    let load = tokio::spawn(async move {
        let mut due = interval(SECOND / 1_000);
        due.set_missed_tick_behavior(MissedTickBehavior::Burst);
        loop {
            due.tick().await;
            tokio::spawn(client.get(&url).timeout(SECOND).send());
        }
    });
    sleep(SECOND * 4).await;
    let events = Client::new().get(format!("http://{address}/backpressure/events"));
    let (mut events, mut text) = (events.send().await.expect("an answer"), String::new());
    let first = next(&mut events, &mut text).await["sequence"].as_u64().expect("a number");
    let (mut last, mut longest, mut rejected) = (Instant::now(), Duration::ZERO, 0.0);
    for after in 1..=12 {
        let state = next(&mut events, &mut text).await;
        longest = longest.max(last.elapsed());
        last = Instant::now();
        assert_eq!(state["sequence"], first + after, "no state was left out");
        let shown = crate::policy(&state, "ten-times");
        rejected += shown["per_second"]["rejected"].as_f64().expect("a number") / 12.0;
    }
    load.abort();
    println!("{rejected:.0} rejected a second; longest time between two states: {longest:?}");
    assert!(rejected > 300.0, "it was overloaded: {rejected}");
}

/// Nanoseconds that the calling thread has been on a processor.
async fn busy() -> String {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    schedstat.split(' ').next().unwrap_or_default().to_owned()
}

#[tokio::test]
#[ignore = "takes 30 s: part of the step of .ci/run that looks at the dashboard"]
async fn fifty_open_pages_cost_a_hundredth_of_a_core_at_most() {
    // As many policies as a large service has.
    let names: Vec<_> = (0..20).map(|n| format!("policy-{n}")).collect();
    let layers: Vec<_> = names.iter().map(|name| AdmissionLayer::adaptive(name)).collect();
    let address = serve(Router::new().route("/busy", get(busy)));
    let client = Client::new();
    let busy = async || {
        let answer = client.get(format!("http://{address}/busy")).send().await.expect("an answer");
        let nanos = answer.text().await.expect("text").parse().expect("a number");
        Duration::from_nanos(nanos)
    };
    for pages in [0_u32, 1, 50] {
        let open = (0..pages).map(|_| {
            let page = Client::new().get(format!("http://{address}/backpressure/events"));
            tokio::spawn(async move {
                let mut events = page.send().await.expect("an answer");
                // Until the stream ends, which is after the measurement.
                while let Ok(Some(_)) = events.chunk().await {}
            })
        });
        let open: Vec<_> = open.collect();
        sleep(SECOND * 2).await;
        let (before, since) = (busy().await, Instant::now());
        sleep(SECOND * 10).await;
        let share = (busy().await - before).as_secs_f64() / since.elapsed().as_secs_f64();
        println!("{pages} pages of {} policies: {:.3} % of a core", layers.len(), 100.0 * share);
        open.iter().for_each(|page| page.abort());
        let most = if cfg!(debug_assertions) { 0.05 } else { 0.01 };
        assert!(share < most, "{pages} pages: {share}");
    }
}
