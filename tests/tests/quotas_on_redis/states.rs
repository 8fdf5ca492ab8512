//! Servers that listen, and for a while answer with an error whatever the store asks for.

use std::time::Duration;

use redis::{RedisResult, Value};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::failures::assert_that_none_waited;
use crate::replica::{LEASE, OFFERED, PER_SECOND, Replica, run};
use crate::server::Server;

/// A state of a server in which it runs no script that writes.
struct State {
    /// The code of its errors.
    code: &'static str,
    /// Commands that bring a server into this state, and out of it.
    begin: &'static [&'static str],
    end: &'static [&'static str],
}

static STATES: [State; 9] = [
    State { code: "OOM", begin: &["CONFIG SET maxmemory 1"], end: &["CONFIG SET maxmemory 0"] },
    State {
        code: "NOREPLICAS",
        begin: &["CONFIG SET min-replicas-to-write 1"],
        end: &["CONFIG SET min-replicas-to-write 0"],
    },
    State {
        code: "MISCONF",
        begin: &["CONFIG SET dir /proc", "BGSAVE"],
        end: &["CONFIG SET stop-writes-on-bgsave-error no"],
    },
    State {
        code: "NOPERM",
        begin: &["ACL SETUSER default -evalsha -eval"],
        end: &["ACL SETUSER default +evalsha +eval"],
    },
    State {
        code: "NOAUTH",
        begin: &["CONFIG SET requirepass secret", "CLIENT KILL TYPE normal"],
        end: &["AUTH secret", "CONFIG SET requirepass "],
    },
    State { code: "READONLY", begin: &["REPLICAOF 127.0.0.1 1"], end: &["REPLICAOF NO ONE"] },
    State {
        code: "MASTERDOWN",
        begin: &["CONFIG SET replica-serve-stale-data no", "REPLICAOF 127.0.0.1 1"],
        end: &["REPLICAOF NO ONE"],
    },
    State {
        code: "BUSY",
        begin: &["CONFIG SET busy-reply-threshold 50", "EVAL repeat\tuntil(false) 0"],
        end: &["SCRIPT KILL"],
    },
    State {
        code: "LOADING",
        begin: &["DEBUG POPULATE 9000", "CONFIG SET key-load-delay 5000", "DEBUG RELOAD"],
        end: &["CONFIG SET key-load-delay 0"],
    },
];

/// How many of the states are looked at at once.
const AT_ONCE: usize = 3;
/// How long it may take, on a busy machine, until a state and its end are noticed.
const PATIENCE: Duration = Duration::from_secs(20);

impl State {
    /// Waits until scripts fail as they do in this state.
    async fn until_it_is_seen(&self, server: &Server) {
        let start = Instant::now();
        loop {
            let mut connection = server.connection().await;
            let mut script = redis::cmd("EVAL");
            script.arg("return redis.call('HSET', KEYS[1], 'a', 'b')").arg(1).arg("probe");
            let result: RedisResult<Value> = script.query_async(&mut connection).await;
            match result {
                Err(error) if error.code() == Some(self.code) => return,
                result => assert!(start.elapsed() < PATIENCE, "{}: {result:?}", self.code),
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    async fn comes_and_goes(&'static self) {
        let folder = tempfile::tempdir().expect("a folder");
        let options = [
            ["--dir", folder.path().to_str().expect("text")],
            ["--save", "3600 1"],
            ["--enable-debug-command", "yes"],
            ["--enable-protected-configs", "yes"],
            ["--loading-process-events-interval-bytes", "1024"],
        ];
        let server = Server::start(options.as_flattened()).await;
        let address = server.address();
        let mut replicas =
            ["local-share", "open", "closed"].map(|mode| Replica::start(&address, mode));
        self.until(&mut replicas, "before", |[share, open, closed]| {
            is_the_quota(share + open + closed)
        })
        .await;
        server.run(self.begin).await;
        self.until_it_is_seen(&server).await;
        self.until(&mut replicas, "in", |[share, open, closed]| {
            let third = PER_SECOND / 3;
            let is_a_third = (third * 7 / 10..=third + LEASE).contains(&share);
            is_a_third && open >= OFFERED * 9 / 10 && closed == 0
        })
        .await;
        self.until_it_is_seen(&server).await;
        server.run(self.end).await;
        self.until(&mut replicas, "after", |[share, open, closed]| {
            closed > 0 && is_the_quota(share + open + closed)
        })
        .await;
        assert_that_none_waited(&mut replicas);
    }

    /// Waits until what the replicas admit a second is as it should be.
    async fn until(
        &self,
        replicas: &mut [Replica; 3],
        when: &str,
        is_right: impl Fn([u64; 3]) -> bool,
    ) {
        let start = Instant::now();
        loop {
            let span = run(replicas, Duration::from_secs(1)).await;
            let rate = |&admitted: &u64| (admitted as f64 / span.seconds) as u64;
            let rates: Vec<_> = span.admitted.iter().map(rate).collect();
            let admitted = <[u64; 3]>::try_from(rates).expect("one for each replica");
            println!("{} {when} {:.1?}: {admitted:?}", self.code, start.elapsed());
            if is_right(admitted) {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{} {when}: {admitted:?}", self.code);
        }
    }
}

/// Whether three replicas admit the quota of a second.
fn is_the_quota(admitted: u64) -> bool {
    let most = PER_SECOND * 11 / 10 + 3 * LEASE;
    (PER_SECOND * 8 / 10..=most).contains(&admitted)
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn whatever_error_a_server_answers_with_a_replica_does_what_it_was_told_until_that_ends() {
    for states in STATES.chunks(AT_ONCE) {
        let tasks: JoinSet<_> = states.iter().map(State::comes_and_goes).collect();
        tasks.join_all().await;
    }
}
