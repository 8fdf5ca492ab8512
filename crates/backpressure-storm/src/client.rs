//! Clients: their requests, and their retries.

use crate::answer::AnswerKind;
use crate::event_log::{EventKind, Log};
use crate::generator::Ask;
use crate::pool::Pool;
use bytes::Bytes;
use http::header::HOST;
use http::{Request, Response, StatusCode, Uri};
use http_body_util::Full;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::timeout;
use tower::util::BoxCloneService;
use tower::{BoxError, Service, ServiceExt};

/// Attempts of a naive client.
pub(crate) const NAIVE_ATTEMPTS: u32 = 4;

/// Attempts through a layer, reduced to the status of the response.
pub(crate) type Layered = BoxCloneService<Request<Full<Bytes>>, StatusCode, BoxError>;

/// What a client does when an attempt fails.
#[derive(Debug, Clone)]
pub(crate) enum Retries {
    /// Gives up.
    Once(Attempts),
    /// Tries again at once, up to [`NAIVE_ATTEMPTS`] in all.
    Naive(Attempts),
    /// Leaves retries to the layer around the attempts.
    Layered(Layered),
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    pub(crate) target: Uri,
    pub(crate) retries: Retries,
}

impl Ask for Client {
    async fn ask(self) -> bool {
        let answered =
            |result: Result<StatusCode, BoxError>| result.is_ok_and(|status| status.is_success());
        match self.retries {
            Retries::Once(attempts) => answered(attempts.once(request(&self.target)).await),
            Retries::Naive(attempts) => {
                for _ in 0..NAIVE_ATTEMPTS {
                    if answered(attempts.once(request(&self.target)).await) {
                        return true;
                    }
                }
                false
            }
            Retries::Layered(layered) => answered(layered.oneshot(request(&self.target)).await),
        }
    }
}

/// The URI of `path` at a server.
pub(crate) fn target(address: SocketAddr, path: &str) -> Uri {
    format!("http://{address}{path}").parse().expect("an address and a path make a URI")
}

fn request(target: &Uri) -> Request<Full<Bytes>> {
    Request::get(target.clone()).body(Full::default()).expect("a URI makes a request")
}

/// A service that makes one attempt per call, with a time limit, and logs its outcome. As with a hyper client,
/// requests carry the whole URI, and layers wrap it.
#[derive(Debug, Clone)]
pub(crate) struct Attempts {
    pool: Pool,
    patience: Duration,
    log: Arc<Log>,
}

impl Attempts {
    pub(crate) fn new(pool: Pool, patience: Duration, log: Arc<Log>) -> Self {
        Self { pool, patience, log }
    }

    async fn once(&self, request: Request<Full<Bytes>>) -> Result<StatusCode, BoxError> {
        Ok(self.clone().oneshot(request).await?.status())
    }

    async fn attempt(
        self,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Full<Bytes>>, BoxError> {
        to_origin_form(&mut request);
        let mut outcome = LoggedOutcome::of_sent(Arc::clone(&self.log));
        // If this future is dropped before the answer, the client has given up: the attempt was late.
        let answer = timeout(self.patience, self.pool.send(request)).await?;
        outcome.seal(match &answer {
            Ok(response) => AnswerKind::of(response.status(), response.headers()).event(),
            Err(_) => Some(EventKind::Broken),
        });
        answer
    }
}

impl Service<Request<Full<Bytes>>> for Attempts {
    type Response = Response<Full<Bytes>>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Full<Bytes>>) -> Self::Future {
        Box::pin(self.clone().attempt(request))
    }
}

/// Moves the host of the target into its field, as HTTP/1 has it.
pub(crate) fn to_origin_form(request: &mut Request<Full<Bytes>>) {
    if let Some(host) =
        request.uri().authority().and_then(|authority| authority.as_str().parse().ok())
    {
        request.headers_mut().insert(HOST, host);
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    *request.uri_mut() = path.parse().expect("a path of a URI is a URI");
}

/// The outcome of an attempt, logged when it is dropped: late, unless another is set.
#[derive(Debug)]
struct LoggedOutcome {
    log: Arc<Log>,
    kind: Option<EventKind>,
}

impl LoggedOutcome {
    fn of_sent(log: Arc<Log>) -> Self {
        log.note(EventKind::Sent);
        Self { log, kind: Some(EventKind::Late) }
    }

    fn seal(&mut self, kind: Option<EventKind>) {
        self.kind = kind;
    }
}

impl Drop for LoggedOutcome {
    fn drop(&mut self) {
        if let Some(kind) = self.kind {
            self.log.note(kind);
        }
    }
}
