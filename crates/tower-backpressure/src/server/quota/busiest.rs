//! The tenants of a quota with the most requests lately: a bounded sketch, kept while the registry is watched.

use std::collections::HashMap;
use std::net::Ipv6Addr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::key::QuotaKey;
use crate::observe::{Report, TenantReport};

/// The tenants with the most requests lately.
///
/// Space-saving (Metwally, Agrawal, El Abbadi 2005): a tenant that is not among the [`KEPT`] takes the place of the
/// one with the least requests, and its number. A tenant with more than 1/64 of all requests is always among them, and
/// no number is too small.
#[derive(Debug, Default)]
pub(super) struct Busiest(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<QuotaKey, Usage>,
    /// When numbers were last aged.
    aged: Option<Instant>,
}

/// Weighted requests, each of which counts less the older it is.
#[derive(Clone, Copy, Debug, Default)]
struct Usage {
    requests: f64,
    rejected: f64,
}

/// Tenants that are kept: four times as many as are shown, so that the numbers of those shown are right.
const KEPT: usize = 4 * Report::MAX_PARTS;
/// After this time a request counts for 37 % of what it did. Long enough for a steady order, short enough to see what
/// happens now.
const MEMORY: Duration = Duration::from_secs(10);
/// A tenant with less than one request in a minute is not shown.
const LEAST_SHOWN: f64 = 0.02;

impl Busiest {
    /// A tenant had `weight` requests. Where another thread notes one at the same time, this one is left out.
    pub(super) fn note(&self, key: &QuotaKey, weight: u32, is_rejected: bool, now: Instant) {
        let Ok(mut state) = self.0.try_lock() else { return };
        let State { tenants, aged } = &mut *state;
        aged.get_or_insert(now);
        if !tenants.contains_key(key) && tenants.len() >= KEPT {
            let least = tenants.iter().min_by(|a, b| a.1.requests.total_cmp(&b.1.requests));
            let least = least.map(|(key, usage)| (*key, *usage));
            if let Some((least, usage)) = least {
                tenants.remove(&least);
                tenants.insert(*key, Usage { rejected: 0.0, ..usage });
            }
        }
        let usage = tenants.entry(*key).or_default();
        usage.requests += f64::from(weight);
        usage.rejected += if is_rejected { f64::from(weight) } else { 0.0 };
    }

    pub(super) fn report(&self) -> Vec<TenantReport> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.age(Instant::now());
        let mut tenants: Vec<_> = state.tenants.iter().map(|(key, usage)| (*key, *usage)).collect();
        drop(state);
        tenants.retain(|(_, usage)| usage.requests > LEAST_SHOWN * MEMORY.as_secs_f64());
        tenants.sort_by(|a, b| b.1.requests.total_cmp(&a.1.requests));
        tenants.truncate(Report::MAX_PARTS);
        tenants.into_iter().map(|(key, usage)| TenantReport::of(&key, usage)).collect()
    }
}

impl State {
    /// Makes all numbers smaller by the time since it was last done.
    fn age(&mut self, now: Instant) {
        let Some(aged) = self.aged.replace(now) else { return };
        let elapsed = now.saturating_duration_since(aged).as_secs_f64();
        let factor = (-elapsed / MEMORY.as_secs_f64()).exp();
        for usage in self.tenants.values_mut() {
            usage.requests *= factor;
            usage.rejected *= factor;
        }
    }
}

impl TenantReport {
    fn of(key: &QuotaKey, Usage { requests, rejected }: Usage) -> Self {
        let rate = requests / MEMORY.as_secs_f64();
        Self { name: shown(key), rate, rejected_share: (rejected / requests).min(1.0) }
    }
}

/// Text as it is, numbers as hexadecimal digits, addresses as addresses.
fn shown(key: &QuotaKey) -> String {
    let bytes = key.as_bytes();
    let is_text = bytes.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    match bytes.len() {
        _ if is_text => bytes.escape_ascii().to_string(),
        4 => bytes.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        8 => bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        16 => <[u8; 16]>::try_from(bytes)
            .map_or_else(|_| String::new(), |it| Ipv6Addr::from(it).to_string()),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_shown_as_what_they_are_made_from() {
        let shown = |key: QuotaKey| shown(&key);
        assert_eq!(shown("batch".into()), "batch");
        assert_eq!(shown(7_u64.into()), "0000000000000007");
        assert_eq!(shown(std::net::IpAddr::from([10, 0, 0, 1]).into()), "10.0.0.1");
        assert_eq!(shown(std::net::IpAddr::from(Ipv6Addr::LOCALHOST).into()), "::1");
        assert_eq!(shown("größe".into()), "größe");
        assert_eq!(shown("<b>\"'&".into()), "<b>\\\"\\'&", "the page escapes what a page must");
    }

    #[tokio::test(start_paused = true)]
    async fn the_busiest_of_a_million_tenants_are_found_with_their_rates() {
        let busiest = Busiest::default();
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            for name in ["batch", "reports"] {
                (0..30)
                    .for_each(|_| busiest.note(&name.into(), 1, name == "reports", Instant::now()));
            }
            for _ in 0..100 {
                busiest.note(&rng.u64(..1_000_000).into(), 1, false, Instant::now());
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            let report = busiest.report();
            assert!(report.len() <= Report::MAX_PARTS);
        }
        let report = busiest.report();
        let mut first: Vec<_> = report[..2].iter().map(|tenant| &*tenant.name).collect();
        first.sort_unstable();
        assert_eq!(first, ["batch", "reports"]);
        for tenant in &report[..2] {
            assert!((tenant.rate - 30.0).abs() < 3.0, "{tenant:?}");
            assert_eq!(tenant.rejected_share, f64::from(u8::from(tenant.name == "reports")));
        }
        assert!(busiest.0.lock().expect("no panic").tenants.len() <= KEPT);
        tokio::time::advance(Duration::from_secs(120)).await;
        assert!(busiest.report().is_empty(), "what is long ago is not shown");
    }
}
