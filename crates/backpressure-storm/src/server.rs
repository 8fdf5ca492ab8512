//! A service on loopback with a CPU of its own, new for every run so that no state is left over.

use crate::cpu::{self, AllowedCpus, Side};
use axum::Router;
use axum::serve::ListenerExt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;
use tokio::time::timeout;

/// A running service.
#[derive(Debug)]
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    runtime: Option<Runtime>,
    stopped: mpsc::UnboundedReceiver<()>,
}

/// A listener on loopback. Port 0 is a free one.
///
/// # Errors
/// The error names the port, and says how to have a free one.
pub(crate) async fn bind(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await.map_err(|error| {
        let text = format!("port {port}: {error}; --port 0 takes a free one");
        io::Error::new(error.kind(), text)
    })
}

impl Server {
    /// Serves a router from one worker thread, on a CPU of its own if there are two. The router is made in the
    /// runtime that will run it, so that layers that count its workers count one. Port 0 is a free one.
    pub(crate) async fn start(
        port: u16,
        router: impl FnOnce() -> Router,
        allowed: &AllowedCpus,
    ) -> io::Result<Self> {
        let (stopping, stopped) = mpsc::unbounded_channel();
        let allowed = allowed.clone();
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("server")
            .on_thread_start(move || cpu::pin(Side::Server, &allowed))
            .on_thread_stop(move || _ = stopping.send(()))
            .enable_all()
            .build()?;
        let router = {
            let _entered = runtime.enter();
            router()
        };
        let mut server = Self {
            address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)),
            runtime: Some(runtime),
            stopped,
        };
        server.address = server.listen(router).await?;
        Ok(server)
    }

    async fn listen(&self, router: Router) -> io::Result<SocketAddr> {
        let runtime = self.runtime.as_ref().expect("it has not been stopped");
        let bound = runtime.spawn(bind(self.address.port())).await.map_err(io::Error::other)??;
        let address = bound.local_addr()?;
        let listener = bound.tap_io(|stream| _ = stream.set_nodelay(true));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(address)
    }

    /// Stops the service and waits until its thread has ended, so that it takes no CPU time from the next one.
    pub(crate) async fn stop(mut self) {
        self.shut_down();
        let _gone_or_stuck = timeout(Duration::from_secs(2), self.stopped.recv()).await;
    }

    fn shut_down(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shut_down();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_is_in_use_is_named() {
        let taken = bind(0).await.expect("a free port");
        let port = taken.local_addr().expect("bound").port();
        let error = bind(port).await.expect_err("it is taken").to_string();
        assert!(error.contains(&port.to_string()) && error.contains("--port 0"), "{error}");
    }
}
