//! The layers, alone and nested.

use std::time::Duration;

use axum::body::Body;
use backpressure_tests::scripted_body::Broken;
use http::{Response, Uri};
use tokio::time::{Instant, sleep};
use tower::util::BoxCloneService;
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};
use tower_backpressure::{
    AdmissionLayer, BulkheadLayer, ClientStack, FallbackLayer, Handle, OriginLimitLayer,
    PermitScope, QueueBounds, QueueLayer, RequestInfoLayer, RetryLayer, StreamPolicy,
};

use super::handler::{In, fall_back, handle};

pub(crate) type Boxed = BoxCloneService<In, Response<Body>, Broken>;

/// Layers around the handler, and what to look at afterwards.
pub(crate) struct Stack {
    pub(crate) name: &'static str,
    pub(crate) service: Boxed,
    handles: Vec<Handle>,
    origins: Option<OriginLimitLayer>,
}

/// How long what ends by itself may take: tasks that hold a permit, and drained uploads.
const SETTLE: Duration = Duration::from_secs(30);

pub(crate) fn all() -> Vec<Stack> {
    let mut stacks = vec![
        server("fixed", AdmissionLayer::fixed("fixed", 8)),
        server("adaptive", AdmissionLayer::adaptive("adaptive").min(4).max(32)),
        server("head", AdmissionLayer::fixed("head", 8).scope(PermitScope::Head)),
        server("bulkhead", BulkheadLayer::new("bulkhead", 8)),
        server("queue", QueueLayer::new("queue", 8, 16)),
        server("dry run", AdmissionLayer::fixed("dry run", 8).dry_run(true)),
        server("extras", extras("extras")),
        server("no queue", AdmissionLayer::fixed("no queue", 8).queue(QueueBounds::NONE)),
    ];
    stacks.extend([fallback(), client(), nested(), nested_twice()]);
    stacks
}

impl Stack {
    /// Nothing is in flight or in a queue.
    pub(crate) async fn assert_idle(&self) {
        let deadline = Instant::now() + SETTLE;
        while !self.is_idle() {
            assert!(Instant::now() < deadline, "{}: {}", self.name, self.state());
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn is_idle(&self) -> bool {
        let is_idle = |handle: &Handle| {
            let now = handle.snapshot();
            (now.in_flight, now.apart, now.queued, handle.streams()) == (0, 0, 0, 0)
        };
        self.handles.iter().all(is_idle) && self.origin_in_flight() == 0
    }

    fn origin_in_flight(&self) -> usize {
        let origin = Uri::from_static("http://here/");
        let limiter = self.origins.as_ref().and_then(|layer| layer.limiter(&origin));
        limiter.map_or(0, |limiter| limiter.snapshot().in_flight + limiter.snapshot().queued)
    }

    fn state(&self) -> String {
        let states = self.handles.iter().map(|it| (it.name(), it.snapshot(), it.streams()));
        format!("{:?}, at origins {}", states.collect::<Vec<_>>(), self.origin_in_flight())
    }
}

/// What an operator may expose to handlers.
fn extras(name: &str) -> AdmissionLayer {
    let layer = AdmissionLayer::fixed(name, 8).expose_permit(true).expose_pressure(true);
    layer.streams(StreamPolicy::Watch(4)).exempt(|head| head.headers.contains_key("content-type"))
}

fn boxed<S, B>(service: S) -> Boxed
where
    S: Service<In, Response = Response<B>, Error = Broken> + Clone + Send + 'static,
    S::Future: Send,
    B: http_body::Body<Data = bytes::Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    BoxCloneService::new(service.map_response(|response| response.map(Body::new)))
}

fn server(name: &'static str, layer: impl Into<AdmissionLayer>) -> Stack {
    let layer = layer.into();
    let handles = vec![layer.handle().clone()];
    Stack { name, service: boxed(layer.layer(service_fn(handle))), handles, origins: None }
}

fn fallback() -> Stack {
    let bulkhead = BulkheadLayer::new("with fallback", 8);
    let handles = vec![bulkhead.handle().clone()];
    let layer = FallbackLayer::new(bulkhead, service_fn(fall_back));
    Stack {
        name: "fallback",
        service: boxed(layer.layer(service_fn(handle))),
        handles,
        origins: None,
    }
}

fn client() -> Stack {
    let origins = OriginLimitLayer::new("client");
    let stack = ClientStack::new("client").origin_limit(origins.clone());
    let service = boxed(stack.layer(service_fn(handle)));
    Stack { name: "client stack", service, handles: Vec::new(), origins: Some(origins) }
}

/// A retrying client, request info, admission, and a bulkhead around the handler.
fn nested() -> Stack {
    let (outer, inner) = (extras("outer"), BulkheadLayer::new("inner", 4));
    let handles = vec![outer.handle().clone(), inner.handle().clone()];
    let service = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .layer(RequestInfoLayer::from_headers())
        .layer(outer)
        .layer(inner)
        .service(service_fn(handle));
    Stack { name: "nested", service: boxed(service), handles, origins: None }
}

/// The same layer twice on the way, a dry run between, and a limit per origin inside.
fn nested_twice() -> Stack {
    let (outer, origins) = (AdmissionLayer::adaptive("twice").min(4), OriginLimitLayer::new("in"));
    let middle = AdmissionLayer::fixed("middle", 4).dry_run(true).expose_permit(true);
    let queue = AdmissionLayer::from(QueueLayer::new("innermost", 16, 4));
    let handles =
        [&outer, &middle, &queue].into_iter().map(|layer| layer.handle().clone()).collect();
    let service = ServiceBuilder::new()
        .layer(outer.clone())
        .layer(middle)
        .layer(outer)
        .layer(queue)
        .layer(origins.clone())
        .service(service_fn(handle));
    Stack { name: "nested twice", service: boxed(service), handles, origins: Some(origins) }
}
