//! The cost of a hash: each named work factor, by each engine, with fresh memory
//! through the bare crate and with the arena of a worker.
//!
//! `cargo bench --features simd --bench hashing`. The ratios that matter are
//! printed first, each measured in turn in the same run.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::time::Duration;

use argon2::{Algorithm, Argon2, Params, Version};
use cpu_time::ThreadTime;
use criterion::{Criterion, SamplingMode, criterion_group};
use signup::hash::{Argon2Engine, Engine, EngineHasher, HashInput, WorkFactor};

const PASSWORD: &[u8] = b"correct horse";
const SALT: &[u8] = b"0123456789abcdef";

/// A way to hash, by its name.
type Way = (&'static str, Box<dyn FnMut()>);

/// The bare crate as its documentation shows it: memory taken and given back.
fn fresh(factor: WorkFactor) -> Box<dyn FnMut()> {
    let (m, t, p) = (factor.memory_kib(), factor.passes(), factor.lanes());
    let params = Params::new(m, t, p, Some(32)).unwrap();
    let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    Box::new(move || argon2.hash_password_into(PASSWORD, SALT, &mut [0; 32]).unwrap())
}

fn pooled(engine: &dyn Engine, factor: WorkFactor) -> Box<dyn FnMut()> {
    let mut hasher: Box<dyn EngineHasher> = engine.hasher();
    Box::new(move || {
        hasher.hash(&HashInput::new(PASSWORD, SALT, factor), &mut [0; 32]).unwrap();
    })
}

fn ways(factor: WorkFactor) -> Vec<Way> {
    vec![
        ("argon2, fresh memory", fresh(factor)),
        ("argon2, pooled", pooled(&Argon2Engine, factor)),
        #[cfg(feature = "simd")]
        ("argon2-rust, pooled", pooled(&signup::hash::SimdEngine, factor)),
    ]
}

fn hashing(criterion: &mut Criterion) {
    for (name, factor) in WorkFactor::NAMED {
        let mut group = criterion.benchmark_group(format!("{name} ({factor})"));
        group.sample_size(10).sampling_mode(SamplingMode::Flat);
        for (way, mut hash) in ways(factor) {
            group.bench_function(way, |bencher| bencher.iter(&mut hash));
        }
        group.finish();
    }
}

/// Processor time of each way in turn, round by round, as ratios to the first.
fn ratios(factor: WorkFactor, rounds: usize) {
    let mut ways = ways(factor);
    let mut times = vec![Vec::with_capacity(rounds); ways.len()];
    for round in 0..=rounds {
        for ((_, hash), times) in ways.iter_mut().zip(&mut times) {
            let start = ThreadTime::now();
            hash();
            if round > 0 {
                times.push(start.elapsed());
            }
        }
    }
    println!("\n{factor}, median of {rounds} rounds in turn:");
    let medians: Vec<Duration> = times.iter_mut().map(|times| median(times)).collect();
    let first = medians.first().copied().unwrap_or_default();
    for ((way, _), median) in ways.iter().zip(medians) {
        let ratio = median.as_secs_f64() / first.as_secs_f64();
        println!("  {way:<22} {:>7.2} ms  {ratio:.2}", median.as_secs_f64() * 1e3);
    }
}

fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

criterion_group!(benches, hashing);

fn main() {
    if std::env::args().any(|argument| argument == "--bench") {
        ratios(WorkFactor::OWASP_19_MIB, 60);
        ratios(WorkFactor::new(65_536, 3, 1).unwrap(), 20);
    }
    benches();
    Criterion::default().configure_from_args().final_summary();
}
