//! A live page of all policies of a process: limits, queues, rejections, retries, breakers and quotas, and why each
//! limit is what it is. One line adds it to an axum service:
//!
//! ```
//! use axum::{Router, routing::get};
//! use tower_backpressure::AdmissionLayer;
//!
//! let app: Router = Router::new()
//!     .route("/", get(|| async { "hello" }))
//!     .layer(AdmissionLayer::adaptive("api"))
//!     // After the layer, and so outside of it: the dashboard answers when the service is full.
//!     .nest_service("/backpressure", backpressure_dashboard::router());
//! ```
//!
//! It finds every layer of the process in the [`Registry`](tower_backpressure::Registry), clients included. The page is one
//! file without anything from elsewhere, and only reads; [`Dashboard::actions`] lets operators act. The same data is at
//! `state.json` and `history.json` below the page; their fields are described in `docs/dashboard.md` of the repository.
//!
//! # Access
//! A request that reaches the router is told the names of policies, origins and tenants. Put the authentication
//! of the service around it, or serve it on a port of its own:
//!
//! ```
//! # use axum::{Router, extract::Request, http::StatusCode, middleware::{self, Next}, response::Response};
//! async fn only_staff(request: Request, next: Next) -> Result<Response, StatusCode> {
//!     let is_staff = request.headers().contains_key("x-staff");
//!     if is_staff { Ok(next.run(request).await) } else { Err(StatusCode::UNAUTHORIZED) }
//! }
//!
//! let dashboard: Router = backpressure_dashboard::router().layer(middleware::from_fn(only_staff));
//! ```
//!
//! # What it costs
//! One task looks at all layers once a second, however many pages are open. Requests are counted and timed while a
//! router exists: see [`Registry::watch`](tower_backpressure::Registry::watch). It keeps five minutes of history of at
//! most 128 policies, in less than 3 MB, and serves at most [`max_clients`](Dashboard::max_clients) pages at once.
//!
//! It does not store anything, and does not see other processes: behind a load balancer, each process has its own page.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod actions;
mod clients;
mod dashboard;
mod history;
mod journal;
mod routes;
mod sampler;
mod view;
mod why;

pub use crate::actions::{Action, Audit, Command, Outcome};
pub use crate::dashboard::{Dashboard, router};
