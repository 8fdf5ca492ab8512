//! How a quota layer is operated: dry run, exemptions, rejections of one's own, telemetry.

use std::sync::Arc;

use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;

use super::{QuotaHandle, QuotaLayer};
use crate::observe::Observer;

impl QuotaLayer {
    /// Decides, counts and reports, but runs every request, and says nothing to clients.
    #[must_use]
    pub fn dry_run(mut self, dry_run: bool) -> Self {
        let rules = self.edit();
        rules.switches.dry_run = dry_run;
        rules.telemetry.dry_run = dry_run;
        self
    }

    /// Requests that are never limited and take no token: see
    /// [`AdmissionLayer::exempt`](crate::AdmissionLayer::exempt).
    #[must_use]
    pub fn exempt(mut self, predicate: impl Fn(&Parts) -> bool + Send + Sync + 'static) -> Self {
        let rules = self.edit();
        rules.switches = std::mem::take(&mut rules.switches).exempting(predicate);
        self
    }

    /// Renders the response to a rejected request: see
    /// [`AdmissionLayer::on_reject`](crate::AdmissionLayer::on_reject). The fields of the quota are added to it.
    #[must_use]
    pub fn on_reject(
        mut self,
        render: impl Fn(&Parts, Response<Bytes>) -> Response<Bytes> + Send + Sync + 'static,
    ) -> Self {
        self.edit().with_render(render);
        self
    }

    /// Tells an [`Observer`] of each decision.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer) -> Self {
        self.edit().telemetry.observer = Some(Arc::new(observer));
        self
    }

    /// Names the type of a request's body: see
    /// [`AdmissionLayer::request_body`](crate::AdmissionLayer::request_body).
    #[must_use]
    pub fn request_body<B: Body + Send + 'static>(mut self) -> Self {
        let rules = self.edit();
        rules.drains = rules.drains.with_type::<B>();
        self
    }

    /// The handle with which an operator observes and operates this layer.
    #[must_use]
    pub const fn handle(&self) -> &QuotaHandle {
        &self.handle
    }
}
