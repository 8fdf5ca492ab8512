//! What a request that is being served says of the requests that are sent for it.

use backpressure_core::Priority;
use tokio::time::Instant;

use super::replay::RequestHead;
use super::timeout_field;
use crate::headers::attempts;
use crate::headers::criticality::{CRITICALITY_FIELD, name_of};
use crate::request_info::RequestInfo;

impl RequestInfo {
    /// Puts what a request says of itself on a request that is sent for it: in a service in the middle of a
    /// chain, call it for each request that a handler sends.
    ///
    /// ```
    /// # #[cfg(feature = "reqwest")] {
    /// use axum::Extension;
    /// use tower::{Service, ServiceExt};
    /// use tower_backpressure::RequestInfo;
    /// use tower_backpressure::client::BackpressureClient;
    ///
    /// // `RequestInfoLayer` around the route has put the `RequestInfo` there.
    /// async fn checkout(
    ///     Extension(info): Extension<RequestInfo>,
    ///     Extension(payments): Extension<BackpressureClient<reqwest::Client>>,
    /// ) -> Result<String, reqwest::Error> {
    ///     let url = "http://payments.internal/pay".parse().expect("a URL");
    ///     let mut request = reqwest::Request::new(reqwest::Method::GET, url);
    ///     info.carry_to(&mut request);
    ///     payments.oneshot(request).await?.text().await
    /// }
    /// # let _ = checkout;
    /// # }
    /// ```
    ///
    /// | of the request | on the wire | to the client's layers |
    /// |---|---|---|
    /// | deadline | `Request-Timeout`, or `grpc-timeout` for a gRPC call: what is left. The client layers keep it true while the request waits in them | a deadline, or reqwest's timeout |
    /// | priority, unless normal | [`X-Criticality`](crate::CRITICALITY), which raises a priority only where the other side trusts it | the priority |
    /// | tenant | – | the tenant; not over reqwest, whose requests have no extensions |
    /// | previous attempts | [`x-previous-attempts`](crate::client::PREVIOUS_ATTEMPTS), or gRPC's | one attempt: the caller will retry |
    ///
    /// A field that `request` has already stays, except that a timeout is shortened. On the other side
    /// `RequestInfoLayer` reads the fields.
    ///
    /// # One level retries
    ///
    /// If every service of a chain made three attempts, the last of four services would get 27 for each failed
    /// request. Here the service next to the failure retries a first attempt, as that repeats the least work. It
    /// then gives up, and a retry of its caller passes all levels below as one attempt. So a chain makes two
    /// attempts a level at most, and not three to the power of its length. To retry at the first level only, set
    /// [`RetryLayer::announce_retries`](crate::RetryLayer::announce_retries) there.
    pub fn carry_to<R: RequestHead>(&self, request: &mut R) {
        let headers = request.headers_mut();
        if self.priority != Priority::default() && !headers.contains_key(&CRITICALITY_FIELD) {
            headers.insert(&CRITICALITY_FIELD, name_of(self.priority));
        }
        if let Some(deadline) = self.deadline {
            timeout_field::tell(headers, deadline.saturating_duration_since(Instant::now()));
        }
        if let Some(previous) = self.previous_attempts.filter(|_| !attempts::is_marked(headers)) {
            attempts::mark(headers, previous);
        }
        request.carry(self.returning(false));
    }
}
