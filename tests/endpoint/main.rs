//! The whole endpoint, over real sockets: one suite, run against every adapter
//! and every store. An adapter or a store is one line of `backends`; a case is one function,
//! with the numbers of its hazards beside its name in its file's list.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use libtest_mimic::{Arguments, Trial};

#[path = "../support/mod.rs"]
mod support;

mod accounts;
mod cancellation;
mod clock_and_random;
mod corpora;
mod credentials;
mod email;
mod events;
mod faults;
mod http;
mod identical;
mod json;
mod limits;
mod lost_answers;
mod name;
mod password;
mod policies;
mod proving;
mod races;
mod retries;
mod secrets;
mod transport;
mod verification;
mod verified_after;

use support::backend::{Backend, Mode, Open, Serve};
use support::{rounds, stores};

/// The endpoint on plain hyper, by hand.
#[path = "../../examples/hyper.rs"]
#[allow(dead_code, reason = "of the example, it is the route that is served here")]
mod hyper_example;

/// Every adapter on every store, and what has no adapter on the one in memory.
fn backends() -> Vec<Backend> {
    let adapters: [(&str, Serve); 2] = [("axum", serve_axum), ("actix", serve_actix)];
    let stores: [(&str, Open, Option<&str>); 5] = [
        ("memory", || Box::pin(async { stores::memory() }), None),
        ("sqlite", || Box::pin(stores::sqlite()), None),
        ("postgres", || Box::pin(stores::postgres()), Some("PostgreSQL")),
        ("mariadb", || Box::pin(stores::mariadb()), Some("MariaDB")),
        ("pgbouncer", || Box::pin(stores::pgbouncer()), Some("PgBouncer")),
    ];
    let mut backends = vec![Backend {
        name: "hyper_memory",
        adapter: "hyper",
        serve: serve_hyper,
        open: stores[0].1,
        needs: None,
        mode: None,
        recording: None,
    }];
    // The other modes, where nothing depends on the adapter or the store.
    for (name, mode) in [("proven_first", Mode::First), ("proven_after", Mode::After)] {
        let (serve, mode) = (serve_axum as Serve, Some(mode));
        backends.push(Backend { name, adapter: "axum", serve, mode, ..backends[0] });
    }
    // A table of the host's, where nothing depends on the adapter.
    let mapped: [(&str, Open, Option<&str>); 3] = [
        ("mapped_sqlite", || Box::pin(stores::mapped_sqlite()), None),
        ("mapped_postgres", || Box::pin(stores::mapped_postgres()), Some("PostgreSQL")),
        ("mapped_mariadb", || Box::pin(stores::mapped_mariadb()), Some("MariaDB")),
    ];
    for (name, open, needs) in mapped {
        backends.push(Backend {
            name,
            adapter: "axum",
            serve: serve_axum,
            open,
            needs,
            ..backends[0]
        });
    }
    for (adapter, serve) in adapters {
        // An adapter knows of no store: one on all of them is enough.
        let stores = if adapter == "axum" { &stores[..] } else { &stores[..3] };
        for &(store, open, needs) in stores {
            let name = format!("{adapter}_{store}");
            backends.push(Backend {
                name: name.leak(),
                adapter,
                serve,
                open,
                needs,
                mode: None,
                recording: None,
            });
        }
    }
    backends
}

fn serve_axum(
    listener: tokio::net::TcpListener,
    endpoint: support::backend::Endpoint,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let router: axum::Router = signup::adapters::axum::router(endpoint);
    let app = router.into_make_service_with_connect_info::<std::net::SocketAddr>();
    Box::pin(async move { axum::serve(listener, app).await.unwrap() })
}

fn serve_actix(
    listener: tokio::net::TcpListener,
    endpoint: support::backend::Endpoint,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    let listener = listener.into_std().unwrap();
    let (started, handle) = std::sync::mpsc::channel();
    // actix-web has a runtime of its own.
    std::thread::spawn(move || {
        let app = move || {
            let endpoint = signup::adapters::actix::configure(endpoint.clone());
            actix_web::App::new().configure(endpoint)
        };
        let server = actix_web::HttpServer::new(app).workers(1).disable_signals();
        let server = server.listen(listener).unwrap().run();
        started.send(server.handle()).unwrap();
        actix_web::rt::System::new().block_on(server).unwrap();
    });
    let server = StopOnDrop(handle.recv().unwrap());
    Box::pin(async move {
        let _server = server;
        std::future::pending::<()>().await;
    })
}

/// A server of actix-web that stops with its test, and gives its connections back.
struct StopOnDrop(actix_web::dev::ServerHandle);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        // The command is sent by the call; what is not awaited is its completion.
        drop(self.0.stop(false));
    }
}

fn serve_hyper(
    listener: tokio::net::TcpListener,
    endpoint: support::backend::Endpoint,
) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(hyper_example::serve(listener, std::future::pending(), move |peer| {
        let endpoint = endpoint.clone();
        let route = move |request| hyper_example::route(endpoint.clone(), peer, request);
        hyper::service::service_fn(route)
    }))
}

/// A case of the suite, to run against a backend.
#[derive(Clone, Copy)]
struct Case {
    /// File and function.
    name: &'static str,
    /// The rows of `tests/HAZARDS.md` that it covers.
    hazards: &'static [&'static str],
    run: fn(Backend) -> Pin<Box<dyn Future<Output = ()>>>,
}

/// `CASES`, the list of a file's cases, each with its hazards. One that is missing
/// from it is dead code.
macro_rules! cases {
    ($($([$($hazard:ident),+])? $name:ident),+ $(,)?) => {
        pub const CASES: &[crate::Case] = &[$(crate::Case {
            name: concat!(module_path!(), "::", stringify!($name)),
            hazards: &[$($(stringify!($hazard)),+)?],
            run: |backend| Box::pin($name(backend)),
        }),+];
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
        retries::CASES,
        lost_answers::CASES,
        faults::CASES,
        cancellation::CASES,
        clock_and_random::CASES,
        secrets::CASES,
        credentials::CASES,
        limits::CASES,
        policies::CASES,
        http::CASES,
        transport::CASES,
        corpora::CASES,
    ];
    let answers_alike = || {
        let in_memory = backends().into_iter().filter(|backend| backend.name.ends_with("_memory"));
        // Hazards 1 to 4 and 15, and the corpora.
        let files =
            &[json::CASES, email::CASES, password::CASES, name::CASES, http::CASES, corpora::CASES];
        let alike = identical::every_adapter_gives_the_same_answers(in_memory.collect(), files);
        run(tokio::runtime::Builder::new_multi_thread(), Box::pin(alike));
        Ok(())
    };
    // It takes as long as many others, so it begins first.
    let mut trials = vec![Trial::test("every_adapter_gives_the_same_answers", answers_alike)];
    // These say themselves when addresses are proven.
    let of_proofs = [verification::CASES, verified_after::CASES, accounts::CASES, events::CASES];
    // A sign-up that is proven first is no other one, but it is completed by a second
    // request, which these cases leave to the harness.
    let of_first = [json::CASES, email::CASES, password::CASES, name::CASES, corpora::CASES];
    // These depend on the adapter alone: only a full run repeats them on each database.
    let of_adapter = ["json::", "password::", "http::", "transport::", "limits::", "corpora::"];
    let is_full = rounds(0, 1) == 1;
    for backend in backends() {
        let cases = match backend.mode {
            None => cases.iter().chain(&of_proofs).copied().collect::<Vec<_>>(),
            Some(Mode::First) => of_first.to_vec(),
            Some(Mode::After) => cases.to_vec(),
        };
        for &case in cases.into_iter().flatten() {
            let name = case.name.trim_start_matches("endpoint::");
            // These call the service itself, and a thousand hashes take half a minute.
            let is_of_engine = name.ends_with("with_the_real_engine");
            let is_of_store = name.ends_with("one_email_has_one_winner");
            if is_of_engine && backend.name != "axum_memory" {
                continue;
            }
            if is_of_store && backend.adapter != "axum" {
                continue;
            }
            let is_of_adapter = of_adapter.iter().any(|file| name.starts_with(file));
            let is_in_memory = backend.mode.is_some() || backend.name.ends_with("_memory");
            if is_of_adapter && !is_in_memory && !is_full {
                continue;
            }
            let trial = Trial::test(format!("{}::{name}", backend.name), move || {
                let runtime = tokio::runtime::Builder::new_multi_thread();
                run(runtime, (case.run)(backend));
                Ok(())
            });
            let trial = trial.with_kind(case.hazards.join(" "));
            // scripts/test.sh starts what it needs, and runs these too.
            trials.push(trial.with_ignored_flag(backend.needs.is_some()));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

/// The time after which a case hangs.
const DEADLINE: Duration = Duration::from_mins(5);

fn run(mut runtime: tokio::runtime::Builder, case: Pin<Box<dyn Future<Output = ()>>>) {
    let runtime = runtime.worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async { tokio::time::timeout(DEADLINE, case).await.expect("it hangs") });
}
