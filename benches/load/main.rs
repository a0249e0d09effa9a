//! Many sign-ups at once, in process: through the pool, and through what is
//! written by hand, `spawn_blocking` with and without a semaphore in front.
//!
//! `cargo bench --features simd --bench load` prints the table; with
//! `-- --svg docs/load.svg` it draws the picture too. Each row is a process of
//! its own, so that its peak of memory is its own.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use argon2::Argon2;
use signup::clock::{Clock, SystemClock};
use signup::fields::Password;
use signup::hash::{Argon2Engine, HashPool};
use signup::store::MemoryStore;
use signup::{SignupRequest, SignupService};
use tokio::runtime::Builder;
use tokio::sync::Semaphore;
use tokio::task::{JoinSet, spawn_blocking};

#[path = "../support/chart.rs"]
mod chart;

use chart::{Bar, Panel};

/// The duration of a row, after its first hashes.
const MEASURED: Duration = Duration::from_secs(6);
const CONCURRENT: [usize; 3] = [16, 64, 512];
const WAYS: [&str; 4] = ["pool", "pool, simd", "semaphore", "spawn_blocking"];

/// The measurements of one way at a number of concurrent sign-ups.
#[derive(Debug, Clone, Default)]
struct Row {
    way: String,
    concurrent: usize,
    per_second: f64,
    /// Of the processor time that the workers could have had.
    utilisation: f64,
    p50_ms: f64,
    p99_ms: f64,
    peak_mib: f64,
    lag_ms: f64,
    faults: f64,
}

impl Row {
    fn to_line(&self) -> String {
        let Self { way, concurrent, per_second, utilisation, p50_ms, p99_ms, .. } = self;
        let Self { peak_mib, lag_ms, faults, .. } = self;
        format!(
            "{way}\t{concurrent}\t{per_second}\t{utilisation}\t{p50_ms}\t{p99_ms}\t{peak_mib}\t{lag_ms}\t{faults}"
        )
    }

    fn from_line(line: &str) -> Option<Self> {
        let mut cells = line.split('\t');
        let (way, concurrent) = (cells.next()?.to_owned(), cells.next()?.parse().ok()?);
        let mut number = || cells.next()?.parse::<f64>().ok();
        Some(Self {
            way,
            concurrent,
            per_second: number()?,
            utilisation: number()?,
            p50_ms: number()?,
            p99_ms: number()?,
            peak_mib: number()?,
            lag_ms: number()?,
            faults: number()?,
        })
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    let value = |name: &str| {
        let at = arguments.iter().position(|argument| argument == name)?;
        arguments.get(at + 1).cloned()
    };
    if let Some(way) = value("--way") {
        let concurrent = value("--concurrent").unwrap().parse().unwrap();
        println!("{}", measure(&way, concurrent).to_line());
    } else if arguments.iter().any(|argument| argument == "--flood") {
        flood();
    } else if arguments.iter().any(|argument| argument == "--bench") {
        let rows = all_rows();
        let this = std::env::current_exe().unwrap();
        assert!(Command::new(this).arg("--flood").status().unwrap().success());
        if let Some(path) = value("--svg") {
            std::fs::write(path, draw(&rows)).unwrap();
        }
    }
}

fn all_rows() -> Vec<Row> {
    println!(
        "{:>16} {:>5} {:>9} {:>6} {:>9} {:>9} {:>7} {:>10} {:>10} {:>8}",
        "", "", "sign-ups", "of the", "p50", "p99", "p99", "peak", "worst", "faults"
    );
    println!(
        "{:>16} {:>5} {:>9} {:>6} {:>9} {:>9} {:>7} {:>10} {:>10} {:>8}",
        "way", "", "a second", "cores", "ms", "ms", "÷ p50", "MiB", "lag, ms", "a hash"
    );
    let mut rows = Vec::new();
    // The last way takes gigabytes, and the kernel is busy with them for a while
    // after it has ended.
    for way in WAYS {
        for concurrent in CONCURRENT {
            if way == "pool, simd" && !cfg!(feature = "simd") {
                continue;
            }
            let child = Command::new(std::env::current_exe().unwrap())
                .args(["--way", way, "--concurrent", &concurrent.to_string()])
                .output()
                .unwrap();
            let Some(row) = Row::from_line(String::from_utf8_lossy(&child.stdout).trim()) else {
                println!("{way:>16} {concurrent:>5}  ended without a result: {}", child.status);
                continue;
            };
            println!(
                "{way:>16} {concurrent:>5} {:>9.1} {:>6.2} {:>9.1} {:>9.1} {:>7.2} {:>10.1} {:>10.1} {:>8.1}",
                row.per_second,
                row.utilisation,
                row.p50_ms,
                row.p99_ms,
                row.p99_ms / row.p50_ms,
                row.peak_mib,
                row.lag_ms,
                row.faults,
            );
            rows.push(row);
        }
    }
    rows
}

/// Draws the picture of the README: what the ways cost at the most concurrent.
fn draw(rows: &[Row]) -> String {
    let most = rows.iter().map(|row| row.concurrent).max().unwrap_or_default();
    let panel = |title: &str, number: fn(&Row) -> f64| Panel {
        title: format!("{title}, at {most} concurrent sign-ups"),
        bars: rows
            .iter()
            .filter(|row| row.concurrent == most)
            .map(|row| Bar {
                name: row.way.clone(),
                value: number(row),
                is_ours: row.way.starts_with("pool"),
            })
            .collect(),
    };
    let description = format!("{most} concurrent sign-ups on two cores, by four ways to hash");
    chart::draw(
        &description,
        &[
            panel("sign-ups a second", |row| row.per_second),
            panel("peak memory over idle, MiB", |row| row.peak_mib),
            panel("99th percentile, ms", |row| row.p99_ms),
            panel("worst lag of a timer, ms", |row| row.lag_ms),
        ],
    )
}

/// A sign-up with a number, start to end.
#[derive(Clone)]
enum Way {
    Pool(SignupService<MemoryStore>),
    Blocking(Option<Arc<Semaphore>>),
}

impl Way {
    fn new(name: &str, cores: usize) -> Self {
        match name {
            "spawn_blocking" => Self::Blocking(None),
            "semaphore" => Self::Blocking(Some(Arc::new(Semaphore::new(cores)))),
            _ => {
                let pool = HashPool::builder().workers(cores).queue(512).deadline(Duration::MAX);
                let pool = match name {
                    #[cfg(feature = "simd")]
                    "pool, simd" => pool.engine(signup::hash::SimdEngine),
                    _ => pool.engine(Argon2Engine),
                };
                let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
                let service = service.hash_pool(Arc::new(pool.build().unwrap()));
                Self::Pool(service.build().unwrap())
            }
        }
    }

    async fn sign_up(self, number: u64) {
        match self {
            Self::Pool(service) => {
                let email = format!("user{number}@example.com");
                let request = SignupRequest::new(email, "correct horse");
                service.signup(request).await.unwrap();
            }
            Self::Blocking(semaphore) => {
                let permit = match semaphore {
                    Some(semaphore) => semaphore.acquire_owned().await.ok(),
                    None => None,
                };
                let hash = move || {
                    let password = Password::parse("correct horse").unwrap();
                    let (password, mut tag) = (password.reveal().as_bytes(), [0; 32]);
                    Argon2::default()
                        .hash_password_into(password, &number.to_le_bytes(), &mut tag)
                        .unwrap();
                    drop(permit);
                    tag
                };
                spawn_blocking(hash).await.unwrap();
            }
        }
    }
}

fn measure(name: &str, concurrent: usize) -> Row {
    let cores = std::thread::available_parallelism().unwrap().get();
    let runtime = Builder::new_multi_thread().worker_threads(cores).enable_all().build().unwrap();
    runtime.block_on(async {
        let way = Way::new(name, cores);
        let idle = status("VmRSS");
        let next = Arc::new(AtomicU64::new(0));
        // Everybody has signed up once before the measurement begins.
        clients(&way, concurrent, &next, Duration::ZERO).await;
        let lag = tokio::spawn(worst_lag(MEASURED));
        let (start, faults, cpu) = (SystemClock.monotonic(), stat(9), stat(13) + stat(14));
        let mut times = clients(&way, concurrent, &next, MEASURED).await;
        let wall = since(start).as_secs_f64();
        let (faults, cpu) = (stat(9) - faults, stat(13) + stat(14) - cpu);
        times.sort_unstable();
        let at = |share: usize| times.get(times.len() * share / 100).unwrap().as_secs_f64() * 1e3;
        let hashes = precise(u64::try_from(times.len()).unwrap());
        Row {
            way: name.to_owned(),
            concurrent,
            per_second: hashes / wall,
            // Linux counts processor time in hundredths of a second.
            utilisation: precise(cpu) / 100.0 / wall / precise(u64::try_from(cores).unwrap()),
            p50_ms: at(50),
            p99_ms: at(99),
            peak_mib: precise(status("VmHWM") - idle) / 1024.0,
            lag_ms: lag.await.unwrap().as_secs_f64() * 1e3,
            faults: precise(faults) / hashes,
        }
    })
}

/// Ten thousand sign-ups at once on a queue of 256: how long the surplus waits
/// for its refusal, from its first poll.
fn flood() {
    const CROWD: u64 = 10_000;
    let cores = std::thread::available_parallelism().unwrap().get();
    let runtime = Builder::new_multi_thread().worker_threads(cores).enable_all().build().unwrap();
    runtime.block_on(async {
        let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
        let service = service.build().unwrap();
        let idle = status("VmRSS");
        let mut tasks = JoinSet::new();
        for number in 0..CROWD {
            let service = service.clone();
            tasks.spawn(async move {
                let request = SignupRequest::new(format!("user{number}@x.co"), "correct horse");
                let first_poll = SystemClock.monotonic();
                (service.signup(request).await.is_ok(), since(first_poll))
            });
        }
        let results = tasks.join_all().await;
        let created = results.iter().filter(|(created, _)| *created).count();
        let refusals = results.iter().filter(|(created, _)| !created).map(|(_, took)| *took);
        let worst = refusals.max().unwrap_or_default();
        let peak = precise(status("VmHWM") - idle) / 1024.0;
        println!(
            "\n{CROWD} at once, queue of 256: {created} created, the others refused within \
             {:.2} ms, peak {peak:.1} MiB over idle",
            worst.as_secs_f64() * 1e3,
        );
    });
}

fn precise(number: u64) -> f64 {
    f64::from(u32::try_from(number).unwrap())
}

/// Runs clients that sign up repeatedly, at least once each.
async fn clients(
    way: &Way,
    concurrent: usize,
    next: &Arc<AtomicU64>,
    during: Duration,
) -> Vec<Duration> {
    let begin = SystemClock.monotonic();
    let mut tasks = JoinSet::new();
    for _ in 0..concurrent {
        let (way, next) = (way.clone(), Arc::clone(next));
        tasks.spawn(async move {
            let mut times = Vec::new();
            loop {
                let start = SystemClock.monotonic();
                way.clone().sign_up(next.fetch_add(1, Ordering::Relaxed)).await;
                times.push(since(start));
                if since(begin) >= during {
                    return times;
                }
            }
        });
    }
    tasks.join_all().await.into_iter().flatten().collect()
}

/// The time since a reading of the monotonic clock.
fn since(start: Duration) -> Duration {
    SystemClock.monotonic().saturating_sub(start)
}

/// Returns the worst delay of a timer of the same runtime.
async fn worst_lag(during: Duration) -> Duration {
    let begin = SystemClock.monotonic();
    let (tick, mut worst) = (Duration::from_millis(2), Duration::ZERO);
    while since(begin) < during {
        let start = SystemClock.monotonic();
        tokio::time::sleep(tick).await;
        worst = worst.max(since(start).saturating_sub(tick));
    }
    worst
}

/// A line of `/proc/self/status`, in KiB.
fn status(field: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// A field of `/proc/self/stat`, counted from 0: 9 are the minor faults, 13 and
/// 14 the processor time.
fn stat(field: usize) -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let after_name = stat.rsplit_once(')').unwrap().1;
    after_name.split_whitespace().nth(field - 2).unwrap().parse().unwrap()
}
