//! A service whose requests say what becomes of them, and a record of what happens to policies.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use tokio::time::sleep;
use tower::{Layer, Service, ServiceExt, service_fn};
use tower_backpressure::policy::{PolicyEvent, PolicyLoader, PolicySet};
use tower_backpressure::{RequestInfo, Tenant};

/// What becomes of a request: how long it takes and its status. Without it, a request never ends.
#[derive(Clone, Copy)]
pub(crate) struct Work(pub(crate) Duration, pub(crate) u16);

pub(crate) const QUICK: Work = Work(Duration::from_millis(10), 200);

/// The service with policies around it.
pub(crate) fn service(
    policies: &PolicySet,
) -> impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible, Future: Send>
+ Clone
+ Send
+ use<> {
    let inner = service_fn(async |request: Request<()>| {
        let Some(&Work(time, status)) = request.extensions().get() else {
            return std::future::pending().await;
        };
        sleep(time).await;
        let response = Response::builder().status(status).body(Full::new(Bytes::from("served")));
        Ok::<_, Infallible>(response.expect("a response"))
    });
    let layered = policies.layer(inner);
    service_fn(move |request| {
        let layered = layered.clone();
        async move {
            let Ok(response) = layered.oneshot(request).await;
            let (head, body) = response.into_parts();
            let body = body.collect().await.expect("a body").to_bytes();
            Ok::<_, Infallible>(Response::from_parts(head, Full::new(body)))
        }
    })
}

pub(crate) fn request(path: &str, work: impl Into<Option<Work>>) -> Request<()> {
    let mut request = Request::get(path).body(()).expect("a request");
    if let Some(work) = work.into() {
        request.extensions_mut().insert::<Work>(work);
    }
    request
}

pub(crate) fn of_tenant(mut request: Request<()>, tenant: &str) -> Request<()> {
    request.extensions_mut().insert(RequestInfo::default().tenant(Tenant::new(tenant)));
    request
}

/// The status of the response.
pub(crate) async fn status(
    service: &(impl Service<Request<()>, Response = Response<Full<Bytes>>, Error = Infallible> + Clone),
    request: Request<()>,
) -> u16 {
    let Ok(response) = service.clone().oneshot(request).await;
    response.status().as_u16()
}

/// All events, one line each.
#[derive(Clone, Default)]
pub(crate) struct Events(Arc<Mutex<Vec<PolicyEvent>>>);

impl Events {
    /// A loader whose policies tell this record what happens.
    pub(crate) fn loader(&self) -> PolicyLoader {
        let events = Arc::clone(&self.0);
        PolicyLoader::new().audit(move |event| events.lock().expect("no panic").push(event.clone()))
    }

    pub(crate) fn names(&self) -> Vec<&'static str> {
        self.0.lock().expect("no panic").iter().map(PolicyEvent::name).collect()
    }

    pub(crate) fn last(&self) -> String {
        self.0.lock().expect("no panic").last().map(PolicyEvent::to_string).unwrap_or_default()
    }
}
