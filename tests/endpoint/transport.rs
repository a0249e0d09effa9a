//! Hazards 1 (J60 to J67) and 15 (M18 to M21): bodies that lie, stall or never
//! end, and clients that go away.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::support::backend::{App, Backend, Options};
use crate::support::client::{JSON, Response, read_response, request, signup};
use crate::support::memory;

const HEAD: &str =
    "POST /auth/signup HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";

async fn connect(app: &App) -> TcpStream {
    TcpStream::connect(app.addr).await.unwrap()
}

async fn answer(stream: &mut TcpStream) -> Response {
    let response = read_response(stream, false).await.expect("no answer");
    response.check_contract(false);
    response
}

/// Sends all of it, and closes the sending half.
async fn raw(app: &App, bytes: &[u8]) -> Option<Response> {
    let mut stream = connect(app).await;
    stream.write_all(bytes).await.unwrap();
    stream.shutdown().await.unwrap();
    read_response(&mut stream, false).await
}

crate::cases![
    [J60] declared_too_long,
    [J61] a_stream_without_end,
    [J62] a_length_that_lies,
    [J63] a_body_that_does_not_arrive,
    [J63] a_trickle_does_not_move_the_deadline,
    [J66] expect_100_continue,
    [J67] chunks_and_trailers,
    [M19] smuggling,
    [M20] a_head_of_100_kib,
    [M21] pipelined_sign_ups_are_answered_in_order,
    [X02] clients_that_go_away_at_any_octet,
];

async fn declared_too_long(backend: Backend) {
    let mut app = backend.app().await;
    let mut stream = connect(&app).await;
    // Refused from the head: not an octet of the body is sent.
    stream.write_all(format!("{HEAD}Content-Length: 16385\r\n\r\n").as_bytes()).await.unwrap();
    answer(&mut stream).await.is(413, "VALIDATION_ERROR");
    let mut wide = backend.with(Options { body_limit: 20_000, ..Options::default() }).await;
    let padded = format!("{}{}", signup("a@x.co"), " ".repeat(16_384));
    app.post(&padded).await.is(413, "VALIDATION_ERROR");
    assert_eq!(wide.post(&padded).await.status, 201);
    app.untouched().await;
}

async fn a_stream_without_end(backend: Backend) {
    let app = backend.app().await;
    let before = memory("self", "VmRSS");
    let (mut reader, mut writer) = connect(&app).await.into_split();
    writer.write_all(format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n").as_bytes()).await.unwrap();
    let flood = tokio::spawn(async move {
        let chunk = [b"10000\r\n".as_slice(), &vec![b' '; 0x10000], b"\r\n"].concat();
        // A gibibyte, if the server is fool enough to take it.
        for sent in 0..16 * 1024 {
            if writer.write_all(&chunk).await.is_err() {
                return sent;
            }
        }
        16 * 1024
    });
    let mut received = Vec::new();
    let _ = reader.read_to_end(&mut received).await;
    assert!(received.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&received));
    // actix-web reads on behind its answer, and throws away what it reads.
    let sent = flood.await.unwrap();
    assert!(sent < 1024 || backend.adapter == "actix", "the server went on reading");
    // nextest gives each test a process; else others may take memory meanwhile.
    let alone = std::env::var_os("NEXTEST").is_some();
    let grown = memory("self", "VmRSS").saturating_sub(before);
    assert!(grown < if alone { 32 << 20 } else { 256 << 20 }, "{} MiB more", grown >> 20);
    app.untouched().await;
}

async fn a_length_that_lies(backend: Backend) {
    let app = backend.app().await;
    let good = signup("a@x.co").to_string();
    let longer = format!("{HEAD}Content-Length: {}\r\n\r\n{good}", good.len() + 10);
    let response = raw(&app, longer.as_bytes()).await;
    assert!(response.is_none_or(|response| matches!(response.status, 400 | 408)));
    let shorter = format!("{HEAD}Content-Length: {}\r\n\r\n{good}", good.len() - 10);
    raw(&app, shorter.as_bytes()).await.unwrap().is_malformed();
    app.untouched().await;
}

async fn a_body_that_does_not_arrive(backend: Backend) {
    let options = Options { body_deadline: Duration::from_millis(100), ..Options::default() };
    let mut app = backend.with(options).await;
    let mut stream = connect(&app).await;
    stream.write_all(format!("{HEAD}Content-Length: 100\r\n\r\n{{").as_bytes()).await.unwrap();
    answer(&mut stream).await.is(408, "VALIDATION_ERROR");
    app.untouched().await;
    assert_eq!(app.service.hash_pool().stats().queued, 0);
    assert_eq!(app.signup("a@x.co").await.status, 201);
}

async fn a_trickle_does_not_move_the_deadline(backend: Backend) {
    let options = Options { body_deadline: Duration::from_millis(200), ..Options::default() };
    let app = backend.with(options).await;
    let (mut reader, mut writer) = connect(&app).await.into_split();
    writer.write_all(format!("{HEAD}Content-Length: 16000\r\n\r\n").as_bytes()).await.unwrap();
    let trickle = tokio::spawn(async move {
        let mut interval = tokio::time::interval(Duration::from_millis(10));
        for _ in 0..16_000 {
            interval.tick().await;
            if writer.write_all(b" ").await.is_err() {
                break;
            }
        }
    });
    let mut head = [0; 12];
    reader.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 408");
    trickle.abort();
    app.untouched().await;
}

async fn expect_100_continue(backend: Backend) {
    let app = backend.app().await;
    let mut stream = connect(&app).await;
    stream
        .write_all(
            format!("{HEAD}Expect: 100-continue\r\nContent-Length: 1000000\r\n\r\n").as_bytes(),
        )
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    // actix-web sends its 100 before it asks the handler; where that decides,
    // no body is invited.
    let expected = if backend.adapter == "actix" { b"HTTP/1.1 100" } else { b"HTTP/1.1 413" };
    assert_eq!(&head, expected);
    let mut stream = connect(&app).await;
    let good = signup("a@x.co").to_string();
    stream
        .write_all(
            format!("{HEAD}Expect: 100-continue\r\nContent-Length: {}\r\n\r\n", good.len())
                .as_bytes(),
        )
        .await
        .unwrap();
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.unwrap();
    assert_eq!(&head, b"HTTP/1.1 100");
    app.untouched().await;
}

async fn chunks_and_trailers(backend: Backend) {
    let app = backend.app().await;
    let good = signup("a@x.co").to_string();
    let (first, second) = good.split_at(9);
    let chunked = format!(
        "{HEAD}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{first}\r\n{:x};ext=1\r\n{second}\r\n0\r\nX-Trailer: a\r\nContent-Type: text/plain\r\n\r\n",
        first.len(),
        second.len(),
    );
    let mut stream = connect(&app).await;
    stream.write_all(chunked.as_bytes()).await.unwrap();
    assert_eq!(answer(&mut stream).await.status, 201);
    app.stores(1).await;
}

async fn smuggling(backend: Backend) {
    let app = backend.app().await;
    let good = signup("a@x.co").to_string();
    let length = good.len();
    let twice = [
        format!("{HEAD}Content-Length: {length}\r\nContent-Length: {}\r\n\r\n{good}", length + 1),
        format!("{HEAD}Content-Length: {length}, {}\r\n\r\n{good}", length + 1),
        format!("{HEAD}Content-Length: +{length}\r\n\r\n{good}"),
        format!("{HEAD}Transfer-Encoding: gzip\r\n\r\n{good}"),
        format!("{HEAD}X-Folded: a\r\n b\r\n : c\r\nContent-Length: x\r\n\r\n{good}"),
    ];
    for request in twice {
        let status = raw(&app, request.as_bytes()).await.map(|response| response.status);
        assert!(status.is_none_or(|status| status >= 400), "{request}: {status:?}");
    }
    app.untouched().await;
}

async fn a_head_of_100_kib(backend: Backend) {
    let app = backend.app().await;
    let good = signup("a@x.co").to_string();
    let headers: String =
        (0..100).map(|number| format!("X-Padding-{number}: {}\r\n", "p".repeat(1000))).collect();
    let request = format!("{HEAD}{headers}Content-Length: {}\r\n\r\n{good}", good.len());
    let mut stream = connect(&app).await;
    // The server may close before it has read it all.
    let _ = stream.write_all(request.as_bytes()).await;
    let status = read_response(&mut stream, false).await.map(|response| response.status);
    assert!(matches!(status, None | Some(431 | 201)), "{status:?}");
}

async fn pipelined_sign_ups_are_answered_in_order(backend: Backend) {
    let app = backend.app().await;
    let emails = ["a@x.co", "b@x.co", "a@x.co"];
    let pipeline: Vec<u8> = emails
        .iter()
        .flat_map(|email| {
            request("POST", "/auth/signup", &[JSON], signup(email).to_string().as_bytes())
        })
        .collect();
    let mut stream = connect(&app).await;
    stream.write_all(&pipeline).await.unwrap();
    assert_eq!(answer(&mut stream).await.data()["account"]["email"], "a@x.co");
    assert_eq!(answer(&mut stream).await.data()["account"]["email"], "b@x.co");
    answer(&mut stream).await.is(409, "CONFLICT");
    app.stores(2).await;
}

async fn clients_that_go_away_at_any_octet(backend: Backend) {
    let mut app = backend.app().await;
    let request = request("POST", "/auth/signup", &[JSON], signup("a@x.co").to_string().as_bytes());
    for sent in (0..=request.len()).step_by(7) {
        let mut stream = connect(&app).await;
        stream.write_all(&request[..sent]).await.unwrap();
    }
    for _ in 0..50 {
        let mut stream = connect(&app).await;
        stream.write_all(&request).await.unwrap();
    }
    // Whatever came of those, there is one account in the end, with its key.
    let status = app.signup("a@x.co").await.status;
    assert!(matches!(status, 201 | 409));
    app.stores(1).await;
    assert_eq!(app.signup("b@x.co").await.status, 201);
}
