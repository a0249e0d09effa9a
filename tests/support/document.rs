//! The OpenAPI document as a judge: every answer, and every body, against it.

use std::collections::HashMap;
use std::sync::{LazyLock, Mutex, PoisonError};

use jsonschema::Validator;
use serde_json::Value;

use super::backend::Mode;
use super::client::Response;

static DOCUMENT: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(signup::openapi()).unwrap());
/// The validators of the other operations, by the text of their schema.
static VALIDATORS: LazyLock<Mutex<HashMap<String, Validator>>> = LazyLock::new(Mutex::default);
static REQUEST: LazyLock<Validator> = LazyLock::new(|| schema("SignupRequest"));
static CREATED: LazyLock<Validator> = LazyLock::new(|| schema("Signup"));
static ERROR: LazyLock<Validator> = LazyLock::new(|| schema("SignupError"));

fn schema(name: &str) -> Validator {
    jsonschema::validator_for(&DOCUMENT["components"]["schemas"][name]).unwrap()
}

/// The status is documented, the body is of its schema, and a header that the
/// document gives to a status is there, and nowhere else.
#[track_caller]
pub fn check_answer(response: &Response, json: &Value) {
    let documented = &DOCUMENT["paths"]["/auth/signup"]["post"]["responses"];
    let documented = documented.get(response.status.to_string());
    let documented = documented.unwrap_or_else(|| panic!("not documented: {response:?}"));
    for name in ["Allow", "Retry-After"] {
        let sent = response.header(&name.to_ascii_lowercase());
        assert_eq!(sent.is_some(), documented["headers"].get(name).is_some(), "{response:?}");
    }
    let schema = if response.status == 201 { &CREATED } else { &ERROR };
    if let Err(error) = schema.validate(json) {
        panic!("{error}: {response:?}");
    }
}

static EVENTS: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(signup::openapi::events()).unwrap());
static EVENT: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::validator_for(event_schema()).unwrap());

fn event_schema() -> &'static Value {
    &EVENTS["components"]["schemas"]["Event"]
}

/// Checks an event against the document, and that it tells nothing which is not in it.
#[track_caller]
pub fn check_event(event: &Value) {
    if let Err(error) = EVENT.validate(event) {
        panic!("{error}: {event}");
    }
    let types = event_schema()["oneOf"].as_array().unwrap();
    let of_type = types.iter().find(|schema| schema["title"] == event["type"]).unwrap();
    for (at, schema) in [("", of_type), ("data", &of_type["properties"]["data"])] {
        let object = if at.is_empty() { event } else { &event[at] };
        for name in object.as_object().unwrap().keys() {
            assert!(schema["properties"][name].is_object(), "{name} is not documented: {event}");
        }
    }
}

static FIRST: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(signup::openapi::verifying_first()).unwrap());
static AFTER: LazyLock<Value> =
    LazyLock::new(|| serde_json::to_value(signup::openapi::verifying_after()).unwrap());

/// Checks an answer of an endpoint that proves addresses against its document.
#[track_caller]
pub fn check_verifying(mode: Mode, path: &str, response: &Response) {
    let document = match mode {
        Mode::First => &*FIRST,
        Mode::After => &*AFTER,
    };
    let documented = &document["paths"][path]["post"]["responses"];
    let documented = documented.get(response.status.to_string());
    let documented = documented.unwrap_or_else(|| panic!("not documented at {path}: {response:?}"));
    if response.status == 204 {
        assert!(response.body.is_empty() && response.header("content-type").is_none());
        assert!(documented["content"].is_null(), "{documented}");
        return;
    }
    let schema = &documented["content"]["application/json"]["schema"];
    let schema = match schema["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).unwrap(),
        None => schema,
    };
    // Compiling a schema takes longer than most tests.
    let mut validators = VALIDATORS.lock().unwrap_or_else(PoisonError::into_inner);
    let compile = || jsonschema::validator_for(schema).unwrap();
    let schema = validators.entry(schema.to_string()).or_insert_with(compile);
    if let Err(error) = schema.validate(&response.json()) {
        panic!("{error}: {response:?}");
    }
}

/// Compares an answer with the document's schema: a body that it rejects creates no
/// account, and one that it accepts is accepted, except for what a schema can't express:
/// the form of an email, and text that the endpoint does not accept as JSON.
#[track_caller]
pub fn check_request(body: &[u8], response: &Response) {
    let Ok(json) = serde_json::from_slice(body) else { return };
    let valid = REQUEST.is_valid(&json);
    match response.status {
        201 | 409 => assert!(valid, "{json} is not documented, and was taken: {response:?}"),
        400 if valid => {
            let said = response.issues();
            let beyond = |issue: &(Vec<String>, String)| {
                issue.1 == "Malformed JSON"
                    || *issue == (vec!["email".into()], "Invalid email".into())
            };
            assert!(said.iter().all(beyond), "{json} is documented, and was refused: {said:?}");
        }
        _ => {}
    }
}
