//! HTTP/1 as bytes on a socket.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads a response's head, to the blank line and no further.
///
/// # Panics
/// When the connection ends before it does.
pub async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a head ends with a blank line"));
    }
    String::from_utf8(head).expect("a head is text")
}

/// Reads a response whose body is as long as its `content-length` says.
///
/// # Panics
/// When there is no such header, or the connection ends first.
pub async fn read_response(socket: &mut TcpStream) -> (String, Vec<u8>) {
    let head = read_head(socket).await;
    let length = header(&head, "content-length").expect("a length");
    let mut body = vec![0; length.parse().expect("a number")];
    socket.read_exact(&mut body).await.expect("a whole body");
    (head, body)
}

/// Sends a request and reads all that comes, until the server closes.
///
/// # Panics
/// When the connection breaks.
pub async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("somebody listens");
    socket.write_all(request.as_bytes()).await.expect("a request is short");
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.expect("a whole answer");
    String::from_utf8_lossy(&answer).into_owned()
}

/// The value of a header in a head.
#[must_use]
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(known, _)| known.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
