//! Clients that are not ours see a refusal while they send 10 MB: curl, Python's urllib and urllib3,
//! node, and nginx in front of the server.
//!
//! They are ignored by default, as they need these programs; `.ci/run` installs them and runs this.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use axum::Router;
use axum::routing::post;
use backpressure_tests::server::serve;
use bytes::Bytes;
use tokio::net::TcpStream;
use tower_backpressure::Permit;
use tower_backpressure::{AdmissionLayer, QueueBounds};

const UPLOAD: usize = 10_000_000;
const UPLOADS: usize = 100;
/// Of a hundred.
const ARRIVE: usize = 99;

/// A server that is full, and an upload to be refused by it.
struct Scene {
    address: SocketAddr,
    _full: Permit,
    folder: PathBuf,
}

impl Scene {
    async fn new(name: &str) -> Self {
        let layer = AdmissionLayer::fixed("api", 1).queue(QueueBounds::NONE);
        let full = layer.limiter().try_acquire().expect("room for one");
        let app = Router::new().route("/", post(async |body: Bytes| body.len().to_string()));
        let app = app.layer(axum::extract::DefaultBodyLimit::disable());
        let address = serve(app.layer(layer)).await;
        let folder = std::env::temp_dir().join(format!("{name}-{}", address.port()));
        std::fs::create_dir_all(&folder).expect("a folder for temporary files");
        std::fs::write(folder.join("upload"), vec![b'x'; UPLOAD]).expect("room on the disk");
        Self { address, _full: full, folder }
    }

    /// Runs a program with the URL, the upload and the number of uploads as its last arguments; it
    /// prints a line for each upload, the status it saw.
    async fn run(&self, address: SocketAddr, program: &[&str]) {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(format!("http://{address}/"));
        command.arg(self.folder.join("upload")).arg(UPLOADS.to_string());
        command.env_remove("http_proxy").env_remove("HTTP_PROXY").env("NO_PROXY", "*");
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("no panic").expect("the program is installed");
        let said = String::from_utf8_lossy(&output.stdout);
        let arrived = said.lines().filter(|&line| line == "503").count();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(arrived >= ARRIVE, "{arrived} of {UPLOADS} saw the refusal:\n{said}\n{errors}");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Prints the status of each upload that ended without an error of curl's.
const CURL: &str = r#"
for _ in $(seq "$3"); do
  curl --silent --noproxy '*' --output /dev/null --write-out '%{http_code}' $OPTIONS \
    --data-binary "@$2" "$1" && echo || echo " curl: $?"
done
"#;

async fn curl(name: &str, options: &str) {
    let scene = Scene::new(name).await;
    let script = CURL.replace("$OPTIONS", options);
    scene.run(scene.address, &["bash", "-c", &script, "curl"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run by .ci/run"]
async fn curl_sees_the_refusal_over_http_1() {
    curl("curl-1", "--header Expect:").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run by .ci/run"]
async fn curl_sees_the_refusal_when_it_asks_before_it_sends() {
    curl("curl-ask", "--header 'Expect: 100-continue'").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs curl: run by .ci/run"]
async fn curl_sees_the_refusal_over_http_2() {
    curl("curl-2", "--http2-prior-knowledge").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python: run by .ci/run"]
async fn pythons_urllib_sees_the_refusal() {
    let scene = Scene::new("urllib").await;
    scene.run(scene.address, &["python3", "-c", include_str!("urllib.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Python and its urllib3: run by .ci/run"]
async fn pythons_urllib3_sees_the_refusal() {
    let scene = Scene::new("urllib3").await;
    scene.run(scene.address, &["python3", "-c", include_str!("urllib3.py")]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs node: run by .ci/run"]
async fn node_sees_the_refusal() {
    let scene = Scene::new("node").await;
    scene.run(scene.address, &["node", "-e", include_str!("node.js"), "--"]).await;
}

/// An nginx of its own, stopped when dropped.
struct Nginx(Child);

impl Nginx {
    async fn start(scene: &Scene, buffering: &str) -> (Self, SocketAddr) {
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = free.local_addr().expect("a bound listener has an address");
        drop(free);
        let conf = include_str!("nginx.conf")
            .replace("FOLDER", &scene.folder.display().to_string())
            .replace("LISTEN", &address.to_string())
            .replace("SERVER", &scene.address.to_string())
            .replace("BUFFERING", buffering);
        let path = scene.folder.join("nginx.conf");
        std::fs::write(&path, conf).expect("room on the disk");
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&scene.folder).arg("-c").arg(&path).stderr(Stdio::null());
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
        // One process, without a master: nothing is left behind.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

async fn through_nginx(name: &str, buffering: &str) {
    let scene = Scene::new(name).await;
    let (_nginx, address) = Nginx::start(&scene, buffering).await;
    let script = CURL.replace("$OPTIONS", "--header Expect:");
    scene.run(address, &["bash", "-c", &script, "curl"]).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx and curl: run by .ci/run"]
async fn nginx_that_buffers_uploads_passes_the_refusal_on() {
    through_nginx("nginx-buffers", "on").await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs nginx and curl: run by .ci/run"]
async fn nginx_that_streams_uploads_passes_the_refusal_on() {
    through_nginx("nginx-streams", "off").await;
}
