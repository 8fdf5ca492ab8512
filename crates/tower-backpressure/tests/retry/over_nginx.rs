//! The layer against nginx, whose `limit_req` rejects without a time.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;

use reqwest::{Client, Method, Request, Url};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};
use tower::{Layer, ServiceExt};
use tower_backpressure::RetryLayer;

/// An nginx process with a limit of `rate` requests a second, stopped when dropped.
struct Nginx {
    process: Child,
    folder: PathBuf,
    address: SocketAddr,
}

impl Nginx {
    async fn limited(rate: usize, burst: &str) -> Self {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let folder = std::env::temp_dir().join(format!("limit-{}", address.port()));
        std::fs::create_dir_all(&folder).unwrap();
        let conf = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
             events {{}}
             http {{
               access_log off;
               client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
               uwsgi_temp_path {folder}; scgi_temp_path {folder};
               limit_req_zone $server_port zone=all:1m rate={rate}r/s;
               limit_req_status 429;
               server {{ listen {address}; location / {{ limit_req zone=all {burst}; return 200; }} }}
             }}",
            folder = folder.display(),
        );
        // `return` is answered before the limit is checked, an empty file is not.
        let conf = conf.replace("return 200;", &format!("root {};", folder.display()));
        std::fs::write(folder.join("index.html"), "served").unwrap();
        std::fs::write(folder.join("nginx.conf"), conf).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf"));
        let process = nginx.stderr(Stdio::null()).spawn().expect("nginx is installed");
        for _ in 0..1_000 {
            if TcpStream::connect(address).await.is_ok() {
                break;
            }
            sleep(Duration::from_millis(10)).await;
        }
        Self { process, folder, address }
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// Requests served within some seconds, of clients that call again a second after a call has failed.
async fn served(nginx: &Nginx, clients: usize, time: Duration) -> usize {
    let served = Arc::new(AtomicUsize::new(0));
    let end = Instant::now() + time;
    let calls = (0..clients).map(|_| {
        let url: Url = format!("http://{}/index.html", nginx.address).parse().unwrap();
        let served = Arc::clone(&served);
        tokio::spawn(async move {
            let reqwest = Client::builder().retry(reqwest::retry::never()).build();
            let client = RetryLayer::new().layer(reqwest.unwrap());
            while Instant::now() < end {
                let get = Request::new(Method::GET, url.clone());
                let response = client.clone().oneshot(get).await.unwrap();
                match response.status().as_u16() {
                    200 => drop(served.fetch_add(1, SeqCst)),
                    _ => sleep(Duration::from_secs(1)).await,
                }
            }
        })
    });
    let calls: Vec<_> = calls.collect();
    tokio::time::sleep_until(end).await;
    let served = served.load(SeqCst);
    calls.iter().for_each(tokio::task::JoinHandle::abort);
    served
}

#[tokio::test]
#[ignore = "needs nginx"]
async fn at_a_limit_with_a_burst_clients_that_are_told_no_time_use_nine_tenths_of_the_rate() {
    let nginx = Nginx::limited(20, "burst=10 nodelay").await;
    let served = served(&nginx, 40, Duration::from_secs(10)).await;
    assert!(served >= 180, "{served} of 200");
}
