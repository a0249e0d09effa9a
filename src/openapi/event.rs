//! The document of the events of accounts.

use std::borrow::Cow;

use serde_json::json;
use utoipa::openapi::path::{HttpMethod, Operation, PathItem, PathsBuilder};
use utoipa::openapi::request_body::RequestBody;
use utoipa::openapi::response::Response;
use utoipa::openapi::schema::{ArrayBuilder, ObjectBuilder, OneOfBuilder, SchemaType, Type};
use utoipa::openapi::{
    Components, ContentBuilder, Info, OpenApi, OpenApiBuilder, RefOr, Required, Schema,
};
use utoipa::{PartialSchema, ToSchema};

use crate::event::{Event, EventKind};

use super::{JSON, object, reference, text};

/// Returns the document of the [events](crate::event) of accounts: a webhook of OpenAPI 3.1,
/// with a schema for each type. A consumer that receives them elsewhere uses the schema of
/// [`Event::to_json`].
///
/// ```
/// let document = serde_json::to_value(signup::openapi::events()).unwrap();
/// assert!(document["webhooks"]["event"]["post"].is_object());
/// ```
pub fn events() -> OpenApi {
    let body = ContentBuilder::new().schema(Some(reference::<Event>()));
    let body = RequestBody::builder().content(JSON, body.build()).required(Some(Required::True));
    let taken = Response::builder().description("Taken over, or known already by its id");
    let post = Operation::builder()
        .operation_id(Some("event"))
        .summary(Some("Tell of an event"))
        .description(Some(
            "What has happened to an account, signed by the form of Standard Webhooks. The same \
             event may come again. The events of an account come in the order of their numbers.",
        ))
        .request_body(Some(body.build()))
        .response("2XX", taken.build())
        .build();
    let webhook = PathItem::new(HttpMethod::Post, post);
    OpenApiBuilder::new()
        .info(Info::new("Events of accounts", env!("CARGO_PKG_VERSION")))
        .components(Some(Components::builder().schema_from::<Event>().build()))
        .webhooks(Some(PathsBuilder::new().path("event", webhook)))
        .build()
}

impl PartialSchema for Event {
    fn schema() -> RefOr<Schema> {
        let types = EventKind::ALL.into_iter().map(of_kind);
        types.fold(OneOfBuilder::new(), OneOfBuilder::item).into()
    }
}

impl ToSchema for Event {
    fn name() -> Cow<'static, str> {
        "Event".into()
    }
}

fn of_kind(kind: EventKind) -> ObjectBuilder {
    object([
        ("id", text().description(Some("The same whenever the event is delivered"))),
        ("type", text().enum_values(Some([kind.as_str()]))),
        ("version", integer().enum_values(Some([1]))),
        ("number", integer().minimum(Some(1)).description(Some("The place in its account"))),
        ("account_id", text()),
        ("created_at", moment()),
        ("data", data(kind)),
    ])
    .property("timestamp", text().description(Some("RFC 3339, of a webhook")))
    .title(Some(kind.as_str()))
}

/// Describes the payload of a type. No field is required: an account that was erased
/// has left its events without it.
fn data(kind: EventKind) -> ObjectBuilder {
    let data = ObjectBuilder::new().schema_type(Type::Object);
    match kind {
        EventKind::AccountCreated => {
            let verified = boolean().description(Some("Whether the address was verified first"));
            data.property("plan", text()).property("verified", verified)
        }
        EventKind::AccountUpdated => {
            let field = text().enum_values(Some(["email", "name", "state"]));
            data.property("changed", ArrayBuilder::new().items(field))
        }
        EventKind::AccountPlanChanged => data.property("plan", text()),
        EventKind::AccountPasswordChanged => {
            let was = text().enum_values(Some(["verified", "unverified", "unknown"]));
            data.property("reset", boolean())
                .property("address_was", was.description(Some("Of a reset")))
                .property("api_keys_ended", integer())
                .property("api_keys_kept", integer())
        }
        EventKind::AccountDeletionRequested => data.property("delete_at", moment()),
        EventKind::AccountErased => data.property("banned", boolean()),
        EventKind::ApiKeyAdded => {
            data.property("key_id", text()).property("expires_at", optional_moment())
        }
        EventKind::ApiKeyRotated => data
            .property("key_id", text())
            .property("expires_at", optional_moment())
            .property("old_key_id", text())
            .property("old_valid_until", moment()),
        EventKind::ApiKeyRevoked => data.property("key_id", text()),
        EventKind::AccountVerified
        | EventKind::AccountDisabled
        | EventKind::AccountEnabled
        | EventKind::AccountReclaimed
        | EventKind::Unknown => data,
    }
}

fn integer() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer)
}

fn boolean() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Boolean)
}

fn moment() -> ObjectBuilder {
    integer().description(Some("Milliseconds since 1970")).examples([json!(1_750_000_000_000_i64)])
}

fn optional_moment() -> ObjectBuilder {
    moment().schema_type(SchemaType::from_iter([Type::Integer, Type::Null]))
}
