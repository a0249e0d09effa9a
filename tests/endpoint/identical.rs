//! One corpus of requests against every adapter: the same status, the same body,
//! the same headers, octet for octet. The corpus is what the cases of the suite
//! send, as they send it, and requests of chance.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use signup::random::SeededRandom;

use crate::support::backend::{Backend, Options};
use crate::support::client::{Client, JSON, Recording, Response, request, signup};

/// The documented headers, and the length of the body.
const HEADERS: [&str; 6] = [
    "content-type",
    "cache-control",
    "x-content-type-options",
    "allow",
    "retry-after",
    "content-length",
];

/// Every adapter on a new and empty store, with the same chance and the same time.
struct Servers(Vec<(&'static str, Client)>);

impl Servers {
    async fn start(backends: &[Backend]) -> Self {
        let mut servers = Vec::new();
        for backend in backends {
            let random = Arc::new(SeededRandom::new(7));
            let app = backend.with(Options { random, ..Options::default() }).await;
            servers.push((backend.adapter, app.client));
        }
        Self(servers)
    }

    /// The answer that all of them give.
    async fn answer(&mut self, request: &[u8]) -> Response {
        let mut first: Option<(&str, Response)> = None;
        for (adapter, client) in &mut self.0 {
            let response = client.send(request, request.starts_with(b"HEAD ")).await;
            if let Some((other, expected)) = &first {
                let sent = String::from_utf8_lossy(request);
                // The length in the answer to a HEAD is the server's own affair.
                let length = !request.starts_with(b"HEAD ");
                let (left, right) = (seen(&response, length), seen(expected, length));
                assert_eq!(left, right, "{adapter} and {other}: {sent}");
            } else {
                first = Some((adapter, response));
            }
        }
        first.expect("there is an adapter").1
    }
}

fn seen(response: &Response, length: bool) -> (u16, Vec<Option<&str>>, &[u8]) {
    let headers = HEADERS.iter().filter(|name| length || **name != "content-length");
    (response.status, headers.map(|name| response.header(name)).collect(), &response.body)
}

/// Heads that are nearly right, each with a body that is good.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let method = prop_oneof![
        6 => Just("POST".to_owned()),
        1 => prop_oneof![Just("GET"), Just("HEAD"), Just("OPTIONS"), Just("TRACE"), Just("PUT")]
            .prop_map(str::to_owned),
        1 => "[A-Za-z]{1,8}",
    ];
    let path = prop_oneof![
        8 => Just("/auth/signup".to_owned()),
        1 => "/auth/signup\\?[a-z=&%0-9]{0,12}",
        1 => "/(auth|Auth|%61uth)?/?(signup|Signup|sign%75p)?[/;.]?",
    ];
    let header = prop_oneof![
        12 => Just(JSON.to_owned()),
        4 => "Content-Type: (application|image|text|\\*)/(json|JSON|ld\\+json|jso|\\*)",
        4 => "Content-Type: application/json ?; ?(charset|Charset|q|version)=\"?(utf-8|UTF8|utf-16|1)\"?;?",
        2 => "Content-Encoding: (identity|gzip|br|IDENTITY|)",
        2 => "(Accept|Accept-Charset|Cookie|Origin|X-HTTP-Method-Override): [ -~]{0,20}",
    ];
    let body = prop_oneof![
        4 => "[a-c]{1,2}".prop_map(|local| signup(&format!("{local}@x.co")).to_string()),
        1 => "[ -~]{0,40}",
        1 => (16_300_usize..16_500).prop_map(|length| format!("{:length$}", signup("z@x.co"))),
    ];
    (method, path, proptest::collection::vec(header, 0..3), body).prop_map(
        |(method, path, headers, body)| {
            let headers: Vec<_> = headers.iter().map(String::as_str).collect();
            request(&method, &path, &headers, body.as_bytes())
        },
    )
}

/// Checks that all adapters give the same answers, none of them a 5xx.
pub async fn every_adapter_gives_the_same_answers(
    backends: Vec<Backend>,
    files: &[&[crate::Case]],
) {
    let mut corpora = Vec::new();
    for cases in files {
        let recording: Recording = Box::leak(Box::default());
        let recorded = Backend { recording: Some(recording), ..backends[0] };
        for case in *cases {
            (case.run)(recorded).await;
        }
        corpora.push(std::mem::take(&mut *recording.lock().unwrap()));
    }
    let mut runner = TestRunner::deterministic();
    let chance = (0..2500).map(|_| requests().new_tree(&mut runner).unwrap().current());
    corpora.push(chance.collect());

    let mut statuses: BTreeMap<u16, usize> = BTreeMap::new();
    for corpus in corpora {
        let mut servers = Servers::start(&backends).await;
        for request in corpus {
            *statuses.entry(servers.answer(&request).await.status).or_default() += 1;
        }
    }
    println!("{statuses:?}");
    assert!(statuses.values().sum::<usize>() >= 5000, "{statuses:?}");
    let seen: Vec<_> = statuses.into_keys().collect();
    assert_eq!(seen, [201, 400, 404, 405, 409, 413, 415]);
}
