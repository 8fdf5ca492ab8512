//! Tickets that are used as they are not meant to be.

use std::time::Duration;

use http::HeaderValue;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tower_backpressure::{AdmissionLayer, Priority, QueueBounds, RETURN_TICKET};

use super::site::{Rejection, Site, of, share, with_ticket};

const SECOND: Duration = Duration::from_secs(1);

/// A service at three times its capacity, for long, with a queue that absorbs next to nothing.
async fn overloaded(priority: Priority) -> (Site, tokio::task::JoinHandle<()>) {
    overloaded_behind(QueueBounds::new(8, SECOND / 10), priority).await
}

async fn overloaded_behind(
    queue: QueueBounds,
    priority: Priority,
) -> (Site, tokio::task::JoinHandle<()>) {
    let layer = AdmissionLayer::fixed("api", 8).queue(queue);
    let site = Site::new(layer, 8, 80);
    let flood = site.flood(3.0 * site.per_second(), priority, 1);
    sleep(20 * SECOND).await;
    (site, flood)
}

async fn rejected(site: &Site) -> Rejection {
    loop {
        sleep(Duration::from_millis(37)).await;
        if let Err(rejection) = site.ask().await {
            return rejection;
        }
    }
}

/// The share of requests that are admitted with what `ticket` makes of a rejection.
async fn admitted_with(site: &Site, ticket: impl Fn(Rejection) -> Option<HeaderValue>) -> f64 {
    let mut admitted = Vec::new();
    for _ in 0..60 {
        let rejection = rejected(site).await;
        sleep(rejection.wait + SECOND / 2).await;
        admitted.push(site.return_with(ticket(rejection)).await.is_ok());
    }
    share(&admitted)
}

#[tokio::test(start_paused = true)]
async fn a_forged_ticket_gains_nothing_over_none() {
    let (site, flood) = overloaded(Priority::Normal).await;
    let (other, other_flood) = overloaded(Priority::Normal).await;
    let of_another = rejected(&other).await.ticket;
    let valid = admitted_with(&site, |rejection| rejection.ticket).await;
    let none = admitted_with(&site, |_| None).await;
    let forged = admitted_with(&site, |rejection| {
        let mut text = rejection.ticket.expect("a ticket").as_bytes().to_vec();
        *text.last_mut().expect("not empty") ^= 1;
        HeaderValue::from_bytes(&text).ok()
    });
    let forged = forged.await;
    let elsewhere = admitted_with(&site, |_| of_another.clone()).await;
    flood.abort();
    other_flood.abort();
    println!(
        "valid {valid:.2}, none {none:.2}, forged {forged:.2}, another replica's {elsewhere:.2}"
    );
    assert!(valid >= 0.95, "{valid}");
    assert!(none < 0.7 && forged < 0.7 && elsewhere < 0.7, "{none} {forged} {elsewhere}");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_needs_a_queue_and_without_one_does_no_harm() {
    let (site, flood) = overloaded_behind(QueueBounds::NONE, Priority::Normal).await;
    let valid = admitted_with(&site, |rejection| rejection.ticket).await;
    let none = admitted_with(&site, |_| None).await;
    flood.abort();
    println!("without a queue: with a ticket {valid:.2}, without {none:.2}");
    // Sixty draws of about a third each.
    assert!(valid > none - 0.2, "{valid} {none}");
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_a_hundred_callers_share_admits_one_of_them_before_the_others() {
    let (site, flood) = overloaded(Priority::Normal).await;
    let rejection = rejected(&site).await;
    sleep(rejection.wait + SECOND / 2).await;
    let callers: JoinSet<_> = (0..100)
        .map(|_| {
            let (site, ticket) = (site.clone(), rejection.ticket.clone());
            async move { site.return_with(ticket).await.is_ok() }
        })
        .collect();
    let admitted = callers.join_all().await.iter().filter(|&&admitted| admitted).count();
    flood.abort();
    println!("{admitted} of 100 admitted");
    // A queue of eight, and the permits that are released while it is full.
    assert!((1..=20).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn an_expired_ticket_is_that_of_a_new_request() {
    let (site, flood) = overloaded(Priority::Normal).await;
    let mut admitted = Vec::new();
    let mut rejections = Vec::new();
    for _ in 0..60 {
        rejections.push(rejected(&site).await);
    }
    sleep(90 * SECOND).await;
    for rejection in rejections {
        sleep(Duration::from_millis(37)).await;
        admitted.push(site.return_with(rejection.ticket).await.is_ok());
    }
    flood.abort();
    assert!(share(&admitted) < 0.7, "{}", share(&admitted));
}

#[tokio::test(start_paused = true)]
async fn a_ticket_of_a_low_priority_passes_no_request_of_a_higher_one() {
    let (site, flood) = overloaded(Priority::Sheddable).await;
    let mut critical = Vec::new();
    for _ in 0..40 {
        let mut returning = JoinSet::new();
        for _ in 0..20 {
            if let Err(rejection) = site.send(of(Priority::Sheddable)).await {
                let site = site.clone();
                returning.spawn(async move {
                    sleep(rejection.wait).await;
                    site.send(with_ticket(of(Priority::Sheddable), rejection.ticket)).await.is_ok()
                });
            }
        }
        sleep(SECOND).await;
        critical.push(site.send(of(Priority::Critical)).await.is_ok());
        returning.detach_all();
    }
    flood.abort();
    assert!(share(&critical) >= 0.999, "{}", share(&critical));
}

#[tokio::test(start_paused = true)]
async fn a_ticket_gained_at_a_low_priority_does_not_starve_new_requests_of_a_high_one() {
    // Callers that get tickets as sheddable requests and use them as critical ones.
    let (site, flood) = overloaded(Priority::Sheddable).await;
    let cheat = {
        let site = site.clone();
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(20)).await;
                if let Err(rejection) = site.send(of(Priority::Sheddable)).await {
                    let site = site.clone();
                    tokio::spawn(async move {
                        sleep(rejection.wait).await;
                        let request = with_ticket(of(Priority::Critical), rejection.ticket);
                        site.send(request).await.is_ok()
                    });
                }
            }
        })
    };
    let mut honest = Vec::new();
    for _ in 0..200 {
        sleep(Duration::from_millis(97)).await;
        honest.push(site.send(of(Priority::Critical)).await.is_ok());
    }
    cheat.abort();
    flood.abort();
    assert!(share(&honest) >= 0.95, "{}", share(&honest));
}

#[tokio::test(start_paused = true)]
async fn grpc_callers_come_back_after_their_pushback_and_are_admitted() {
    let (site, flood) = overloaded(Priority::Normal).await;
    let call = || {
        let mut request = of(Priority::Normal);
        let grpc = HeaderValue::from_static("application/grpc");
        request.headers_mut().insert("content-type", grpc);
        request
    };
    let mut admitted = Vec::new();
    for _ in 0..60 {
        sleep(Duration::from_millis(37)).await;
        if let Err(rejection) = site.send(call()).await {
            assert!(rejection.ticket.is_some() && rejection.wait <= 60 * SECOND);
            sleep(rejection.wait).await;
            admitted.push(site.send(with_ticket(call(), rejection.ticket)).await.is_ok());
        }
    }
    flood.abort();
    println!("{:.2} of {} admitted", share(&admitted), admitted.len());
    assert!(admitted.len() >= 20 && share(&admitted) >= 0.95, "{}", share(&admitted));
}

#[tokio::test(start_paused = true)]
async fn several_tickets_in_one_request_are_worth_one_at_most() {
    let (site, flood) = overloaded(Priority::Normal).await;
    let (first, second) = (rejected(&site).await, rejected(&site).await);
    sleep(first.wait.max(second.wait) + SECOND / 2).await;
    let mut request = with_ticket(of(Priority::Normal), first.ticket.clone());
    request.headers_mut().append(RETURN_TICKET, second.ticket.clone().expect("a ticket"));
    assert!(site.send(request).await.is_ok());
    assert!(site.return_with(second.ticket).await.is_ok(), "the second one was not used up");
    flood.abort();
}
