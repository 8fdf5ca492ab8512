//! The keys of quotas and bulkheads that a file names.

use std::sync::Arc;

use http::request::Parts;

use crate::policy::choose::host_of;
use crate::policy::file::path::without_port;
use crate::policy::file::quota::Key;
use crate::policy::hooks::{Hooks, MatchedPath};
use crate::server::{ByHeader, ByTenant, ClientAddress, ExtractKey, QuotaKey};

/// A key that a file names.
pub(in crate::policy) struct FileKey {
    rule: Rule,
    matched_path: Option<Arc<MatchedPath>>,
}

enum Rule {
    Tenant,
    Host,
    Path,
    All,
    Address(ClientAddress),
    Header(ByHeader),
}

impl FileKey {
    pub(in crate::policy) fn new(key: Key, hooks: &Hooks) -> Self {
        let rule = match key {
            Key::Tenant => Rule::Tenant,
            Key::Host => Rule::Host,
            Key::Path => Rule::Path,
            Key::All => Rule::All,
            Key::XForwardedFor(proxies) => Rule::Address(ClientAddress::x_forwarded_for(proxies)),
            Key::Forwarded(proxies) => Rule::Address(ClientAddress::forwarded(proxies)),
            Key::Header(name) => Rule::Header(ByHeader::new(name)),
        };
        Self { rule, matched_path: hooks.matched_path.clone() }
    }
}

impl ExtractKey for FileKey {
    fn extract(&self, head: &Parts) -> Option<QuotaKey> {
        match &self.rule {
            Rule::Tenant => ByTenant.extract(head),
            Rule::Host => host_of(&head.uri, &head.headers).map(host_key),
            Rule::Path => {
                let matched = self.matched_path.as_ref().and_then(|rule| rule(&head.extensions));
                Some(QuotaKey::from(matched.unwrap_or_else(|| head.uri.path())))
            }
            Rule::All => Some(QuotaKey::from("")),
            Rule::Address(address) => address.extract(head),
            Rule::Header(header) => header.extract(head),
        }
    }
}

/// One key for all spellings of a host.
fn host_key(host: &str) -> QuotaKey {
    let host = without_port(host);
    let host = host.strip_suffix('.').unwrap_or(host);
    match host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => QuotaKey::from(host.to_ascii_lowercase()),
        false => QuotaKey::from(host),
    }
}
