//! The service inside a layer: called at once if it is ready, or later by the instance that was polled.

use std::task::{Context, Poll, Waker};

use tower_service::Service;

/// Whether the service is ready now. One that is not has to be polled again, with the waker of a task.
#[inline(always)]
pub(crate) fn poll_now<S: Service<R>, R>(inner: &mut S) -> Poll<Result<(), S::Error>> {
    inner.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// The service inside as a layer calls it: itself, or through an adapter that is made only where it has to be kept.
pub(crate) trait Inner<S: Service<R>, R> {
    /// Whether it is ready now: see [`poll_now`].
    fn poll_now(&mut self) -> Poll<Result<(), S::Error>>;

    /// Calls it after it was ready.
    fn call(&mut self, request: R) -> S::Future;

    /// What to call later: see [`take_polled`].
    fn take_polled(&mut self) -> S;
}

impl<S: Service<R> + Clone, R> Inner<S, R> for S {
    #[inline(always)]
    fn poll_now(&mut self) -> Poll<Result<(), S::Error>> {
        poll_now(self)
    }

    #[inline(always)]
    fn call(&mut self, request: R) -> S::Future {
        Service::call(self, request)
    }

    fn take_polled(&mut self) -> S {
        take_polled(self)
    }
}

/// Takes the instance that was polled: it may have reserved something, so that it is the one to call. Leaves a clone.
pub(crate) fn take_polled<S: Clone>(inner: &mut S) -> S {
    let other = inner.clone();
    std::mem::replace(inner, other)
}
