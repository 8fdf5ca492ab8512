//! The service inside a layer: called at once if it is ready, or later by the instance that was polled.

use std::task::{Context, Poll, Waker};

use tower_service::Service;

/// Whether the service is ready now. One that is not has to be polled again, with the waker of a task.
#[inline(always)]
pub(crate) fn poll_now<S: Service<R>, R>(inner: &mut S) -> Poll<Result<(), S::Error>> {
    inner.poll_ready(&mut Context::from_waker(Waker::noop()))
}

/// Takes the instance that was polled: it may have reserved something, so that it is the one to call. Leaves a clone.
pub(crate) fn take_polled<S: Clone>(inner: &mut S) -> S {
    let other = inner.clone();
    std::mem::replace(inner, other)
}
