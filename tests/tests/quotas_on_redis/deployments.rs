//! The ways in which a store is run: TLS, users with few rights, sentinels and a cluster.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use backpressure_redis::RedisStore;
use redis::cluster::ClusterClient;
use redis::sentinel::{SentinelClient, SentinelServerType};
use redis::{Client, TlsCertificates};
use tempfile::TempDir;
use tokio::time::{Instant, sleep};
use tower_backpressure::server::{Exchange, QuotaKey, QuotaStore};
use tower_backpressure::{Claim, Grant, Quota};

use crate::server::{PATIENCE, Server, free_port};

fn claim_of(key: &str, sequence: u64) -> Exchange {
    let claim = Claim::new(sequence - 1, sequence, sequence);
    let mut exchange =
        Exchange::new("policy", QuotaKey::from(key), Quota::per_day(1_000), 1, claim);
    exchange.sequence = sequence;
    exchange
}

async fn grant(store: &RedisStore, exchange: Exchange) -> Result<Grant, String> {
    let answer = tokio::time::timeout(Duration::from_secs(2), store.exchange(exchange)).await;
    answer.map_err(|error| error.to_string())?.map_err(|error| error.to_string())
}

/// The first grant, from when there is one.
async fn grant_at_last(store: &RedisStore, exchange: &Exchange) -> Grant {
    let start = Instant::now();
    loop {
        match grant(store, exchange.clone()).await {
            Ok(grant) => return grant,
            Err(error) if start.elapsed() > PATIENCE => panic!("{error}"),
            Err(_) => sleep(Duration::from_millis(50)).await,
        }
    }
}

/// A certificate authority of the test's own, and a certificate for 127.0.0.1.
struct Certificates {
    folder: TempDir,
}

impl Certificates {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let certificates = Self { folder };
        let requests: [&[&str]; 2] = [
            &["-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test authority"],
            &[
                "-keyout",
                "server.key",
                "-out",
                "server.pem",
                "-subj",
                "/CN=test server",
                "-CA",
                "ca.pem",
                "-CAkey",
                "ca.key",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-addext",
                "basicConstraints=critical,CA:FALSE",
            ],
        ];
        for request in requests {
            let output = Command::new("openssl")
                .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"])
                .args(["-nodes", "-days", "2"])
                .args(request)
                .current_dir(certificates.folder.path())
                .output()
                .expect("openssl is installed");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        }
        certificates
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn server(&self) -> Server {
        let text = |path: &Path| path.to_str().expect("text").to_owned();
        let port = free_port();
        let names = ["ca.pem", "server.pem", "server.key"].map(|name| text(&self.path(name)));
        let [authority, certificate, key] = &names;
        let port_option = port.to_string();
        let options = [
            ["--port", "0"],
            ["--tls-port", &port_option],
            ["--tls-ca-cert-file", authority],
            ["--tls-cert-file", certificate],
            ["--tls-key-file", key],
            ["--tls-auth-clients", "no"],
            ["--requirepass", "secret"],
        ];
        Server::start_on(port, options.as_flattened()).await
    }

    fn client(&self, address: &str) -> Client {
        let authority = std::fs::read(self.path("ca.pem")).expect("a file");
        let certificates = TlsCertificates { client_tls: None, root_cert: Some(authority) };
        Client::build_with_tls(address, certificates).expect("a client")
    }
}

#[tokio::test]
#[ignore = "needs redis-server and openssl"]
async fn a_store_is_reached_by_tls_and_only_where_its_certificate_is_trusted() {
    let (certificates, others) = (Certificates::new(), Certificates::new());
    let server = certificates.server().await;
    let address = format!("rediss://:secret@127.0.0.1:{}/", server.port);
    let store = RedisStore::new(certificates.client(&address));
    assert_eq!(grant_at_last(&store, &claim_of("tenant", 1)).await.remaining[0], 999);
    // Neither another authority, nor a name that is not in the certificate, nor the system's authorities.
    let elsewhere = format!("rediss://:secret@localhost:{}/", server.port);
    let untrusted = [
        RedisStore::new(others.client(&address)),
        RedisStore::new(certificates.client(&elsewhere)),
        RedisStore::open(address.as_str()).expect("an address"),
        RedisStore::open(format!("redis://:secret@127.0.0.1:{}/", server.port))
            .expect("an address"),
    ];
    for store in untrusted {
        for _ in 0..2 {
            let answer = grant(&store, claim_of("tenant", 2)).await;
            assert!(answer.is_err(), "{answer:?}");
        }
    }
    assert_eq!(grant_at_last(&store, &claim_of("tenant", 2)).await.remaining[0], 998);
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn a_user_needs_the_rights_that_the_documentation_names_and_no_others() {
    let rights = "user quotas on >secret ~backpressure:quota:* resetchannels -@all +evalsha +eval \
        +time +hmget +hset +hgetall +hdel +pexpire";
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("users.acl");
    std::fs::write(&file, format!("{rights}\nuser nothing on >secret -@all\n")).expect("written");
    let server = Server::start(&["--aclfile", file.to_str().expect("text")]).await;
    let open = |user: &str, password: &str| {
        RedisStore::open(format!("redis://{user}:{password}@127.0.0.1:{}/", server.port))
            .expect("an address")
    };
    let store = open("quotas", "secret");
    assert_eq!(grant_at_last(&store, &claim_of("tenant", 1)).await.remaining[0], 999);
    for store in [
        open("quotas", "wrong"),
        open("nothing", "secret"),
        open("unknown", "secret"),
        open("quotas", "secret").prefix("of-others"),
    ] {
        for _ in 0..3 {
            let answer = grant(&store, claim_of("tenant", 2)).await;
            assert!(answer.is_err(), "{answer:?}");
        }
    }
}

/// A master, a replica of it, and a sentinel that watches them.
struct Watched {
    master: Server,
    replica: Server,
    sentinel: Server,
    _folder: TempDir,
}

impl Watched {
    async fn start() -> Self {
        let master = Server::start(&[]).await;
        let port = master.port.to_string();
        let replica =
            Server::start(&["--replicaof", "127.0.0.1", &port, "--repl-diskless-sync-delay", "0"])
                .await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("sentinel.conf");
        let settings = format!(
            "sentinel monitor quotas 127.0.0.1 {port} 1\n\
             sentinel down-after-milliseconds quotas 500\n\
             sentinel failover-timeout quotas 5000\n"
        );
        std::fs::write(&file, settings).expect("written");
        let file = file.to_str().expect("text").to_owned();
        let sentinel = Server::start_sentinel(&file).await;
        let watched = Self { master, replica, sentinel, _folder: folder };
        watched.until_the_replica_is_known().await;
        watched
    }

    async fn until_the_replica_is_known(&self) {
        let mut connection = self.sentinel.connection().await;
        let start = Instant::now();
        loop {
            let info: String = redis::cmd("INFO")
                .arg("sentinel")
                .query_async(&mut connection)
                .await
                .expect("told");
            let mut master = self.master.connection().await;
            let state: String =
                redis::cmd("INFO").arg("replication").query_async(&mut master).await.expect("told");
            if info.contains("slaves=1") && state.contains("state=online") {
                return;
            }
            assert!(start.elapsed() < PATIENCE, "{info} {state}");
            sleep(Duration::from_millis(50)).await;
        }
    }

    fn store(&self) -> RedisStore {
        let sentinels = vec![self.sentinel.address()];
        let name = "quotas".to_owned();
        let client = SentinelClient::build(sentinels, name, None, SentinelServerType::Master);
        RedisStore::sentinel(client.expect("a client"))
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn after_a_failover_the_master_is_the_one_that_the_sentinels_name_and_has_what_was_used() {
    let mut watched = Watched::start().await;
    let store = watched.store();
    let mut sequence = 1;
    assert_eq!(grant_at_last(&store, &claim_of("tenant", sequence)).await.remaining[0], 999);
    // What the replica has heard of is what is known later.
    let mut replica = watched.replica.connection().await;
    let start = Instant::now();
    while redis::cmd("DBSIZE").query_async::<u64>(&mut replica).await.expect("a number") == 0 {
        assert!(start.elapsed() < PATIENCE);
        sleep(Duration::from_millis(20)).await;
    }
    watched.master.kill();
    sequence += 1;
    let after = grant_at_last(&store, &claim_of("tenant", sequence)).await;
    assert_eq!((after.claimed, after.remaining[0]), (2, 998));
    assert!(watched.replica.scripts().await > 0);
}

/// Three nodes, each with a third of the slots.
struct Cluster {
    nodes: Vec<Server>,
    _folders: Vec<TempDir>,
}

const NODES: usize = 3;
const SLOTS: usize = 16_384;

impl Cluster {
    async fn start() -> Self {
        let folders: Vec<_> = (0..NODES).map(|_| tempfile::tempdir().expect("a folder")).collect();
        let mut nodes = Vec::new();
        for folder in &folders {
            let folder = folder.path().to_str().expect("text");
            let options = ["--cluster-enabled", "yes", "--dir", folder];
            let more = ["--cluster-node-timeout", "1000", "--cluster-require-full-coverage", "no"];
            nodes.push(Server::start(&[options, more].concat()).await);
        }
        for (index, node) in nodes.iter().enumerate() {
            let mut connection = node.connection().await;
            let slots = index * SLOTS / NODES..(index + 1) * SLOTS / NODES;
            let add = redis::cmd("CLUSTER").arg("ADDSLOTS").arg(slots.collect::<Vec<_>>()).clone();
            let _: () = add.query_async(&mut connection).await.expect("free slots");
            for other in &nodes {
                let meet =
                    redis::cmd("CLUSTER").arg("MEET").arg("127.0.0.1").arg(other.port).clone();
                let _: () = meet.query_async(&mut connection).await.expect("they meet");
            }
        }
        let cluster = Self { nodes, _folders: folders };
        cluster.until_it_is_whole().await;
        cluster
    }

    async fn until_it_is_whole(&self) {
        for node in &self.nodes {
            let (start, mut connection) = (Instant::now(), node.connection().await);
            loop {
                let info: String = redis::cmd("CLUSTER")
                    .arg("INFO")
                    .query_async(&mut connection)
                    .await
                    .expect("told");
                if info.contains("cluster_slots_ok:16384") && info.contains("cluster_known_nodes:3")
                {
                    break;
                }
                assert!(start.elapsed() < PATIENCE, "{info}");
                sleep(Duration::from_millis(50)).await;
            }
        }
    }

    fn store(&self) -> RedisStore {
        let addresses: Vec<_> = self.nodes.iter().map(Server::address).collect();
        RedisStore::cluster(ClusterClient::new(addresses).expect("addresses"))
    }
}

#[tokio::test]
#[ignore = "needs redis-server"]
async fn tenants_are_spread_over_the_nodes_of_a_cluster_and_a_dead_node_takes_only_its_own() {
    let mut cluster = Cluster::start().await;
    let store = cluster.store();
    let keys: Vec<_> = (0..60).map(|number| format!("tenant {number}")).collect();
    for key in &keys {
        assert_eq!(grant_at_last(&store, &claim_of(key, 1)).await.remaining[0], 999, "{key}");
    }
    for node in &cluster.nodes {
        assert!(node.scripts().await > 0, "a node has no tenant");
    }
    cluster.nodes[1].kill();
    let start = Instant::now();
    let mut sequence = 1;
    loop {
        sequence += 1;
        let mut served = 0;
        for key in &keys {
            let exchange = claim_of(key, sequence);
            let answer =
                tokio::time::timeout(Duration::from_millis(250), store.exchange(exchange)).await;
            served += usize::from(matches!(answer, Ok(Ok(_))));
        }
        println!("{served} of {} after {:?}", keys.len(), start.elapsed());
        if served >= keys.len() / 2 {
            return;
        }
        assert!(start.elapsed() < PATIENCE, "{served} are served");
    }
}
