//! What stands between the load and the handler: the four stacks, and nothing else about them anywhere else.

use crate::client::{Attempts, Layered, Temper};
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

/// A stack of layers on the server, and the temper of its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stack {
    /// Nothing.
    Bare,
    /// tower's `ConcurrencyLimit` and `LoadShed`, with the best fixed limit found for this very handler.
    Tower,
    /// Our server layer, with no number given to it.
    Backpressure,
    /// Our server layer, and clients that go through our retry layer.
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
            Self::Bare => "no layer at all",
            Self::Tower => {
                "tower's ConcurrencyLimit and LoadShed, with the best fixed limit found in the run"
            }
            Self::Backpressure => "the admission layer, adaptive, with nothing configured",
            Self::BackpressureClient => "the same, and clients that go through the retry layer",
        }
    }

    /// Puts the layers around the whole service. Only tower's needs to be told a limit.
    pub(crate) fn wrap(self, router: Router, tower_limit: usize) -> Router {
        match self {
            Self::Bare => router,
            Self::Tower => limited_by_tower(router, tower_limit),
            Self::Backpressure | Self::BackpressureClient => admitted(router),
        }
    }

    /// How its clients behave when nothing has gone wrong for long.
    pub(crate) fn patient(self, attempts: Attempts, deadline: Duration) -> Temper {
        match self {
            Self::BackpressureClient => Temper::Layered(retried(attempts, deadline)),
            _ => Temper::Once(attempts),
        }
    }

    /// How its clients behave when users hammer the button.
    pub(crate) fn impatient(self, attempts: Attempts, deadline: Duration) -> Temper {
        match self {
            Self::BackpressureClient => Temper::Layered(retried(attempts, deadline)),
            _ => Temper::Naive(attempts),
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

/// The service behind a gate with room for one, whose refusals are those whose price is measured.
pub(crate) fn room_for_one(router: Router) -> Router {
    router.layer(AdmissionLayer::fixed("storm", 1).queue(QueueBounds::NONE))
}

/// One limit for all connections, the error turned into the answer a refused client expects.
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

/// The attempts behind our retry layer. One layer for all users of a run, who share its budget.
fn retried(attempts: Attempts, deadline: Duration) -> Layered {
    let retry = RetryLayer::new().deadline(deadline);
    retry.layer(attempts).map_response(|response| response.status()).boxed_clone()
}
