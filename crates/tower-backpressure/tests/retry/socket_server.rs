//! An axum server on a loopback socket, as the other end of the line.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{AppendHeaders, IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// Refuses the first requests with these, answers all others with 200.
#[derive(Clone, Debug, Default)]
pub(crate) struct FarEnd {
    refusals: Arc<[Refusal]>,
    seen: Arc<Mutex<Vec<(Instant, Bytes)>>>,
}

pub(crate) type Refusal = (u16, &'static [(&'static str, &'static str)]);

impl FarEnd {
    /// Serves until the test ends; also gives the URL.
    pub(crate) async fn refusing(refusals: &[Refusal]) -> (Self, String) {
        let far_end = Self { refusals: refusals.into(), ..Self::default() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let app = Router::new().fallback(answer).with_state(far_end.clone());
        tokio::spawn(async { axum::serve(listener, app).await.unwrap() });
        (far_end, url)
    }

    pub(crate) fn bodies(&self) -> Vec<Bytes> {
        let seen = self.seen.lock().unwrap();
        seen.iter().map(|(_, body)| body.clone()).collect()
    }

    pub(crate) fn gaps(&self) -> Vec<Duration> {
        let seen = self.seen.lock().unwrap();
        seen.windows(2).map(|pair| pair[1].0 - pair[0].0).collect()
    }

    fn note(&self, body: Bytes) -> Option<Refusal> {
        let mut seen = self.seen.lock().unwrap();
        seen.push((Instant::now(), body));
        self.refusals.get(seen.len() - 1).copied()
    }
}

async fn answer(State(far_end): State<FarEnd>, body: Bytes) -> Response {
    match far_end.note(body) {
        Some((status, headers)) => {
            let status = StatusCode::from_u16(status).unwrap();
            (status, AppendHeaders(headers.iter().copied()), "refused").into_response()
        }
        None => "served".into_response(),
    }
}
