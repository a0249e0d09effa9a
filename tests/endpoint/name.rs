//! Hazards 4: the display name.

use serde_json::json;

use crate::support::backend::{App, Backend};
use crate::support::client::Response;
use crate::support::corpus;

async fn named(app: &mut App, email: &str, name: &str) -> Response {
    app.post_json(&json!({"email": email, "password": "correct horse", "name": name})).await
}

/// Accepted, and the same in the answer and in the store.
async fn kept(app: &mut App, names: &[String]) {
    for (number, name) in names.iter().enumerate() {
        let data = named(app, &format!("n{number}@x.co"), name).await.data();
        assert_eq!(data["account"]["name"], *name);
    }
    for row in app.store.account_rows().await {
        let number: usize =
            row.email.strip_prefix('n').unwrap().split('@').next().unwrap().parse().unwrap();
        assert_eq!(row.name.as_ref(), Some(&names[number]));
    }
    app.stores(names.len()).await;
}

crate::cases![
    [N01] lengths,
    [N01, N02, N03, N04, N07, N08, N09, N11] kept_as_given,
    [N05, N06] control_characters,
    [N10] naughty_strings,
];

async fn lengths(backend: Backend) {
    let mut app = backend.app().await;
    for c in ["x", "\u{1f600}"] {
        let response = named(&mut app, "a@x.co", &c.repeat(257)).await;
        assert_eq!(
            response.issues(),
            [(vec!["name".into()], "String must contain at most 256 character(s)".into())]
        );
    }
    app.untouched().await;
}

async fn kept_as_given(backend: Backend) {
    let mut app = backend.app().await;
    kept(
        &mut app,
        &[
            "x".repeat(256),
            "\u{1f600}".repeat(256),
            "e\u{301}".repeat(128),
            String::new(),
            " ".to_owned(),
            " x ".to_owned(),
            "\u{202e}\u{202a}\u{2066}\u{2069}x".to_owned(),
            "<img src=x onerror=alert(1)>".to_owned(),
            "{{7*7}}".to_owned(),
            "${jndi:ldap://x}".to_owned(),
            "=cmd|'/c calc'!A0".to_owned(),
            format!("Z{}", "\u{337}\u{322}\u{30b}".repeat(85)),
            "a\u{2028}b\u{2029}c".to_owned(),
            "Robert'); DROP TABLE accounts;--".to_owned(),
            "\"\\/".to_owned(),
            "%s%n".to_owned(),
        ],
    )
    .await;
}

async fn control_characters(backend: Backend) {
    let mut app = backend.app().await;
    for control in
        ["\0", "\u{7}", "\u{1f}", "\u{7f}", "\u{80}", "\u{9f}", "\r\n", "\t", "\u{1b}[31m"]
    {
        let response = named(&mut app, "a@x.co", &format!("a{control}b")).await;
        assert_eq!(
            response.issues(),
            [(vec!["name".into()], "String must not contain control characters".into())]
        );
    }
    app.untouched().await;
}

async fn naughty_strings(backend: Backend) {
    let strings: Vec<String> = serde_json::from_str(&corpus("blns/blns.json")).unwrap();
    let mut app = backend.app().await;
    let good = |name: &&String| name.chars().count() <= 256 && !name.chars().any(char::is_control);
    for bad in strings.iter().filter(|name| !good(name)) {
        named(&mut app, "a@x.co", bad).await.is_invalid(&["name"]);
    }
    let good: Vec<_> = strings.iter().filter(good).cloned().collect();
    assert!(good.len() > 450);
    kept(&mut app, &good).await;
}
