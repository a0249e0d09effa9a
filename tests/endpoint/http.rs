//! Hazards 15: methods, media types, paths and headers.

use crate::support::backend::Backend;
use crate::support::client::{JSON, signup};

/// A good body, with an email of its own.
fn body(number: usize) -> String {
    signup(&format!("m{number}@x.co")).to_string()
}

crate::cases![
    [M01, M02, M04, M05, M06, M07] other_media_types,
    [M03, M08] spellings_of_json,
    [J64, J65] encoded_bodies,
    [M10, M11, M12, M13] other_methods,
    refusals_come_in_their_order,
    [M14, M16, M17, M22] headers_that_change_nothing,
    [M15] other_paths_are_not_ours,
    [M23] there_is_no_cors_of_our_own,
    [M24, M25] nothing_of_the_request_is_in_a_header,
    the_created_answer_is_the_documented_json,
];

async fn other_media_types(backend: Backend) {
    let mut app = backend.app().await;
    let refused: &[&[&str]] = &[
        &[],
        &["Content-Type:"],
        &["Content-Type: text/plain"],
        &["Content-Type: application/x-www-form-urlencoded"],
        &["Content-Type: multipart/form-data; boundary=x"],
        &["Content-Type: application/json; charset=utf-16"],
        &["Content-Type: application/json; charset=\"iso-8859-1\""],
        &["Content-Type: text/json"],
        &["Content-Type: image/json"],
        &["Content-Type: application/merge-patch+json"],
        &["Content-Type: application/problem+json"],
        &["Content-Type: application/json, text/plain"],
        &[JSON, JSON],
        &[JSON, "Content-Type: text/plain"],
        &["Content-Type: text/plain", JSON],
    ];
    for headers in refused {
        app.request("POST", headers, body(0)).await.is(415, "VALIDATION_ERROR");
    }
    app.untouched().await;
}

async fn spellings_of_json(backend: Backend) {
    let mut app = backend.app().await;
    let taken = [
        "Content-Type: application/json",
        "content-type:application/json",
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: application/json;charset=UTF-8",
        "Content-Type: application/json; charset=\"utf-8\"",
        "Content-Type: Application/JSON",
        "Content-Type: application/json;",
        "Content-Type: application/json; v=1; q=\";\"",
    ];
    for (number, header) in taken.into_iter().enumerate() {
        assert_eq!(app.request("POST", &[header], body(number)).await.status, 201, "{header}");
    }
}

async fn encoded_bodies(backend: Backend) {
    let mut app = backend.app().await;
    for coding in ["gzip", "br", "deflate", "zstd", "gzip, identity", "x-unknown", ""] {
        let header = format!("Content-Encoding: {coding}");
        app.request("POST", &[JSON, &header], body(0)).await.is(415, "VALIDATION_ERROR");
    }
    // The head of a gzip stream, in the clear: it is no JSON either.
    app.post([0x1f, 0x8b, 8, 0, 0, 0, 0, 0]).await.is_malformed();
    app.untouched().await;
    assert_eq!(
        app.request("POST", &[JSON, "Content-Encoding: identity"], body(0)).await.status,
        201
    );
}

async fn other_methods(backend: Backend) {
    let mut app = backend.app().await;
    for method in
        ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "HEAD", "PROPFIND", "post", "POSTED"]
    {
        let response = app.request(method, &[JSON], body(0)).await;
        assert_eq!((response.status, response.header("allow")), (405, Some("POST")), "{method}");
        if method != "HEAD" {
            response.is(405, "VALIDATION_ERROR");
        }
    }
    // The method comes before all else that is wrong.
    app.request("GET", &["Content-Type: text/plain"], "x".repeat(20_000))
        .await
        .is(405, "VALIDATION_ERROR");
    app.untouched().await;
}

async fn refusals_come_in_their_order(backend: Backend) {
    let mut app = backend.app().await;
    let large = "x".repeat(16 * 1024 + 1);
    app.request("PUT", &["Content-Type: text/plain"], &large).await.is(405, "VALIDATION_ERROR");
    app.request("POST", &["Content-Type: text/plain"], &large).await.is(415, "VALIDATION_ERROR");
    app.request("POST", &[JSON], &large).await.is(413, "VALIDATION_ERROR");
}

async fn headers_that_change_nothing(backend: Backend) {
    let mut app = backend.app().await;
    for (number, header) in [
        "X-HTTP-Method-Override: DELETE",
        "Accept: text/html",
        "Accept: application/xml",
        "Cookie: session=1",
        "Authorization: Bearer x",
        "Origin: https://evil.example",
        "X-Forwarded-For: 1.2.3.4",
        "Accept-Encoding: gzip, br",
    ]
    .into_iter()
    .enumerate()
    {
        assert_eq!(
            app.request("POST", &[JSON, header], body(number)).await.status,
            201,
            "{header}"
        );
    }
    app.request("GET", &[JSON, "X-HTTP-Method-Override: POST"], body(90))
        .await
        .is(405, "VALIDATION_ERROR");
    let response = app
        .client
        .request("POST", "/auth/signup?email=x@y.z&plan=scale", &[JSON], body(91).as_bytes())
        .await;
    assert_eq!(response.data()["account"]["email"], "m91@x.co");
}

async fn other_paths_are_not_ours(backend: Backend) {
    let mut app = backend.app().await;
    for path in [
        "/auth/signup/",
        "//auth/signup",
        "/Auth/Signup",
        "/auth/signup;x",
        "/auth/%2e/signup",
        "/auth/signup%2f",
        "/auth/sign%75p",
        "/%61uth/signup",
        "/auth/signup%20",
        "/auth/./signup",
        "/auth",
        "/",
    ] {
        let response = app.client.request("POST", path, &[JSON], body(0).as_bytes()).await;
        assert_eq!(response.status, 404, "{path}");
    }
    app.untouched().await;
}

async fn there_is_no_cors_of_our_own(backend: Backend) {
    let mut app = backend.app().await;
    let headers = [
        "Origin: https://evil.example",
        "Access-Control-Request-Method: POST",
        "Access-Control-Request-Headers: content-type",
    ];
    let preflight = app.request("OPTIONS", &headers, "").await;
    let actual = app.request("POST", &[JSON, headers[0]], body(0)).await;
    for response in [preflight, actual] {
        assert!(
            !response.headers.iter().any(|(name, _)| name.starts_with("access-control")),
            "{response:?}"
        );
    }
}

async fn nothing_of_the_request_is_in_a_header(backend: Backend) {
    let mut app = backend.app().await;
    let body = r#"{"email":"marker@x.co","password":"correct horse","name":"marker"}"#;
    let response = app.request("POST", &[JSON, "Accept-Encoding: gzip, br, zstd"], body).await;
    assert!(!format!("{:?}", response.headers).contains("marker"));
    assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
    assert!(
        response.header("content-encoding").is_none() && response.header("set-cookie").is_none()
    );
}

async fn the_created_answer_is_the_documented_json(backend: Backend) {
    let mut app = backend.app().await;
    let response = app
        .post(r#"{"email":"dev@example.com","password":"correct horse","name":"Jane Developer"}"#)
        .await;
    let data = response.data();
    let expected = format!(
        r#"{{"data":{{"token":{},"api_key":{},"account":{{"id":{},"email":"dev@example.com","name":"Jane Developer","plan":"trial"}}}}}}"#,
        data["token"], data["api_key"], data["account"]["id"],
    );
    assert_eq!(String::from_utf8(response.body).unwrap(), expected);
}
