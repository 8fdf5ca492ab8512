//! nginx with `limit_req` and `limit_conn`, which reject without a time unless they are told to name one.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use backpressure_tests::server::serve;
use reqwest::Method;
use tokio::time::sleep;

use crate::process::{Server, free_place, gap};
use crate::{SECOND, retrying, send, stack};

/// One request in two seconds for each path, and one at a time for `/slow`, which takes a second and a half.
async fn nginx() -> Server {
    let slow = serve(Router::new().route("/slow", get(|| sleep(3 * SECOND / 2)))).await;
    let (address, folder) = free_place("nginx");
    for name in ["429", "503", "named", "forbidden", "malformed"] {
        std::fs::write(folder.join(name), "served").expect("space on the disk");
    }
    let limited = |path: &str, more: &str| {
        format!("location = /{path} {{ limit_req zone=all; {more} root {}; }}\n", folder.display())
    };
    let http = format!(
        "log_format short 'request $msec_digits $status $uri';
         map $msec $msec_digits {{ '~^(\\d+)\\.(\\d+)$' $1$2; }}
         access_log {folder}/log short;
         limit_req_zone $uri zone=all:1m rate=30r/m;
         limit_conn_zone $uri zone=conn:1m;
         server {{
           listen {address};
           error_page 405 =200 $uri;
           {} {} {} {} {}
           location = /slow {{ limit_conn conn 1; proxy_pass http://{slow}; }}
         }}",
        limited("429", "limit_req_status 429;"),
        limited("503", ""),
        limited("named", "limit_req_status 429; add_header Retry-After 3 always;"),
        limited("forbidden", "limit_req_status 429; add_header x-should-retry false always;"),
        limited("malformed", "limit_req_status 429; add_header Retry-After soon always;"),
        folder = folder.display(),
    );
    Server::nginx(&http, folder, address).await
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_rejection_without_a_time_is_repeated_after_a_second_at_the_earliest_whatever_its_method()
{
    let server = nginx().await;
    for method in [Method::GET, Method::POST] {
        let before = server.logged("/429", 0).await.len();
        let first = send(&retrying(), &server, method.clone(), "/429").await;
        assert_eq!(first.status(), 200, "{method}");
        let second = send(&retrying(), &server, method.clone(), "/429").await;
        assert_eq!(second.status(), 200, "{method}");
        let logged = server.logged("/429", before + 3).await;
        let logged = &logged[before..];
        assert!((3..=4).contains(&logged.len()), "{method}: {logged:?}");
        assert_eq!((logged[0].status, logged[1].status), (200, 429), "{method}");
        for index in 1..logged.len() - 1 {
            assert!(gap(logged, index) >= SECOND, "{method}: {logged:?}");
        }
        sleep(2 * SECOND).await;
    }
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_503_is_repeated_for_a_get_and_not_for_a_post() {
    let server = nginx().await;
    assert_eq!(send(&retrying(), &server, Method::GET, "/503").await.status(), 200);
    assert_eq!(send(&retrying(), &server, Method::POST, "/503").await.status(), 503);
    let logged = server.logged("/503", 2).await;
    assert_eq!(logged.len(), 2, "the POST was sent once: {logged:?}");
    assert_eq!(send(&retrying(), &server, Method::GET, "/503").await.status(), 200);
    assert!(server.logged("/503", 4).await.len() >= 4);
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_time_that_nginx_names_is_waited_for() {
    let server = nginx().await;
    for path in ["/named", "/malformed"] {
        let least = if path == "/named" { 3 * SECOND } else { SECOND };
        for _ in 0..2 {
            assert_eq!(send(&retrying(), &server, Method::GET, path).await.status(), 200, "{path}");
        }
        let logged = server.logged(path, 3).await;
        assert!(gap(&logged, 1) >= least, "{path}: {logged:?}");
    }
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_request_that_must_not_be_repeated_is_sent_once() {
    let server = nginx().await;
    assert_eq!(send(&retrying(), &server, Method::GET, "/forbidden").await.status(), 200);
    assert_eq!(send(&retrying(), &server, Method::GET, "/forbidden").await.status(), 429);
    assert_eq!(server.logged("/forbidden", 2).await.len(), 2);
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn a_connection_limit_is_waited_for_and_the_rest_of_the_page_is_read() {
    let server = nginx().await;
    let client = retrying();
    let (first, second) = tokio::join!(send(&client, &server, Method::GET, "/slow"), async {
        sleep(Duration::from_millis(300)).await;
        send(&client, &server, Method::GET, "/slow").await
    });
    assert_eq!((first.status().as_u16(), second.status().as_u16()), (200, 200));
    let logged = server.logged("/slow", 3).await;
    assert!(logged.iter().any(|it| it.status == 503), "{logged:?}");
}

#[tokio::test]
#[ignore = "needs nginx: run by .ci/run"]
async fn callers_of_a_whole_stack_ask_no_earlier_than_they_were_told() {
    let server = nginx().await;
    let client = stack();
    let mut calls = tokio::task::JoinSet::new();
    assert_eq!(send(&client, &server, Method::GET, "/named").await.status(), 200);
    // The first three that are told quiet the others.
    for _ in 0..3 {
        let client = client.clone();
        let url = format!("http://{}/named", server.address).parse().expect("a URL");
        let call = reqwest::Request::new(Method::GET, url);
        calls.spawn(async move { tower::ServiceExt::oneshot(client, call).await });
        sleep(Duration::from_millis(100)).await;
    }
    calls.abort_all();
    let told = server.logged("/named", 4).await;
    assert_eq!(told.iter().filter(|it| it.status == 429).count(), 3, "{told:?}");
    for _ in 0..20 {
        let url = format!("http://{}/named", server.address).parse().expect("a URL");
        let call = reqwest::Request::new(Method::GET, url);
        let call = tower::ServiceExt::oneshot(client.clone(), call);
        let _ = tokio::time::timeout(Duration::from_millis(20), call).await;
    }
    let after = server.logged("/named", 4).await.len();
    assert!(after <= 4 + 2, "two attempts find out early whether it holds for all: {after}");
}
