//! WebSockets beside requests: at most two sockets at once, and a third is rejected before the upgrade.
//!
//! A socket has a cap of its own and takes no permit of the requests. `PermitHandle::hold` keeps its place
//! until it is closed, as the response of the upgrade ends long before. On a drain each socket is closed.

use axum::extract::ws::{WebSocket, WebSocketUpgrade};
use axum::response::Response;
use axum::{Extension, Router, routing::any, routing::get};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tower_backpressure::{AdmissionLayer, Handle, HeldPermit, PermitHandle, StreamPolicy};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let admission =
        AdmissionLayer::adaptive("api").streams(StreamPolicy::Watch(2)).expose_permit(true);
    let handle = admission.handle().clone();
    let socket = move |upgrade, permit| open(upgrade, permit, handle.clone());
    let app = Router::new()
        .route("/", get(async || "hello\n"))
        .route("/socket", any(socket))
        .layer(admission);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, app).await });

    let mut sockets = Vec::new(); // a connection is closed when it is dropped
    for number in 1..=3 {
        let (status, socket) = connect(address).await?;
        println!("socket {number}: {status}");
        sockets.push(socket);
    }
    Ok(())
}

/// The permit becomes the socket's: its place is free when the socket is closed.
async fn open(
    upgrade: WebSocketUpgrade,
    Extension(permit): Extension<PermitHandle>,
    handle: Handle,
) -> Response {
    let held = permit.hold();
    upgrade.on_upgrade(move |socket| echo(socket, held, handle))
}

async fn echo(mut socket: WebSocket, _held: HeldPermit, handle: Handle) {
    loop {
        tokio::select! {
            message = socket.recv() => {
                let Some(Ok(message)) = message else { return };
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            () = handle.stopping() => return,
        }
    }
}

/// Asks for a socket; returns the first line of the response, and the connection.
async fn connect(address: std::net::SocketAddr) -> std::io::Result<(String, BufReader<TcpStream>)> {
    let mut connection = BufReader::new(TcpStream::connect(address).await?);
    let request = "GET /socket HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\n\
        upgrade: websocket\r\nsec-websocket-version: 13\r\n\
        sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    connection.write_all(request.as_bytes()).await?;
    let mut status = String::new();
    connection.read_line(&mut status).await?;
    Ok((status.trim_end().to_owned(), connection))
}

// cargo run -p backpressure-examples --example websocket
//
// prints: socket 2: HTTP/1.1 101
// prints: socket 3: HTTP/1.1 503
