//! A Redis server of its own for each test.

use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use tokio::time::timeout;

/// A server on a free port, killed when it is dropped.
pub(crate) struct Server {
    pub(crate) port: u16,
    options: Vec<String>,
    child: Option<Child>,
}

/// How often a new server is asked whether it listens.
const PROBE: Duration = Duration::from_millis(20);
/// How long a server may take to do what it was told to, on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
/// How long the answer to a command is waited for that may have none.
const ANSWER: Duration = Duration::from_millis(500);

impl Server {
    pub(crate) async fn start(options: &[&str]) -> Self {
        Self::start_on(free_port(), options).await
    }

    /// A server on this port, which was free.
    pub(crate) async fn start_on(port: u16, options: &[&str]) -> Self {
        let options = options.iter().map(|&option| option.to_owned()).collect();
        let mut server = Self { port, options, child: None };
        server.restart().await;
        server
    }

    /// A sentinel with this file of settings, which it rewrites.
    pub(crate) async fn start_sentinel(file: &str) -> Self {
        let options = [file, "--sentinel"].map(str::to_owned).to_vec();
        let mut server = Self { port: free_port(), options, child: None };
        server.restart().await;
        server
    }

    pub(crate) async fn restart(&mut self) {
        let program = std::env::var("QUOTA_SERVER").unwrap_or_else(|_| "redis-server".to_owned());
        let port = self.port.to_string();
        let mut command = Command::new(program);
        // A file of settings is named before them.
        let is_sentinel = self.options.iter().any(|option| option == "--sentinel");
        if is_sentinel {
            command.args(&self.options).args(["--port", &port, "--bind", "127.0.0.1"]);
        } else {
            command.args(["--port", &port, "--bind", "127.0.0.1"]);
            command.args(["--save", "", "--appendonly", "no"]).args(&self.options);
        }
        let child = command.stdout(Stdio::null()).spawn().expect("redis-server is installed");
        self.child = Some(child);
        for _ in 0..500 {
            if TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok() {
                return;
            }
            tokio::time::sleep(PROBE).await;
        }
        panic!("the server does not listen");
    }

    /// Sends it a signal, such as `STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let id = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("kill").args(["-s", signal, &id]).status();
        assert!(status.is_ok_and(|status| status.success()), "it runs");
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

    /// A connection of the test's own, which waits for the answers of a busy machine.
    pub(crate) async fn connection(&self) -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(self.address()).expect("an address");
        let patient = redis::AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        let connection = client.get_multiplexed_async_connection_with_config(&patient);
        connection.await.expect("the server listens")
    }

    /// Runs commands, whose words are separated by spaces. One that has no answer in time is not waited for.
    pub(crate) async fn run(&self, commands: &[&str]) {
        let mut connection = self.connection().await;
        for command in commands {
            let words: Vec<_> = command.split(' ').collect();
            let command = redis::Cmd::new().arg(words).clone();
            let answer = command.query_async::<redis::Value>(&mut connection);
            if let Ok(answer) = timeout(ANSWER, answer).await {
                answer.expect("a command that the server knows");
            }
        }
    }

    /// Waits until only the test is connected.
    pub(crate) async fn until_it_has_no_other_client(&self) {
        let mut connection = self.connection().await;
        for _ in 0..1_000 {
            let list = redis::cmd("CLIENT").arg("LIST").query_async(&mut connection).await;
            let clients: String = list.expect("an answer");
            if clients.lines().count() == 1 {
                return;
            }
            tokio::time::sleep(PROBE).await;
        }
        panic!("others stay connected");
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

/// A port that is free now, below those that the system gives to clients: none is given away before a server listens.
/// The bus of a cluster is 10 000 above.
pub(crate) fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let offset = (std::process::id() % 997) as u16 * 16;
    let ports = (0..).map(|_| 12_000 + (offset + NEXT.fetch_add(1, Ordering::Relaxed)) % 10_000);
    let is_free = |port: &u16| {
        [*port, *port + 10_000]
            .iter()
            .all(|&it| TcpListener::bind((Ipv4Addr::LOCALHOST, it)).is_ok())
    };
    ports.take(10_000).find(is_free).expect("a free port")
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
