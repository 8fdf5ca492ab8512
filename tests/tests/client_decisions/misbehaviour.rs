//! Processes that are suspended, servers that lie about when to come back, calls that hang, and origins without
//! number.

use std::convert::Infallible;
use std::future::{pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use http::{Request, Response, Uri};
use tokio::time::{Instant, advance, sleep};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::client::{BreakerPhase, CooldownPhase};
use tower_backpressure::{
    BreakerLayer, ClientStack, CooldownLayer, RetryLayer, backpressure_client,
};

use super::{Arrivals, MS, ORIGIN, Reply, SECOND, get, load, ok, reply, server};

const HOUR: Duration = Duration::from_secs(3_600);

/// Lets all tasks run that can, without time for any that waits.
async fn settle() {
    for _ in 0..1_000 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_process_that_was_suspended_for_an_hour_sends_a_probe_and_no_crowd() {
    let arrivals = Arrivals::new();
    let start = Instant::now();
    let answer = move |at| match at < SECOND {
        true => reply(429, &[("retry-after", "2")]),
        false => ok(),
    };
    let served_later = {
        let arrivals = arrivals.clone();
        // An answer takes 50 ms, so that a crowd would be seen.
        service_fn(move |_: Request<()>| {
            let answer = answer(arrivals.record());
            async move {
                sleep(50 * MS).await;
                Ok::<Reply, Infallible>(answer)
            }
        })
    };
    let cooldown = CooldownLayer::new("search").seed(1);
    let client = ClientStack::new("search").cooldown(cooldown.clone()).layer(served_later);
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..500 {
        calls.spawn(client.clone().oneshot(get(ORIGIN)));
        sleep(MS).await;
    }
    let origin = Uri::from_static(ORIGIN);
    assert_eq!(cooldown.snapshot(&origin).expect("in use").phase, CooldownPhase::Quiet);
    let before = arrivals.count();
    advance(HOUR).await;
    settle().await;
    let at_once = arrivals.count() - before;
    assert!(at_once <= 2, "{at_once} of {} at once", 500 - before);
    // It is open again for new requests.
    sleep(SECOND).await;
    for _ in 0..10 {
        let response = client.clone().oneshot(get(ORIGIN)).await.expect("infallible");
        assert_eq!(response.status(), 200);
    }
    assert!(start.elapsed() < HOUR + 10 * SECOND);
    calls.abort_all();
}

#[tokio::test(start_paused = true)]
async fn a_breaker_is_not_shut_for_longer_because_its_process_was_suspended() {
    let arrivals = Arrivals::new();
    let answer = |at| if at < SECOND { reply(500, &[]) } else { ok() };
    let breaker = BreakerLayer::new("search");
    let client = breaker.layer(server(&arrivals, answer));
    load(&client, 10 * MS, SECOND / 2).await;
    let origin = Uri::from_static(ORIGIN);
    assert_eq!(breaker.snapshot(&origin).expect("in use").phase, BreakerPhase::Open);
    advance(HOUR).await;
    let calls: Vec<_> =
        (0..200).map(|_| tokio::spawn(client.clone().oneshot(get(ORIGIN)))).collect();
    let mut served = 0;
    for call in calls {
        served += usize::from(call.await.expect("no panic").expect("infallible").status() == 200);
    }
    assert!(served >= 3, "the probes are served: {served}");
    let responses = load(&client, 10 * MS, SECOND).await;
    assert!(responses.iter().skip(50).all(|response| response.status() == 200));
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_do_not_keep_others_from_an_origin_that_is_back() {
    let arrivals = Arrivals::new();
    let seen = arrivals.clone();
    // After five seconds of failures some calls are served, and then the next five hang.
    let count = Arc::new(AtomicUsize::new(0));
    let hangs = service_fn(move |_: Request<()>| {
        let at = seen.record();
        let number = if at > 5 * SECOND { count.fetch_add(1, SeqCst) } else { 0 };
        async move {
            match at {
                _ if at < 5 * SECOND => Ok::<Reply, Infallible>(reply(500, &[])),
                _ if (4..10).contains(&number) => pending().await,
                _ => Ok(ok()),
            }
        }
    });
    let client = BreakerLayer::new("search").layer(hangs);
    let calls = tokio::spawn(async move {
        let mut served = Vec::new();
        let mut hanging = Vec::new();
        for second in 0..60_usize {
            let mut served_now = 0;
            for _ in 0..20 {
                let mut call = Box::pin(client.clone().oneshot(get(ORIGIN)));
                tokio::select! {
                    response = &mut call => {
                        let response = response.expect("infallible");
                        served_now += usize::from(response.status() == 200);
                    }
                    () = sleep(MS) => hanging.push(call),
                }
                sleep(49 * MS).await;
            }
            served.push((second, served_now));
        }
        served
    });
    let served = calls.await.expect("no panic");
    assert!(served[30..].iter().all(|(_, served)| *served == 20), "{served:?}");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_says_an_hour_is_asked_again_within_a_minute_or_so() {
    let arrivals = Arrivals::new();
    let answer = |at| match at < 10 * SECOND {
        true => reply(429, &[("retry-after", "3600")]),
        false => ok(),
    };
    let client = backpressure_client("search", server(&arrivals, answer));
    let responses = load(&client, 100 * MS, 100 * SECOND).await;
    assert!(arrivals.between(Duration::ZERO, 10 * SECOND) <= 20);
    let last = responses.iter().skip(800).filter(|it| it.status() == 200).count();
    assert_eq!(last, responses.len() - 800);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_says_an_hour_to_every_second_request_loses_no_other() {
    for told in ["1", "3600"] {
        let (arrivals, count) = (Arrivals::new(), AtomicUsize::new(0));
        let count = Arc::new(count);
        let answer = move |_| match count.fetch_add(1, SeqCst) % 2 {
            0 => reply(429, &[("retry-after", told)]),
            _ => ok(),
        };
        let client = ClientStack::new("search")
            .retry(RetryLayer::named("search").max_attempts(1))
            .layer(server(&arrivals, answer));
        let responses = load(&client, 10 * MS, 30 * SECOND).await;
        let served = responses.iter().filter(|it| it.status() == 200).count();
        assert!(served >= 1_450, "{served} of {} at {told}", responses.len());
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_always_says_a_second_is_used_as_much_as_it_serves() {
    // It serves ten requests a second, and tells all others to come back in a second.
    let (arrivals, served_at) = (Arrivals::new(), Arc::new(std::sync::Mutex::new(Duration::ZERO)));
    let answer = move |at: Duration| {
        let mut free = served_at.lock().expect("no panic");
        if at >= *free {
            *free = at + 100 * MS;
            return ok();
        }
        reply(429, &[("retry-after", "1")])
    };
    let client = backpressure_client("search", server(&arrivals, answer));
    let responses = load(&client, 50 * MS, 60 * SECOND).await;
    let served = responses.iter().filter(|it| it.status() == 200).count();
    assert!(served >= 540, "{served} of 600");
}

/// Kilobytes of memory that this process has in use.
fn resident_kilobytes() -> usize {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find(|line| line.starts_with("VmRSS")).expect("a line");
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).expect("a number")
}

#[cfg(target_os = "linux")]
async fn origins(count: usize) {
    let rejecting = service_fn(|_: Request<()>| {
        let response = Response::builder().status(429).header("retry-after", "60");
        ready(Ok::<_, Infallible>(response.body(String::new()).expect("a response")))
    });
    let client = backpressure_client("crawler", rejecting);
    let send = async |number: usize| {
        let uri = format!("http://origin-{number}.example/");
        let response = client.clone().oneshot(get(&uri)).await.expect("infallible");
        assert_eq!(response.status(), 429);
    };
    for number in 0..5_000 {
        send(number).await;
    }
    let before = resident_kilobytes();
    for number in 5_000..count {
        send(number).await;
    }
    let grown = resident_kilobytes().saturating_sub(before);
    // What is kept of 1024 origins is a few megabytes; allocators keep some more.
    assert!(grown < 64 * 1_024, "{grown} kB for {count} origins");
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
async fn origins_that_others_choose_take_no_memory() {
    origins(25_000).await;
}

#[cfg(target_os = "linux")]
#[tokio::test(start_paused = true)]
#[ignore = "takes a minute"]
async fn neither_does_a_million_of_them() {
    origins(1_000_000).await;
}
