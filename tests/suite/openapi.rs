//! The OpenAPI document against the published page, and against its copy in
//! `docs`. That no answer drifts from it is held by the whole-endpoint suite.

use std::path::Path;

use serde_json::{Map, Value, json};
use signup::http::PresentedCredentials;
use signup::idempotency::IdempotencyKey;

/// The published page, as text.
const PAGE: &str = include_str!("../data/signup-api.txt");

fn document() -> Value {
    serde_json::to_value(signup::openapi()).unwrap()
}

fn operation(document: &Value) -> &Value {
    &document["paths"]["/auth/signup"]["post"]
}

fn schema<'a>(document: &'a Value, content: &Value) -> &'a Value {
    let reference = content["application/json"]["schema"]["$ref"].as_str().unwrap();
    document.pointer(reference.trim_start_matches('#')).unwrap()
}

/// A property as the page shows it: name, `required`, description, type,
/// limits, example, each on a line.
fn lines(name: &str, property: &Map<String, Value>, required: bool) -> Vec<String> {
    let text = |key: &str| property.get(key).map(|value| value.as_str().unwrap().to_owned());
    let mut lines = vec![name.to_owned()];
    lines.extend(required.then(|| "required".to_owned()));
    lines.extend(text("description"));
    let (kind, nullable) = match &property["type"] {
        Value::String(kind) => (kind.clone(), false),
        kinds => (kinds[0].as_str().unwrap().to_owned(), kinds[1] == "null"),
    };
    lines.push(match text("format") {
        Some(format) => format!("{kind} format: {format}"),
        None => kind,
    });
    lines.extend(nullable.then(|| "nullable".to_owned()));
    let limits = [(">=", "minLength"), ("<=", "maxLength")];
    let limits: Vec<_> = limits
        .iter()
        .filter_map(|(sign, key)| Some(format!("{sign} {} characters", property.get(*key)?)))
        .collect();
    lines.extend((!limits.is_empty()).then(|| limits.join(" ")));
    if let Some(Value::Array(values)) = property.get("enum") {
        let values: Vec<_> = values.iter().map(|value| value.as_str().unwrap()).collect();
        lines.push(format!("Allowed values: {}", values.join(" ")));
    }
    if property.get("additionalProperties") == Some(&Value::Bool(true)) {
        lines.extend(["key", "additional properties", "any"].map(str::to_owned));
    }
    if let Some(examples) = property.get("examples") {
        lines.extend(["Example", examples[0].as_str().unwrap()].map(str::to_owned));
    }
    lines
}

/// Every property of a schema as the page shows it. The page does not go into
/// what is open to additions.
fn properties(schema: &Value, found: &mut Vec<Vec<String>>) {
    let required: Vec<_> = schema["required"].as_array().into_iter().flatten().collect();
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let is_required = required.iter().any(|required| *required == name);
        found.push(lines(name, property.as_object().unwrap(), is_required));
        if property.get("additionalProperties").is_none() {
            properties(property, found);
        }
    }
}

/// The same of a section of the page: a block begins at the name of a property.
fn blocks(section: &str, names: &[String]) -> Vec<Vec<String>> {
    let mut blocks: Vec<Vec<String>> = Vec::new();
    for line in section.lines().filter(|line| !line.trim().is_empty()) {
        if names.iter().any(|name| name == line) {
            blocks.push(Vec::new());
        }
        if let Some(block) = blocks.last_mut() {
            block.push(line.to_owned());
        }
    }
    blocks
}

#[track_caller]
fn assert_shown(section: &str, schema: &Value) {
    let mut expected = Vec::new();
    properties(schema, &mut expected);
    let names: Vec<_> = expected.iter().map(|lines| lines[0].clone()).collect();
    let mut shown = blocks(section, &names);
    shown.sort();
    expected.sort();
    assert_eq!(shown, expected);
}

#[test]
fn it_says_what_the_published_page_says() {
    let document = document();
    let operation = operation(&document);
    let (head, rest) = PAGE.split_once("\nobject\n").unwrap();
    for said in [&operation["summary"], &operation["description"]] {
        assert!(head.contains(said.as_str().unwrap()), "{said}");
    }
    assert!(head.contains("\nPOST\n/auth/signup\n"));

    let mut rest = rest;
    let mut section = |end: Option<&str>| match end {
        Some(end) => {
            let (section, after) = rest.split_once(&format!("\n{end}\n")).unwrap();
            rest = after;
            section
        }
        None => rest,
    };
    let description = |status: &str| operation["responses"][status]["description"].as_str();
    let content = |status: &str| &operation["responses"][status]["content"];
    let request = section(description("201"));
    assert_shown(request, schema(&document, &operation["requestBody"]["content"]));
    let created = section(description("400"));
    assert_shown(created, schema(&document, content("201")));
    for (status, next) in [("400", description("409")), ("409", None)] {
        // Behind the properties stands a whole answer.
        let (properties, example) = section(next).split_once("Example\n{").unwrap();
        assert_shown(properties, schema(&document, content(status)));
        let example: Value = serde_json::from_str(&format!("{{{example}")).unwrap();
        assert_eq!(content(status)["application/json"]["example"], example);
    }
}

#[test]
fn every_status_of_the_endpoint_is_there_with_its_headers() {
    let document = document();
    let responses = operation(&document)["responses"].as_object().unwrap();
    let statuses: Vec<_> = responses.keys().map(String::as_str).collect();
    assert_eq!(statuses, ["201", "400", "405", "408", "409", "413", "415", "429", "500", "503"]);
    for (status, response) in responses {
        let headers: Vec<_> = response["headers"].as_object().into_iter().flatten().collect();
        let names: Vec<_> = headers.iter().map(|(name, _)| name.as_str()).collect();
        let expected: &[&str] = match status.as_str() {
            "201" => &["Idempotency-Replayed"],
            "405" => &["Allow"],
            "429" => &["RateLimit", "RateLimit-Policy", "Retry-After"],
            "503" => &["Retry-After"],
            _ => &[],
        };
        assert_eq!(names, expected, "{status}");
    }
}

#[test]
fn the_header_of_a_retry_is_documented_as_it_is_read() {
    let document = document();
    let parameters = operation(&document)["parameters"].as_array().unwrap();
    let [parameter] = parameters.as_slice() else { panic!("{parameters:?}") };
    assert_eq!(parameter["name"], "Idempotency-Key");
    assert_eq!((&parameter["in"], &parameter["required"]), (&json!("header"), &json!(false)));
    let schema = jsonschema::validator_for(&parameter["schema"]).unwrap();
    let (sixteen, most) = ("0123456789abcdef", "x".repeat(255));
    let escaped = format!("\"{}\"", r#"\""#.repeat(16));
    let quoted = [sixteen, &most].map(|key| format!("\"{key}\""));
    let mut values = vec![sixteen.to_owned(), most.clone(), escaped];
    values.extend(quoted.iter().cloned());
    for spoilt in [&sixteen[1..], &format!("{most}x"), "", "\"\""] {
        values.extend([spoilt.to_owned(), format!("\"{spoilt}\"")]);
    }
    for sign in (0..=0x7f).map(char::from).chain(['\u{80}', '\u{e9}', '\u{ff}']) {
        for place in [format!("{sixteen}{sign}{sixteen}"), format!("\"{sixteen}{sign}{sixteen}\"")]
        {
            values.push(place);
        }
    }
    let is_read = |value: &String| IdempotencyKey::from_header(value.as_bytes()).is_ok();
    assert_eq!(values.iter().filter(|value| is_read(value)).count(), 5 + 92 + 92);
    for value in values {
        assert_eq!(schema.is_valid(&json!(value)), is_read(&value), "{value:?}");
    }
}

#[test]
fn the_schemes_of_the_credentials_are_those_of_the_extractors() {
    use signup::openapi::{API_KEY, DASHBOARD_TOKEN, unauthorized};
    let document = document();
    let schemes = &document["components"]["securitySchemes"];
    assert_eq!(schemes.as_object().map(serde_json::Map::len), Some(2));
    let (token, key) = (&schemes[DASHBOARD_TOKEN], &schemes[API_KEY]);
    assert_eq!((&token["type"], &token["scheme"]), (&json!("http"), &json!("bearer")));
    assert_eq!((&key["type"], &key["in"]), (&json!("apiKey"), &json!("header")));
    let presented = PresentedCredentials::new([(key["name"].as_str().unwrap(), b"x".as_slice())]);
    assert_eq!(presented.api_key().unwrap(), Some("x"));
    // A sign-up asks for none of them.
    assert_eq!(operation(&document)["security"], json!([]));
    let refused = serde_json::to_value(unauthorized()).unwrap();
    assert!(refused["headers"]["WWW-Authenticate"].is_object(), "{refused}");
    let example = &refused["content"]["application/json"]["example"];
    assert_eq!(example["error"]["code"], "AUTHENTICATION_ERROR");
}

#[test]
fn the_copies_in_docs_are_current() {
    for (name, document) in [
        ("docs/openapi.json", signup::openapi()),
        ("docs/openapi-events.json", signup::openapi::events()),
        ("docs/openapi-verify-first.json", signup::openapi::verifying_first()),
        ("docs/openapi-verify-after.json", signup::openapi::verifying_after()),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
        let current = document.to_pretty_json().unwrap() + "\n";
        if std::env::var_os("UPDATE_DOCS").is_some() {
            std::fs::write(&path, &current).unwrap();
        }
        let copy = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(copy == current, "run the test with UPDATE_DOCS=1, and commit {name}");
    }
}

/// The statuses of a path that not every path has.
fn statuses(document: &Value, path: &str) -> Vec<String> {
    let responses = document["paths"][path]["post"]["responses"].as_object().unwrap();
    let own = responses.keys().filter(|status| status.as_str() < "405" || *status == "409");
    own.cloned().collect()
}

#[test]
fn a_service_that_proves_addresses_later_has_five_paths() {
    let document = serde_json::to_value(signup::openapi::verifying_after()).unwrap();
    assert_eq!(document["paths"].as_object().unwrap().len(), 5);
    for (path, expected) in [
        ("signup", &["201", "400", "409"][..]),
        ("email/verify", &["204", "400", "401"]),
        ("email/resend", &["202", "400", "401"]),
        ("email/reclaim", &["202", "400"]),
        ("email/reclaim/confirm", &["200", "400"]),
    ] {
        assert_eq!(statuses(&document, &format!("/auth/{path}")), expected, "{path}");
    }
    let security = &document["paths"]["/auth/email/verify"]["post"]["security"];
    assert_eq!(security, &json!([{"dashboardToken": []}, {}]));
}

#[test]
fn a_host_with_plans_of_its_own_documents_them_alone() {
    let plans = ["basic", "pro"].map(|plan| plan.parse().unwrap());
    let with_plans = |document| {
        let document = signup::openapi::with_plans(document, &plans);
        serde_json::to_value(document).unwrap()
    };
    let own = with_plans(signup::openapi());
    let published = document();
    let plan = "/components/schemas/Signup/properties/data/properties/account/properties/plan/enum";
    assert_eq!(own.pointer(plan), Some(&json!(["basic", "pro"])));
    assert_ne!(published.pointer(plan), own.pointer(plan));
    assert_eq!(own["paths"], published["paths"]);
    let verifying = with_plans(signup::openapi::verifying_first());
    assert_eq!(verifying.pointer(plan), Some(&json!(["basic", "pro"])));
    assert!(verifying["paths"]["/auth/signup/verify"].is_object());
}

#[test]
fn a_service_that_proves_addresses_first_has_three_paths() {
    let document = serde_json::to_value(signup::openapi::verifying_first()).unwrap();
    let statuses = |path: &str| statuses(&document, path);
    assert_eq!(document["paths"].as_object().unwrap().len(), 3);
    assert_eq!(statuses("/auth/signup"), ["202", "400"]);
    assert_eq!(statuses("/auth/signup/verify"), ["201", "400", "409"]);
    assert_eq!(statuses("/auth/signup/resend"), ["202", "400"]);
    let verify = &document["paths"]["/auth/signup/verify"]["post"]["requestBody"];
    let body = &verify["content"]["application/json"]["schema"]["required"];
    assert_eq!(body, &json!(["ticket", "code"]));
}
