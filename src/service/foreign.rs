//! Credentials of another system, which users bring with them.

use crate::api_key::ForeignApiKeys;

use super::SignupServiceBuilder;

impl<S> SignupServiceBuilder<S> {
    /// Accepts API keys of another system, too. Can be called several times.
    pub fn accept_foreign_api_keys(mut self, keys: ForeignApiKeys) -> Self {
        self.foreign_keys.push(keys);
        self
    }
}
