//! HTTP/1 as bytes on a socket.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Reads the head of a response up to and including the blank line.
///
/// # Panics
/// When the connection closes before the end of the head.
pub async fn read_head(socket: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(socket.read_u8().await.expect("a head ends with a blank line"));
    }
    String::from_utf8(head).expect("a head is text")
}

/// Reads the head and the body of a response that has a `content-length`.
///
/// # Panics
/// When the header is missing or the connection closes too early.
pub async fn read_response(socket: &mut TcpStream) -> (String, Vec<u8>) {
    let head = read_head(socket).await;
    let length = header(&head, "content-length").expect("a content-length");
    let mut body = vec![0; length.parse().expect("a number")];
    socket.read_exact(&mut body).await.expect("a complete body");
    (head, body)
}

/// Sends a request and reads until the server closes the connection.
///
/// # Panics
/// When the connection breaks.
pub async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut socket = TcpStream::connect(address).await.expect("the server listens");
    socket.write_all(request.as_bytes()).await.expect("the socket buffer has room for the request");
    let mut response = Vec::new();
    socket.read_to_end(&mut response).await.expect("a complete response");
    String::from_utf8_lossy(&response).into_owned()
}

/// The value of a header field in the head of a message.
#[must_use]
pub fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(field, _)| field.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}
