//! The answer to a sign-up: account, token and API key, and their one JSON.

use std::fmt;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::account::Account;
use crate::api_key::ApiKey;
use crate::token::Token;

/// A sign-up that has succeeded. Token and API key are in it and nowhere else.
pub struct Signup {
    account: Account,
    token: Token,
    api_key: ApiKey,
    json: Zeroizing<Vec<u8>>,
}

impl Signup {
    /// Puts the answer together, its JSON included: what can fail fails here,
    /// before anything is stored.
    pub(crate) fn new(account: Account, token: Token, api_key: ApiKey) -> serde_json::Result<Self> {
        let mut json = Zeroizing::new(Vec::with_capacity(room_for(&account, &token, &api_key)));
        let data = Data {
            token: token.reveal(),
            api_key: api_key.reveal(),
            account: AccountBody {
                id: account.id().as_str(),
                email: account.email().as_str(),
                name: account.name(),
                plan: account.plan().as_str(),
            },
        };
        serde_json::to_writer(&mut *json, &Envelope { data })?;
        Ok(Self { account, token, api_key, json })
    }

    pub(crate) fn into_account(self) -> Account {
        self.account
    }

    /// The account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// The token for the dashboard.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// The API key. Nobody can show it again.
    pub fn api_key(&self) -> &ApiKey {
        &self.api_key
    }

    /// The documented JSON of the 201, secrets included.
    pub fn reveal_json(&self) -> &[u8] {
        &self.json
    }
}

impl fmt::Debug for Signup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signup").field("account", &self.account).finish_non_exhaustive()
    }
}

/// Octets that the JSON never exceeds, so that its memory does not grow and
/// leave a copy behind. JSON escapes an octet of the email or the name in two
/// at most: neither has a control character, which would take six.
fn room_for(account: &Account, token: &Token, api_key: &ApiKey) -> usize {
    const KEYS_AND_ID: usize = 192;
    let free_text = account.email().as_str().len() + account.name().map_or(0, str::len);
    KEYS_AND_ID + token.reveal().len() + api_key.reveal().len() + 2 * free_text
}

#[derive(Serialize)]
struct Envelope<'a> {
    data: Data<'a>,
}

#[derive(Serialize)]
struct Data<'a> {
    token: &'a str,
    api_key: &'a str,
    account: AccountBody<'a>,
}

#[derive(Serialize)]
struct AccountBody<'a> {
    id: &'a str,
    email: &'a str,
    name: Option<&'a str>,
    plan: &'a str,
}
