//! The script: what it does with claims, in whatever order and number they arrive, and with hostile input.

use std::convert::Infallible;
use std::time::Duration;

use backpressure_redis::RedisStore;
use backpressure_tests::server::listen;
use http::{Request, Response};
use redis::AsyncCommands;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use tower::{Layer, service_fn};
use tower_backpressure::server::{Exchange, OnStoreFailure, QuotaKey, QuotaStore};
use tower_backpressure::{Claim, Grant, Quota};

use crate::replica::{call, layer};
use crate::server::Server;

fn store(server: &Server) -> RedisStore {
    RedisStore::open(server.address()).expect("an address")
}

fn exchange(quota: Quota, replica: u64, sequence: u64, claim: Claim) -> Exchange {
    let mut exchange = Exchange::new("policy", QuotaKey::from("tenant"), quota, replica, claim);
    exchange.sequence = sequence;
    exchange
}

async fn ask(store: &RedisStore, exchange: &Exchange) -> Grant {
    store.exchange(exchange.clone()).await.expect("an answer")
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn claims_are_counted_once_in_whatever_number_and_order_they_arrive() {
    let server = Server::start(&[]).await;
    let store = store(&server);
    let quota = Quota::per_day(100).and(Quota::per_hour(60));
    let first = exchange(quota, 1, 1, Claim::new(0, 0, 10));
    let grant = ask(&store, &first).await;
    assert_eq!((grant.claimed, grant.remaining, grant.replicas), (10, [90, 50, 0, 0], 1));
    // Again, and again after a later one.
    assert_eq!(ask(&store, &first).await.claimed, 10);
    let second = exchange(quota, 1, 2, Claim::new(10, 14, 20));
    let grant = ask(&store, &second).await;
    assert_eq!((grant.claimed, grant.remaining), (20, [80, 40, 0, 0]));
    assert_eq!((ask(&store, &first).await.claimed, ask(&store, &second).await.claimed), (20, 20));
    // Another replica, which the store does not know, begins from its base.
    let other = exchange(quota, 2, 1, Claim::new(500, 500, 530));
    let grant = ask(&store, &other).await;
    assert_eq!((grant.claimed, grant.remaining, grant.replicas), (530, [50, 10, 0, 0], 2));
    // Only ten are left in the hour: it is told when there is one more.
    let more = exchange(quota, 2, 2, Claim::new(530, 530, 560));
    let grant = ask(&store, &more).await;
    assert_eq!((grant.claimed, grant.remaining), (540, [40, 0, 0, 0]));
    assert!((50..=60).contains(&grant.retry_after.as_secs()), "{:?}", grant.retry_after);
    // What is given back is there for the others; what is spent is debited in any case.
    let back = exchange(quota, 1, 3, Claim::new(20, 15, 15));
    assert_eq!((ask(&store, &back).await.claimed, ask(&store, &back).await.claimed), (15, 15));
    let debt = exchange(quota, 2, 3, Claim::new(540, 580, 580));
    let grant = ask(&store, &debt).await;
    assert_eq!((grant.claimed, grant.remaining), (580, [5, 0, 0, 0]));
    // A new book of the first replica, and a late claim of its old one.
    let mut fresh = exchange(quota, 1, 4, Claim::new(0, 2, 2));
    fresh.book = 4;
    assert_eq!(ask(&store, &fresh).await.claimed, 2);
    assert_eq!(ask(&store, &exchange(quota, 1, 9, Claim::new(15, 99, 99))).await.claimed, 2);
    let grant = ask(&store, &exchange(quota, 3, 1, Claim::new(0, 0, 0))).await;
    assert_eq!(grant.remaining, [3, 0, 0, 0]);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_settlement_that_is_corrected_gives_back_only_what_each_window_has_debited_of_it() {
    let server = Server::start(&[]).await;
    let store = store(&server);
    // A token comes back in a minute or more: none does while the test runs.
    let year = Quota::per(200_000, Duration::from_secs(365 * 24 * 3_600));
    let quota = Quota::per_day(1_000).max_debt(50).and(year);
    // The other replica has used 800.
    let _ = ask(&store, &exchange(quota, 2, 1, Claim::new(0, 800, 800))).await;
    let report = Claim::new(0, 100_010, 100_010).excess(100_000);
    let _ = ask(&store, &exchange(quota, 1, 1, report)).await;
    let correction = Claim::new(100_010, 110, 110).excess(100);
    for _ in 0..2 {
        let grant = ask(&store, &exchange(quota, 1, 2, correction)).await;
        assert_eq!((grant.claimed, grant.remaining), (110, [90, 199_090, 0, 0]));
    }
    // Corrected again, up and down, and in a book that has begun meanwhile.
    let report = Claim::new(110, 500, 500).excess(490);
    let _ = ask(&store, &exchange(quota, 1, 3, report)).await;
    let mut later = exchange(quota, 1, 4, Claim::new(0, 0, 0).excess(-390));
    later.book = 2;
    let grant = ask(&store, &later).await;
    assert_eq!((grant.claimed, grant.remaining[0]), (0, 0));
    // What requests give back that cost less than they reserved is theirs, whatever was forgiven others.
    let _ = ask(&store, &exchange(quota, 3, 1, Claim::new(0, 5_000, 5_000).excess(4_900))).await;
    let back = Claim::new(5_000, 4_950, 4_950).excess(4_900);
    assert_eq!(ask(&store, &exchange(quota, 3, 2, back)).await.remaining[0], 0);
    let back = Claim::new(4_950, 4_850, 4_850).excess(4_900);
    assert_eq!(ask(&store, &exchange(quota, 3, 3, back)).await.remaining[0], 100);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn records_of_the_version_before_are_read() {
    let server = Server::start(&[]).await;
    let (store, quota) = (store(&server), Quota::per_day(100));
    let _ = ask(&store, &exchange(quota, 1, 1, Claim::new(0, 20, 30))).await;
    let mut connection = server.connection().await;
    let key = "backpressure:quota:policy:tenant";
    let _: () = connection.hset(key, "r:1", "1:1:30:7").await.expect("set");
    assert_eq!(ask(&store, &exchange(quota, 1, 1, Claim::new(0, 20, 30))).await.claimed, 30);
    let claim = Claim::new(30, 25, 25).excess(5);
    let grant = ask(&store, &exchange(quota, 1, 2, claim)).await;
    assert_eq!((grant.claimed, grant.remaining[0]), (25, 75));
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn buckets_fill_at_their_rate_by_the_clock_of_the_server_and_keys_expire_when_full() {
    let server = Server::start(&[]).await;
    let store = store(&server);
    let quota = Quota::per_second(50);
    let began = Instant::now();
    assert_eq!(ask(&store, &exchange(quota, 1, 1, Claim::new(0, 0, 50))).await.claimed, 50);
    sleep(Duration::from_millis(500)).await;
    let grant = ask(&store, &exchange(quota, 1, 2, Claim::new(50, 50, 1_000))).await;
    let most = 50.0 + began.elapsed().as_secs_f64() * 50.0;
    assert!(grant.claimed >= 75 && grant.claimed as f64 <= most, "{} {most}", grant.claimed);
    let mut connection = server.connection().await;
    let left: i64 = connection.pttl("backpressure:quota:policy:tenant").await.expect("a key");
    assert!((59_000..=61_100).contains(&left), "{left}");
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_clock_that_jumps_locks_no_tenant_out_and_mints_at_most_a_burst() {
    let server = Server::start(&[]).await;
    let (store, quota) = (store(&server), Quota::per_minute(600));
    assert_eq!(ask(&store, &exchange(quota, 1, 1, Claim::new(0, 0, 600))).await.claimed, 600);
    let mut connection = server.connection().await;
    let key = "backpressure:quota:policy:tenant";
    let at: u64 = connection.hget(key, "at").await.expect("a number");
    // The clock of the server was a year ahead, and is set back.
    let year = 365 * 24 * 3_600 * 1_000_000;
    let _: () = connection.hset(key, "at", at + year).await.expect("set");
    let grant = ask(&store, &exchange(quota, 1, 2, Claim::new(600, 600, 700))).await;
    assert_eq!(grant.claimed, 600);
    assert!(grant.retry_after <= Duration::from_millis(110), "{:?}", grant.retry_after);
    sleep(Duration::from_millis(300)).await;
    let grant = ask(&store, &exchange(quota, 1, 3, Claim::new(600, 600, 700))).await;
    assert!((602..=620).contains(&grant.claimed), "{}", grant.claimed);
    // It jumps ahead.
    let _: () = connection.hset(key, "at", at - year).await.expect("set");
    let grant = ask(&store, &exchange(quota, 1, 4, Claim::new(grant.claimed, 600, 100_000))).await;
    assert!(grant.claimed <= 600 + 20 + 600, "{}", grant.claimed);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_change_of_quota_keeps_what_was_used_and_records_of_dead_replicas_are_forgotten() {
    let server = Server::start(&[]).await;
    let (store, small, large) = (store(&server), Quota::per_day(100), Quota::per_day(1_000));
    assert_eq!(ask(&store, &exchange(small, 1, 1, Claim::new(0, 0, 70))).await.claimed, 70);
    assert_eq!(ask(&store, &exchange(large, 1, 2, Claim::new(70, 70, 70))).await.remaining[0], 930);
    assert_eq!(ask(&store, &exchange(small, 1, 3, Claim::new(70, 70, 70))).await.remaining[0], 30);
    for replica in 2..100 {
        assert_eq!(
            ask(&store, &exchange(small, replica, 1, Claim::new(0, 0, 0))).await.replicas,
            replica as u32
        );
    }
    let mut connection = server.connection().await;
    let key = "backpressure:quota:policy:tenant";
    let _: () = connection.hset(key, "pruned", 0).await.expect("set");
    for replica in 2..100 {
        let _: () = connection.hset(key, format!("r:{replica}"), "1:1:0:7").await.expect("set");
    }
    assert_eq!(ask(&store, &exchange(small, 1, 4, Claim::new(70, 70, 70))).await.replicas, 1);
    let fields: usize = connection.hlen(key).await.expect("a number");
    assert_eq!(fields, 5);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn the_store_works_after_a_script_flush_with_any_key_and_with_a_password() {
    let server = Server::start(&["--requirepass", "a secret"]).await;
    let address = format!("redis://:a%20secret@127.0.0.1:{}/", server.port);
    let store = RedisStore::open(address.as_str()).expect("an address").prefix("of{this}test");
    let client = redis::Client::open(address).expect("an address");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let keys: [&[u8]; 6] =
        [b"", b"\0\r\n$5\r\n", b"{x}", &[0xFF; 48], &[b'k'; 1_000_000], b"tenant"];
    for key in keys {
        let _: () =
            redis::cmd("SCRIPT").arg("FLUSH").query_async(&mut connection).await.expect("flushed");
        let key = QuotaKey::new(key);
        let exchange = Exchange::new("policy", key, Quota::per_day(10), 1, Claim::new(0, 0, 4));
        assert_eq!(ask(&store, &exchange).await.remaining[0], 6);
    }
    let stored: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.expect("a number");
    assert_eq!(stored, keys.len());
}

/// Requests of one second to a layer with this store; how many were admitted, and how many waited.
async fn second_of_requests(address: &str) -> (u32, u32) {
    let layer = layer(address, OnStoreFailure::LocalShare);
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(Response::new(String::new()))
    }));
    let (mut admitted, mut waiting) = (0, 0);
    for _ in 0..200 {
        let (is_admitted, waited) = call(service.clone()).await;
        admitted += u32::from(is_admitted);
        waiting += u32::from(waited);
        sleep(Duration::from_millis(5)).await;
    }
    (admitted, waiting)
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_key_of_another_type_is_an_error_of_the_store() {
    let server = Server::start(&[]).await;
    let mut connection = server.connection().await;
    let _: () =
        connection.set("backpressure:quota:replicas:tenant", "a string").await.expect("set");
    let (admitted, waiting) = second_of_requests(&server.address()).await;
    // A third of the quota, which is a hundred a second and a burst of a hundred.
    assert!((100..=200).contains(&admitted), "{admitted}");
    assert_eq!(waiting, 0);
}

#[tokio::test]
#[ignore = "needs the network of the other tests, and no server"]
async fn servers_that_answer_nonsense_cost_no_request_its_answer() {
    let answers: [&[u8]; 9] = [
        b"+OK\r\n",
        b":7\r\n",
        b"*0\r\n",
        b"$-1\r\n",
        b"*4\r\n:1\r\n:-1\r\n:1\r\n:1\r\n",
        b"-LOADING Redis is loading the dataset in memory\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"*99999999\r\n",
        b"",
    ];
    for answer in answers {
        let (listener, address) = listen().await;
        tokio::spawn(async move {
            while let Ok((mut socket, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let mut buffer = [0; 4_096];
                    while let Ok(1..) = socket.read(&mut buffer).await {
                        if socket.write_all(answer).await.is_err() {
                            return;
                        }
                    }
                });
            }
        });
        let (admitted, waiting) = second_of_requests(&format!("redis://{address}/")).await;
        let said = String::from_utf8_lossy(answer);
        assert!((100..=200).contains(&admitted), "{said:?}: {admitted}");
        assert_eq!(waiting, 0, "{said:?}");
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_server_that_closes_idle_connections_loses_no_exchange() {
    let server = Server::start(&["--timeout", "1"]).await;
    let store = store(&server);
    for sequence in 1..=3 {
        let claim = Claim::new(sequence - 1, sequence, sequence);
        let grant = ask(&store, &exchange(Quota::per_day(100), 1, sequence, claim)).await;
        assert_eq!((grant.claimed, grant.remaining[0]), (sequence, 100 - sequence));
        server.until_it_has_no_other_client().await;
    }
}
