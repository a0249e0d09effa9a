//! Measures this machine and recommends a work factor.
//!
//! ```text
//! cargo run --release -p signup-examples --example calibrate -- --target-ms 100
//! cargo run --release -p signup-examples --example calibrate --features simd -- --json
//! ```

use std::io::{IsTerminal as _, Write as _, stderr};
use std::process::ExitCode;
use std::time::Duration;

use signup::clock::{Clock, SystemClock};
#[cfg(not(feature = "simd"))]
use signup::hash::Argon2Engine;
use signup::hash::{Engine, HashInput, WorkFactor};

/// The default time per hash: what users of a sign-up form tolerate.
const TARGET_MS: f64 = 100.0;
/// The time to measure each factor, and three hashes at least.
const PATIENCE: Duration = Duration::from_millis(700);
const WIDTH: usize = 24;

struct Measured {
    name: &'static str,
    factor: WorkFactor,
    ms: f64,
    workers: usize,
}

impl Measured {
    /// Hashes per second of all workers together.
    fn per_second(&self) -> f64 {
        f64::from(u32::try_from(self.workers).unwrap_or(u32::MAX)) * 1000.0 / self.ms
    }

    /// Memory of all workers together, in MiB.
    fn memory_mib(&self) -> u64 {
        let workers = u64::try_from(self.workers).unwrap_or(u64::MAX);
        u64::from(self.factor.memory_kib()) * workers / 1024
    }

    /// The cost to an attacker: memory × passes.
    fn strength(&self) -> u64 {
        u64::from(self.factor.memory_kib()) * u64::from(self.factor.passes())
    }
}

struct Options {
    target_ms: f64,
    json: bool,
}

fn main() -> ExitCode {
    let options = match options(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(complaint) => {
            eprintln!("error: {complaint}\nusage: calibrate [--target-ms N] [--json]");
            return ExitCode::FAILURE;
        }
    };
    let engine = engine();
    let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let mut rows = Vec::new();
    for (done, (name, factor)) in candidates().into_iter().enumerate() {
        progress(done, candidates().len(), name);
        match measure(&*engine, factor, workers) {
            Some(ms) => rows.push(Measured { name, factor, ms, workers }),
            None => eprintln!("\r{name}: this machine does not have the memory for it"),
        }
    }
    progress(candidates().len(), candidates().len(), "done");
    let within = rows.iter().filter(|row| row.ms <= options.target_ms);
    let best = within.max_by_key(|row| row.strength());
    if options.json {
        print_json(&rows, best, &*engine, &options);
    } else {
        print_table(&rows, best, &*engine, &options);
    }
    ExitCode::SUCCESS
}

fn options(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
    let mut options = Options { target_ms: TARGET_MS, json: false };
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => options.json = true,
            "--target-ms" => {
                let value = arguments.next().unwrap_or_default();
                let number = value.parse().ok().filter(|ms: &f64| ms.is_finite() && *ms > 0.0);
                options.target_ms =
                    number.ok_or(format!("--target-ms takes milliseconds, not `{value}`"))?;
            }
            other => return Err(format!("`{other}` is no option")),
        }
    }
    Ok(options)
}

fn engine() -> Box<dyn Engine> {
    #[cfg(feature = "simd")]
    return Box::new(signup::hash::SimdEngine);
    #[cfg(not(feature = "simd"))]
    return Box::new(Argon2Engine);
}

/// The named factors, and stronger ones between those of OWASP and the RFC.
fn candidates() -> Vec<(&'static str, WorkFactor)> {
    let more = [
        ("46 MiB, 2 passes", 47_104, 2),
        ("64 MiB, 3 passes", 65_536, 3),
        ("128 MiB, 3 passes", 131_072, 3),
    ];
    let more =
        more.into_iter().filter_map(|(name, m, t)| Some((name, WorkFactor::new(m, t, 1).ok()?)));
    let mut all: Vec<_> = WorkFactor::NAMED.into_iter().chain(more).collect();
    all.sort_by_key(|(_, factor)| u64::from(factor.memory_kib()) * u64::from(factor.passes()));
    all
}

/// Returns the median time of a hash with all workers busy, in ms, or `None` if the memory
/// can't be allocated.
fn measure(engine: &dyn Engine, factor: WorkFactor, workers: usize) -> Option<f64> {
    let mut times = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..workers)
            .map(|_| {
                let mut hasher = engine.hasher();
                scope.spawn(move || {
                    let input = HashInput::new(b"correct horse", b"0123456789abcdef", factor);
                    let mut tag = [0; 32];
                    // The first hash allocates the memory and does not count.
                    hasher.hash(&input, &mut tag).ok()?;
                    let (begin, mut times) = (SystemClock.monotonic(), Vec::new());
                    while times.len() < 3 || since(begin) < PATIENCE {
                        let start = SystemClock.monotonic();
                        hasher.hash(&input, &mut tag).ok()?;
                        times.push(since(start));
                    }
                    Some(times)
                })
            })
            .collect();
        let times = threads.into_iter().map(|thread| thread.join().ok().flatten());
        times.collect::<Option<Vec<_>>>()
    })?
    .concat();
    times.sort_unstable();
    times.get(times.len() / 2).map(|median| median.as_secs_f64() * 1e3)
}

fn since(start: Duration) -> Duration {
    SystemClock.monotonic().saturating_sub(start)
}

fn progress(done: usize, all: usize, name: &str) {
    if stderr().is_terminal() {
        let filled = WIDTH * done / all;
        let (bar, rest) = ("█".repeat(filled), "░".repeat(WIDTH - filled));
        eprint!("\r{bar}{rest} {name:<20}");
        if done == all {
            eprint!("\r\x1b[K");
        }
        let _ = stderr().flush();
    }
}

fn print_table(rows: &[Measured], best: Option<&Measured>, engine: &dyn Engine, options: &Options) {
    let workers = rows.first().map_or(0, |row| row.workers);
    println!("Argon2id by {}, {workers} workers at once\n", engine.name());
    println!(
        "{:<18} {:>8} {:>2} {:>2} {:>10} {:>10} {:>9}",
        "", "m, KiB", "t", "p", "ms a hash", "a second", "MiB"
    );
    let slowest = rows.iter().map(|row| row.ms).fold(f64::MIN_POSITIVE, f64::max);
    for row in rows {
        // Times span three decades, so the bar is of their logarithm.
        let share = (1.0 + row.ms).ln() / (1.0 + slowest).ln();
        let bar: String =
            (1..=24).filter(|step| share * 24.0 >= f64::from(*step)).map(|_| '█').collect();
        let mark = if best.is_some_and(|best| std::ptr::eq(best, row)) { "◀" } else { "" };
        println!(
            "{:<18} {:>8} {:>2} {:>2} {:>10.1} {:>10.1} {:>9} {bar}{mark}",
            row.name,
            row.factor.memory_kib(),
            row.factor.passes(),
            row.factor.lanes(),
            row.ms,
            row.per_second(),
            row.memory_mib(),
        );
    }
    match best {
        Some(best) => println!(
            "\nThe strongest within {} ms: WorkFactor::new({}, {}, {})",
            options.target_ms,
            best.factor.memory_kib(),
            best.factor.passes(),
            best.factor.lanes(),
        ),
        None => println!("\nNone is within {} ms: take the default.", options.target_ms),
    }
}

fn print_json(rows: &[Measured], best: Option<&Measured>, engine: &dyn Engine, options: &Options) {
    let json = |row: &Measured| {
        serde_json::json!({
            "name": row.name,
            "memory_kib": row.factor.memory_kib(),
            "passes": row.factor.passes(),
            "lanes": row.factor.lanes(),
            "ms_a_hash": row.ms,
            "hashes_a_second": row.per_second(),
            "memory_mib": row.memory_mib(),
        })
    };
    let document = serde_json::json!({
        "engine": engine.name(),
        "workers": rows.first().map(|row| row.workers),
        "target_ms": options.target_ms,
        "measured": rows.iter().map(json).collect::<Vec<_>>(),
        "recommended": best.map(json),
    });
    println!("{document:#}");
}
