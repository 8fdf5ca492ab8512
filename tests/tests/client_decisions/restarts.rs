//! An origin that restarts: which calls are served that begin meanwhile, and once it is back.

use std::io;

use http::Request;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tower::{Layer, ServiceExt, service_fn};
use tower_backpressure::{CooldownLayer, OriginLimitLayer};

use super::outages::{Down, UP, origin, outage, outage_at, retries, stack};
use super::{Arrivals, MS, ORIGIN, SECOND, get, ok, reply};

#[tokio::test(start_paused = true)]
async fn calls_that_begin_while_an_origin_restarts_are_served_and_few_reach_it() {
    let behind_a_proxy = [502, 503].map(|status| Down::Status(status, None));
    for down in behind_a_proxy.into_iter().chain([Down::Refuses, Down::Breaks]) {
        // All but one: the reserve of the budget pays for those that find out.
        let unpaid = usize::from(matches!(down, Down::Status(502, _) | Down::Breaks));
        for (millis, seed) in [100, 300, 1_000, 1_200].into_iter().zip(1..) {
            let (length, arrivals) = (millis * MS, Arrivals::new());
            let client = stack(seed).layer(origin(down, length, &arrivals));
            let ends = outage(client, length, &arrivals).await;
            let context = format!("{down:?} for {millis} ms: {ends:?}");
            assert!(ends.served + unpaid >= (millis / 20) as usize, "{context}");
            assert!(ends.attempts <= 16, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_client_of_an_origin_that_restarts_loses_hardly_a_call() {
    // A call after a 503 waits for a second, and after a 502 is first repeated at once.
    let cases = [(Down::Status(502, None), 970, 210), (Down::Breaks, 970, 210)];
    for (down, served, attempts) in cases.into_iter().chain([(Down::Status(503, None), 995, 130)]) {
        let arrivals = Arrivals::new();
        let client = stack(1).layer(origin(down, SECOND, &arrivals));
        let ends = outage_at(1_000, client, SECOND, &arrivals).await;
        assert!(ends.served >= served && ends.attempts <= attempts, "{down:?}: {ends:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_busy_client_repeats_all_calls_of_a_moment_in_which_all_fail() {
    for rate in [200, 1_000] {
        for down in [Down::Status(502, None), Down::Breaks] {
            let (length, arrivals) = (50 * MS, Arrivals::new());
            let client = retries(1).layer(origin(down, length, &arrivals));
            let ends = outage_at(rate, client, length, &arrivals).await;
            assert_eq!(ends.served, rate as usize / 20, "{rate}/s, {down:?}: {ends:?}");
        }
    }
}

/// Calls of which all but one in `every` are long polls.
#[derive(Clone, Copy, Debug)]
struct Polls {
    rate: u32,
    every: u32,
    seconds: u32,
}

/// What becomes of the short calls that begin in ten seconds from then on when an origin is away for a second: how many
/// there are, and how many of them are served.
async fn away_beside_long_polls(polls: Polls, down: Down, dry_run: bool) -> (usize, usize) {
    let Polls { rate, every, seconds } = polls;
    let start = Instant::now();
    let service = service_fn(move |request: Request<()>| async move {
        sleep(20 * MS).await;
        match request.uri().path() {
            _ if (UP..UP + SECOND).contains(&start.elapsed()) => return down.answer(),
            "/poll" => sleep(seconds * SECOND).await,
            _ => {}
        }
        Ok::<_, io::Error>(ok())
    });
    let cooldown = CooldownLayer::new("outage").seed(1).dry_run(dry_run);
    // A limit takes long polls for a slow origin, in an outage or not.
    let limit = OriginLimitLayer::new("outage").dry_run(true);
    let stack = stack(1).cooldown(cooldown).origin_limit(limit).deadline(60 * SECOND);
    let (client, mut calls) = (stack.layer(service), JoinSet::new());
    for index in 0..20 * rate {
        sleep_until(start + index * SECOND / rate).await;
        let path = if index % every == 0 { "" } else { "poll" };
        let request = get(&format!("{ORIGIN}{path}"));
        let call = client.clone().oneshot(request);
        calls.spawn(async move { (index, call.await.is_ok_and(|it| it.status() == 200)) });
    }
    let ends = calls.join_all().await;
    let short = ends.iter().filter(|(index, _)| *index >= 10 * rate && index % every == 0);
    (short.clone().count(), short.filter(|(_, is_served)| *is_served).count())
}

#[tokio::test(start_paused = true)]
async fn long_polls_do_not_keep_other_calls_from_an_origin_that_was_away() {
    let told_a_second = [429, 503].map(|status| Down::Status(status, Some("1")));
    for down in [Down::Status(502, None), Down::Refuses].into_iter().chain(told_a_second) {
        for (rate, every, seconds) in [(50, 2, 30), (50, 10, 10), (50, 50, 20), (500, 10, 30)] {
            let polls = Polls { rate, every, seconds };
            let (_, without) = away_beside_long_polls(polls, down, true).await;
            let (begun, served) = away_beside_long_polls(polls, down, false).await;
            let context = format!("{polls:?}, {down:?}: {served} of {begun}, without {without}");
            assert!(served >= without && served * 100 >= begun * 90, "{context}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn calls_are_held_while_an_origin_restarts_behind_a_proxy_that_takes_long_to_say_so() {
    for (millis, served) in [(20, 100), (200, 85), (300, 80), (500, 70), (900, 50)] {
        let (arrivals, length) = (Arrivals::new(), 2 * SECOND);
        let seen = arrivals.clone();
        let service = service_fn(move |_: Request<()>| {
            let is_away = (UP..UP + length).contains(&seen.record());
            async move {
                sleep(if is_away { millis } else { 20 } * MS).await;
                Ok(if is_away { reply(502, &[]) } else { ok() })
            }
        });
        let ends = outage(stack(1).layer(service), length, &arrivals).await;
        assert!(ends.served >= served, "{millis} ms: {ends:?}");
    }
}
