//! Connections to one server, a cluster, or what sentinels name.

use std::fmt;
use std::future::Future;
use std::pin::Pin;

use redis::aio::ConnectionLike;
use redis::{AsyncConnectionConfig, Client, Cmd, RedisResult, Value};

/// Boxed: none of it is on the path of a request.
pub(crate) type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Makes connections.
pub(crate) trait Connect: fmt::Debug + Send + Sync {
    fn connect(&self) -> Boxed<'_, RedisResult<Box<dyn Connection>>>;
}

/// A connection that several commands may use at once.
pub(crate) trait Connection: Send + Sync {
    fn clone_boxed(&self) -> Box<dyn Connection>;

    fn send<'a>(&'a mut self, command: &'a Cmd) -> Boxed<'a, RedisResult<Value>>;
}

impl<C: ConnectionLike + Clone + Send + Sync + 'static> Connection for C {
    fn clone_boxed(&self) -> Box<dyn Connection> {
        Box::new(self.clone())
    }

    fn send<'a>(&'a mut self, command: &'a Cmd) -> Boxed<'a, RedisResult<Value>> {
        Box::pin(self.req_packed_command(command))
    }
}

/// One server.
#[derive(Debug)]
pub(crate) struct Server(pub(crate) Client);

impl Connect for Server {
    fn connect(&self) -> Boxed<'_, RedisResult<Box<dyn Connection>>> {
        Box::pin(async {
            let connection = self.0.get_multiplexed_async_connection_with_config(&config()).await?;
            Ok(Box::new(connection) as Box<dyn Connection>)
        })
    }
}

/// The layer of the quota bounds the time of an answer, and allows for a pause of the process.
fn config() -> AsyncConnectionConfig {
    AsyncConnectionConfig::new().set_response_timeout(None)
}

/// Without a provider, rustls would panic at each connection where another crate has turned on a second one.
#[cfg(feature = "rustls")]
pub(crate) fn ensure_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error says that another thread was faster.
        let _ = rustls::crypto::ring::default_provider().install_default();
    }
}

/// The nodes of a cluster.
#[cfg(feature = "cluster")]
pub(crate) struct Cluster(pub(crate) redis::cluster::ClusterClient);

#[cfg(feature = "cluster")]
impl Connect for Cluster {
    fn connect(&self) -> Boxed<'_, RedisResult<Box<dyn Connection>>> {
        Box::pin(async {
            let connection = self.0.get_async_connection().await?;
            Ok(Box::new(connection) as Box<dyn Connection>)
        })
    }
}

#[cfg(feature = "cluster")]
impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cluster")
    }
}

/// The master that sentinels name.
#[cfg(feature = "sentinel")]
pub(crate) struct Sentinel(pub(crate) tokio::sync::Mutex<redis::sentinel::SentinelClient>);

#[cfg(feature = "sentinel")]
impl Connect for Sentinel {
    fn connect(&self) -> Boxed<'_, RedisResult<Box<dyn Connection>>> {
        Box::pin(async {
            let mut client = self.0.lock().await;
            let connection = client.get_async_connection_with_config(&config()).await?;
            Ok(Box::new(connection) as Box<dyn Connection>)
        })
    }
}

#[cfg(feature = "sentinel")]
impl fmt::Debug for Sentinel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sentinel")
    }
}
