//! [`SignupRequest`] → [`ValidSignup`], or all issues.

use std::convert::Infallible;
use std::fmt::Display;

use crate::context::SignupContext;
use crate::error::{Issue, SignupError};
use crate::fields::{Email, EmailProfile, Name, Password};
use crate::idempotency::IdempotencyKey;
use crate::request::{Field, Origin, SignupRequest};
use crate::secret::Secret;

/// A sign-up whose fields are valid. Only validation creates one. Some fields are secrets,
/// so it has no `Debug`.
pub(crate) struct ValidSignup {
    pub(crate) email: Email,
    pub(crate) password: Password,
    pub(crate) name: Option<Name>,
    /// The declared fields, and later the values that policies attach.
    pub(crate) context: SignupContext,
    pub(crate) origin: Origin,
    pub(crate) idempotency_key: Option<IdempotencyKey>,
}

/// Validates every field, and reports all issues in the order email, password, name, then
/// the fields that policies have declared. The result is boxed because every stage moves it.
pub(crate) fn validate(
    request: SignupRequest,
    profile: EmailProfile,
) -> Result<Box<ValidSignup>, SignupError> {
    let mut issues = Issues(Vec::new());
    let email = issues.required("email", request.email, |mut text| {
        Email::parse(std::mem::take(&mut *text), profile)
    });
    let password = issues.required("password", request.password, |text| Password::parse(&text));
    let name =
        issues.optional("name", request.name, |mut text| Name::parse(std::mem::take(&mut *text)));
    let mut fields = Vec::with_capacity(request.declared.len());
    for (key, field) in request.declared {
        let text = issues.optional(key, field, Ok::<_, Infallible>);
        fields.extend(text.map(|text| (key, text)));
    }
    match (email, password) {
        (Some(email), Some(password)) if issues.0.is_empty() => {
            let context = SignupContext::new(fields);
            let (origin, idempotency_key) = (request.origin, request.idempotency_key);
            let signup = ValidSignup { email, password, name, context, origin, idempotency_key };
            Ok(Box::new(signup))
        }
        _ => Err(SignupError::Invalid(issues.0)),
    }
}

/// Returns these required texts of a body, or all issues.
#[cfg(feature = "verification")]
pub(crate) fn texts<const N: usize>(
    mut request: SignupRequest,
    names: [&'static str; N],
) -> Result<[Secret<String>; N], SignupError> {
    let mut issues = Issues(Vec::new());
    let texts = issues.texts(&mut request, names);
    if issues.0.is_empty() { Ok(texts) } else { Err(SignupError::Invalid(issues.0)) }
}

#[cfg(feature = "verification")]
type Text = Secret<String>;

/// Returns these required texts of a body, and email and password if both are present, or all
/// issues.
#[cfg(feature = "verification")]
pub(crate) fn texts_and_password<const N: usize>(
    mut request: SignupRequest,
    names: [&'static str; N],
) -> Result<([Text; N], Option<[Text; 2]>), SignupError> {
    let mut issues = Issues(Vec::new());
    let email = issues.optional("email", std::mem::take(&mut request.email), Ok::<_, Infallible>);
    let password = std::mem::take(&mut request.password);
    let password = issues.optional("password", password, Ok::<_, Infallible>);
    let texts = issues.texts(&mut request, names);
    if !issues.0.is_empty() {
        return Err(SignupError::Invalid(issues.0));
    }
    Ok((texts, email.zip(password).map(<[_; 2]>::from)))
}

struct Issues(Vec<Issue>);

impl Issues {
    #[cfg(feature = "verification")]
    fn texts<const N: usize>(
        &mut self,
        request: &mut SignupRequest,
        names: [&'static str; N],
    ) -> [Secret<String>; N] {
        names.map(|name| {
            let field = match name {
                "email" => Some(&mut request.email),
                "password" => Some(&mut request.password),
                _ => request.declared.iter_mut().find(|(key, _)| *key == name).map(|(_, it)| it),
            };
            let field = field.map(std::mem::take).unwrap_or_default();
            self.required(name, field, Ok::<_, Infallible>).unwrap_or_default()
        })
    }

    fn required<T, E: Display>(
        &mut self,
        key: &'static str,
        field: Field,
        parse: impl FnOnce(Secret<String>) -> Result<T, E>,
    ) -> Option<T> {
        if matches!(field, Field::Missing) {
            self.0.push(Issue::field(key, "Required"));
        }
        self.optional(key, field, parse)
    }

    fn optional<T, E: Display>(
        &mut self,
        key: &'static str,
        field: Field,
        parse: impl FnOnce(Secret<String>) -> Result<T, E>,
    ) -> Option<T> {
        let message = match field {
            Field::Missing => return None,
            Field::WrongType(kind) => format!("Expected string, received {kind}"),
            Field::Text(text) => match parse(text) {
                Ok(value) => return Some(value),
                Err(error) => error.to_string(),
            },
        };
        self.0.push(Issue::field(key, message));
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issues(body: &str) -> Vec<(String, String)> {
        let request = SignupRequest::from_json(body.as_bytes()).unwrap();
        let result = validate(request, EmailProfile::Strict);
        let error = result.err();
        let issues = error.iter().flat_map(SignupError::issues);
        issues.map(|issue| (issue.path.join("/"), issue.message.to_string())).collect()
    }

    #[test]
    fn j28_every_wrong_field_has_one_issue_in_order() {
        let said = issues(r#"{"name":null,"password":1,"email":{}}"#);
        let expected = [
            ("email", "Expected string, received object"),
            ("password", "Expected string, received number"),
            ("name", "Expected string, received null"),
        ];
        assert_eq!(said, expected.map(|(path, message)| (path.into(), message.into())));
    }

    #[test]
    fn only_the_name_may_be_missing() {
        let said = issues("{}");
        assert_eq!(said, ["email", "password"].map(|key| (key.into(), "Required".into())));
        assert_eq!(issues(r#"{"email":"a@x.co","password":"12345678"}"#), []);
    }
}
