use super::*;
use proptest::prelude::*;

fn message(body: &[u8]) -> Option<String> {
    let issue = SignupRequest::read(body, &[]).err()?;
    assert!(issue.path.is_empty());
    Some(issue.message.into_owned())
}

fn is_malformed(body: impl AsRef<[u8]>) -> bool {
    message(body.as_ref()).as_deref() == Some("Malformed JSON")
}

/// Whether a value is taken where it is ignored.
fn ignored(value: &str) -> bool {
    !is_malformed(format!("{{\"x\":{value}}}"))
}

#[test]
fn fields_keep_their_state() {
    let request = SignupRequest::read(br#"{"name":[1],"email":"a\u0000b"}"#, &[]).unwrap();
    assert!(matches!(request.password, Field::Missing));
    assert!(matches!(request.name, Field::WrongType(JsonType::Array)));
    assert!(matches!(request.email, Field::Text(email) if *email == "a\0b"));
}

#[test]
fn a_body_of_another_type_is_told_apart_from_a_broken_one() {
    let said = |kind: &str| Some(format!("Expected object, received {kind}"));
    assert_eq!(message(b"[]"), said("array"));
    assert_eq!(message(b" \"x\" "), said("string"));
    assert_eq!(message(b"-0"), said("number"));
    assert_eq!(message(b"true"), said("boolean"));
    assert_eq!(message(b"null"), said("null"));
    for broken in ["[", "[1]]", "\"x", "nul", "01", "true false"] {
        assert!(is_malformed(broken), "{broken}");
    }
}

#[test]
fn j16_the_depth_of_a_field_ends_at_127() {
    let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
    assert!(ignored(&nested(127)) && !ignored(&nested(128)));
    assert!(ignored(&format!("[{},[]]", nested(126))));
    let objects = |levels: usize| format!("{}1{}", "{\"k\":".repeat(levels), "}".repeat(levels));
    assert!(ignored(&objects(127)) && !ignored(&objects(128)));
    assert!(ignored(&format!("{}{{}}{}", "[".repeat(126), "]".repeat(126))));
    assert!(!ignored(&format!("{}{{}}{}", "[".repeat(127), "]".repeat(127))));
}

#[test]
fn j17_a_million_levels_are_refused_without_a_deep_stack() {
    let deep = format!("{}{}", "[".repeat(1_000_000), "]".repeat(1_000_000));
    assert!(!ignored(&deep) && is_malformed(&deep));
}

#[test]
fn j18_numbers_are_what_a_double_can_hold() {
    let long = "9".repeat(100_000);
    for refused in
        ["1e999999", "-1e400", &long, "1e", "1.", "-", "+1", ".5", "0x1F", "00", "1e+", "NaN"]
    {
        assert!(!ignored(refused), "{refused}");
    }
    for taken in ["-0", "1e-999999", "1E+2", "0.0e0", "123456789012345678901234567890"] {
        assert!(ignored(taken), "{taken}");
    }
}

#[test]
fn keys_that_look_like_serdes_own_are_plain_keys() {
    assert!(ignored(r#"{"$serde_json::private::Number":"x"}"#));
    let request = SignupRequest::read(br#"{"email":{"$serde_json::private::Number":"1"}}"#, &[]);
    assert!(matches!(request.unwrap().email, Field::WrongType(JsonType::Object)));
}

#[test]
fn a_string_never_outgrows_its_memory() {
    let body = r#"{"password":"\ud83d\ude00\u00e9\"\\plain"}"#;
    let request = SignupRequest::read(body.as_bytes(), &[]).unwrap();
    let Field::Text(password) = request.password else { panic!("no text") };
    assert_eq!(*password, "\u{1f600}\u{e9}\"\\plain");
    assert_eq!(password.capacity(), r#"\ud83d\ude00\u00e9\"\\plain"#.len());
}

proptest! {
    /// serde_json is the reference for what is JSON at all; it is laxer only in
    /// what is ours to refuse: a key given twice.
    #[test]
    fn it_agrees_with_serde_json(value in json(), cut in 0usize..40, junk in "[\\[\\]{}\",:0-9eE.+ -]{0,3}") {
        let body = format!("{{\"x\":{value}}}");
        let at = body.char_indices().map(|(at, _)| at).nth(cut).unwrap_or(body.len());
        for body in [body.clone(), body[..at].to_owned(), format!("{}{junk}{}", &body[..at], &body[at..])] {
            let reference = serde_json::from_str::<serde_json::Value>(&body);
            let twice = body.matches("\"x\"").count() > 1;
            match reference {
                Ok(serde_json::Value::Object(_)) if !twice => prop_assert!(message(body.as_bytes()).is_none(), "{body}"),
                Err(_) => prop_assert!(is_malformed(&body), "{body}"),
                _ => {}
            }
        }
    }

    #[test]
    fn no_bytes_panic(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        let reference = serde_json::from_slice::<serde_json::Value>(&body).is_err();
        prop_assert!(!reference || is_malformed(&body));
    }
}

/// JSON values with the odd strings and numbers that are ours to judge.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        "-?(0|[1-9][0-9]{0,3})(\\.[0-9]{1,3})?([eE][+-]?[0-9]{1,3})?",
        "\"[ !#-\\[\\]-~\u{80}-\u{ffff}]{0,6}\"",
        "\"(\\\\u[dD][89a-fA-F][0-9a-f]{2}|\\\\u[0-9a-f]{4}|\\\\[nrtbf/\"\\\\x]){0,4}\"",
    ];
    leaf.prop_recursive(4, 32, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4)
                .prop_map(|items| format!("[{}]", items.join(" ,"))),
            proptest::collection::vec(("[a-c]{1,2}", inner), 0..4).prop_map(|fields| {
                let fields: Vec<_> = fields.iter().map(|(k, v)| format!("\"{k}\" :{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}
