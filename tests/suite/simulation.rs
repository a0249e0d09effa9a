//! A simulated world: owners, strangers, an operator, jobs, clocks that jump and a host that
//! fails meet the whole service, and after each step the promises of the documentation are
//! checked against a plain model. What happens depends on a seed alone, which a failure
//! prints; this carries out the steps of one seed:
//!
//! ```text
//! SIGNUP_SIMULATION_SEED=17 cargo test --features full --test suite simulation::
//! ```
//!
//! | invariant | what must hold |
//! | --- | --- |
//! | I1 | few passwords of an account are judged for callers who do not know it |
//! | I2 | strangers do not keep the owner out |
//! | I3 | what a change ended is refused |
//! | I4 | no account is wiped by mistake |
//! | I5 | what a policy guards reveals nothing to a request that it refuses |
//! | I6 | what was promised is done |
//! | I7 | one failing part stops no other |
//! | I8 | each operation ends |
//! | I10 | a retry settles what failed |
//! | I11 | a setting that can't work is refused |
//! | I12 | each answer is a documented one |

use std::sync::Arc;
use std::time::Duration;

use signup::clock::{Clock as _, SystemClock};
use signup::store::{EventStore, MemoryStore};

use tokio::runtime::Handle;

use crate::support::rounds;
use crate::support::stores;

mod model;
mod run;
mod steps;
mod world;

use model::Promise;
use run::Run;
use steps::{Step, shrink, steps};
use world::{Mode, Plant, World};

/// The runs of a quick test, of which a full one takes as many as it can in 50 minutes.
const SEEDS: u64 = 20;
/// The steps of a run.
const STEPS: usize = 120;
/// The failed log-ins of a flood: four times what the throttle counts.
const FLOOD: u64 = 4 * world::CAPACITY as u64;

/// The promises that are known to be broken. A run that breaks one of them goes on.
const KNOWN: [Promise; 0] = [];

/// Carries steps out on a store, and returns the promises that were found broken.
fn run(
    seed: u64,
    steps: &[Step],
    plant: Option<Plant>,
    (store, elsewhere): (Arc<dyn EventStore>, Option<Handle>),
    flood: u64,
) -> Vec<(Promise, String)> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mode = [Mode::Neither, Mode::First, Mode::After][usize::try_from(seed % 3).unwrap()];
        Run::new(World::new(seed, store, elsewhere, plant), mode, flood).carry_out(steps).await
    })
}

fn run_in_memory(seed: u64, steps: &[Step], plant: Option<Plant>) -> Vec<(Promise, String)> {
    run(seed, steps, plant, (Arc::new(MemoryStore::default()), None), FLOOD)
}

/// Fails with the shortest run of a seed that breaks a promise.
fn fail(seed: u64, promise: Promise, what: &str) -> ! {
    let breaks = |steps: &[Step]| {
        run_in_memory(seed, steps, None).iter().any(|(broken, _)| *broken == promise)
    };
    let shortest = shrink(steps(seed, STEPS), breaks);
    panic!("seed {seed} breaks {promise:?}: {what}\n{} steps: {shortest:#?}", shortest.len());
}

/// Checks the runs of seeds.
fn check(seeds: impl Iterator<Item = u64>) {
    for seed in seeds {
        let broken = run_in_memory(seed, &steps(seed, STEPS), None);
        if let Some((promise, what)) = broken.iter().find(|(it, _)| !KNOWN.contains(it)) {
            fail(seed, *promise, what);
        }
    }
}

#[test]
fn no_promise_is_broken_in_a_simulated_world() {
    if let Ok(seed) = std::env::var("SIGNUP_SIMULATION_SEED") {
        return check(std::iter::once(seed.parse().unwrap()));
    }
    let begun = SystemClock.monotonic();
    let is_full = rounds(0, 1) == 1;
    let goes_on = |seed: &u64| {
        let took = SystemClock.monotonic().saturating_sub(begun);
        *seed < SEEDS || (is_full && took < Duration::from_mins(50))
    };
    check((0..).take_while(goes_on));
}

/// The same steps one after the other: the threads of the store do not know the paused time.
#[test]
fn no_promise_is_broken_on_sqlite() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(1).enable_all().build().unwrap();
    let run = |seed: u64, steps: &[Step]| {
        let store: Arc<dyn EventStore> = runtime.block_on(stores::sqlite());
        run(seed, steps, None, (store, Some(runtime.handle().clone())), FLOOD / 16)
    };
    for seed in 0..u64::try_from(rounds(3, 60)).unwrap() {
        let mut steps = steps(seed, rounds(STEPS / 3, STEPS));
        for step in &mut steps {
            step.meets = None;
        }
        if let Some((promise, what)) = run(seed, &steps).first() {
            let breaks = |steps: &[Step]| run(seed, steps).iter().any(|(it, _)| it == promise);
            let shortest = shrink(steps, breaks);
            panic!(
                "seed {seed} breaks {promise:?}: {what}\n{} steps: {shortest:#?}",
                shortest.len()
            );
        }
    }
}

#[test]
fn each_planted_fault_is_found() {
    for (plant, promise) in [
        (Plant::NoThrottle, Promise::FewGuessesAtLogIn),
        (Plant::NoTrustedDevice, Promise::OwnerLogsIn),
        (Plant::StaleTokens, Promise::EndedIsEnded),
        (Plant::WipesOnChange, Promise::NothingWiped),
        (Plant::OracleBeforeGuard, Promise::GuardComesFirst),
        (Plant::ForgetsDeletions, Promise::DeletionIsDone),
        (Plant::StopsAtFailure, Promise::FailureStopsNoOther),
        (Plant::WaitsForever, Promise::EveryWaitEnds),
        (Plant::ForgetsRetries, Promise::RetrySettles),
        (Plant::TakesAnySetting, Promise::BadSettingIsRefused),
        (Plant::OddAnswer, Promise::AnswerIsDocumented),
    ] {
        let finds = |seed| {
            let broken = run_in_memory(seed, &steps(seed, STEPS), Some(plant));
            broken.iter().any(|(it, _)| *it == promise)
        };
        let found = (0..200).find(|seed| finds(*seed));
        println!("{plant:?} is found by seed {found:?}");
        assert!(found.is_some(), "no run finds {plant:?}");
    }
}
