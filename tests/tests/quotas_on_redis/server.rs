//! A Redis server of its own for each test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A server on a free port, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

/// How often a new server is asked whether it listens.
const PROBE: Duration = Duration::from_millis(20);

impl Server {
    pub(crate) async fn start(options: &[&str]) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        drop(listener);
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { port, options, child: None };
        server.restart().await;
        server
    }

    pub(crate) async fn restart(&mut self) {
        let program = std::env::var("QUOTA_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let child = Command::new(program)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .args(&self.options)
            .stdout(Stdio::null())
            .spawn()
            .expect("redis-server is installed");
        self.child = Some(child);
        for _ in 0..500 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            tokio::time::sleep(PROBE).await;
        }
        panic!("the server does not listen");
    }

    /// As by `kill -9`.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("it runs");
            child.wait().expect("it ends");
        }
    }

    pub(crate) fn address(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    /// A connection of the test's own.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.address()).expect("an address");
        client.get_multiplexed_async_connection().await.expect("the server listens")
    }

    /// How many scripts the server has run.
    pub(crate) async fn scripts(&self) -> u64 {
        let mut connection = self.connection().await;
        let info: String = redis::cmd("INFO")
            .arg("commandstats")
            .query_async(&mut connection)
            .await
            .expect("an answer");
        let calls = info.lines().filter(|line| line.starts_with("cmdstat_eval"));
        calls
            .filter_map(|line| line.split_once("calls=")?.1.split(',').next()?.parse::<u64>().ok())
            .sum()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
