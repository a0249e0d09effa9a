//! The document of an endpoint that verifies addresses after the sign-up.

use utoipa::openapi::path::{HttpMethod, Operation, PathItem};
use utoipa::openapi::response::Response;
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, ObjectBuilder, OpenApi, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use crate::http::{CONFIRM_RECLAIM_PATH, RECLAIM_PATH, RESEND_EMAIL_CODE_PATH, VERIFY_EMAIL_PATH};
use crate::openapi::{
    DASHBOARD_TOKEN, JSON, email_address, new_password, object, openapi, reference, text,
    unauthorized,
};
use crate::response::Signup;
use crate::verification::PendingVerification;

use super::{code, expires_at, ticket, with_body};
use crate::openapi::replayed;

/// Returns the document of a service that
/// [verifies addresses after the sign-up](crate::SignupServiceBuilder::verify_after): four
/// more paths verify an address, mail another code, and let the owner of a mailbox take over
/// an account that was made with its address.
///
/// ```
/// let document = signup::openapi::verifying_after();
/// assert!(document.paths.paths.contains_key("/auth/email/verify"));
/// ```
pub fn verifying_after() -> OpenApi {
    let mut document = openapi();
    if let Some(components) = &mut document.components {
        let schema = (PendingVerification::name().into_owned(), PendingVerification::schema());
        components.schemas.extend([schema]);
    }
    for (path, operation) in [
        (VERIFY_EMAIL_PATH, verify()),
        (RESEND_EMAIL_CODE_PATH, resend()),
        (RECLAIM_PATH, reclaim()),
        (CONFIRM_RECLAIM_PATH, confirm()),
    ] {
        let item = PathItem::new(HttpMethod::Post, operation);
        document.paths.paths.insert(path.to_owned(), item);
    }
    document
}

fn verify() -> Operation {
    let body = owner(ObjectBuilder::new().property("code", code()).required("code"));
    let operation = Operation::builder()
        .operation_id(Some("verifyEmail"))
        .summary(Some("Verify the address of an account"))
        .description(Some(
            "Takes the code of the mail, with the token of the account in `Authorization`, or \
             with email and password in the body.",
        ));
    let verified = Response::builder().description("The address is verified").build();
    of_owner(with_body(operation, body).response("204", verified).build())
}

fn resend() -> Operation {
    let operation = Operation::builder()
        .operation_id(Some("resendEmailCode"))
        .summary(Some("Mail the code of an account again"))
        .description(Some(
            "Takes the token of the account in `Authorization`, or email and password in the \
             body.",
        ));
    let data = object([("expires_at", expires_at())]);
    let content = ContentBuilder::new().schema(Some(Schema::from(object([("data", data)]))));
    let sent = Response::builder()
        .description("A code is on its way, unless the address is verified")
        .content(JSON, content.build())
        .build();
    let operation = with_body(operation, owner(ObjectBuilder::new()));
    of_owner(operation.response("202", sent).build())
}

fn reclaim() -> Operation {
    let operation = Operation::builder()
        .operation_id(Some("reclaim"))
        .summary(Some("Begin to take over an account"))
        .description(Some(
            "For the owner of a mailbox, with whose address somebody else has made an account: \
             mails a code if the address was never verified. The answer is the same for any \
             address.",
        ));
    let mut operation = with_body(operation, object([("email", email_address())])).build();
    operation.responses.responses.remove("409");
    let pending = super::pending("A code is on its way, if there is such an account");
    operation.responses.responses.insert("202".to_owned(), pending.into());
    operation
}

fn confirm() -> Operation {
    let operation = Operation::builder()
        .operation_id(Some("confirmReclaim"))
        .summary(Some("Take over an account"))
        .description(Some(
            "Sets the password, verifies the address, clears the name, and ends every token and \
             API key of the account.",
        ));
    let content = ContentBuilder::new().schema(Some(reference::<Signup>()));
    let taken = Response::builder()
        .description("The account, with a new token and API key")
        .header("Idempotency-Replayed", replayed())
        .content(JSON, content.build());
    let body = [("ticket", ticket()), ("code", code()), ("password", new_password())];
    let operation = with_body(operation, object(body)).response("200", taken.build());
    let mut operation = operation.build();
    operation.responses.responses.remove("409");
    operation
}

/// Adds the email and password of an account's owner, who may have a token instead.
fn owner(body: ObjectBuilder) -> ObjectBuilder {
    let with_token = "Not needed with a token";
    body.schema_type(utoipa::openapi::Type::Object)
        .property("email", email_address().description(Some(with_token)))
        .property("password", text().description(Some(with_token)))
}

/// Adds the token of an account's owner, who may send email and password instead.
fn of_owner(mut operation: Operation) -> Operation {
    let token = SecurityRequirement::new(DASHBOARD_TOKEN, [""; 0]);
    operation.security = Some(vec![token, SecurityRequirement::default()]);
    operation.responses.responses.remove("409");
    operation.responses.responses.insert("401".to_owned(), RefOr::T(unauthorized()));
    operation
}
