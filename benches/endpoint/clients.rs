//! Clients that sign up again and again, each on a connection of its own.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use signup::clock::{Clock as _, SystemClock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// Signs up for that long, each client at least once, and returns how long each sign-up took.
pub(super) async fn run(
    addr: SocketAddr,
    clients: usize,
    next: &Arc<AtomicU64>,
    during: Duration,
) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    for _ in 0..clients {
        let next = Arc::clone(next);
        tasks.spawn(async move {
            let stream = TcpStream::connect(addr).await.unwrap();
            stream.set_nodelay(true).unwrap();
            sign_ups(stream, &next, during).await
        });
    }
    tasks.join_all().await.concat()
}

async fn sign_ups(mut stream: TcpStream, next: &AtomicU64, during: Duration) -> Vec<Duration> {
    let (mut times, mut answer) = (Vec::new(), Vec::new());
    let end = SystemClock.monotonic() + during;
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let body = format!(
            r#"{{"email":"user{number}@example.com","password":"correct horse","name":"Jane"}}"#
        );
        let request = format!(
            "POST /auth/signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let start = SystemClock.monotonic();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_answer(&mut stream, &mut answer).await;
        assert!(answer.starts_with(b"HTTP/1.1 201"), "{}", String::from_utf8_lossy(&answer));
        let now = SystemClock.monotonic();
        times.push(now.saturating_sub(start));
        if now >= end {
            return times;
        }
    }
}

/// Reads a head and as much of a body as it announces.
async fn read_answer(stream: &mut TcpStream, answer: &mut Vec<u8>) {
    answer.clear();
    loop {
        assert!(stream.read_buf(answer).await.unwrap() > 0, "the server has closed");
        let Some(head) = answer.windows(4).position(|end| end == b"\r\n\r\n") else { continue };
        let text =
            String::from_utf8_lossy(answer.get(..head).unwrap_or_default()).to_ascii_lowercase();
        let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
        if answer.len() >= head + 4 + length.unwrap().trim().parse::<usize>().unwrap() {
            return;
        }
    }
}
