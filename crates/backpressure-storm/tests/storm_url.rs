//! `storm URL` against services that work, that overload, and that misbehave: real processes and sockets.
//!
//! What a storm measures depends on the machine; asserted is the kind of its verdict, and that it ends.

#![expect(
    clippy::disallowed_methods,
    reason = "servers and waits of these tests have threads of their own"
)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::Duration;

const STORM: &str = env!("CARGO_BIN_EXE_backpressure-storm");

/// Runs `storm` with the arguments; its report goes to a folder of its own.
fn storm(name: &str, arguments: &[&str]) -> Output {
    command(name, arguments).output().expect("the storm runs")
}

fn command(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(STORM);
    command.arg("storm").args(arguments).arg("--quick").arg("--out").arg(folder(name));
    command
}

fn folder(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name)
}

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

/// Waits until this is true, for longer than it takes on a busy machine; whether it became so.
fn becomes_true(is_true: impl Fn() -> bool) -> bool {
    (0..2_400).any(|_| {
        let found = is_true();
        if !found {
            thread::sleep(Duration::from_millis(50));
        }
        found
    })
}

/// The demo service as a process; killed when dropped.
struct Demo {
    process: Child,
    url: String,
}

impl Demo {
    fn start(arguments: &[&str]) -> Self {
        let mut process = Command::new(STORM)
            .args(["demo", "--port", "0"])
            .args(arguments)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the demo starts");
        let stdout = process.stdout.take().expect("its output is piped");
        let line = BufReader::new(stdout).lines().next().expect("a line").expect("text");
        let url = line.rsplit(' ').next().expect("the line ends with the URL").to_owned();
        Self { process, url }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        _ = self.process.kill();
        _ = self.process.wait();
    }
}

/// The kind of the verdict, and whether the storm itself doubts it, from the report.
fn verdict(name: &str) -> (String, bool) {
    let text = std::fs::read_to_string(folder(name).join("report.json")).expect("a report");
    let report: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let page = std::fs::read_to_string(folder(name).join("report.html")).expect("a page");
    assert!(page.ends_with("</html>\n") && !page.contains("{{"), "the page is whole");
    let verdict = &report["verdict"];
    let kind = verdict["kind"].as_str().expect("a kind").to_owned();
    (kind, verdict["in_doubt"].as_bool().expect("a truth value"))
}

/// Fast enough for CI: the capacity of the pool is known, and three times that is overload enough.
const SHORT: [&str; 6] = ["--capacity", "100", "--max-rate", "300", "--duration", "500ms"];

#[test]
#[ignore = "takes a minute; .ci/run names it"]
fn a_pool_without_a_layer_collapses_and_behind_the_layer_it_stays_up() {
    let run = |stack: &'static str, http2: &'static [&'static str]| {
        thread::spawn(move || {
            let demo = Demo::start(&["--stack", stack]);
            let output = storm(stack, &[&[demo.url.as_str()], &SHORT[..], http2].concat());
            let text = String::from_utf8_lossy(&output.stdout).into_owned();
            assert_eq!(output.status.code(), Some(0), "{stack}: {text}");
            (verdict(stack), text)
        })
    };
    let (bare, layered) = (run("bare", &[]), run("backpressure", &["--http2"]));
    let ((kind, _), text) = bare.join().expect("a verdict");
    assert!(["collapses", "stays-down"].contains(&kind.as_str()), "{kind}: {text}");
    let ((kind, in_doubt), text) = layered.join().expect("a verdict");
    // On a machine without a free CPU the service is kept from its work, and the storm says so.
    assert!(["protected", "bends"].contains(&kind.as_str()) || in_doubt, "{kind}: {text}");
}

#[test]
#[ignore = "takes half a minute; .ci/run names it"]
fn a_service_that_dies_in_the_middle_is_called_dead() {
    let mut demo = Demo::start(&["--stack", "backpressure"]);
    let arguments = [&[demo.url.as_str()], &SHORT[..]].concat();
    let storm =
        command("died", &arguments).stdout(Stdio::piped()).spawn().expect("the storm starts");
    thread::sleep(Duration::from_secs(8));
    demo.process.kill().expect("the demo runs");
    let output = storm.wait_with_output().expect("the storm ends");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(verdict("died").0, "died", "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
#[ignore = "takes half a minute; .ci/run names it"]
#[cfg(unix)]
fn an_interrupted_brown_out_is_undone() {
    let demo = Demo::start(&["--stack", "backpressure"]);
    let (started, ended) = (folder("started"), folder("ended"));
    _ = std::fs::remove_file(&started);
    _ = std::fs::remove_file(&ended);
    let (start, end) =
        (format!("touch {}", started.display()), format!("echo once >> {}", ended.display()));
    let brown_out =
        ["--brown-out-start", &start, "--brown-out-end", &end, "--brown-out-lasts", "60s"];
    let arguments = [&[demo.url.as_str()], &SHORT[..], &brown_out].concat();
    let storm =
        command("interrupted", &arguments).stdout(Stdio::null()).spawn().expect("the storm starts");
    assert!(becomes_true(|| started.exists()) && !ended.exists(), "the brown-out began");
    let killed =
        Command::new("kill").args(["-INT", &storm.id().to_string()]).status().expect("kill runs");
    assert!(killed.success());
    assert_eq!(storm.wait_with_output().expect("the storm ends").status.code(), Some(130));
    assert_eq!(std::fs::read_to_string(&ended).expect("the end ran"), "once\n");
}

#[test]
#[ignore = "needs nginx, and takes a minute; .ci/run names it"]
fn a_rate_limit_of_nginx_is_called_a_constant_rate() {
    let folder = folder("nginx");
    _ = std::fs::create_dir_all(&folder);
    std::fs::write(folder.join("index.html"), "hello").expect("a file");
    let port =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let configuration =
        NGINX.replace("FOLDER", &folder.display().to_string()).replace("PORT", &port.to_string());
    let path = folder.join("nginx.conf");
    std::fs::write(&path, configuration).expect("a file");
    let mut nginx = Command::new("nginx")
        .arg("-p")
        .arg(&folder)
        .arg("-c")
        .arg(&path)
        .spawn()
        .expect("nginx is installed");
    let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
    assert!(becomes_true(listens), "nginx listens");
    let url = format!("http://127.0.0.1:{port}/");
    let output = storm("limit_req", &[&url, "--deadline", "300ms", "--duration", "500ms"]);
    _ = Command::new("kill").arg(nginx.id().to_string()).status();
    _ = nginx.wait();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (kind, in_doubt) = verdict("limit_req");
    // Where nginx gets no CPU its answers wait, and look like work; the storm says that it is in doubt.
    assert!(kind == "constant-rate" || in_doubt, "{kind}: {text}");
    assert!(text.contains("Retry-After: 0 % of the refusals"), "{text}");
}

const NGINX: &str = r"daemon off; worker_processes 1; pid FOLDER/nginx.pid; error_log FOLDER/error.log crit;
events { worker_connections 4096; }
http {
  access_log off;
  client_body_temp_path FOLDER/body; proxy_temp_path FOLDER/proxy; fastcgi_temp_path FOLDER/fastcgi;
  uwsgi_temp_path FOLDER/uwsgi; scgi_temp_path FOLDER/scgi;
  limit_req_zone $binary_remote_addr zone=one:1m rate=100r/s;
  server { listen 127.0.0.1:PORT; root FOLDER; location / { limit_req zone=one burst=20 nodelay; } }
}
";
