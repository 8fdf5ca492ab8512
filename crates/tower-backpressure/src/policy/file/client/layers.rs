//! Builds the layers of a client.

use super::{
    BreakerSection, BudgetSection, ClientSection, CooldownSection, OriginLimitSection, RetrySection,
};
use crate::policy::file::QueueSection;
use crate::policy::format::amounts::Share;
use crate::policy::format::choice::Word;
use crate::policy::format::{Section, Setting, Table};
use crate::policy::listing::is_equal;
use crate::{
    BreakerLayer, ClientStack, CooldownLayer, OriginLimitLayer, RetryBudget, RetryLayer,
    ThrottleLayer,
};

/// The layers of a client, and those parts of them that have state.
#[derive(Clone)]
pub(in crate::policy) struct ClientLayers {
    pub(in crate::policy) stack: ClientStack,
    pub(in crate::policy) throttle: Option<ThrottleLayer>,
    budget: RetryBudget,
    cooldown: CooldownLayer,
    origin_limit: OriginLimitLayer,
    breaker: BreakerLayer,
}

/// Whether two tables set the same.
fn is_same<T: Section + Clone>(one: &Table<T>, other: &Table<T>) -> bool {
    let value = |table: &Table<T>| table.value.clone().unwrap_or_default();
    is_equal(&value(one), &value(other))
}

impl ClientSection {
    /// The layers. Parts that do not change keep their state.
    pub(in crate::policy) fn layers(
        &self,
        name: &str,
        old: Option<(&Self, &ClientLayers)>,
    ) -> ClientLayers {
        let keep = |is_same: fn(&Self, &Self) -> bool| {
            old.filter(|(known, _)| is_same(known, self)).map(|(_, layers)| layers.clone())
        };
        let budget = keep(|one, other| is_same(&one.budget, &other.budget));
        let cooldown = keep(|one, other| is_same(&one.cooldown, &other.cooldown));
        // An origin limit refers to the cool-down layer, so that a new cool-down needs a new origin limit.
        let origin_limit = keep(|one, other| {
            is_same(&one.origin_limit, &other.origin_limit)
                && is_same(&one.cooldown, &other.cooldown)
        });
        let breaker = keep(|one, other| is_same(&one.breaker, &other.breaker));
        let throttle = keep(|one, other| {
            is_same(&one.throttle, &other.throttle)
                && one.throttle.value.is_some() == other.throttle.value.is_some()
        });
        let budget = budget.map(|it| it.budget);
        let budget =
            budget.unwrap_or_else(|| self.budget.value.clone().unwrap_or_default().budget());
        let cooldown = cooldown.map(|it| it.cooldown);
        let cooldown =
            cooldown.unwrap_or_else(|| self.cooldown.value.clone().unwrap_or_default().layer(name));
        let origin_limit = origin_limit.map(|it| it.origin_limit).unwrap_or_else(|| {
            self.origin_limit.value.clone().unwrap_or_default().layer(name).cooldown(&cooldown)
        });
        let breaker = breaker.map(|it| it.breaker);
        let breaker =
            breaker.unwrap_or_else(|| self.breaker.value.clone().unwrap_or_default().layer(name));
        let throttle = throttle.map_or_else(|| self.throttle(name), |it| it.throttle);
        let retry = self.retry.value.clone().unwrap_or_default().layer(name);
        let stack = ClientStack::new(name)
            .retry(retry.budget(budget.clone()))
            .cooldown(cooldown.clone())
            .origin_limit(origin_limit.clone())
            .breaker(breaker.clone());
        let stack = set(stack, self.deadline.get(), ClientStack::deadline);
        let stack = set(stack, self.attempt_timeout.get(), ClientStack::attempt_timeout);
        ClientLayers { stack, throttle, budget, cooldown, origin_limit, breaker }
    }

    fn throttle(&self, name: &str) -> Option<ThrottleLayer> {
        let section = self.throttle.value.as_ref()?;
        let layer = ThrottleLayer::new(name);
        let layer = set(layer, section.k.get(), ThrottleLayer::k);
        let layer = set(layer, section.window.get(), ThrottleLayer::window);
        let layer = set(layer, section.min_requests.get(), ThrottleLayer::min_requests);
        let share = section.max_rejected.get().map(|Share(share)| share);
        let layer = set(layer, share, ThrottleLayer::max_rejected);
        Some(set(layer, section.dry_run.get(), ThrottleLayer::dry_run))
    }
}

/// Sets an option that the file names, and leaves the builder's default otherwise.
fn set<L, T>(layer: L, value: Option<T>, option: impl FnOnce(L, T) -> L) -> L {
    match value {
        Some(value) => option(layer, value),
        None => layer,
    }
}

impl RetrySection {
    fn layer(&self, name: &str) -> RetryLayer {
        let layer = RetryLayer::named(name.to_owned());
        let layer = set(layer, self.max_attempts.get(), RetryLayer::max_attempts);
        let layer = match (self.backoff_first.get(), self.backoff_max.get()) {
            (None, None) => layer,
            (first, max) => {
                let max = max.unwrap_or(RetryLayer::default_backoff().1);
                let first = first.unwrap_or(RetryLayer::default_backoff().0.min(max));
                layer.backoff(first, max)
            }
        };
        let layer = set(layer, self.max_retry_after.get(), RetryLayer::max_retry_after);
        let long = self.long_retry_after.get().map(|Word(what)| what);
        let layer = set(layer, long, RetryLayer::long_retry_after);
        let layer = set(layer, self.strict_retry_after.get(), RetryLayer::strict_retry_after);
        let layer = set(layer, self.trust_not_begun.get(), RetryLayer::trust_not_begun);
        let layer = set(layer, self.idempotency_keys.get(), RetryLayer::idempotency_keys);
        let layer = set(layer, self.attempt_header.get(), RetryLayer::attempt_header);
        let layer = set(layer, self.announce_retries.get(), RetryLayer::announce_retries);
        set(layer, self.change_connection.get(), RetryLayer::change_connection)
    }
}

impl BudgetSection {
    fn budget(&self) -> RetryBudget {
        let budget = self.ratio.get().map_or_else(RetryBudget::default, RetryBudget::new);
        let budget = set(budget, self.reserve.get(), RetryBudget::reserve);
        let budget = set(budget, self.refill.get(), RetryBudget::refill);
        if self.per_origin.get() == Some(false) { budget } else { budget.per_origin() }
    }
}

impl CooldownSection {
    fn layer(&self, name: &str) -> CooldownLayer {
        let layer = CooldownLayer::new(name);
        let layer = set(layer, self.max_cooldown.get(), CooldownLayer::max_cooldown);
        let layer = match (self.hold_max.get(), self.hold_wait.get()) {
            (None, None) => layer,
            (max, wait) => {
                let (default_max, default_wait) = CooldownLayer::default_hold();
                layer.hold(max.unwrap_or(default_max), wait.unwrap_or(default_wait))
            }
        };
        set(layer, self.dry_run.get(), CooldownLayer::dry_run)
    }
}

impl OriginLimitSection {
    fn layer(&self, name: &str) -> OriginLimitLayer {
        let layer = OriginLimitLayer::new(name);
        let queue = self.queue.value.as_ref().map(QueueSection::bounds);
        let layer = set(layer, queue, OriginLimitLayer::queue);
        let layer = set(layer, self.scope.get().map(|Word(scope)| scope), OriginLimitLayer::scope);
        set(layer, self.dry_run.get(), OriginLimitLayer::dry_run)
    }
}

impl BreakerSection {
    fn layer(&self, name: &str) -> BreakerLayer {
        let share = |setting: &Setting<Share>| setting.get().map(|Share(share)| share);
        let layer = BreakerLayer::new(name);
        let layer = set(layer, share(&self.failure_share), BreakerLayer::failure_share);
        let layer = set(layer, self.slow.get(), BreakerLayer::slow);
        let layer = set(layer, share(&self.slow_share), BreakerLayer::slow_share);
        let layer = set(layer, self.min_calls.get(), BreakerLayer::min_calls);
        let layer = set(layer, self.window.get(), BreakerLayer::window);
        let layer = set(layer, self.open_for.get(), BreakerLayer::open_for);
        let layer = set(layer, self.probes.get(), BreakerLayer::probes);
        set(layer, self.dry_run.get(), BreakerLayer::dry_run)
    }
}
