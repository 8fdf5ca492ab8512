//! A bounded pool of connections to the service, for either version of HTTP.

use crate::answer::GRPC_STATUS;
use crate::url_storm::call::Call;
use crate::url_storm::dial::{Dialed, Dialer, Sender};
use crate::url_storm::failure::Failure;
use bytes::Bytes;
use http::header::HOST;
use http::{HeaderMap, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Connections of HTTP/2 that share the streams. One would be bounded by the streams that a server allows.
const HTTP2_CONNECTIONS: usize = 16;
/// Longest body that is read: what is longer is no answer but a stream.
pub(crate) const MAX_ANSWER_BYTES: usize = 64 << 20;
/// How much of a body is searched for the text of `--expect`: thousands of answers are read at once.
const MAX_SEARCHED_BYTES: usize = 64 << 10;

/// The connections. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    dialer: Dialer,
    /// Over HTTP/1: idle, the last one used is taken first, so that few stay warm.
    idle: Mutex<Vec<Dialed>>,
    /// Over HTTP/2: shared by many requests each.
    streams: Vec<tokio::sync::Mutex<Option<Dialed>>>,
    turn: AtomicUsize,
    room: Arc<Semaphore>,
    /// A body without this text is no good answer.
    expected: Option<String>,
}

/// A response whose body has been read and dropped.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    /// With the trailers.
    pub(crate) headers: HeaderMap,
    pub(crate) body_bytes: usize,
    /// Whether the body has the text of `--expect`; without that option, it has.
    pub(crate) has_expected: bool,
}

impl Answer {
    /// Its status in words, where it is not what was asked for.
    pub(crate) fn describe(&self) -> String {
        let status = self.status.as_u16();
        match self.headers.get(GRPC_STATUS).and_then(|status| status.to_str().ok()) {
            Some(grpc) if grpc != "0" => format!("status {status} with grpc-status {grpc}"),
            _ if self.status.is_success() => {
                format!("status {status} without the text of --expect")
            }
            _ => format!("status {status}"),
        }
    }
}

impl Connections {
    /// At most `most` requests at once; a request that finds no room fails at once.
    pub(crate) fn new(dialer: Dialer, most: usize, expected: Option<String>) -> Self {
        let streams = if dialer.http2() { HTTP2_CONNECTIONS.min(most) } else { 0 };
        let shared = Shared {
            dialer,
            idle: Mutex::default(),
            streams: (0..streams).map(|_| tokio::sync::Mutex::default()).collect(),
            turn: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(most)),
            expected,
        };
        Self { shared: Arc::new(shared) }
    }

    /// Sends the request and reads the whole response. Dropped earlier, it closes the connection or resets the
    /// stream, as a client does that gives up.
    pub(crate) async fn send(
        &self,
        request: Request<Full<Bytes>>,
        call: &Call,
    ) -> Result<Answer, Failure> {
        let _room = self.room()?;
        if self.shared.dialer.http2() {
            self.send_http2(request, call).await
        } else {
            self.send_http1(request, call).await
        }
    }

    fn room(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let full = |_| Failure::Local("--connections requests are on the wire".into());
        Arc::clone(&self.shared.room).try_acquire_owned().map_err(full)
    }

    async fn send_http1(
        &self,
        mut request: Request<Full<Bytes>>,
        call: &Call,
    ) -> Result<Answer, Failure> {
        to_origin_form(&mut request);
        loop {
            let (mut connection, reused) = match self.pop() {
                Some(connection) => (connection, true),
                None => (Open(Some(self.shared.dialer.open().await?)), false),
            };
            let Sender::Http1(sender) = &mut connection.get().sender else { continue };
            if reused && sender.ready().await.is_err() {
                continue;
            }
            match sender.try_send_request(request).await {
                Ok(response) => {
                    let answer = self.read(response, call).await?;
                    self.push(connection);
                    return Ok(answer);
                }
                // An idle connection that the server had closed: no byte of the request was sent.
                Err(mut error) => match error.take_message() {
                    Some(unsent) if reused => request = unsent,
                    _ => return Err(Failure::of_http(error.error())),
                },
            }
        }
    }

    async fn send_http2(
        &self,
        mut request: Request<Full<Bytes>>,
        call: &Call,
    ) -> Result<Answer, Failure> {
        to_authority(&mut request);
        let turn = self.shared.turn.fetch_add(1, Ordering::Relaxed);
        let mut sender = self.stream(turn % self.shared.streams.len()).await?;
        let response = sender.send_request(request).await;
        self.read(response.map_err(|error| Failure::of_http(&error))?, call).await
    }

    /// Reads the body and keeps none of it.
    async fn read(
        &self,
        response: http::Response<Incoming>,
        call: &Call,
    ) -> Result<Answer, Failure> {
        let (mut head, mut body) = response.into_parts();
        let (mut body_bytes, mut start) = (0, Vec::new());
        let kept = if self.shared.expected.is_some() { MAX_SEARCHED_BYTES } else { 0 };
        call.receive(body_bytes);
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Failure::of_http(&error))?;
            if let Some(trailers) = frame.trailers_ref() {
                head.headers.extend(trailers.clone());
            }
            let data = frame.data_ref().map_or(&[][..], Bytes::as_ref);
            start.extend_from_slice(&data[..data.len().min(kept - start.len())]);
            body_bytes += data.len();
            call.receive(body_bytes);
            if body_bytes > MAX_ANSWER_BYTES {
                return Err(Failure::Closed(format!(
                    "the body is longer than {MAX_ANSWER_BYTES} bytes"
                )));
            }
        }
        let has = |text: &String| start.windows(text.len()).any(|window| window == text.as_bytes());
        let has_expected = self.shared.expected.as_ref().is_none_or(has);
        Ok(Answer { status: head.status, headers: head.headers, body_bytes, has_expected })
    }

    async fn stream(&self, place: usize) -> Result<http2::SendRequest<Full<Bytes>>, Failure> {
        let mut slot = self.shared.streams[place].lock().await;
        if let Some(Dialed { sender: Sender::Http2(sender), .. }) = &*slot
            && !sender.is_closed()
        {
            return Ok(sender.clone());
        }
        let dialed = self.shared.dialer.open().await?;
        let Sender::Http2(sender) = &dialed.sender else {
            return Err(Failure::NotHttp("the dialer speaks HTTP/1".into()));
        };
        let sender = sender.clone();
        *slot = Some(dialed);
        Ok(sender)
    }

    fn pop(&self) -> Option<Open> {
        let idle = self.shared.idle.lock().expect("no thread panics while it holds the lock").pop();
        idle.map(|idle| Open(Some(idle)))
    }

    fn push(&self, mut connection: Open) {
        let mut idle = self.shared.idle.lock().expect("no thread panics while it holds the lock");
        idle.extend(connection.0.take());
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let idle = self.idle.get_mut().map(std::mem::take).unwrap_or_default();
        let streams = self.streams.iter_mut().filter_map(|slot| slot.get_mut().take());
        for dialed in idle.into_iter().chain(streams) {
            dialed.driver.abort();
        }
    }
}

/// A connection in use; closed when dropped.
#[derive(Debug)]
struct Open(Option<Dialed>);

impl Open {
    fn get(&mut self) -> &mut Dialed {
        self.0.as_mut().expect("a connection is taken only when it goes back to the pool")
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if let Some(dialed) = self.0.take() {
            dialed.driver.abort();
        }
    }
}

fn to_origin_form(request: &mut Request<Full<Bytes>>) {
    let path = request.uri().path_and_query().cloned();
    *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
}

/// HTTP/2 has the host in `:authority`.
fn to_authority(request: &mut Request<Full<Bytes>>) {
    let Some(host) = request.headers_mut().remove(HOST) else { return };
    let authority = host.to_str().ok().and_then(|host| host.parse().ok());
    let mut parts = request.uri().clone().into_parts();
    if let Some(authority) = authority {
        parts.authority = Some(authority);
        *request.uri_mut() = Uri::from_parts(parts).expect("an authority replaces an authority");
    }
}
