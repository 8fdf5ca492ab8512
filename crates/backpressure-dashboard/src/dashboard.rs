//! The options of a dashboard, and the router made from them.

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::http::request::Parts;

use crate::actions::reload::Reload;
use crate::actions::{Audit, Authoriser, Command, Operations};
use crate::routes;
use crate::sampler::{Route, Sampler};

/// A dashboard of all policies of this process, which only reads.
///
/// It is `Dashboard::new().router()`, for any state of the router around it.
///
/// ```
/// use axum::Router;
///
/// let app: Router = Router::new().nest_service("/backpressure", backpressure_dashboard::router());
/// ```
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Dashboard::new().router()
}

/// A dashboard of all policies of this process, with options.
///
/// | option | default | why |
/// |---|---|---|
/// | [`title`](Self::title) | `Backpressure` | tells pages of several services apart |
/// | [`route`](Self::route) | none | layers are seen inside each other, and do not know their routes |
/// | [`max_clients`](Self::max_clients) | 64 pages | a team has fewer, and each keeps a connection |
/// | [`actions`](Self::actions) | none: it only reads | a reader of the page need not be allowed to stop the service |
/// | [`audit`](Self::audit) | a `tracing` event | every action, done or refused |
/// | [`reload`](Self::reload) | none | what a reload is depends on where policies come from |
#[derive(Default)]
#[must_use = "a dashboard does nothing until its router is mounted"]
pub struct Dashboard {
    pub(crate) title: Option<String>,
    pub(crate) routes: Vec<Route>,
    pub(crate) max_clients: Option<usize>,
    pub(crate) operations: Operations,
}

/// The most pages that may be open at once, by default.
const MAX_CLIENTS: usize = 64;

impl Dashboard {
    /// A dashboard with the defaults.
    pub fn new() -> Self {
        Self::default()
    }

    /// The title of the page: the name of the service.
    pub fn title(mut self, title: impl Into<String>) -> Self {
        self.title = Some(title.into());
        self
    }

    /// Draws a route of the service with the policies that its requests pass, by name, from the outside in and then out
    /// to the services that it calls. Names that no layer has are left out.
    ///
    /// ```
    /// use backpressure_dashboard::Dashboard;
    ///
    /// let dashboard = Dashboard::new()
    ///     .route("POST /pay", ["plans", "api", "payments", "bank"])
    ///     .route("GET /search", ["plans", "api", "search"]);
    /// # let _ = dashboard;
    /// ```
    pub fn route<'a>(
        mut self,
        route: impl Into<String>,
        policies: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let policies = policies.into_iter().map(str::to_owned).collect();
        self.routes.push(Route { name: route.into(), policies });
        self
    }

    /// How many pages may be open at once. One more takes the place of a page that has read nothing for ten seconds, or
    /// is told to come back with a 503.
    ///
    /// # Panics
    /// When `max_clients` is 0.
    pub fn max_clients(mut self, max_clients: usize) -> Self {
        assert!(max_clients > 0, "max_clients must be at least 1");
        self.max_clients = Some(max_clients);
        self
    }

    /// Lets operators act: `authorise` returns the name of the operator that a request comes from, or `None` to refuse
    /// it. It is asked for each action, after it was made sure that the request does not come from another site.
    ///
    /// ```
    /// use axum::http::request::Parts;
    /// use backpressure_dashboard::{Action, Command, Dashboard};
    ///
    /// /// Set by the authentication around the router.
    /// #[derive(Clone)]
    /// struct User { name: String, is_admin: bool }
    ///
    /// let dashboard = Dashboard::new().actions(|head: &Parts, command: &Command| {
    ///     let user = head.extensions.get::<User>()?;
    ///     let may = user.is_admin || matches!(command.action, Action::DryRun(true));
    ///     may.then(|| user.name.clone())
    /// });
    /// # let _ = dashboard;
    /// ```
    pub fn actions(
        mut self,
        authorise: impl Fn(&Parts, &Command) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        self.operations.authorise = Some(Authoriser(Arc::new(authorise)));
        self
    }

    /// Is told of every action that was asked for, done or not, besides the `tracing` event. It is called on the way of
    /// the request, and has to be quick.
    pub fn audit(mut self, audit: impl Fn(&Audit) + Send + Sync + 'static) -> Self {
        self.operations.audit = Some(Arc::new(audit));
        self
    }

    /// What the action `reload` does, for policies that come from a file or a service; the error is shown to the operator.
    /// It may block: it runs on a thread for that, one at a time, and an operator waits for 30 seconds at most.
    ///
    /// ```
    /// use backpressure_dashboard::Dashboard;
    /// use tower_backpressure::policy::PolicySet;
    ///
    /// let policies = PolicySet::parse("[admission.api]\nmax = 100\n[default]\nadmission = \"api\"\n")?;
    /// let dashboard = Dashboard::new()
    ///     .actions(|_head, _command| Some("the only operator".to_owned()))
    ///     .reload(move || policies.reload());
    /// # let _ = dashboard;
    /// # Ok::<(), tower_backpressure::policy::PolicyError>(())
    /// ```
    pub fn reload<E: ToString>(
        mut self,
        reload: impl Fn() -> Result<(), E> + Send + Sync + 'static,
    ) -> Self {
        self.operations.reload = Some(Reload::new(reload));
        self
    }

    /// The router, to nest under a path of your choice, outside the layers that limit the service.
    ///
    /// With `nest_service` the page is at its path with and without a slash at the end. With `nest`, axum answers one of
    /// the two with a 404.
    ///
    /// Inside a tokio runtime the history begins now, and elsewhere with the first request to the dashboard. It ends
    /// when the last clone of the router is dropped.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        let max_clients = self.max_clients.unwrap_or(MAX_CLIENTS);
        let sampler = Sampler::new(self.title, self.routes, &self.operations, max_clients);
        sampler.start();
        routes::router(sampler, self.operations)
    }
}

impl fmt::Debug for Dashboard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dashboard")
            .field("title", &self.title)
            .field("routes", &self.routes)
            .field("max_clients", &self.max_clients)
            .field("operations", &self.operations)
            .finish()
    }
}
