//! The connection to the store: made in the background, once at a time, and again when it is of no use.

use std::fmt;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use redis::{Cmd, ErrorKind, RedisError, RedisResult, Value};
use tokio::sync::watch;
use tokio::time::timeout;

use crate::connect::{Connect, Connection};

/// The connection to the store.
#[derive(Clone)]
pub(crate) struct Link {
    shared: Arc<Shared>,
}

struct Shared {
    connect: Box<dyn Connect>,
    status: watch::Sender<Status>,
    is_connecting: AtomicBool,
    /// Commands in a row whose answers were not waited for.
    unanswered: AtomicU32,
}

#[derive(Clone)]
enum Status {
    None,
    Failed(Arc<str>),
    Ready(Arc<dyn Connection>),
}

/// How long a connection may take: longer than a command, as it may need TLS and several round trips.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A connection on which this many commands in a row get no answer is given up: behind a partition, TCP alone
/// would notice it after minutes.
const MAX_UNANSWERED: u32 = 3;

/// A connection that is being made. However that ends, another may be made after it: a runtime may end before.
struct Connecting {
    shared: Arc<Shared>,
    /// What has become of it.
    status: Status,
}

/// A command that is sent. Dropped without an answer, it counts against the connection.
struct Sent<'a> {
    link: &'a Link,
    is_answered: bool,
}

impl Link {
    pub(crate) fn new(connect: impl Connect + 'static) -> Self {
        let (status, _) = watch::channel(Status::None);
        let (is_connecting, unanswered) = (AtomicBool::new(false), AtomicU32::new(0));
        let connect = Box::new(connect);
        Self { shared: Arc::new(Shared { connect, status, is_connecting, unanswered }) }
    }

    /// Sends a command, which does no harm if it runs twice. Where the connection turns out to be lost, as after a restart
    /// of the server, the command is sent again on a new one.
    pub(crate) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match self.send_over(self.connection().await?, command).await {
            Err(error) if error.is_connection_dropped() => {
                self.send_over(self.connection().await?, command).await
            }
            result => result,
        }
    }

    /// Sends a command over a connection, and gives it up where it is lost or silent.
    async fn send_over(
        &self,
        mut connection: Box<dyn Connection>,
        command: &Cmd,
    ) -> RedisResult<Value> {
        let mut sent = Sent { link: self, is_answered: false };
        let result = connection.send(command).await.and_then(Value::extract_error);
        sent.is_answered = true;
        self.shared.unanswered.store(0, Ordering::Relaxed);
        if let Err(error) = &result {
            if is_of_no_use_after(error) {
                self.give_up();
            }
        }
        result
    }

    /// The connection, once there is one. It is made in a task of its own, so that no time-out of a command cuts it
    /// short.
    async fn connection(&self) -> RedisResult<Box<dyn Connection>> {
        let mut status = self.shared.status.subscribe();
        if let Status::Ready(connection) = &*status.borrow_and_update() {
            return Ok(connection.clone_boxed());
        }
        self.start_connecting();
        loop {
            status.changed().await.map_err(|_| failed("no connection"))?;
            match &*status.borrow_and_update() {
                Status::Ready(connection) => return Ok(connection.clone_boxed()),
                Status::Failed(error) => return Err(failed(error)),
                Status::None => {}
            }
        }
    }

    fn start_connecting(&self) {
        if self.shared.is_connecting.swap(true, Ordering::AcqRel) {
            return;
        }
        let status = Status::Failed("the runtime of the connection has ended".into());
        let connecting = Connecting { shared: Arc::clone(&self.shared), status };
        #[cfg(feature = "rustls")]
        crate::connect::ensure_crypto_provider();
        tokio::spawn(async move {
            let connect = connecting.shared.connect.connect();
            let status = match timeout(CONNECT_TIMEOUT, connect).await {
                Ok(Ok(connection)) => Status::Ready(connection.into()),
                Ok(Err(error)) => Status::Failed(error.to_string().into()),
                Err(_) => Status::Failed("no connection in time".into()),
            };
            connecting.ended(status);
        });
    }

    fn give_up(&self) {
        self.shared.status.send_if_modified(|status| {
            let had_one = matches!(status, Status::Ready(_));
            if had_one {
                *status = Status::None;
            }
            false
        });
    }
}

impl Connecting {
    fn ended(mut self, status: Status) {
        self.status = status;
    }
}

impl Drop for Connecting {
    fn drop(&mut self) {
        self.shared.unanswered.store(0, Ordering::Relaxed);
        self.shared.is_connecting.store(false, Ordering::Release);
        self.shared.status.send_replace(mem::replace(&mut self.status, Status::None));
    }
}

impl Drop for Sent<'_> {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let unanswered = self.link.shared.unanswered.fetch_add(1, Ordering::Relaxed) + 1;
        if unanswered >= MAX_UNANSWERED {
            self.link.give_up();
        }
    }
}

/// Errors of a server that another one may not have, once the address or the sentinels name another: a replica, one
/// without its master, a master that is cut off from its replicas, and one that has forgotten who is connected.
const CODES_OF_THE_WRONG_SERVER: [&str; 4] = ["READONLY", "MASTERDOWN", "NOREPLICAS", "NOAUTH"];

/// Whether the connection is lost, or leads to a server that is of no use.
fn is_of_no_use_after(error: &RedisError) -> bool {
    let is_lost = error.is_io_error() || error.is_connection_dropped();
    // Redis 6 wraps the error of a command in a script.
    let is_about = |code| {
        error.code() == Some(code) || error.detail().is_some_and(|detail| detail.contains(code))
    };
    let is_of_the_wrong_server = CODES_OF_THE_WRONG_SERVER.into_iter().any(is_about);
    is_lost || is_of_the_wrong_server || error.is_unrecoverable_error()
}

fn failed(error: &str) -> RedisError {
    RedisError::from((ErrorKind::Io, "not connected", error.to_owned()))
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link").field("connect", &self.shared.connect).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::connect::Boxed;

    /// Connections that are never made.
    #[derive(Debug)]
    struct Endless;

    impl Connect for Endless {
        fn connect(&self) -> Boxed<'_, RedisResult<Box<dyn Connection>>> {
            Box::pin(std::future::pending())
        }
    }

    #[test]
    fn errors_that_another_server_may_not_have_give_up_the_connection() {
        let wrapped = "Error running script: @user_script:139: -READONLY You can't write";
        let error = |code: &'static str, detail: &str| {
            let value = redis::parse_redis_value(format!("-{code} {detail}\r\n").as_bytes());
            value.and_then(Value::extract_error).expect_err("an error")
        };
        for (code, detail) in [("MASTERDOWN", "Link"), ("NOREPLICAS", "Not"), ("ERR", wrapped)] {
            assert!(is_of_no_use_after(&error(code, detail)), "{code} {detail}");
        }
        for code in ["OOM", "BUSY", "LOADING", "WRONGTYPE", "NOPERM", "MISCONF", "NOSCRIPT", "ERR"]
        {
            assert!(!is_of_no_use_after(&error(code, "something else")), "{code}");
        }
    }

    #[test]
    fn a_connection_is_made_again_after_the_runtime_that_was_making_it_has_ended() {
        let link = Link::new(Endless);
        let runtime = || tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime().block_on(async { link.start_connecting() });
        assert!(!link.shared.is_connecting.load(Ordering::Relaxed));
        assert!(matches!(*link.shared.status.borrow(), Status::Failed(_)));
    }
}
