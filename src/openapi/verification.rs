//! The documents of endpoints that verify addresses.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::Response;
use utoipa::openapi::{
    ContentBuilder, KnownFormat, ObjectBuilder, OpenApi, RefOr, Required, Schema, SchemaFormat,
};
use utoipa::{PartialSchema, ToSchema};

use crate::http::{PATH, RESEND_PATH, VERIFY_PATH};
use crate::verification::PendingVerification;

use super::{JSON, created, object, openapi, reference, refusals, refused, text};

mod after;

pub use after::verifying_after;

const SENT: &str = "A code is on its way, unless the address has an account";

/// Returns the document of a service that
/// [verifies addresses first](crate::SignupServiceBuilder::verify_first): a sign-up answers
/// 202, and two more paths complete it and send another code.
///
/// ```
/// let document = signup::openapi::verifying_first();
/// assert!(document.paths.paths.contains_key("/auth/signup/verify"));
/// ```
pub fn verifying_first() -> OpenApi {
    let mut document = openapi();
    if let Some(components) = &mut document.components {
        let schema = (PendingVerification::name().into_owned(), PendingVerification::schema());
        components.schemas.extend([schema]);
    }
    let paths = &mut document.paths.paths;
    if let Some(begin) = paths.get_mut(PATH).and_then(|path| path.post.as_mut()) {
        begin.summary = Some("Begin a sign-up".to_owned());
        begin.description = Some(
            "Check a sign-up with email and password, and mail a code to the address. Returns a \
             ticket, which completes the sign-up together with the code. Nothing is stored, and \
             the answer is the same whether or not the address has an account."
                .to_owned(),
        );
        // The ticket does what an idempotency key would.
        begin.parameters = None;
        begin.responses.responses.retain(|status, _| !matches!(status.as_str(), "201" | "409"));
        begin.responses.responses.insert("202".to_owned(), pending(SENT).into());
    }
    for (path, operation) in [(VERIFY_PATH, verify()), (RESEND_PATH, resend())] {
        paths.insert(path.to_owned(), PathItem::new(HttpMethod::Post, operation));
    }
    document
}

fn verify() -> Operation {
    let body = object([("ticket", ticket()), ("code", code())]);
    let operation = Operation::builder()
        .operation_id(Some("verify"))
        .summary(Some("Complete a sign-up"))
        .description(Some(
            "Verify the address by the code of the mail, and register the account. The same \
             request, sent again, gets the same account and API key while the account is as it \
             was.",
        ));
    with_body(operation, body).response("201", created()).build()
}

fn code() -> ObjectBuilder {
    text()
        .description(Some("The code of the mail, without regard to case, blanks and hyphens"))
        .examples(["7HXW-3K9P"])
}

fn resend() -> Operation {
    let operation = Operation::builder()
        .operation_id(Some("resend"))
        .summary(Some("Mail another code"))
        .description(Some("Returns another ticket for the same sign-up, and mails its code."));
    let mut operation = with_body(operation, object([("ticket", ticket())])).build();
    operation.responses.responses.remove("409");
    operation.responses.responses.insert("202".to_owned(), pending(SENT).into());
    operation
}

/// Adds a body and every refusal.
fn with_body(
    operation: utoipa::openapi::path::OperationBuilder,
    body: ObjectBuilder,
) -> utoipa::openapi::path::OperationBuilder {
    let body = ContentBuilder::new().schema(Some(RefOr::T(Schema::from(body))));
    let body = RequestBody::builder().content(JSON, body.build()).required(Some(Required::True));
    let operation = operation.request_body(Some(body.build())).securities(Some([]));
    refusals().into_iter().fold(operation, |operation, (description, answer)| {
        operation.response(answer.status().to_string(), refused(description, &answer))
    })
}

fn pending(description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(reference::<PendingVerification>()));
    Response::builder().description(description).content(JSON, content.build()).build()
}

fn ticket() -> ObjectBuilder {
    text().description(Some("The ticket, for who has asked for it")).examples(["sut_…"])
}

fn expires_at() -> ObjectBuilder {
    text()
        .format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
        .description(Some("When the code expires"))
        .examples([json!("2026-11-26T14:00:00Z")])
}

impl PartialSchema for PendingVerification {
    fn schema() -> RefOr<Schema> {
        let data = object([("ticket", ticket()), ("expires_at", expires_at())]);
        object([("data", data)]).into()
    }
}

impl ToSchema for PendingVerification {
    fn name() -> Cow<'static, str> {
        "PendingVerification".into()
    }
}
