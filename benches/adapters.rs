//! The time that an adapter and its framework add to a request: the same refused request
//! through the layer without a framework, through axum and through actix-web, all without
//! sockets.
//!
//! `cargo bench --features actix,axum --bench adapters`. The frameworks' requests
//! are put together outside of what is measured.

#![expect(clippy::unwrap_used, reason = "a benchmark that can't be set up may panic")]

use std::hint::black_box;

use actix_web::App;
use actix_web::test::{TestRequest, call_service, init_service};
use axum::body::Body;
use axum::http::Request;
use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use signup::SignupService;
use signup::http::{Head, PATH, SignupEndpoint};
use signup::store::MemoryStore;
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt as _;

/// Refused for two fields.
const BODY: &str = r#"{"email":"dev@example","password":"short","name":"Jane Developer"}"#;
const HEADERS: [(&str, &str); 2] = [("content-type", "application/json"), ("content-length", "66")];

fn endpoint() -> SignupEndpoint<MemoryStore> {
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    service.build().unwrap().into()
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_time().build().unwrap()
}

fn refused(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("refused");

    let (runtime, endpoint) = (runtime(), endpoint());
    group.bench_function("neutral", |bencher| {
        bencher.iter(|| {
            let headers = HEADERS.map(|(name, value)| (name, value.as_bytes()));
            let reply = runtime.block_on(async {
                let ticket = endpoint.head(&Head::new("POST", headers)).await.unwrap();
                let mut body = ticket.body();
                body.push(BODY.as_bytes()).unwrap();
                endpoint.answer(ticket, body).await
            });
            assert_eq!(reply.status(), 400);
            reply
        });
    });

    let router: axum::Router = signup::adapters::axum::router(endpoint.clone());
    let request = || {
        let post = HEADERS
            .iter()
            .fold(Request::post(PATH), |post, (name, value)| post.header(*name, *value));
        (router.clone(), post.body(Body::from(BODY)).unwrap())
    };
    group.bench_function("axum", |bencher| {
        let answer = |(router, request): (axum::Router, Request<Body>)| {
            let response = runtime.block_on(router.oneshot(request)).unwrap();
            assert_eq!(response.status(), 400);
            response
        };
        bencher.iter_batched(request, answer, BatchSize::SmallInput);
    });

    // actix-web's services are made for its own runtime.
    let runtime = actix_web::rt::System::new();
    let configure = signup::adapters::actix::configure(endpoint);
    let app = runtime.block_on(init_service(App::new().configure(configure)));
    let request = || {
        let post = HEADERS
            .iter()
            .fold(TestRequest::post().uri(PATH), |post, header| post.insert_header(*header));
        post.set_payload(BODY).to_request()
    };
    group.bench_function("actix", |bencher| {
        let answer = |request| {
            let response = runtime.block_on(call_service(&app, request));
            assert_eq!(response.status(), 400);
            black_box(response)
        };
        bencher.iter_batched(request, answer, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, refused);
criterion_main!(benches);
