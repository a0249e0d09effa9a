//! The context of a sign-up: what the request declared and what policies attached, for the
//! host's own rows.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::issue::BoxError;
use crate::secret::Secret;

/// A value that a policy attaches to a sign-up and that the host's rows read in the
/// account's transaction.
///
/// It is kept as JSON, so that it can outlive the request.
///
/// ```
/// use serde::{Deserialize, Serialize};
/// use signup::context::{Attached, ContextValue};
///
/// /// The tenant that the host's directory has for the address.
/// #[derive(Serialize, Deserialize, PartialEq, Debug)]
/// struct Tenant(u64);
///
/// impl ContextValue for Tenant {
///     const NAME: &'static str = "tenant";
/// }
///
/// let attached = Attached::new(&Tenant(7)).unwrap();
/// assert_eq!(attached.name(), "tenant");
/// ```
pub trait ContextValue: Serialize + DeserializeOwned {
    /// A name that no other type of the host has.
    const NAME: &'static str;
}

/// A [`ContextValue`] on its way from a policy to the context.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attached {
    name: &'static str,
    json: Secret<String>,
}

impl Attached {
    /// Serializes a value.
    ///
    /// # Errors
    /// Fails if it can't be serialized as JSON.
    pub fn new<T: ContextValue>(value: &T) -> Result<Self, BoxError> {
        Ok(Self { name: T::NAME, json: Secret::new(serde_json::to_string(value)?) })
    }

    /// Returns the name of the value's type.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

/// The declared fields of a request, and the values that policies attached.
#[derive(Debug, Clone, Default)]
pub struct SignupContext {
    fields: Vec<(&'static str, Secret<String>)>,
    values: BTreeMap<Cow<'static, str>, Secret<String>>,
}

impl SignupContext {
    pub(crate) fn new(fields: Vec<(&'static str, Secret<String>)>) -> Self {
        Self { fields, values: BTreeMap::new() }
    }

    /// Adds a value, which replaces an earlier one of the same name.
    pub(crate) fn attach(&mut self, attached: Attached) {
        self.values.insert(Cow::Borrowed(attached.name), attached.json);
    }

    /// Returns the attached values as JSON texts by their names, for a ticket.
    #[cfg(feature = "verification")]
    pub(crate) fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, json)| (&**name, json.as_str()))
    }

    /// Creates the context of attached values that a ticket has kept.
    #[cfg(feature = "verification")]
    pub(crate) fn of_values(values: impl IntoIterator<Item = (String, String)>) -> Self {
        let values = values.into_iter().map(|(name, json)| (name.into(), Secret::new(json)));
        Self { fields: Vec::new(), values: values.collect() }
    }

    /// Returns a field of the request that a policy has declared, if it was sent.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut named = self.fields.iter().filter(|(key, _)| *key == name);
        named.next().map(|(_, value)| value.as_str())
    }

    /// Returns the value of type `T` that a policy attached, if any.
    ///
    /// # Errors
    /// Fails if it is not of that type: two types have the same name.
    pub fn get<T: ContextValue>(&self) -> Result<Option<T>, BoxError> {
        let json = self.values.get(T::NAME);
        Ok(json.map(|json| serde_json::from_str(json)).transpose()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl ContextValue for (u8, String) {
        const NAME: &'static str = "pair";
    }

    #[test]
    fn a_value_is_read_back_and_never_printed() {
        let field = ("code", Secret::new("s3cret".to_owned()));
        let mut context = SignupContext::new(vec![field]);
        assert_eq!(context.get::<(u8, String)>().unwrap(), None);
        let attached = Attached::new(&(7, "s3cret".to_owned())).unwrap();
        assert!(!format!("{attached:?}").contains("s3cret"));
        context.attach(attached);
        assert_eq!(context.get::<(u8, String)>().unwrap(), Some((7, "s3cret".to_owned())));
        assert_eq!((context.field("code"), context.field("other")), (Some("s3cret"), None));
        let shown = format!("{context:?}");
        assert!(shown.contains("pair") && !shown.contains("s3cret"), "{shown}");
    }
}
