//! A TCP proxy in front of a server, which does as it is told when it sees a
//! marker on its way to the server.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// The trouble of the connection on which the marker is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Cut before the marker reaches the server.
    CutBefore,
    /// The marker reaches the server, which answers; then it is cut.
    CutAfter,
    /// The marker reaches the server, and it is cut before an answer.
    CutUnanswered,
    /// The marker reaches the server, and the answer never comes back.
    SwallowAnswer,
    /// The marker reaches the server after half a second.
    Delay,
    /// The marker goes nowhere, and nothing is said.
    Hang,
    /// The marker reaches the server, and so many octets of its answer come back; then it is
    /// cut.
    CutAnswerAt(usize),
}

/// The pings by which sqlx's pool checks a connection that returns, after the caller has its
/// answer: PostgreSQL's `Sync` alone, and MySQL's `COM_PING`.
const PINGS: [&[u8]; 2] = [b"S\0\0\0\x04", b"\x01\0\0\0\x0e"];

type Plan = Arc<Mutex<Option<(Vec<u8>, Trouble)>>>;

pub struct Proxy {
    pub addr: SocketAddr,
    plan: Plan,
    server: Arc<Mutex<SocketAddr>>,
    round_trips: Arc<AtomicUsize>,
}

impl Proxy {
    pub async fn before(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let plan = Plan::default();
        let plans = Arc::clone(&plan);
        let round_trips = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&round_trips);
        let server = Arc::new(Mutex::new(server));
        let servers = Arc::clone(&server);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let server = *servers.lock().unwrap();
                tokio::spawn(relay(client, server, Arc::clone(&plans), Arc::clone(&counter)));
            }
        });
        Self { addr, plan, server, round_trips }
    }

    /// Leads new connections to another server.
    pub fn redirect(&self, server: SocketAddr) {
        *self.server.lock().unwrap() = server;
    }

    /// Sets the trouble for the next occurrence of `marker`. It happens once.
    pub fn plan(&self, marker: &str, trouble: Trouble) {
        *self.plan.lock().unwrap() = Some((marker.as_bytes().to_vec(), trouble));
    }

    /// Returns how many requests of clients were answered.
    pub fn round_trips(&self) -> usize {
        self.round_trips.load(Ordering::Relaxed)
    }

    /// Returns whether the trouble has happened.
    pub fn struck(&self) -> bool {
        self.plan.lock().unwrap().is_none()
    }
}

/// The trouble that is planned for these bytes, which is over with that.
fn trouble(plan: &Plan, bytes: &[u8]) -> Option<Trouble> {
    let mut plan = plan.lock().unwrap();
    let (marker, trouble) = plan.as_ref()?;
    let seen = bytes.windows(marker.len()).any(|window| window == marker);
    let trouble = seen.then_some(*trouble)?;
    *plan = None;
    Some(trouble)
}

async fn relay(
    mut client: TcpStream,
    server: SocketAddr,
    plan: Plan,
    round_trips: Arc<AtomicUsize>,
) {
    let Ok(mut server) = TcpStream::connect(server).await else {
        return;
    };
    let (mut up, mut down) = ([0; 16 * 1024], [0; 16 * 1024]);
    let mut struck = None;
    let mut asked = false;
    loop {
        tokio::select! {
            read = client.read(&mut up) => {
                let Ok(length @ 1..) = read else { return };
                let bytes = &up[..length];
                asked |= !PINGS.contains(&bytes);
                struck = struck.or(trouble(&plan, bytes));
                if struck == Some(Trouble::Delay) {
                    tokio::time::sleep(Duration::from_millis(500)).await;
                    struck = None;
                }
                match struck {
                    Some(Trouble::CutBefore) => return,
                    Some(Trouble::Hang) => std::future::pending().await,
                    _ => if server.write_all(bytes).await.is_err() { return },
                }
                if struck == Some(Trouble::CutUnanswered) {
                    return;
                }
            }
            read = server.read(&mut down) => {
                let Ok(length @ 1..) = read else { return };
                round_trips.fetch_add(usize::from(asked), Ordering::Relaxed);
                asked = false;
                match struck {
                    Some(Trouble::CutAfter) => return,
                    Some(Trouble::SwallowAnswer) => {}
                    Some(Trouble::CutAnswerAt(left)) => {
                        let passed = left.min(length);
                        if client.write_all(&down[..passed]).await.is_err() || passed == left {
                            return;
                        }
                        struck = Some(Trouble::CutAnswerAt(left - passed));
                    }
                    _ => if client.write_all(&down[..length]).await.is_err() { return },
                }
            }
        }
    }
}
