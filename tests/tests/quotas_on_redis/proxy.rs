//! A TCP proxy between replicas and their store that delays, stalls and cuts.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use backpressure_tests::server::listen;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, tcp};
use tokio::sync::watch;
use tokio::time::sleep;

/// A proxy to one server.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    /// Where new connections lead.
    port: Arc<AtomicU16>,
    mode: watch::Sender<Mode>,
}

/// What the proxy does with what it reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    Passes,
    /// Each piece arrives this much later.
    Delays(Duration),
    /// Nothing arrives, and nothing is closed: a partition.
    Stalls,
    /// All connections are closed, and new ones as well.
    Cuts,
}

impl Proxy {
    pub(crate) async fn to(port: u16) -> Self {
        let (listener, address) = listen().await;
        let (mode, mut modes) = watch::channel(Mode::Passes);
        let target = Arc::new(AtomicU16::new(port));
        let port = Arc::clone(&target);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *modes.borrow_and_update() == Mode::Cuts {
                    continue;
                }
                let (modes, port) = (modes.clone(), target.load(Ordering::Relaxed));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await else { return };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    tokio::select! {
                        () = copy(from_client, to_server, modes.clone()) => {}
                        () = copy(from_server, to_client, modes.clone()) => {}
                        () = cut(modes) => {}
                    }
                });
            }
        });
        Self { address, port, mode }
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.mode.send_replace(mode);
    }

    /// Leads new connections elsewhere, as a name does after a failover. Those that exist stay.
    pub(crate) fn lead_to(&self, port: u16) {
        self.port.store(port, Ordering::Relaxed);
    }

    pub(crate) fn redis(&self) -> String {
        format!("redis://{}/", self.address)
    }
}

async fn copy(
    mut from: tcp::OwnedReadHalf,
    mut to: tcp::OwnedWriteHalf,
    mut modes: watch::Receiver<Mode>,
) {
    let mut buffer = vec![0; 64 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mode = *modes.borrow_and_update();
        match mode {
            Mode::Passes | Mode::Cuts => {}
            Mode::Delays(time) => sleep(time).await,
            Mode::Stalls => {
                let _ = modes.wait_for(|mode| *mode != Mode::Stalls).await;
            }
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

async fn cut(mut modes: watch::Receiver<Mode>) {
    let _ = modes.wait_for(|mode| *mode == Mode::Cuts).await;
}
