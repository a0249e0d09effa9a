//! Hazards 1: the JSON body.

use serde_json::json;

use crate::support::backend::{App, Backend, Options};
use crate::support::client::Response;

const GOOD: &str = r#""email":"a@x.co","password":"correct horse""#;

/// A good sign-up with one field more, which nobody knows.
fn with_unknown(app: &mut App, value: &str) -> impl Future<Output = Response> {
    app.post(format!("{{{GOOD},\"x\":{value}}}"))
}

#[track_caller]
fn received(response: &Response, field: &str, kind: &str) {
    let issue = (vec![field.to_owned()], format!("Expected string, received {kind}"));
    assert!(response.issues().contains(&issue), "{}", response.json());
}

crate::cases![
    [J01] empty_body,
    [J02, J03] scalars_and_lists_are_no_object,
    [J04] an_array_is_not_read_as_the_object,
    [J05] all_missing_fields_are_told_at_once,
    [J06, J07] byte_order_marks_and_wide_encodings,
    [J08, J09] invalid_utf8_anywhere,
    [J10, J11, J12] a_key_given_twice,
    [J13] keys_are_compared_by_their_code_points,
    [J14, J15] unknown_fields_set_nothing,
    [J16, J17] depth,
    [J18] numbers_out_of_range,
    [J19] what_only_looks_like_json,
    [J20, J21, J22, J23, J24] wrong_types_are_not_echoed,
    [J25, J26] the_name_may_be_missing_or_empty,
    [J27, J28] all_wrong_fields_in_order,
    [J30, J31, P25] lone_surrogates_anywhere,
    [J32, J33, J34] nul,
    [J35] raw_control_characters,
    [J36, J37] what_follows_the_object,
    [J40] texts_that_are_no_json,
    [J41] every_kind_of_value_where_it_is_ignored,
    [J42, J43] what_parsers_disagree_on,
    [J68] white_space_alone,
];

async fn empty_body(backend: Backend) {
    let mut app = backend.app().await;
    app.post("").await.is_malformed();
    app.untouched().await;
}

async fn scalars_and_lists_are_no_object(backend: Backend) {
    let mut app = backend.app().await;
    for (body, kind) in [
        ("null", "null"),
        ("true", "boolean"),
        ("1", "number"),
        ("\"x\"", "string"),
        ("[]", "array"),
    ] {
        let issues = app.post(body).await.issues();
        assert_eq!(issues, [(vec![], format!("Expected object, received {kind}"))]);
    }
    app.untouched().await;
}

async fn an_array_is_not_read_as_the_object(backend: Backend) {
    let mut app = backend.app().await;
    let issues = app.post(r#"["a@b.co","password1",null]"#).await.issues();
    assert_eq!(issues, [(vec![], "Expected object, received array".to_owned())]);
    app.untouched().await;
}

async fn all_missing_fields_are_told_at_once(backend: Backend) {
    let mut app = backend.app().await;
    let issues = app.post("{}").await.issues();
    let required = |field: &str| (vec![field.to_owned()], "Required".to_owned());
    assert_eq!(issues, [required("email"), required("password")]);
}

async fn byte_order_marks_and_wide_encodings(backend: Backend) {
    let mut app = backend.app().await;
    let body = format!("{{{GOOD}}}");
    app.post(format!("\u{feff}{body}")).await.is_malformed();
    let utf16 = |to: fn(u16) -> [u8; 2]| body.encode_utf16().flat_map(to).collect::<Vec<u8>>();
    app.post(utf16(u16::to_le_bytes)).await.is_malformed();
    app.post(utf16(u16::to_be_bytes)).await.is_malformed();
    let utf32: Vec<u8> = body.chars().flat_map(|c| u32::from(c).to_be_bytes()).collect();
    app.post(utf32).await.is_malformed();
    app.untouched().await;
}

async fn invalid_utf8_anywhere(backend: Backend) {
    let mut app = backend.app().await;
    for bad in [b"\xff".as_slice(), b"\xc0\x80", b"\xed\xa0\x80", b"\xf5\x80\x80\x80", b"\xe2\x82"]
    {
        for field in ["name", "unknown"] {
            let head = format!("{{{GOOD},\"{field}\":\"");
            let body = [head.as_bytes(), bad, b"\"}"].concat();
            app.post(body).await.is_malformed();
        }
        let key = [b"{\"k".as_slice(), bad, b"\":1,", GOOD.as_bytes(), b"}"].concat();
        app.post(key).await.is_malformed();
    }
    app.untouched().await;
}

async fn a_key_given_twice(backend: Backend) {
    let mut app = backend.app().await;
    for twice in [
        r#""email":"a@x.co""#,
        r#""email":"b@x.co""#,
        r#""\u0065mail":"a@x.co""#,
        r#""password":"another horse""#,
        r#""name":"x","n\u0061me":"x""#,
        r#""x":1,"x":1"#,
        r#""x":1,"\u0078":2"#,
        r#""":1,"":2"#,
    ] {
        app.post(format!("{{{GOOD},{twice}}}")).await.is_malformed();
    }
    app.untouched().await;
    assert_eq!(with_unknown(&mut app, r#"{"k":1,"k":2}"#).await.status, 201);
}

async fn keys_are_compared_by_their_code_points(backend: Backend) {
    let mut app = backend.app().await;
    app.post(r#"{"Email":"a@x.co","EMAIL":"a@x.co","password":"correct horse"}"#)
        .await
        .is_invalid(&["email"]);
    app.post("{\"\u{ff45}mail\":\"a@x.co\",\"password\":\"correct horse\"}")
        .await
        .is_invalid(&["email"]);
    app.post("{\"email\u{301}\":1,\"password\":\"correct horse\"}").await.is_invalid(&["email"]);
    let both_forms = format!("{{{GOOD},\"\u{e9}\":1,\"e\u{301}\":1}}");
    assert_eq!(app.post(both_forms).await.status, 201);
}

async fn unknown_fields_set_nothing(backend: Backend) {
    let mut app = backend.app().await;
    let response = app.post(format!(
        "{{{GOOD},\"__proto__\":{{\"plan\":\"scale\"}},\"constructor\":1,\"$ref\":\"#\",\"plan\":\"scale\",\
         \"id\":\"acc_mine\",\"role\":\"admin\",\"api_key\":\"k\",\"token\":\"t\",\"created_at\":0}}"
    )).await;
    let data = response.data();
    assert_eq!(data["account"]["plan"], "trial");
    assert_ne!(data["account"]["id"], "acc_mine");
    let row = &app.store.account_rows().await[0];
    assert_eq!(
        (row.plan.as_str(), row.id.as_str()),
        ("trial", data["account"]["id"].as_str().unwrap())
    );
    assert_ne!(row.created_at, 0);
}

async fn depth(backend: Backend) {
    let options = Options { body_limit: 4 << 20, ..Options::default() };
    let mut app = backend.with(options).await;
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert_eq!(with_unknown(&mut app, &nested(100)).await.status, 201);
    with_unknown(&mut app, &nested(200)).await.is_malformed();
    with_unknown(&mut app, &nested(1_000_000)).await.is_malformed();
    let mut small = backend.app().await;
    with_unknown(&mut small, &nested(1_000_000)).await.is(413, "VALIDATION_ERROR");
    small.untouched().await;
}

async fn numbers_out_of_range(backend: Backend) {
    let options = Options { body_limit: 1 << 20, ..Options::default() };
    let mut app = backend.with(options).await;
    for number in ["1e999999", "-1e999999", &"9".repeat(100_000)] {
        with_unknown(&mut app, number).await.is_malformed();
        app.post(format!("{{\"email\":{number},\"password\":1}}")).await.is_malformed();
    }
    assert_eq!(with_unknown(&mut app, "-0").await.status, 201);
}

async fn what_only_looks_like_json(backend: Backend) {
    let mut app = backend.app().await;
    for value in [
        "NaN",
        "Infinity",
        "-Infinity",
        "0x1F",
        "01",
        "+1",
        "1.",
        ".5",
        "'x'",
        "undefined",
        "nul",
        "True",
    ] {
        with_unknown(&mut app, value).await.is_malformed();
    }
    for body in [
        "{%,}",
        "{%} // c",
        "{/* c */%}",
        "{%,,\"x\":1}",
        "{%:1}",
        "{% \"x\":1}",
        "{x:1,%}",
        "{'email':'a@x.co'}",
    ] {
        app.post(body.replace('%', GOOD)).await.is_malformed();
    }
    app.untouched().await;
}

async fn wrong_types_are_not_echoed(backend: Backend) {
    let mut app = backend.app().await;
    let values = [
        ("null", "null"),
        ("1234567890123", "number"),
        ("true", "boolean"),
        ("[]", "array"),
        ("{}", "object"),
        (r#"["a@b.co"]"#, "array"),
        (r#"{"$in":["a@b.co"]}"#, "object"),
    ];
    for (value, kind) in values {
        for field in ["email", "password", "name"] {
            let body = json!({"email": "a@x.co", "password": "correct horse", "name": "x"});
            let body = body.to_string();
            let good = serde_json::from_str::<serde_json::Value>(&body).unwrap()[field].to_string();
            let body =
                body.replace(&format!("\"{field}\":{good}"), &format!("\"{field}\":{value}"));
            let response = app.post(body).await;
            response.is_invalid(&[field]);
            received(&response, field, kind);
            let text = String::from_utf8(response.body).unwrap();
            assert!(!text.contains("1234567890123") && !text.contains("a@b.co"));
        }
    }
    app.post(r#"{"email":"a@x.co"}"#).await.is_invalid(&["password"]);
    app.untouched().await;
}

async fn the_name_may_be_missing_or_empty(backend: Backend) {
    let mut app = backend.app().await;
    let data = app.post(format!("{{{GOOD}}}")).await.data();
    assert!(data["account"]["name"].is_null());
    let data = app
        .post_json(&json!({"email": "b@x.co", "password": "correct horse", "name": ""}))
        .await
        .data();
    assert_eq!(data["account"]["name"], "");
    let names: Vec<_> =
        app.store.account_rows().await.into_iter().map(|row| (row.email, row.name)).collect();
    assert!(
        names.contains(&("a@x.co".into(), None))
            && names.contains(&("b@x.co".into(), Some(String::new())))
    );
}

async fn all_wrong_fields_in_order(backend: Backend) {
    let mut app = backend.app().await;
    app.post(r#"{"name":5,"password":[],"email":{}}"#)
        .await
        .is_invalid(&["email", "password", "name"]);
    app.post(r#"{"name":[],"email":"a@x.co","password":"short"}"#)
        .await
        .is_invalid(&["password", "name"]);
}

async fn lone_surrogates_anywhere(backend: Backend) {
    let mut app = backend.app().await;
    for escape in [
        r"\ud800",
        r"\udc00",
        r"\udc00\ud800",
        r"\ud83d",
        r"\ud83dx",
        r"\ud800\ud800\udc00",
        r"\uD83D\u0041",
    ] {
        with_unknown(&mut app, &format!("\"{escape}\"")).await.is_malformed();
        app.post(format!("{{{GOOD},\"name\":\"{escape}\"}}")).await.is_malformed();
        app.post(format!("{{{GOOD},\"{escape}\":1}}")).await.is_malformed();
        app.post(format!("{{\"email\":\"a@x.co\",\"password\":\"{escape}12345678\"}}"))
            .await
            .is_malformed();
    }
    app.untouched().await;
    let name = format!("{{{GOOD},\"name\":\"\\ud83d\\ude00\"}}");
    assert_eq!(app.post(name).await.data()["account"]["name"], "\u{1f600}");
}

async fn nul(backend: Backend) {
    let mut app = backend.app().await;
    app.post(r#"{"email":"a\u0000@x.co","password":"correct horse"}"#).await.is_invalid(&["email"]);
    app.post(format!("{{{GOOD},\"name\":\"a\\u0000b\"}}")).await.is_invalid(&["name"]);
    app.untouched().await;
    let response = app.post(r#"{"email":"a@x.co","password":"correct\u0000horse"}"#).await;
    assert_eq!(response.status, 201);
}

async fn raw_control_characters(backend: Backend) {
    let mut app = backend.app().await;
    for control in ['\u{1}', '\n', '\t', '\u{1f}', '\0'] {
        app.post(format!("{{{GOOD},\"name\":\"a{control}\"}}")).await.is_malformed();
        with_unknown(&mut app, &format!("\"{control}\"")).await.is_malformed();
    }
    app.untouched().await;
}

async fn what_follows_the_object(backend: Backend) {
    let mut app = backend.app().await;
    for tail in ["x", "{}", "\0", "}", ",", "\u{a0}", "\u{b}"] {
        app.post(format!("{{{GOOD}}}{tail}")).await.is_malformed();
    }
    app.untouched().await;
    assert_eq!(app.post(format!("\r\n\t {{{GOOD}}} \t\r\n")).await.status, 201);
}

async fn texts_that_are_no_json(backend: Backend) {
    let mut app = backend.app().await;
    // Of the kinds of JSONTestSuite's `n_` files.
    let texts = [
        "[",
        "]",
        "[1",
        "[1,",
        "[,1]",
        "[1,,2]",
        "[1 2]",
        "[\"a\"",
        "[\"\\",
        "[\"\\x\"]",
        "[\"\\u00A\"]",
        "[\"\\u12\"]",
        "[\"\\uD8\"]",
        "[\"\\a\"]",
        "[\"new\nline\"]",
        "[-]",
        "[-01]",
        "[- 1]",
        "[0e]",
        "[0e+]",
        "[1e1.5]",
        "[1.e1]",
        "[1eE2]",
        "[0x42]",
        "[1_000]",
        "[\u{ff11}]",
        "[+Inf]",
        "[fals]",
        "[nul",
        "[tru]",
        "{",
        "{]",
        "{\"a\"",
        "{\"a\":",
        "{\"a\":1",
        "{\"a\":1,",
        "{\"a\" 1}",
        "{:1}",
        "{1:1}",
        "{null:1}",
        "{\"a\":1,}",
        "{\"a\":1,,\"b\":2}",
        "{'a':0}",
        "{\"a\":\"b\"}/**/",
        "{\"a\":\"b\"}#",
        "{\"a\":/*c*/1}",
        "*",
        "<null>",
        "\u{2060}",
        "a",
        "\"a",
        "\"",
        "'",
        "{}}",
        "[1]x",
        "[\u{c}]",
        "[1],",
        "\u{e5}",
        "[\u{e9}]",
        "--1",
        "{\"\\u\":1}",
        "{\"a\":\"\\ud\"}",
        "[\"\\uqqqq\"]",
        "[\"\\\u{1f300}\"]",
        "[\"\\\\\\\"]",
        "2.",
        "0.",
        ".1",
        "1e",
        "-a",
    ];
    for text in texts {
        app.post(text).await.is_malformed();
        with_unknown(&mut app, text).await.is_malformed();
    }
    app.untouched().await;
}

async fn every_kind_of_value_where_it_is_ignored(backend: Backend) {
    let mut app = backend.app().await;
    // Of the kinds of JSONTestSuite's `y_` files.
    let values = [
        "[]",
        "[[]   ]",
        "[\"\"]",
        "[false]",
        "[null, 1, \"1\", {}]",
        "[1,null,null,null,2]",
        "[123e65]",
        "[0e+1]",
        "[0e1]",
        "[ 4]",
        "[-0.000000000000000000000000000000000000000000001]",
        "[20e1]",
        "[-0]",
        "[-123]",
        "[1E22]",
        "[1E-2]",
        "[1E+2]",
        "[123.456e78]",
        "{}",
        "{\"\":0}",
        "{\"a\":\"b\",\"a\":\"c\"}",
        "{\"foo\\u0000bar\":42}",
        "{\n\"a\": \"b\"\n}",
        "[\"\\u0060\\u012a\\u12AB\"]",
        "[\"\\uD801\\udc37\"]",
        "[\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"]",
        "[\"\\\\u0000\"]",
        "[\"a/*b*/c\"]",
        "[\"\u{7f}\"]",
        "[\"\u{2028}\u{2029}\"]",
        "[\"\u{10ffff}\"]",
        "[\"\u{fdd0}\"]",
        "[\"\\uFFFE\"]",
        "[\"\\uDBFF\\uDFFE\"]",
        "\" \"",
        "-0.1",
        "42",
        "null",
        "true",
        "\"asd\"",
        "\t[]\r\n",
    ];
    for (number, value) in values.into_iter().enumerate() {
        let body = format!(
            "{{\"email\":\"a{number}@x.co\",\"password\":\"correct horse\",\"x\":{value}}}"
        );
        assert_eq!(app.post(body).await.status, 201, "{value}");
    }
    app.stores(values.len()).await;
}

async fn what_parsers_disagree_on(backend: Backend) {
    let mut app = backend.app().await;
    // Of the kinds of JSONTestSuite's `i_` and `test_transform` files, each
    // with the answer that the contract gives.
    let malformed = [
        "123123e100000",
        "-1e+9999",
        "1.5e+9999",
        "[\"\\uD800\"]",
        "[\"\\uDADA\"]",
        "[\"\\uD888\\u1234\"]",
        "[\"\\uDd1e\\uD834\"]",
        "{\"\\uDFAA\":0}",
        "[\"\\ud800abc\"]",
    ];
    for value in malformed {
        with_unknown(&mut app, value).await.is_malformed();
    }
    app.untouched().await;
    let taken = [
        "123e-10000000",
        "-123123123123123123123123123123",
        "1e-400",
        "100000000000000000000",
        "1.000000000000000005",
        "{\"a\":1,\"a\":2}",
        "{\"\u{e9}\":1,\"e\u{301}\":2}",
        "[\"\u{feff}\"]",
        "[\"A\\u00000B\"]",
        "10000000000000000999",
    ];
    for (number, value) in taken.into_iter().enumerate() {
        let body = format!(
            "{{\"email\":\"a{number}@x.co\",\"password\":\"correct horse\",\"x\":{value}}}"
        );
        assert_eq!(app.post(body).await.status, 201, "{value}");
    }
}

async fn white_space_alone(backend: Backend) {
    let mut app = backend.app().await;
    app.post(" ".repeat(16 * 1024)).await.is_malformed();
    app.post(" ".repeat(16 * 1024 + 1)).await.is(413, "VALIDATION_ERROR");
}
