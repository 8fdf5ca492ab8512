//! haproxy, which rejects by its own rules and answers for servers that are down.

use std::process::Command;

use reqwest::Method;

use crate::process::{Server, free_place, gap, write_conf};
use crate::{SECOND, retrying, send};

/// The first request for a path in three seconds is answered; others are rejected. haproxy counts a request in part for
/// another three seconds, so that it names a time after those.
async fn haproxy() -> Server {
    let (address, folder) = free_place("haproxy");
    let conf = format!(
        "global
           log stdout format raw daemon
         defaults
           mode http
           retries 0
           timeout connect 1s
           timeout client 10s
           timeout server 10s
         frontend all
           bind {address}
           log global
           log-format 'request %[date(0,ms)] %ST %HP'
           stick-table type string size 1k expire 1m store http_req_rate(3s)
           http-request track-sc0 path
           acl again sc_http_req_rate(0) gt 1
           http-request deny deny_status 429 if again {{ path /429 }}
           http-request deny deny_status 503 if again {{ path /503 }}
           http-request return status 429 hdr Retry-After 7 if again {{ path /named }}
           http-request return status 200 if ! {{ path /down }}
           default_backend none
         backend none
           server gone 127.0.0.1:1\n"
    );
    let mut command = Command::new("haproxy");
    command.arg("-db").arg("-f").arg(write_conf(&folder, &conf));
    Server::start(command, folder, address).await
}

#[tokio::test]
#[ignore = "needs haproxy: run by .ci/run"]
async fn a_rejection_without_a_time_is_repeated_after_a_second_at_the_earliest() {
    let server = haproxy().await;
    let first = send(&retrying(), &server, Method::POST, "/429").await;
    assert_eq!(first.status(), 200);
    let _ = send(&retrying(), &server, Method::POST, "/429").await;
    let logged = server.logged("/429", 3).await;
    assert!(logged.len() >= 3, "a 429 was not begun, a POST is repeated: {logged:?}");
    for index in 1..logged.len() - 1 {
        assert!(gap(&logged, index) >= SECOND, "{logged:?}");
    }
}

#[tokio::test]
#[ignore = "needs haproxy: run by .ci/run"]
async fn a_503_is_repeated_for_a_get_and_not_for_a_post() {
    let server = haproxy().await;
    assert_eq!(send(&retrying(), &server, Method::POST, "/503").await.status(), 200);
    assert_eq!(send(&retrying(), &server, Method::POST, "/503").await.status(), 503);
    assert_eq!(server.logged("/503", 2).await.len(), 2);
    let _ = send(&retrying(), &server, Method::GET, "/503").await;
    assert!(server.logged("/503", 4).await.len() >= 4);
}

#[tokio::test]
#[ignore = "needs haproxy: run by .ci/run"]
async fn a_time_that_haproxy_names_is_waited_for() {
    let server = haproxy().await;
    for _ in 0..2 {
        assert_eq!(send(&retrying(), &server, Method::GET, "/named").await.status(), 200);
    }
    let logged = server.logged("/named", 3).await;
    assert_eq!(logged.len(), 3, "{logged:?}");
    assert!(gap(&logged, 1) >= 7 * SECOND, "{logged:?}");
}

#[tokio::test]
#[ignore = "needs haproxy: run by .ci/run"]
async fn the_503_for_a_server_that_is_down_is_repeated_for_a_get_and_not_for_a_post() {
    let server = haproxy().await;
    assert_eq!(send(&retrying(), &server, Method::POST, "/down").await.status(), 503);
    assert_eq!(server.logged("/down", 1).await.len(), 1);
    assert_eq!(send(&retrying(), &server, Method::GET, "/down").await.status(), 503);
    let logged = server.logged("/down", 4).await;
    assert_eq!(logged.len(), 4, "three attempts: {logged:?}");
    assert!(gap(&logged, 1) >= SECOND && gap(&logged, 2) >= 2 * SECOND, "{logged:?}");
}
