//! The cost and the benefit of a rate limit: a decision in memory, the memory
//! of ten million clients, and a valid sign-up under a flood of refused requests.
//!
//! `cargo bench --features axum --bench limits`. The flood comes over real sockets of
//! the loopback, from a process of its own, 20,000 requests a second or as many as
//! the machine makes.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]
#![expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![expect(clippy::cast_precision_loss, reason = "the figures are for a person")]

use std::hint::black_box;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, TcpStream};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::serve::ListenerExt as _;
use criterion::{Criterion, criterion_group};
use signup::SignupService;
use signup::fields::{EmailKey, EmailProfile};
use signup::http::{SignupEndpoint, TrustedProxies};
use signup::limit::{ClientIp, Limiter, RateLimits};
use signup::store::MemoryStore;
use tokio::runtime::{Builder, Runtime};

const FLOOD_PER_SECOND: u64 = 20_000;
const SIGN_UPS: usize = 300;

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

fn limits() -> RateLimits {
    RateLimits::per_client("4000000000/d".parse().unwrap())
}

fn client(number: u64) -> ClientIp {
    IpAddr::from(Ipv6Addr::from_bits(u128::from(number) << 64)).into()
}

fn decisions(criterion: &mut Criterion) {
    let runtime = runtime();
    let mut group = criterion.benchmark_group("decision in memory");
    let limiter = Limiter::new(limits()).unwrap();
    group.bench_function("at the head, one client", |bencher| {
        bencher.iter(|| runtime.block_on(limiter.check_request(black_box(client(1)))).unwrap());
    });
    let mut number = 0;
    group.bench_function("at the head, another client each time", |bencher| {
        bencher.iter(|| {
            number += 1;
            runtime.block_on(limiter.check_request(black_box(client(number)))).unwrap();
        });
    });
    let key = EmailKey::parse("dev@example.com", EmailProfile::Strict).unwrap();
    group.bench_function("of a sign-up, by client", |bencher| {
        bencher.iter(|| runtime.block_on(limiter.check_signup(Some(client(1)), &key)).unwrap());
    });
    let one = Limiter::new(RateLimits::per_client("1/d".parse().unwrap())).unwrap();
    runtime.block_on(one.check_signup(Some(client(1)), &key)).unwrap();
    group.bench_function("refused at the head", |bencher| {
        bencher.iter(|| runtime.block_on(one.check_request(black_box(client(1)))).unwrap_err());
    });
}

/// Resident memory, in KiB.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn memory(_: &mut Criterion) {
    let runtime = runtime();
    let before = resident();
    let limiter = Limiter::new(RateLimits::per_client("5/min".parse().unwrap())).unwrap();
    for number in 0..10_000_000 {
        runtime.block_on(limiter.check_request(client(number))).unwrap();
    }
    let grown = resident().saturating_sub(before);
    println!("memory: 10,000,000 clients take {:.1} MiB", grown as f64 / 1024.0);
}

/// A request of a client's, by the word of a proxy.
fn request(client: &str, email: &str) -> Vec<u8> {
    let body = format!(r#"{{"email":"{email}","password":"correct horse"}}"#);
    let length = body.len();
    format!(
        "POST /auth/signup HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
         X-Forwarded-For: {client}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Serves on threads of its own, until the process ends.
fn serve() -> SocketAddr {
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let limits = RateLimits::per_client("5/h".parse().unwrap());
            let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
            let service = service.rate_limits(limits).build().unwrap();
            let endpoint = SignupEndpoint::new(service).trusted_proxies(TrustedProxies::hops(1));
            let app: axum::Router = signup::adapters::axum::router(endpoint);
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            tell.send(listener.local_addr().unwrap()).unwrap();
            let listener = listener.tap_io(|stream| stream.set_nodelay(true).unwrap());
            axum::serve(listener, app).await.unwrap();
        });
    });
    told.recv().unwrap()
}

/// The status of the next answer.
fn answer(stream: &mut TcpStream, buffer: &mut [u8]) -> u16 {
    let mut filled = 0;
    loop {
        filled += stream.read(buffer.get_mut(filled..).unwrap()).unwrap();
        let text = String::from_utf8_lossy(buffer.get(..filled).unwrap());
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.to_lowercase();
            let length = length.split("content-length: ").nth(1).unwrap();
            let length: usize = length.lines().next().unwrap().parse().unwrap();
            if body.len() >= length {
                return head.split(' ').nth(1).unwrap().parse().unwrap();
            }
        }
    }
}

/// Valid sign-ups, one after the other, each of a client of its own: the median and
/// the 99th of 100, in milliseconds.
fn sign_ups(addr: SocketAddr, name: &str) -> (f64, f64) {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut buffer = vec![0; 8192];
    let mut times = Vec::new();
    for number in 0..SIGN_UPS {
        let client = format!("198.51.{}.{}", number / 250, number % 250);
        let began = Instant::now();
        stream.write_all(&request(&client, &format!("{name}{number}@x.co"))).unwrap();
        assert_eq!(answer(&mut stream, &mut buffer), 201);
        times.push(began.elapsed().as_secs_f64() * 1000.0);
    }
    times.sort_by(f64::total_cmp);
    let at = |percent: usize| times.get(SIGN_UPS * percent / 100).copied().unwrap();
    (at(50), at(99))
}

static STOP: AtomicBool = AtomicBool::new(false);
static ANSWERED: AtomicU64 = AtomicU64::new(0);

/// The flood, in a process of its own: refused requests on eight connections, 16 at a
/// time on each, in step with the clock; it ends with its standard input.
fn flood(addr: SocketAddr) {
    let began = Instant::now();
    let threads: Vec<_> =
        (0..8).map(|_| std::thread::spawn(move || flood_connection(addr, began))).collect();
    let _ = std::io::stdin().read_to_end(&mut Vec::new());
    STOP.store(true, Ordering::Relaxed);
    for thread in threads {
        let _ = thread.join();
    }
    let rate = ANSWERED.load(Ordering::Relaxed) as f64 / began.elapsed().as_secs_f64();
    println!("flood: {rate:.0} refused requests a second");
}

fn flood_connection(addr: SocketAddr, began: Instant) {
    const AT_ONCE: usize = 16;
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_nodelay(true).unwrap();
    let batch = request("203.0.113.66", "flood@x.co").repeat(AT_ONCE);
    let mut buffer = vec![0; 64 * 1024];
    while !STOP.load(Ordering::Relaxed) {
        let due = began.elapsed().as_secs_f64() * FLOOD_PER_SECOND as f64;
        if ANSWERED.load(Ordering::Relaxed) as f64 > due {
            std::thread::sleep(Duration::from_millis(1));
            continue;
        }
        stream.write_all(&batch).unwrap();
        let mut answers = 0;
        let mut rest: Vec<u8> = Vec::new();
        while answers < AT_ONCE {
            let read = stream.read(&mut buffer).unwrap();
            rest.extend_from_slice(buffer.get(..read).unwrap());
            answers = rest.windows(9).filter(|window| window.starts_with(b"HTTP/1.1 ")).count();
        }
        ANSWERED.fetch_add(AT_ONCE as u64, Ordering::Relaxed);
    }
}

fn under_flood(_: &mut Criterion) {
    let addr = serve();
    // The quota of the flood's client is used up first, and the workers are warm.
    let mut stream = TcpStream::connect(addr).unwrap();
    let mut buffer = vec![0; 8192];
    let bad = request("203.0.113.66", "no address");
    while {
        stream.write_all(&bad).unwrap();
        answer(&mut stream, &mut buffer) != 429
    } {}
    sign_ups(addr, "warm");
    let (median, p99) = sign_ups(addr, "calm");
    let mut child: Child = Command::new(std::env::current_exe().unwrap())
        .arg("flood")
        .arg(addr.to_string())
        .stdin(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(1));
    let (flooded_median, flooded_p99) = sign_ups(addr, "flooded");
    drop(child.stdin.take());
    child.wait().unwrap();
    println!(
        "sign-up: median {median:.1} ms, p99 {p99:.1} ms; under the flood {flooded_median:.1} ms \
         and {flooded_p99:.1} ms, p99 {:.2} times",
        flooded_p99 / p99
    );
}

criterion_group!(benches, memory, decisions, under_flood);

fn main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some("flood") {
        return flood(arguments.next().unwrap().parse().unwrap());
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
