//! Third-party clients receive a rejection while they upload 10 MB: curl, Python's urllib and urllib3,
//! node, and nginx as a proxy.
//!
//! The tests are ignored by default because they need these programs; `.ci/run` installs them and runs
//! the tests.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use backpressure_tests::server::serve_uploads;
use tokio::net::TcpStream;
use tower_backpressure::{AdmissionLayer, Permit, QueueBounds};

const UPLOAD_BYTES: usize = 10_000_000;
const UPLOADS: usize = 100;
/// Of [`UPLOADS`] rejections, those that must be received.
const MIN_RECEIVED: usize = 99;

/// A server without a free permit, and a folder with the file to upload.
struct FullServer {
    address: SocketAddr,
    _permit: Permit,
    folder: PathBuf,
}

impl FullServer {
    async fn new(name: &str) -> Self {
        let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
        let permit = layer.limiter().try_acquire().expect("a free permit");
        let address = serve_uploads(layer).await;
        let folder = std::env::temp_dir().join(format!("{name}-{}", address.port()));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        std::fs::write(folder.join("upload"), vec![b'x'; UPLOAD_BYTES]).expect("space on the disk");
        Self { address, _permit: permit, folder }
    }

    /// Runs a program with the URL, the upload and the number of uploads as its last arguments; it
    /// prints the status that each upload received, one a line.
    async fn run(&self, address: SocketAddr, program: &[&str]) {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(format!("http://{address}/"));
        command.arg(self.folder.join("upload")).arg(UPLOADS.to_string());
        command.env_remove("http_proxy").env_remove("HTTP_PROXY").env("NO_PROXY", "*");
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("no panic").expect("the program is installed");
        let statuses = String::from_utf8_lossy(&output.stdout);
        let received = statuses.lines().filter(|&line| line == "503").count();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            received >= MIN_RECEIVED,
            "{received} of {UPLOADS} received the rejection:\n{statuses}\n{errors}"
        );
    }
}

impl Drop for FullServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Prints the status of each upload, or curl's exit code.
const CURL: &str = r#"
for _ in $(seq "$3"); do
  curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' $OPTIONS \
    --data-binary "@$2" "$1" && echo || echo " curl: $?"
done
"#;

async fn curl(name: &str, options: &str) {
    let server = FullServer::new(name).await;
    let script = CURL.replace("$OPTIONS", options);
    server.run(server.address, &["bash", "-c", &script, "curl"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run by .ci/run"]
async fn curl_receives_the_rejection_over_http_1() {
    curl("curl-1", "--header Expect:").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run by .ci/run"]
async fn curl_receives_the_rejection_when_it_expects_100_continue() {
    curl("curl-expect", "--header 'Expect: 100-continue'").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run by .ci/run"]
async fn curl_receives_the_rejection_over_http_2() {
    curl("curl-2", "--http2-prior-knowledge").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python: run by .ci/run"]
async fn pythons_urllib_receives_the_rejection() {
    let server = FullServer::new("urllib").await;
    server.run(server.address, &["python3", "-c", include_str!("urllib.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python and its urllib3: run by .ci/run"]
async fn pythons_urllib3_receives_the_rejection() {
    let server = FullServer::new("urllib3").await;
    server.run(server.address, &["python3", "-c", include_str!("urllib3.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node: run by .ci/run"]
async fn node_receives_the_rejection() {
    let server = FullServer::new("node").await;
    server.run(server.address, &["node", "-e", include_str!("node.js"), "--"]).await;
}

/// An nginx process, stopped when dropped.
struct Nginx(Child);

impl Nginx {
    async fn start(server: &FullServer, buffering: &str) -> (Self, SocketAddr) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound listener has an address");
        drop(free);
        let conf = include_str!("nginx.conf")
            .replace("FOLDER", &server.folder.display().to_string())
            .replace("LISTEN", &address.to_string())
            .replace("SERVER", &server.address.to_string())
            .replace("BUFFERING", buffering);
        let path = server.folder.join("nginx.conf");
        std::fs::write(&path, conf).expect("space on the disk");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&server.folder).arg("-c").arg(&path).stderr(Stdio::null());
        let nginx = Self(command.spawn().expect("nginx is installed"));
        for _ in 0..1_000 {
            if TcpStream::connect(address).await.is_ok() {
                return (nginx, address);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("nginx does not listen");
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // nginx runs without a master process: no other process remains.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn through_nginx(name: &str, buffering: &str) {
    let server = FullServer::new(name).await;
    let (_nginx, address) = Nginx::start(&server, buffering).await;
    let script = CURL.replace("$OPTIONS", "--header Expect:");
    server.run(address, &["bash", "-c", &script, "curl"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx and curl: run by .ci/run"]
async fn a_proxy_that_buffers_uploads_forwards_the_rejection() {
    through_nginx("nginx-buffers", "on").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx and curl: run by .ci/run"]
async fn a_proxy_that_streams_uploads_forwards_the_rejection() {
    through_nginx("nginx-streams", "off").await;
}
