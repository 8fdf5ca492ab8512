//! The four stacks of layers between the load and the handler.

use crate::client::{Attempts, Layered, Retries};
use axum::Router;
use axum::error_handling::HandleErrorLayer;
use axum::http::StatusCode;
use clap::ValueEnum;
use clap::builder::PossibleValue;
use std::time::Duration;
use tower::limit::GlobalConcurrencyLimitLayer;
use tower::load_shed::LoadShedLayer;
use tower::{Layer, ServiceBuilder, ServiceExt};
use tower_backpressure::{AdmissionLayer, QueueBounds, RetryLayer};

/// A stack of layers on the server, and the behaviour of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stack {
    /// No layer.
    Bare,
    /// tower's `ConcurrencyLimit` and `LoadShed`, with the best fixed limit found for this handler.
    Tower,
    /// Our server layer with its defaults.
    Backpressure,
    /// Our server layer, and clients with our retry layer.
    BackpressureClient,
}

impl Stack {
    const ALL: [Self; 4] = [Self::Bare, Self::Tower, Self::Backpressure, Self::BackpressureClient];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Tower => "tower",
            Self::Backpressure => "backpressure",
            Self::BackpressureClient => "backpressure+client",
        }
    }

    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::Bare => "no layer",
            Self::Tower => {
                "tower's ConcurrencyLimit and LoadShed, with the best fixed limit found in the run"
            }
            Self::Backpressure => "AdmissionLayer::adaptive with its defaults",
            Self::BackpressureClient => "the same, and clients with RetryLayer",
        }
    }

    /// Puts the layers around the whole service. Only tower's need a limit.
    pub(crate) fn wrap(self, router: Router, tower_limit: usize) -> Router {
        match self {
            Self::Bare => router,
            Self::Tower => limited_by_tower(router, tower_limit),
            Self::Backpressure | Self::BackpressureClient => admitted(router),
        }
    }

    /// Clients of the steady scenarios.
    pub(crate) fn patient(self, attempts: Attempts, deadline: Duration) -> Retries {
        match self {
            Self::BackpressureClient => Retries::Layered(retried(attempts, deadline)),
            _ => Retries::Once(attempts),
        }
    }

    /// Clients of the brown-out, which retry at once.
    pub(crate) fn impatient(self, attempts: Attempts, deadline: Duration) -> Retries {
        match self {
            Self::BackpressureClient => Retries::Layered(retried(attempts, deadline)),
            _ => Retries::Naive(attempts),
        }
    }
}

impl ValueEnum for Stack {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.name()).help(self.describe()))
    }
}

/// The service behind a limiter with room for one, to measure the cost of a rejection.
pub(crate) fn room_for_one(router: Router) -> Router {
    router.layer(AdmissionLayer::fixed("storm", 1).queue(QueueBounds::NONE))
}

/// One limit for all connections, with its error turned into a 503.
fn limited_by_tower(router: Router, limit: usize) -> Router {
    router.layer(
        ServiceBuilder::new()
            .layer(HandleErrorLayer::new(|_| async { StatusCode::SERVICE_UNAVAILABLE }))
            .layer(LoadShedLayer::new())
            .layer(GlobalConcurrencyLimitLayer::new(limit)),
    )
}

/// The service behind our admission layer.
fn admitted(router: Router) -> Router {
    router.layer(AdmissionLayer::adaptive("storm"))
}

/// The attempts behind our retry layer. All clients of a run share one layer and its budget.
fn retried(attempts: Attempts, deadline: Duration) -> Layered {
    let retry = RetryLayer::new().deadline(deadline);
    retry.layer(attempts).map_response(|response| response.status()).boxed_clone()
}
