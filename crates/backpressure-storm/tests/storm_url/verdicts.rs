//! What the storm says of services that work, that overload and that die.

use std::io::{BufRead, BufReader};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use super::{STORM, command, folder, storm};

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
    let mut storm = command("died", &arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the storm starts");
    let stderr = storm.stderr.take().expect("its progress is piped");
    // Kept to the end, so that the storm can write on.
    let mut progress = BufReader::new(stderr).lines().map(|line| line.expect("text"));
    assert!(progress.any(|line| line.contains("/s good of")), "a step has ended");
    demo.process.kill().expect("the demo runs");
    let output = storm.wait_with_output().expect("the storm ends");
    drop(progress);
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
