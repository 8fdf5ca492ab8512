//! A bounded pool of keep-alive connections to one server.

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinHandle;
use tower::BoxError;

/// The connections of one run. The last one used is taken first, so that few stay warm and the rest stay idle.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    address: SocketAddr,
    idle: Arc<Mutex<Vec<Connection>>>,
    room: Arc<Semaphore>,
}

impl Pool {
    /// At most `cap` connections at once; a request that finds none fails.
    pub(crate) fn new(address: SocketAddr, cap: usize) -> Self {
        let room = Arc::new(Semaphore::new(cap.min(Semaphore::MAX_PERMITS)));
        Self { address, idle: Arc::default(), room }
    }

    /// The server.
    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Sends the request, whose target is in origin form, and reads the whole response. Dropped earlier, it
    /// closes the connection, as a client does that gives up.
    pub(crate) async fn send(
        self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        let mut connection = self.connection().await?;
        let (head, body) = connection.requests.send_request(request).await?.into_parts();
        let body = body.collect().await?.to_bytes();
        self.idle.lock().expect("no thread panics while it holds the lock").push(connection);
        Ok(Response::from_parts(head, Full::new(body)))
    }

    async fn connection(&self) -> Result<Connection, BoxError> {
        while let Some(mut connection) = self.pop() {
            // The server may have closed it in the meantime.
            if connection.requests.ready().await.is_ok() {
                return Ok(connection);
            }
        }
        let room = Arc::clone(&self.room).try_acquire_owned()?;
        Connection::open(self.address, room).await
    }

    fn pop(&self) -> Option<Connection> {
        self.idle.lock().expect("no thread panics while it holds the lock").pop()
    }
}

#[derive(Debug)]
struct Connection {
    requests: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
    _room: OwnedSemaphorePermit,
}

impl Connection {
    async fn open(address: SocketAddr, room: OwnedSemaphorePermit) -> Result<Self, BoxError> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, driver) = handshake(TokioIo::new(stream)).await?;
        let driver = tokio::spawn(async move { _ = driver.await });
        Ok(Self { requests, driver, _room: room })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
