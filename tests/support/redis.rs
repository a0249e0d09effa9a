//! Redis servers of a test's own.

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// A server in a folder of its own, without a file to keep anything in.
pub struct Redis {
    port: u16,
    settings: Vec<String>,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Redis {
    /// Starts one on a free port.
    pub async fn start(settings: &[&str]) -> Self {
        let mut redis = Self::stopped(settings);
        redis.run().await;
        redis
    }

    /// Creates a server that is not started yet.
    pub fn stopped(settings: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        Self { port, settings, folder: tempfile::tempdir().unwrap(), child: None }
    }

    /// Starts it, and waits until it answers.
    pub async fn run(&mut self) {
        let mut command = Command::new("redis-server");
        command.args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"]);
        command.args(["--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0"]);
        command.args(&self.settings).current_dir(&self.folder).stdout(Stdio::null());
        self.child = Some(command.spawn().unwrap());
        let client = redis::Client::open(self.url()).unwrap();
        while client.get_multiplexed_async_connection().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Kills it; what it had is gone.
    pub fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn addr(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A command of the test's.
    pub async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let client = redis::Client::open(self.url()).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
    }
}

/// A name that points to one server after another, as the one of a failover does.
pub struct Alias {
    pub addr: SocketAddr,
    target: Arc<Mutex<SocketAddr>>,
    links: Arc<Mutex<Vec<tokio::task::AbortHandle>>>,
}

impl Alias {
    pub async fn of(target: SocketAddr) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (target, links) = (Arc::new(Mutex::new(target)), Arc::new(Mutex::new(Vec::new())));
        let alias = Self { addr, target: Arc::clone(&target), links: Arc::clone(&links) };
        tokio::spawn(async move {
            while let Ok((mut client, _)) = listener.accept().await {
                let server = *target.lock().unwrap();
                let link = tokio::spawn(async move {
                    if let Ok(mut server) = TcpStream::connect(server).await {
                        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                    }
                });
                links.lock().unwrap().push(link.abort_handle());
            }
        });
        alias
    }

    /// Points to another server; those who are connected stay where they are.
    pub fn point_to(&self, target: SocketAddr) {
        *self.target.lock().unwrap() = target;
    }

    /// Cuts every connection that there is.
    pub fn cut(&self) {
        self.links.lock().unwrap().drain(..).for_each(|link| link.abort());
    }
}

/// A server that greets its clients, and never answers a script.
pub struct Silent {
    addr: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Silent {
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let silent = Self { addr: listener.local_addr().unwrap(), asked: Arc::default() };
        let asked = Arc::clone(&silent.asked);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(listen(client, Arc::clone(&asked)));
            }
        });
        silent
    }

    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Returns the number of scripts that it was asked to run.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

async fn listen(mut client: TcpStream, asked: Arc<AtomicUsize>) {
    let (mut received, mut greeted, mut scripts) = (Vec::new(), 0, 0);
    while client.read_buf(&mut received).await.is_ok_and(|read| read > 0) {
        let text = String::from_utf8_lossy(&received);
        let greetings = text.matches("SETINFO").count() - greeted;
        greeted += greetings;
        client.write_all("+OK\r\n".repeat(greetings).as_bytes()).await.unwrap();
        let more = text.matches("EVALSHA").count() - scripts;
        scripts += more;
        asked.fetch_add(more, Ordering::Relaxed);
    }
}
