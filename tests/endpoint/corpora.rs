//! The public corpora through the endpoint, and bytes of chance.

use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};

use crate::support::backend::Backend;
use crate::support::corpus;

/// Bodies that are nearly right, and such that are not at all.
fn bodies() -> impl Strategy<Value = Vec<u8>> {
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"correct horse\"".to_owned()),
        "\"[a-z]{1,4}@[a-z]{1,4}\\.co\"",
        "\"\\PC{0,300}\"",
        "[\\[\\]{}\",:0-9eE.\\\\u+-]{0,12}",
    ];
    let key = prop_oneof![
        Just("email"),
        Just("password"),
        Just("name"),
        Just("\\u0065mail"),
        Just("plan")
    ];
    let object = proptest::collection::vec((key, value), 0..5).prop_map(|fields| {
        let fields: Vec<_> =
            fields.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
        format!("{{{}}}", fields.join(",")).into_bytes()
    });
    prop_oneof![4 => object, 1 => proptest::collection::vec(any::<u8>(), 0..300)]
}

crate::cases![
    [E52] naughty_strings_as_addresses,
    unicode_collisions_are_no_second_account,
    host_names_of_the_json_schema_test_suite,
    whatever_the_bytes_the_answer_is_in_the_envelope,
    lengths_are_those_of_the_contract_whatever_the_characters,
];

async fn naughty_strings_as_addresses(backend: Backend) {
    let strings: Vec<String> = serde_json::from_str(&corpus("blns/blns.json")).unwrap();
    assert!(strings.len() > 500);
    let mut app = backend.app().await;
    for email in &strings {
        let response = app.signup(email).await;
        if response.status == 201 {
            assert!(email.is_ascii() && !email.contains(['"', ' ', '[']), "{email:?}");
        } else {
            response.is_invalid(&["email"]);
        }
    }
}

async fn unicode_collisions_are_no_second_account(backend: Backend) {
    let rows: Vec<Value> =
        serde_json::from_str(&corpus("unicode-collisions/ascii-collisions.json")).unwrap();
    assert!(rows.len() > 500);
    let mut app = backend.app().await;
    // Every letter that folds to ASCII: never in the local part, and in the
    // domain only as that ASCII.
    for row in rows {
        let c = row["char"].as_str().unwrap();
        let email = format!("x{c}x@example.com");
        app.signup(&email).await.is_invalid(&["email"]);
        for folding in ["lower", "upper_then_lower", "casefold", "nfkc_casefold"] {
            if let Some(ascii) = row[folding].as_str() {
                let plain = app.signup(&format!("a@x{ascii}x.com")).await.status;
                assert!(matches!(plain, 201 | 400 | 409));
            }
        }
        // Either it is no domain, or it is one that is known already, or
        // one that is no ASCII.
        let response = app.signup(&format!("a@x{c}x.com")).await;
        if response.status == 201 {
            let stored = app.store.account_rows().await;
            let row = stored.iter().find(|row| row.email == format!("a@x{c}x.com")).unwrap();
            assert!(row.email_key.starts_with("a@xn--"), "{row:?}");
        }
    }
    // No two accounts are equal after folding and normalization.
    let stored = app.store.account_rows().await;
    let mut keys: Vec<_> = stored.iter().map(|row| row.email_key.clone()).collect();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), stored.len());
    app.stores(stored.len()).await;
}

async fn host_names_of_the_json_schema_test_suite(backend: Backend) {
    let mut app = backend.app().await;
    for file in ["hostname", "idn-hostname"] {
        let path = format!("json-schema-formats/{file}.json");
        let groups: Value = serde_json::from_str(&corpus(&path)).unwrap();
        for test in
            groups.as_array().unwrap().iter().flat_map(|group| group["tests"].as_array().unwrap())
        {
            let Some(host) = test["data"].as_str() else { continue };
            let response = app.signup(&format!("a@{host}")).await;
            assert!(matches!(response.status, 201 | 400 | 409), "{host}");
        }
    }
}

async fn whatever_the_bytes_the_answer_is_in_the_envelope(backend: Backend) {
    let mut app = backend.app().await;
    let mut runner = TestRunner::deterministic();
    for _ in 0..1000 {
        let body = bodies().new_tree(&mut runner).unwrap().current();
        let status = app.post(&body).await.status;
        assert!(matches!(status, 201 | 400 | 409), "{status}: {}", String::from_utf8_lossy(&body));
    }
    let accounts = app.store.account_rows().await.len();
    app.stores(accounts).await;
}

async fn lengths_are_those_of_the_contract_whatever_the_characters(backend: Backend) {
    let mut app = backend.app().await;
    let mut runner = TestRunner::deterministic();
    for number in 0..300 {
        let (c, password, name) =
            (any::<char>(), 0usize..140, 250usize..262).new_tree(&mut runner).unwrap().current();
        let repeated = |length| std::iter::repeat_n(c, length).collect::<String>();
        let body = json!({"email": format!("l{number}@x.co"), "password": repeated(password), "name": repeated(name)});
        let response = app.post_json(&body).await;
        let mut wrong = Vec::new();
        if !(8..=128).contains(&password) {
            wrong.push("password");
        }
        if name > 256 || c.is_control() {
            wrong.push("name");
        }
        if wrong.is_empty() {
            assert_eq!(response.status, 201);
        } else {
            response.is_invalid(&wrong);
        }
    }
}
