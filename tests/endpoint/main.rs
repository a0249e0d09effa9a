//! The whole endpoint, over real sockets: one suite, run against every adapter
//! and every store. A backend is one line of `BACKENDS`; a case is one function,
//! named after its row of the hazards.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::pin::Pin;
use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

#[path = "../support/mod.rs"]
mod support;

mod cancellation;
mod clock_and_random;
mod corpora;
mod email;
mod faults;
mod http;
mod json;
mod name;
mod password;
mod races;
mod secrets;
mod transport;

use support::backend::Backend;
use support::stores;

const BACKENDS: [Backend; 4] = [
    Backend {
        name: "axum_memory",
        serve: serve_axum,
        open: || Box::pin(async { stores::memory() }),
        needs: None,
    },
    Backend {
        name: "axum_sqlite",
        serve: serve_axum,
        open: || Box::pin(stores::sqlite()),
        needs: None,
    },
    Backend {
        name: "axum_postgres",
        serve: serve_axum,
        open: || Box::pin(stores::postgres()),
        needs: Some("PostgreSQL"),
    },
    Backend {
        name: "axum_pgbouncer",
        serve: serve_axum,
        open: || Box::pin(stores::pgbouncer()),
        needs: Some("PgBouncer"),
    },
];

fn serve_axum(
    listener: tokio::net::TcpListener,
    endpoint: support::backend::Endpoint,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let router: axum::Router = signup::adapters::axum::router(endpoint);
    Box::pin(async move { axum::serve(listener, router).await.unwrap() })
}

type Case = (&'static str, fn(Backend) -> Pin<Box<dyn Future<Output = ()>>>);

/// `CASES`, the list of a file's cases. One that is missing from it is dead code.
macro_rules! cases {
    ($($name:ident),+ $(,)?) => {
        pub const CASES: &[crate::Case] =
            &[$((stringify!($name), |backend| Box::pin($name(backend)))),+];
    };
}
use cases;

fn main() -> ExitCode {
    let cases = [
        json::CASES,
        email::CASES,
        password::CASES,
        name::CASES,
        races::CASES,
        faults::CASES,
        cancellation::CASES,
        clock_and_random::CASES,
        secrets::CASES,
        http::CASES,
        transport::CASES,
        corpora::CASES,
    ];
    let mut trials = Vec::new();
    for backend in BACKENDS {
        for &(name, case) in cases.iter().copied().flatten() {
            let trial = Trial::test(format!("{}::{name}", backend.name), move || {
                let runtime = tokio::runtime::Builder::new_multi_thread();
                run(runtime, case(backend));
                Ok(())
            });
            // scripts/test.sh starts what it needs, and runs these too.
            trials.push(trial.with_ignored_flag(backend.needs.is_some()));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn run(mut runtime: tokio::runtime::Builder, case: Pin<Box<dyn Future<Output = ()>>>) {
    runtime.worker_threads(2).enable_all().build().unwrap().block_on(case);
}
