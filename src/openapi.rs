//! The OpenAPI 3.1 document of the endpoint.
//!
//! It is derived from the code: limits are the fields' constants, enumerations are the
//! types' own, and every example of an error is a real answer of the endpoint.
//!
//! A host with its own document merges this one into it, or takes single schemas:
//! [`SignupRequest`], [`Signup`] and [`SignupError`] implement [`ToSchema`].
//!
//! ```
//! use signup::{Signup, SignupError, SignupRequest};
//! use utoipa::openapi::{Components, Info, OpenApi, Paths};
//!
//! // All of it:
//! let host = OpenApi::new(Info::new("My API", "1.0"), Paths::new());
//! let host = host.merge_from(signup::openapi());
//! assert!(host.paths.paths.contains_key("/auth/signup"));
//!
//! // Or the schemas alone:
//! let components = Components::builder()
//!     .schema_from::<SignupRequest>()
//!     .schema_from::<Signup>()
//!     .schema_from::<SignupError>()
//!     .build();
//! assert!(components.schemas.contains_key("SignupRequest"));
//! ```
//!
//! An operation of the host that takes a credential of this crate names its scheme:
//!
//! ```
//! use signup::openapi::{API_KEY, DASHBOARD_TOKEN, unauthorized};
//! use utoipa::openapi::path::Operation;
//! use utoipa::openapi::security::SecurityRequirement;
//!
//! let operation = |scheme| {
//!     let security = SecurityRequirement::new(scheme, [""; 0]);
//!     Operation::builder().security(security).response("401", unauthorized()).build()
//! };
//! assert!(operation(DASHBOARD_TOKEN).security.is_some());
//! assert!(operation(API_KEY).security.is_some());
//! ```

mod event;
#[cfg(feature = "verification")]
mod verification;

use std::borrow::Cow;
use std::num::NonZeroU32;

use serde_json::json;
use utoipa::openapi::header::{Header, HeaderBuilder};
use utoipa::openapi::path::{HttpMethod, Operation, Parameter, ParameterIn, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{AdditionalProperties, ArrayBuilder, SchemaType};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityScheme};
use utoipa::openapi::{
    Components, ContentBuilder, Info, KnownFormat, ObjectBuilder, OpenApi, OpenApiBuilder,
    PathsBuilder, Ref, RefOr, Required, Schema, SchemaFormat, Type,
};
use utoipa::{PartialSchema, ToSchema};

use crate::account::Plan;
use crate::credentials::CredentialError;
use crate::error::{DEFAULT_RETRY_AFTER, ErrorCode, Issue, SignupError};
use crate::fields::{email, name, password};
use crate::http::{PATH, Refusal, Reply};
use crate::limit::{Quota, RateLimited};
use crate::request::SignupRequest;
use crate::response::Signup;

pub use event::events;
#[cfg(feature = "verification")]
pub use verification::{verifying_after, verifying_first};

const JSON: &str = "application/json";

/// The security scheme of the token: `Authorization: Bearer …`.
pub const DASHBOARD_TOKEN: &str = "dashboardToken";

/// The security scheme of an API key: `X-API-Key: …`.
pub const API_KEY: &str = "apiKey";

/// Returns the document: one operation at [`PATH`], its three schemas, and the security
/// schemes [`DASHBOARD_TOKEN`] and [`API_KEY`].
///
/// Serve it as `application/json`, with [`OpenApi::to_json`].
///
/// ```
/// let document = signup::openapi();
/// let json = document.to_json().unwrap();
/// assert!(json.starts_with(r#"{"openapi":"3.1.0""#));
/// ```
pub fn openapi() -> OpenApi {
    let components = Components::builder()
        .schema_from::<SignupRequest>()
        .schema_from::<Signup>()
        .schema_from::<SignupError>()
        .security_scheme(DASHBOARD_TOKEN, token_scheme())
        .security_scheme(API_KEY, key_scheme());
    let post = PathItem::new(HttpMethod::Post, operation());
    OpenApiBuilder::new()
        .info(Info::new("Sign-up", env!("CARGO_PKG_VERSION")))
        .paths(PathsBuilder::new().path(PATH, post))
        .components(Some(components.build()))
        .build()
}

/// Returns a document of this module with the plans of a service, from
/// [`SignupService::plans`](crate::SignupService::plans).
///
/// ```
/// use signup::openapi::{openapi, with_plans};
///
/// let document = with_plans(openapi(), &["basic".parse().unwrap()]);
/// let json = document.to_json().unwrap();
/// assert!(json.contains("basic") && !json.contains("starter"));
/// ```
pub fn with_plans(mut document: OpenApi, plans: &[Plan]) -> OpenApi {
    if let Some(components) = &mut document.components {
        components.schemas.insert(Signup::name().into_owned(), signup_schema(plans));
    }
    document
}

/// Returns the operation of `POST /auth/signup`, to be mounted in a document at another
/// path.
pub fn operation() -> Operation {
    let body = ContentBuilder::new().schema(Some(reference::<SignupRequest>()));
    let body = RequestBody::builder().content(JSON, body.build()).required(Some(Required::True));
    let mut operation = Operation::builder()
        .operation_id(Some("signup"))
        .summary(Some("Create a new account"))
        .description(Some(
            "Register a new account with email and password. Returns a JWT token for dashboard \
             access and a raw API key. The API key is shown only once and must be stored securely.",
        ))
        .parameter(idempotency_key())
        .request_body(Some(body.build()))
        // Overrides requirements of a host's whole document: nobody has a credential yet.
        .securities(Some([]))
        .response("201", created());
    for (description, answer) in refusals() {
        operation = operation.response(answer.status().to_string(), refused(description, &answer));
    }
    operation.build()
}

fn created() -> Response {
    let content = ContentBuilder::new().schema(Some(reference::<Signup>()));
    Response::builder()
        .description("Account created successfully")
        .header("Idempotency-Replayed", replayed())
        .content(JSON, content.build())
        .build()
}

/// Describes the header of a repeated answer.
fn replayed() -> Header {
    let replayed = text().enum_values(Some(["true"]));
    let description = "This is the answer to an earlier request that was equal";
    HeaderBuilder::new().schema(Some(replayed)).description(Some(description)).build()
}

/// Describes the header of a request that can be retried.
fn idempotency_key() -> Parameter {
    let key = text().pattern(Some(IDEMPOTENCY_KEY)).examples([json!(EXAMPLE_KEY)]);
    Parameter::builder()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "Chosen by the client, a UUIDv4 for example: the same request with the same key gets \
             the same answer again, for 24 hours. A service that is not retry-safe ignores it.",
        ))
        .schema(Some(key))
        .build()
}

/// The rule of [`IdempotencyKey::from_header`](crate::idempotency::IdempotencyKey), as an
/// ECMA-262 pattern: a bare key, or a string of structured fields.
const IDEMPOTENCY_KEY: &str = r#"^(?:[!#-+\--~]{16,255}|"(?:[!#-\[\]-~]|\\["\\]){16,255}")$"#;

const EXAMPLE_KEY: &str = "8e03978e-40d5-43dd-bc93-6894a57f9324";

fn token_scheme() -> SecurityScheme {
    let description = "The token of a sign-up or a log-in, in `Authorization`";
    let bearer = Http::builder().scheme(HttpAuthScheme::Bearer).bearer_format("JWT");
    SecurityScheme::Http(bearer.description(Some(description)).build())
}

fn key_scheme() -> SecurityScheme {
    let description = "An API key. `Authorization: Bearer …` takes it as well";
    SecurityScheme::ApiKey(ApiKey::Header(ApiKeyValue::with_description("X-API-Key", description)))
}

/// Returns the 401 of an operation that takes a credential.
pub fn unauthorized() -> Response {
    refused("The credential is missing or does not verify", &(&CredentialError::Rejected).into())
}

/// Returns the 403 of an operation that takes the credential of a
/// [verified address](crate::credentials::VerifiedEmail) alone.
pub fn email_unverified() -> Response {
    refused(
        "The credential is valid, and the address of its account is not verified",
        &(&CredentialError::EmailUnverified).into(),
    )
}

/// Returns every answer other than 201, as the endpoint gives it.
fn refusals() -> [(&'static str, Reply); 9] {
    let retry_after = DEFAULT_RETRY_AFTER;
    let invalid = SignupError::Invalid(vec![Issue::field("name", "Required")]);
    let quota = Quota::per_minute(NonZeroU32::MIN);
    let limited = RateLimited { policy: "client", quota, retry_after };
    let unavailable = SignupError::Unavailable { retry_after, source: "".into() };
    [
        ("Request validation failed", Reply::error(&invalid)),
        ("Not POST", Refusal::MethodNotAllowed.into()),
        ("The body did not arrive in time", Refusal::RequestTimeout.into()),
        ("Email already exists", Reply::error(&SignupError::EmailTaken)),
        ("The body is too large", Refusal::PayloadTooLarge.into()),
        ("The body is not plain application/json", Refusal::UnsupportedMediaType.into()),
        (
            "Too many requests, or hashing capacity is full",
            Reply::error(&SignupError::RateLimited(limited)),
        ),
        ("Anything else; nothing is stored", Reply::error(&SignupError::internal(""))),
        (
            "The store does not answer. Where the outcome could not be learned, a retry may \
             find the account there",
            Reply::error(&unavailable),
        ),
    ]
}

fn refused(description: &str, answer: &Reply) -> Response {
    let mut response = Response::builder().description(description);
    for (name, value) in answer.headers() {
        if let Some(header) = header(name, value) {
            response = response.header(canonical(name), header);
        }
    }
    let example = serde_json::from_slice(answer.body()).ok();
    let content = ContentBuilder::new().schema(Some(reference::<SignupError>())).example(example);
    response.content(JSON, content.build()).build()
}

/// Describes a header of an answer.
fn header(name: &str, value: &str) -> Option<Header> {
    let (schema, description) = match name {
        "retry-after" => {
            let seconds = ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1));
            (seconds, "Seconds to wait before a retry")
        }
        "www-authenticate" => (text(), "The scheme to authenticate by"),
        "ratelimit" => (text(), "The limit that has nothing left, if it is one"),
        "ratelimit-policy" => (text(), "What that limit allows"),
        "allow" => (text().enum_values(Some([value])), "The method of this path"),
        _ => return None,
    };
    Some(HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build())
}

/// Spells a header's name as in documents: `Retry-After`.
fn canonical(name: &str) -> String {
    let word = |word: &str| {
        let (first, rest) = word.split_at(1);
        match word {
            "www" => "WWW".to_owned(),
            "ratelimit" => "RateLimit".to_owned(),
            _ => first.to_uppercase() + rest,
        }
    };
    name.split('-').map(word).collect::<Vec<_>>().join("-")
}

impl PartialSchema for SignupRequest {
    fn schema() -> RefOr<Schema> {
        let email = email_address()
            .description(Some("Account email address"))
            .max_length(Some(email::MAX_CHARS));
        let password = new_password();
        let name = text()
            .description(Some("Display name (optional)"))
            .max_length(Some(name::MAX_CHARS))
            .pattern(Some(NO_CONTROL_CHARACTERS))
            .examples(["Jane Developer"]);
        object([("email", email), ("password", password)]).property("name", name).into()
    }
}

fn new_password() -> ObjectBuilder {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::Password)))
        .description(Some("Account password (min 8 characters)"))
        .min_length(Some(password::MIN_CHARS))
        .max_length(Some(password::MAX_CHARS))
}

/// The rule of [`Name`](crate::fields::Name), as an ECMA-262 pattern.
const NO_CONTROL_CHARACTERS: &str = "^[^\\u0000-\\u001F\\u007F-\\u009F]*$";

impl ToSchema for SignupRequest {
    fn name() -> Cow<'static, str> {
        "SignupRequest".into()
    }
}

/// The published plans. A host with its own [plans](crate::SignupServiceBuilder::plans)
/// uses [`with_plans`].
impl PartialSchema for Signup {
    fn schema() -> RefOr<Schema> {
        signup_schema(&Plan::PUBLISHED)
    }
}

fn signup_schema(plans: &[Plan]) -> RefOr<Schema> {
    let token = text()
        .description(Some("JWT token for dashboard authentication"))
        .examples(["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9..."]);
    let api_key = text()
        .description(Some("Raw API key. Store securely. Shown only once."))
        .examples(["rag_live_abc123def456..."]);
    let id =
        text().description(Some("Account ID (prefixed with acc_)")).examples(["acc_a1b2c3d4e5"]);
    let name = ObjectBuilder::new()
        .schema_type(SchemaType::from_iter([Type::String, Type::Null]))
        .examples(["Jane Developer"]);
    let plan = text()
        .enum_values(Some(plans.iter().map(Plan::to_string).collect::<Vec<_>>()))
        .examples(plans.first().map(Plan::to_string));
    let account = object([("id", id), ("email", email_address()), ("plan", plan)]);
    let account = account.property("name", name);
    let data = object([("token", token), ("api_key", api_key), ("account", account)]);
    object([("data", data)]).into()
}

impl ToSchema for Signup {
    fn name() -> Cow<'static, str> {
        "Signup".into()
    }
}

impl PartialSchema for SignupError {
    fn schema() -> RefOr<Schema> {
        let code = text()
            .description(Some("Machine-readable error code"))
            .enum_values(Some(ErrorCode::ALL.map(|code| json!(code))))
            .examples([json!(ErrorCode::ValidationError)]);
        let message = text()
            .description(Some("Human-readable error message"))
            .examples(["Invalid request body"]);
        let path = ArrayBuilder::new().items(text());
        let path = path.description(Some("The keys that lead to the field; empty for the body"));
        let issue = object([("message", text().description(Some("What is wrong")))])
            .property("path", path)
            .required("path");
        let issues = ArrayBuilder::new().items(issue).description(Some("Every wrong field"));
        let details = ObjectBuilder::new()
            .schema_type(Type::Object)
            .description(Some("Additional error details (e.g., validation issues)"))
            .property("issues", issues)
            .additional_properties(Some(AdditionalProperties::<Schema>::FreeForm(true)));
        let error = object([("code", code), ("message", message)]).property("details", details);
        object([("error", error)]).into()
    }
}

impl ToSchema for SignupError {
    fn name() -> Cow<'static, str> {
        "SignupError".into()
    }
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn email_address() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Email))).examples(["dev@example.com"])
}

/// Creates an object schema with these required properties.
fn object<const N: usize>(required: [(&str, ObjectBuilder); N]) -> ObjectBuilder {
    let object = ObjectBuilder::new().schema_type(Type::Object);
    required
        .into_iter()
        .fold(object, |object, (name, schema)| object.property(name, schema).required(name))
}

fn reference<T: ToSchema>() -> Ref {
    Ref::from_schema_name(T::name())
}
