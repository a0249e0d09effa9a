//! JSON text → [`SignupRequest`], with the state of every field kept.

use std::fmt;

use crate::error::{Issue, SignupError};
use crate::idempotency::IdempotencyKey;
use crate::limit::ClientIp;
use crate::secret::Secret;

mod json;

use json::{Malformed, Reader};

/// An unvalidated request: each field is missing, of a wrong type, or text.
///
/// ```
/// use signup::SignupRequest;
///
/// let by_hand = SignupRequest::new("dev@example.com", "correct horse").name("Jane");
/// let from_json = SignupRequest::from_json(
///     br#"{"email":"dev@example.com","password":"correct horse","name":"Jane"}"#,
/// );
/// assert!(from_json.is_ok());
/// # let _ = by_hand;
/// ```
#[derive(Debug, Default)]
pub struct SignupRequest {
    pub(crate) email: Field,
    pub(crate) password: Field,
    pub(crate) name: Field,
    /// Fields that a policy has declared, in its order.
    pub(crate) declared: Vec<(&'static str, Field)>,
    pub(crate) origin: Origin,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

/// The origin of a request, as far as it is known.
#[derive(Debug, Default, Clone)]
pub(crate) struct Origin {
    pub(crate) client: Option<ClientIp>,
    pub(crate) headers: Vec<(String, Secret<Vec<u8>>)>,
}

impl SignupRequest {
    /// Creates a request from fields that the host has already.
    pub fn new(email: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            email: Field::text(email.into()),
            password: Field::text(password.into()),
            ..Self::default()
        }
    }

    /// Sets the client, for limits and policies.
    #[must_use]
    pub fn client(mut self, client: ClientIp) -> Self {
        self.origin.client = Some(client);
        self
    }

    /// Adds a header, for policies.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<Vec<u8>>) -> Self {
        self.origin.headers.push((name.into(), Secret::new(value.into())));
        self
    }

    /// Sets the idempotency key, by which a retry of the request gets the same answer. A
    /// service that is not [`retry_safe`](crate::SignupServiceBuilder::retry_safe) ignores
    /// it.
    #[must_use]
    pub fn idempotency_key(mut self, key: IdempotencyKey) -> Self {
        self.idempotency_key = Some(key);
        self
    }

    /// Adds a field that a policy has declared.
    #[must_use]
    pub fn field(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.declared.push((name, Field::text(value.into())));
        self
    }

    /// Adds a display name.
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Field::text(name.into());
        self
    }

    /// Parses the body of a request.
    ///
    /// The whole body is checked, including ignored fields: UTF-8, one object, no duplicate
    /// key in it, no lone surrogate, no number out of a double's range, no field nested
    /// deeper than 127 levels.
    ///
    /// # Errors
    /// Returns [`SignupError::Invalid`] with the one issue of the body. Problems of a field
    /// are found by validation, not here.
    pub fn from_json(body: &[u8]) -> Result<Self, SignupError> {
        Self::from_json_with(body, &[])
    }

    /// Parses the body like [`from_json`](Self::from_json), with these additional fields
    /// that policies have declared.
    ///
    /// # Errors
    /// Fails like [`from_json`](Self::from_json).
    pub fn from_json_with(body: &[u8], fields: &[&'static str]) -> Result<Self, SignupError> {
        Self::read(body, fields).map_err(|issue| SignupError::Invalid(vec![issue]))
    }

    fn read(body: &[u8], declared: &[&'static str]) -> Result<Self, Issue> {
        let text = std::str::from_utf8(body).map_err(|_| Malformed)?;
        let mut reader = Reader::new(text);
        let declared = declared.iter().map(|name| (*name, Field::Missing)).collect();
        let mut request = Self { declared, ..Self::default() };
        match reader.kind()? {
            JsonType::Object => reader.object(|key, reader| request.read_field(key, reader))?,
            other => {
                reader.value()?;
                reader.end()?;
                return Err(Issue::body(format!("Expected object, received {other}")));
            }
        }
        reader.end()?;
        Ok(request)
    }

    fn read_field(&mut self, key: &str, reader: &mut Reader<'_>) -> Result<(), Malformed> {
        let field = match key {
            "email" => &mut self.email,
            "password" => &mut self.password,
            "name" => &mut self.name,
            _ => match self.declared.iter_mut().find(|(name, _)| *name == key) {
                Some((_, field)) => field,
                None => return reader.value(),
            },
        };
        *field = match reader.kind()? {
            JsonType::String => Field::Text(reader.string()?),
            other => {
                reader.value()?;
                Field::WrongType(other)
            }
        };
        Ok(())
    }
}

impl From<Malformed> for Issue {
    fn from(_: Malformed) -> Self {
        Self::body("Malformed JSON")
    }
}

/// The state of a field. Text is wiped when dropped: it may be the password.
#[derive(Debug, Default)]
pub(crate) enum Field {
    #[default]
    Missing,
    WrongType(JsonType),
    Text(Secret<String>),
}

impl Field {
    fn text(text: String) -> Self {
        Self::Text(Secret::new(text))
    }
}

/// The types of JSON, named as in the messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum JsonType {
    Object,
    Array,
    String,
    Number,
    Boolean,
    Null,
}

impl fmt::Display for JsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::Null => "null",
        })
    }
}

#[cfg(test)]
mod tests;
