//! The service inside the layers.

use std::future::{Future, pending};
use std::panic::resume_unwind;
use std::time::Duration;

use axum::body::Body;
use backpressure_tests::scripted_body::{Broken, End, ScriptedBody};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::Full;
use tokio::time::sleep;
use tower_backpressure::PermitHandle;

use super::ending::{Ending, Handling, Permit};

pub(crate) type In = Request<Full<Bytes>>;
pub(crate) type Out = Result<Response<Body>, Broken>;

pub(crate) fn handle(request: In) -> impl Future<Output = Out> + Send {
    let ending = *request.extensions().get::<Ending>().expect("each request has one");
    if ending.handling == Handling::PanicInCall {
        panic_quietly();
    }
    async move {
        let handle = request.extensions().get::<PermitHandle>().cloned();
        match (handle, ending.permit) {
            (Some(handle), Permit::Releases) => handle.release(),
            (Some(handle), Permit::Lends) => {
                let held = handle.hold();
                tokio::spawn(async move {
                    sleep(Duration::from_millis(5)).await;
                    drop(held);
                });
            }
            _ => {}
        }
        sleep(ending.work).await;
        match ending.handling {
            Handling::Panic => panic_quietly(),
            Handling::Hangs => pending().await,
            Handling::Error => Err(Broken),
            _ => Ok(respond(ending.handling)),
        }
    }
}

/// Answers what the layer before it would reject.
pub(crate) async fn fall_back(_request: In) -> Out {
    Ok(Response::new(Body::from("cached")))
}

/// Unwinds without the panic hook, which would print each panic.
fn panic_quietly() -> ! {
    resume_unwind(Box::new("a deliberate panic"))
}

fn respond(handling: Handling) -> Response<Body> {
    let pieces = ScriptedBody::pieces(3, 500);
    let body = match handling {
        Handling::Sized => pieces.sized(),
        Handling::Trailers => pieces.trailers(),
        Handling::Empty | Handling::Upgrade => ScriptedBody::default(),
        Handling::Long => ScriptedBody::pieces(20, 10_000),
        Handling::Broken => pieces.end(End::Broken),
        Handling::Endless | Handling::Events => pieces.end(End::Hangs),
        _ => pieces,
    };
    let mut response = Response::new(Body::new(body));
    match handling {
        Handling::Upgrade => *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS,
        Handling::Unavailable => *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE,
        Handling::Events => {
            let events = header::HeaderValue::from_static("text/event-stream");
            response.headers_mut().insert(header::CONTENT_TYPE, events);
        }
        _ => {}
    }
    response
}
