//! Targets that answer nothing useful are named with the reason, and are not stormed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{command, storm};

/// What the storm says when it gives up before it has measured anything.
fn error(name: &str, arguments: &[&str]) -> String {
    let output = storm(name, arguments);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{name}: {text}");
    text
}

/// A server that does this with each connection, on a free port.
fn server(serve: fn(TcpStream)) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || serve(stream));
        }
    });
    url
}

/// Reads heads of requests, and answers each with this text.
fn answer(mut stream: TcpStream, text: &str) {
    let mut buffer = [0; 4096];
    while stream.read(&mut buffer).is_ok_and(|read| read > 0) {
        if stream.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

fn not_found(stream: TcpStream) {
    answer(stream, "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n");
}

fn redirect(stream: TcpStream) {
    answer(
        stream,
        "HTTP/1.1 302 Found\r\nlocation: http://192.0.2.1/\r\ncontent-length: 0\r\n\r\n",
    );
}

fn server_error(stream: TcpStream) {
    answer(stream, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n");
}

fn garbage(stream: TcpStream) {
    answer(stream, "SSH-2.0-OpenSSH_9.2\r\n");
}

fn hang(stream: TcpStream) {
    let _open = stream;
    thread::sleep(Duration::from_secs(60));
}

fn hang_up(mut stream: TcpStream) {
    _ = stream.read(&mut [0; 4096]);
}

fn endless(mut stream: TcpStream) {
    _ = stream.read(&mut [0; 4096]);
    _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
    while stream.write_all(b"again and again\n").is_ok() {
        thread::sleep(Duration::from_millis(20));
    }
}

fn close_at_once(stream: TcpStream) {
    drop(stream);
}

fn half_close(mut stream: TcpStream) {
    _ = stream.read(&mut [0; 4096]);
    _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    _ = stream.shutdown(std::net::Shutdown::Write);
    thread::sleep(Duration::from_secs(60));
}

fn endless_head(mut stream: TcpStream) {
    _ = stream.read(&mut [0; 4096]);
    _ = stream.write_all(b"HTTP/1.1 200 OK\r\n");
    while stream.write_all(b"x-again: and again\r\n").is_ok() {}
}

fn error_with_status_200(stream: TcpStream) {
    answer(stream, "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{\"error\"}");
}

fn error_of_grpc(stream: TcpStream) {
    answer(stream, "HTTP/1.1 200 OK\r\ngrpc-status: 13\r\ncontent-length: 0\r\n\r\n");
}

#[test]
fn an_error_with_status_200_is_no_good_answer() {
    let url = server(error_with_status_200);
    let text = error("expect", &[&url, "--expect", "\"result\""]);
    assert!(text.contains("status 200 without the text of --expect"), "{text}");
    let text = error("grpc", &[&server(error_of_grpc)]);
    assert!(text.contains("grpc-status 13"), "{text}");
}

#[test]
fn a_service_that_does_not_answer_usefully_is_not_stormed() {
    for (name, serve, reason) in [
        ("not_found", not_found as fn(TcpStream), "404"),
        ("redirect", redirect, "redirects are not followed"),
        ("server_error", server_error, "500"),
        ("garbage", garbage, "not the HTTP that was asked for"),
        ("hang_up", hang_up, "ended before the response"),
        ("close_at_once", close_at_once, "ended before the response"),
        ("half_close", half_close, "ended before the response"),
        ("endless_head", endless_head, "message head is too large"),
    ] {
        let text = error(name, &[&server(serve)]);
        assert!(
            text.contains(reason) && text.contains("does not answer usefully"),
            "{name}: {text}"
        );
    }
}

#[test]
fn a_service_that_hangs_or_never_ends_its_body_is_not_stormed() {
    let text = error("hang", &[&server(hang), "--deadline", "100ms"]);
    assert!(text.contains("no answer within"), "{text}");
    let text = error("endless", &[&server(endless), "--deadline", "100ms"]);
    assert!(text.contains("a body that had not ended"), "{text}");
}

#[test]
fn a_target_that_cannot_be_reached_is_named_with_the_reason() {
    let free =
        TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("an address");
    let text = error("refused", &[&format!("http://{free}/")]);
    assert!(text.contains("nothing listens there"), "{text}");
    let text = error("unknown", &["http://no-such-host.invalid/"]);
    assert!(text.contains("cannot be resolved"), "{text}");
    let text = error("elsewhere", &["http://192.0.2.1/"]);
    assert!(text.contains("--i-own-this-service"), "{text}");
}

#[test]
fn a_protocol_that_the_service_does_not_speak_is_an_error() {
    let url = server(not_found);
    let text = error("http2", &[&url, "--http2"]);
    assert!(text.contains("error:"), "{text}");
    let text = error("tls", &[&url.replace("http:", "https:")]);
    assert!(text.contains("TLS"), "{text}");
}

#[test]
#[cfg(unix)]
fn a_storm_that_is_interrupted_before_its_first_answer_ends_with_130() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let storm = command("early", &[&url]).stderr(Stdio::piped()).spawn().expect("the storm starts");
    // The first connection only finds out whether there is a service.
    let asks = |stream: &mut TcpStream| stream.read(&mut [0; 4096]).is_ok_and(|read| read > 0);
    let _asking = listener.incoming().flatten().find_map(|mut it| asks(&mut it).then_some(it));
    let interrupted =
        Command::new("kill").args(["-INT", &storm.id().to_string()]).status().expect("kill runs");
    assert!(interrupted.success());
    let output = storm.wait_with_output().expect("the storm ends");
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(130), "{text}");
    assert!(text.contains("interrupted before anything was measured"), "{text}");
}
