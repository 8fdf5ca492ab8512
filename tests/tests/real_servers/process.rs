//! A server process, and its log of requests.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

/// A server process with a folder for its files, stopped and removed when dropped.
pub(crate) struct Server {
    process: Child,
    folder: PathBuf,
    pub(crate) address: SocketAddr,
}

/// A request, as the server has logged it.
#[derive(Debug)]
pub(crate) struct Logged {
    /// When it ended.
    pub(crate) at: Duration,
    pub(crate) status: u16,
}

impl Server {
    /// Starts a server whose files are in `folder`, with its output there in `log`, and waits until it listens.
    pub(crate) async fn start(mut command: Command, folder: PathBuf, address: SocketAddr) -> Self {
        let output = File::create(folder.join("log")).expect("space on the disk");
        command.stdin(Stdio::null()).stdout(output).stderr(Stdio::null());
        let process = command.spawn().expect("the program is installed");
        let server = Self { process, folder, address };
        for _ in 0..1_000 {
            if TcpStream::connect(address).await.is_ok() {
                return server;
            }
            sleep(Duration::from_millis(10)).await;
        }
        panic!("the server does not listen");
    }

    /// Starts nginx with `http` in its block of that name.
    pub(crate) async fn nginx(http: &str, folder: PathBuf, address: SocketAddr) -> Self {
        let conf = format!(
            "daemon off; master_process off; pid {folder}/pid; error_log {folder}/error.log;
             events {{}}
             http {{
               client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
               uwsgi_temp_path {folder}; scgi_temp_path {folder};
               {http}
             }}",
            folder = folder.display(),
        );
        let mut command = Command::new("nginx");
        command.arg("-p").arg(&folder).arg("-c").arg(write_conf(&folder, &conf));
        Self::start(command, folder, address).await
    }

    /// The requests for a path, oldest first, once there are `count` of them. The server writes a line after it
    /// has answered, so that the line may come later than the response.
    pub(crate) async fn logged(&self, path: &str, count: usize) -> Vec<Logged> {
        for _ in 0..500 {
            let logged = self.read_log(path);
            if logged.len() >= count {
                return logged;
            }
            sleep(Duration::from_millis(10)).await;
        }
        self.read_log(path)
    }

    /// Lines of `request <milliseconds since 1970> <status> <path>`.
    fn read_log(&self, path: &str) -> Vec<Logged> {
        let text = std::fs::read_to_string(self.folder.join("log")).expect("the log");
        let of_path = text.lines().filter_map(|line| {
            let mut words = line.rsplit("request ").next()?.split(' ');
            let (at, status) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            (words.next()? == path).then_some(Logged { at: Duration::from_millis(at), status })
        });
        of_path.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A free port, and a folder of that name for temporary files.
pub(crate) fn free_place(name: &str) -> (SocketAddr, PathBuf) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = free.local_addr().expect("a bound listener has an address");
    let folder = std::env::temp_dir().join(format!("{name}-{}", address.port()));
    std::fs::create_dir_all(&folder).expect("a folder for temporary files");
    (address, folder)
}

/// Writes a configuration into the folder; returns its path.
pub(crate) fn write_conf(folder: &Path, conf: &str) -> PathBuf {
    let path = folder.join("conf");
    std::fs::write(&path, conf).expect("space on the disk");
    path
}

/// The time between the ends of two requests.
pub(crate) fn gap(logged: &[Logged], first: usize) -> Duration {
    logged[first + 1].at.saturating_sub(logged[first].at)
}
