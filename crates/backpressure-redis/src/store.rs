//! The store of a shared quota on Redis.

use std::sync::{Arc, LazyLock};

use redis::{
    Client, Cmd, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, Script, ServerErrorKind,
    Value,
};
use tower_backpressure::server::{Exchange, ExchangeFuture, QuotaStore};

use crate::answer::grant;
use crate::connect::Server;
use crate::link::Link;

/// Keeps quotas in Redis or Valkey: see the [crate's documentation](crate).
///
/// Clones share one connection.
///
/// ```no_run
/// # fn main() -> Result<(), redis::RedisError> {
/// use backpressure_redis::RedisStore;
///
/// let store = RedisStore::open("redis://127.0.0.1:6379/")?.prefix("shop:quota");
/// # let _ = store;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct RedisStore {
    link: Link,
    prefix: Arc<str>,
}

/// What keys begin with by default.
const PREFIX: &str = "backpressure:quota";

/// What each exchange runs, and its digest.
const SCRIPT: &str = include_str!("exchange.lua");
static DIGEST: LazyLock<String> = LazyLock::new(|| Script::new(SCRIPT).get_hash().to_owned());

impl RedisStore {
    /// A store at this address, such as `redis://user:password@host:6379/0`. It is connected to with the first request.
    ///
    /// # Errors
    /// When the address is malformed.
    pub fn open(address: impl IntoConnectionInfo) -> Result<Self, RedisError> {
        Ok(Self::new(Client::open(address)?))
    }

    /// A store on the server of this client.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self::over(Link::new(Server(client)))
    }

    /// A store on a cluster. A tenant is one key, and so in one slot.
    #[cfg(feature = "cluster")]
    #[must_use]
    pub fn cluster(client: redis::cluster::ClusterClient) -> Self {
        Self::over(Link::new(crate::connect::Cluster(client)))
    }

    /// A store on the master that sentinels name.
    #[cfg(feature = "sentinel")]
    #[must_use]
    pub fn sentinel(client: redis::sentinel::SentinelClient) -> Self {
        Self::over(Link::new(crate::connect::Sentinel(tokio::sync::Mutex::new(client))))
    }

    /// What keys in Redis begin with; `backpressure:quota` by default. The name of the layer and the key of the tenant
    /// follow, after a colon each. Colons in the name of the layer are percent-encoded, and opening braces in both.
    #[must_use]
    pub fn prefix(mut self, prefix: &str) -> Self {
        self.prefix = prefix.into();
        self
    }

    fn over(link: Link) -> Self {
        Self { link, prefix: PREFIX.into() }
    }

    /// Runs the script by its digest, or as a whole where the server does not know it. To run it twice does no harm.
    async fn run(&self, exchange: &Exchange) -> RedisResult<Value> {
        let known = self.link.send(&self.command("EVALSHA", &DIGEST, exchange)).await;
        match known {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.link.send(&self.command("EVAL", SCRIPT, exchange)).await
            }
            result => result,
        }
    }

    fn command(&self, name: &str, script: &str, exchange: &Exchange) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(self.key(exchange));
        let Exchange { replica, book, sequence, claim, .. } = exchange;
        command.arg(*replica).arg(*book).arg(*sequence);
        command.arg(claim.base).arg(claim.spent).arg(claim.excess);
        command.arg(claim.wanted).arg(claim.least);
        for window in exchange.quota.windows() {
            let micros = u64::try_from(window.period().as_micros()).unwrap_or(u64::MAX);
            command.arg(window.tokens()).arg(micros).arg(window.burst()).arg(window.max_debt());
        }
        command
    }

    fn key(&self, exchange: &Exchange) -> Vec<u8> {
        let mut key = self.prefix.as_bytes().to_vec();
        key.push(b':');
        // A tenant may have any name: a colon in that of a layer would let it use up the quota of another layer.
        escape(exchange.policy.as_bytes(), b"%{:", &mut key);
        key.push(b':');
        // A cluster selects the node by what is in braces: many tenants could choose the same one.
        escape(exchange.key.as_bytes(), b"%{", &mut key);
        key
    }
}

/// Appends a text with some of its bytes percent-encoded.
fn escape(text: &[u8], special: &[u8], to: &mut Vec<u8>) {
    for byte in text {
        if special.contains(byte) {
            to.extend_from_slice(format!("%{byte:02X}").as_bytes());
        } else {
            to.push(*byte);
        }
    }
}

impl QuotaStore for RedisStore {
    fn exchange(&self, exchange: Exchange) -> ExchangeFuture<'_> {
        Box::pin(async move {
            let answer = self.run(&exchange).await?;
            Ok(grant(answer, exchange.quota.windows().count())?)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tower_backpressure::server::QuotaKey;
    use tower_backpressure::{Claim, Quota};

    #[test]
    fn no_tenant_has_the_key_of_another_layer_or_chooses_its_node() {
        let store = RedisStore::open("redis://127.0.0.1/").expect("an address");
        let key = |policy, tenant: &str| {
            let claim = Claim::new(0, 0, 1);
            let exchange =
                Exchange::new(policy, QuotaKey::from(tenant), Quota::per_second(1), 1, claim);
            String::from_utf8(store.key(&exchange)).expect("text")
        };
        assert_eq!(key("api", "v2:a"), "backpressure:quota:api:v2:a");
        assert_eq!(key("api:v2", "a"), "backpressure:quota:api%3Av2:a");
        assert_ne!(key("api:v2", "a"), key("api%3Av2", "a"));
        assert_eq!(key("api", "{one}: node"), "backpressure:quota:api:%7Bone}: node");
        assert_ne!(key("api", "{"), key("api", "%7B"));
    }
}
