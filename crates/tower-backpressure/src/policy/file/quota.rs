//! `[quota.NAME]`: what one tenant may use in a time, and at once.

use std::time::Duration;

use backpressure_core::{InvalidQuota, Priority, Quota, QuotaWindow};
use http::HeaderName;
use toml::de::DeValue;

use crate::policy::format::amounts::Rate;
use crate::policy::format::choice::{Choice, Word};
use crate::policy::format::json::Json;
use crate::policy::format::reading::Reading;
use crate::policy::format::scalar::{Scalar, Texts};
use crate::policy::format::{Fields, Listed, Named, Section, Setting, Span};
use crate::server::{QuotaRules, RateLimitFields, UnknownTenant};

/// What has a quota, or a bulkhead, of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::policy) enum Key {
    Tenant,
    Host,
    Path,
    All,
    /// The address that this many trusted proxies tell.
    XForwardedFor(usize),
    Forwarded(usize),
    Header(HeaderName),
}

impl Scalar for Key {
    fn expected() -> String {
        "\"tenant\", \"host\", \"path\", \"all\", \"header:NAME\", \"x-forwarded-for:PROXIES\" or \"forwarded:PROXIES\"".to_owned()
    }

    fn parse(value: &DeValue<'_>) -> Option<Self> {
        let text = value.as_str()?;
        let (kind, argument) = text.split_once(':').unwrap_or((text, ""));
        match (kind, argument) {
            ("tenant", "") => Some(Self::Tenant),
            ("host", "") => Some(Self::Host),
            ("path", "") => Some(Self::Path),
            ("all", "") => Some(Self::All),
            ("x-forwarded-for", proxies) => proxies.parse().ok().map(Self::XForwardedFor),
            ("forwarded", proxies) => proxies.parse().ok().map(Self::Forwarded),
            ("header", name) => HeaderName::from_bytes(name.as_bytes()).ok().map(Self::Header),
            _ => None,
        }
    }

    fn schema() -> Json {
        let pattern =
            "^(tenant|host|path|all|header:.+|x-forwarded-for:[1-9][0-9]*|forwarded:[1-9][0-9]*)$";
        Json::object([("type", Json::text("string")), ("pattern", Json::text(pattern))])
    }

    fn show(&self) -> String {
        match self {
            Self::Tenant => "\"tenant\"".to_owned(),
            Self::Host => "\"host\"".to_owned(),
            Self::Path => "\"path\"".to_owned(),
            Self::All => "\"all\"".to_owned(),
            Self::XForwardedFor(proxies) => format!("\"x-forwarded-for:{proxies}\""),
            Self::Forwarded(proxies) => format!("\"forwarded:{proxies}\""),
            Self::Header(name) => format!("\"header:{name}\""),
        }
    }
}

impl Key {
    pub(super) fn check(&self) -> Result<(), &'static str> {
        match self {
            Self::XForwardedFor(0) | Self::Forwarded(0) => Err("proxies must be at least 1"),
            _ => Ok(()),
        }
    }
}

impl Choice for UnknownTenant {
    const WORDS: &'static [(&'static str, Self)] =
        &[("shared", Self::Shared), ("reject", Self::Reject), ("exempt", Self::Exempt)];
}

impl Choice for RateLimitFields {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("none", Self::None),
        ("draft11", Self::Draft11),
        ("legacy", Self::Legacy),
        ("both", Self::Both),
    ];
}

#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct QuotaSection {
    pub(in crate::policy) key: Setting<Key>,
    pub(in crate::policy) allowance: Allowance,
    pub(in crate::policy) plan: Named<Allowance>,
    pub(in crate::policy) tenants: Setting<Texts>,
    pub(in crate::policy) unknown: Setting<Word<UnknownTenant>>,
    pub(in crate::policy) fields: Setting<Word<RateLimitFields>>,
    pub(in crate::policy) soft: Setting<Word<Priority>>,
    pub(in crate::policy) expose_reservation: Setting<bool>,
    pub(in crate::policy) max_keys: Setting<usize>,
    pub(in crate::policy) dry_run: Setting<bool>,
}

/// How much one key may use.
#[derive(Clone, Debug, Default)]
pub(in crate::policy) struct Allowance {
    window: Listed<WindowSection>,
    concurrent: Setting<u32>,
    smooth: Setting<Duration>,
    unlimited: Setting<bool>,
}

#[derive(Clone, Debug)]
struct WindowSection {
    rate: Setting<Rate>,
    burst: Setting<u64>,
    max_debt: Setting<u64>,
}

impl Default for WindowSection {
    fn default() -> Self {
        let (burst, max_debt) = Default::default();
        Self { rate: Setting::required(), burst, max_debt }
    }
}

impl Section for QuotaSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field("key", "What has a quota of its own. Default: \"tenant\".", &mut self.key);
        self.allowance.fields(to);
        to.field("plan", "A plan for tenants that have another quota.", &mut self.plan);
        to.field(
            "tenants",
            "The plan of each tenant, by its name. Default: all have the quota's own.",
            &mut self.tenants,
        );
        to.field("unknown", "What happens to requests without a key. Default: \"shared\", all of them have one quota.", &mut self.unknown);
        to.field(
            "fields",
            "The header fields that tell clients what is left. Default: \"draft11\".",
            &mut self.fields,
        );
        to.field(
            "soft",
            "A request beyond the quota runs with this priority. Default: it is rejected.",
            &mut self.soft,
        );
        to.field(
            "expose_reservation",
            "Whether handlers say what a request has cost. Default: false.",
            &mut self.expose_reservation,
        );
        to.field("max_keys", "How many keys are kept. Default: 1000000.", &mut self.max_keys);
        to.field(
            "dry_run",
            "Whether it decides and counts, and runs every request. Default: false.",
            &mut self.dry_run,
        );
    }
}

impl Section for Allowance {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field(
            "window",
            "A rate. Up to four with different periods hold at once.",
            &mut self.window,
        );
        to.field("concurrent", "Requests at once. Default: any number.", &mut self.concurrent);
        to.field(
            "smooth",
            "How long a request waits for its tokens. Default: it is rejected at once.",
            &mut self.smooth,
        );
        to.field(
            "unlimited",
            "Whether there is no limit, in place of a window. Default: false.",
            &mut self.unlimited,
        );
    }
}

impl Section for WindowSection {
    fn fields(&mut self, to: &mut dyn Fields) {
        to.field("rate", "Tokens in a period, as \"10/s\" or \"1000 per day\". A request takes one, or what it costs.", &mut self.rate);
        to.field(
            "burst",
            "Tokens at once of a key that was idle. Default: those of the period.",
            &mut self.burst,
        );
        to.field(
            "max_debt",
            "Tokens that a key may owe when requests cost more than reserved. Default: the burst.",
            &mut self.max_debt,
        );
    }
}

impl QuotaSection {
    pub(super) fn check(&self, path: &str, span: &Span, reading: &mut Reading<'_>) {
        self.key.check(path, reading, |key| key.check());
        self.max_keys.check(path, reading, QuotaRules::check_max_keys);
        self.allowance.check(path, span, reading);
        for entry in &self.plan.0 {
            let path = format!("{path}.plan.{}", entry.name);
            if entry.name == QuotaRules::DEFAULT_PLAN {
                reading
                    .problem(&entry.span, format!("{path}: the quota itself is the plan default"));
            }
            entry.value.check(&path, &entry.span, reading);
        }
        self.tenants.check(path, reading, |Texts(tenants)| {
            let is_known =
                |plan: &str| plan == QuotaRules::DEFAULT_PLAN || self.plan.get(plan).is_some();
            let wrong = tenants.iter().find(|(_, plan)| !is_known(plan));
            wrong.map_or(Ok(()), |(tenant, plan)| {
                let plans: Vec<_> = self.plan.names().chain([QuotaRules::DEFAULT_PLAN]).collect();
                let (tenant, plan) = (tenant.show(), plan.show());
                Err(format!(
                    "tenant {tenant} has the unknown plan {plan}, allowed: {}",
                    plans.join(", ")
                ))
            })
        });
    }
}

impl Allowance {
    fn check(&self, path: &str, span: &Span, reading: &mut Reading<'_>) {
        let is_unlimited = self.unlimited.get() == Some(true);
        let is_limited = !self.window.0.is_empty() || self.concurrent.get().is_some();
        if is_unlimited && is_limited {
            let message = format!("{path}: unlimited stands in place of window and concurrent");
            reading.problem(&self.unlimited.span, message);
        } else if !is_unlimited && !is_limited {
            let message =
                format!("{path} has no limit: name a window, concurrent, or unlimited = true");
            reading.problem(span, message);
        }
        self.concurrent.check(path, reading, |requests| match requests {
            0 => Err("concurrent must be in 1..=4294967295"),
            _ => Ok(()),
        });
        let mut quota = Ok(Quota::unlimited());
        for entry in &self.window.0 {
            quota = quota.and_then(|quota| quota.try_with(entry.value.window()?));
            if let Err(error) = quota {
                reading.problem(&entry.span, format!("{path}.window: {error}"));
                return;
            }
        }
    }

    /// The quota, if it is valid; no limit otherwise.
    pub(in crate::policy) fn quota(&self) -> Quota {
        let mut windows = self.window.0.iter();
        let windows = windows
            .try_fold(Quota::unlimited(), |quota, entry| quota.try_with(entry.value.window()?));
        let mut quota = windows.unwrap_or(Quota::unlimited());
        if let Some(requests) = self.concurrent.get().filter(|requests| *requests > 0) {
            quota = quota.and(Quota::concurrent(requests));
        }
        quota.smooth(self.smooth.get().unwrap_or_default())
    }
}

impl WindowSection {
    fn window(&self) -> Result<QuotaWindow, InvalidQuota> {
        let Rate { tokens, period } =
            self.rate.get().unwrap_or(Rate { tokens: 0, period: Duration::ZERO });
        let mut window = QuotaWindow::try_new(tokens, period)?;
        if let Some(burst) = self.burst.get() {
            window = window.try_burst(burst)?;
        }
        match self.max_debt.get() {
            Some(tokens) => window.try_max_debt(tokens),
            None => Ok(window),
        }
    }
}
