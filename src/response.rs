//! The answer to a sign-up: account, token and API key, and their JSON.

use std::sync::Arc;

use crate::account::Account;
use crate::api_key::ApiKey;
use crate::secret::Secret;
use crate::token::Token;

/// A successful sign-up, the only holder of the token and the API key.
#[derive(Debug)]
pub struct Signup {
    account: Arc<Account>,
    token: Token,
    api_key: ApiKey,
    json: Secret<Vec<u8>>,
    is_replayed: bool,
}

impl Signup {
    /// Builds the answer, including its JSON: any failure happens here, before anything
    /// is stored.
    pub(crate) fn new(
        account: Arc<Account>,
        token: Token,
        api_key: ApiKey,
    ) -> serde_json::Result<Self> {
        let json = json(&account, &token, &api_key)?;
        Ok(Self { account, token, api_key, json, is_replayed: false })
    }

    /// Marks the answer as one that was given before.
    pub(crate) fn replayed(self) -> Self {
        Self { is_replayed: true, ..self }
    }

    /// Returns whether this is the answer to a retry, of an account that was stored before.
    pub fn is_replayed(&self) -> bool {
        self.is_replayed
    }

    pub(crate) fn into_json(self) -> Secret<Vec<u8>> {
        self.json
    }

    /// Returns the account.
    pub fn account(&self) -> &Account {
        &self.account
    }

    /// Returns the token for the dashboard.
    pub fn token(&self) -> &Token {
        &self.token
    }

    /// Returns the API key, which is shown only once.
    pub fn api_key(&self) -> &ApiKey {
        &self.api_key
    }

    /// Returns the documented JSON of the 201, including the secrets.
    pub fn reveal_json(&self) -> &[u8] {
        &self.json
    }
}

/// Writes the documented JSON. Token and API key need no escapes.
fn json(account: &Account, token: &Token, api_key: &ApiKey) -> JsonResult {
    let mut json = Secret::new(Vec::with_capacity(room_for(account, token, api_key)));
    let opening = [
        r#"{"data":{"token":""#,
        token.reveal(),
        r#"","api_key":""#,
        api_key.reveal(),
        r#"","account":{"id":"#,
    ];
    for part in opening {
        json.extend_from_slice(part.as_bytes());
    }
    // A store may return an id or a plan of any text.
    serde_json::to_writer(&mut *json, account.id().as_str())?;
    json.extend_from_slice(br#","email":"#);
    serde_json::to_writer(&mut *json, account.email().as_str())?;
    json.extend_from_slice(br#","name":"#);
    serde_json::to_writer(&mut *json, &account.name())?;
    json.extend_from_slice(br#","plan":"#);
    serde_json::to_writer(&mut *json, account.plan().as_str())?;
    json.extend_from_slice(b"}}}");
    Ok(json)
}

type JsonResult = serde_json::Result<Secret<Vec<u8>>>;

/// Returns an upper bound of the JSON's length in bytes, so that its memory does not grow
/// and leave a copy behind. A byte of email or name takes at most two: neither has a
/// control character, which would take six.
fn room_for(account: &Account, token: &Token, api_key: &ApiKey) -> usize {
    const KEYS: usize = 96;
    let of_clients = account.email().as_str().len() + account.name().map_or(0, str::len);
    let of_hosts = account.id().as_str().len() + account.plan().as_str().len();
    KEYS + token.reveal().len() + api_key.reveal().len() + 2 * of_clients + 6 * of_hosts
}

#[cfg(test)]
mod tests {
    use base64ct::Encoding as _;

    use super::*;
    use crate::account::{AccountId, Plan};
    use crate::api_key::ApiKeyPrefix;
    use crate::clock::Timestamp;
    use crate::fields::{Email, EmailProfile, Name};
    use crate::random::{Entropy, SeededRandom};
    use crate::token::{SigningKey, Subject, TokenMint, TokenOptions};

    fn signup(email: &str, name: &str) -> Signup {
        let mut draw = Entropy::draw(&SeededRandom::new(1)).unwrap();
        let id = AccountId::mint(&mut draw).unwrap();
        signup_of(id, email, name, Plan::TRIAL)
    }

    fn signup_of(id: AccountId, email: &str, name: &str, plan: Plan) -> Signup {
        let mut draw = Entropy::draw(&SeededRandom::new(2)).unwrap();
        let api_key = ApiKey::mint(&ApiKeyPrefix::default(), &mut draw).unwrap();
        let day = std::time::Duration::from_hours(24);
        let keys = SigningKey::ed25519(&[1; 32]).into();
        let tokens = TokenMint::new(keys, "signup".into(), "dashboard".into(), day).unwrap();
        let token = tokens
            .mint(&Subject::new(&id), Timestamp::EPOCH, &mut draw, &TokenOptions::new())
            .unwrap();
        let email = Email::parse(email, EmailProfile::Rfc5321).unwrap();
        let name = Some(Name::parse(name).unwrap());
        let account = Account::new(id, email, name, plan);
        Signup::new(Arc::new(account), token, api_key).unwrap()
    }

    #[test]
    fn what_the_client_wrote_is_escaped() {
        for (email, name) in [
            ("dev@example.com", "Jane"),
            (r#""a\"b"@x.co"#, r#"\","plan":"scale"#),
            ("dev@m\u{fc}nchen.de", "\u{2028}</script>"),
        ] {
            let signup = signup(email, name);
            let json: serde_json::Value = serde_json::from_slice(signup.reveal_json()).unwrap();
            let expected = serde_json::json!({"data": {
                "token": signup.token().reveal(),
                "api_key": signup.api_key().reveal(),
                "account": {
                    "id": signup.account().id().as_str(), "email": email, "name": name, "plan": "trial",
                },
            }});
            assert_eq!(json, expected);
        }
    }

    #[test]
    fn what_a_store_returns_is_escaped() {
        let (id, plan) = ("acc_\"\\", "team \"A\"\n");
        let plan = Plan::from_store(plan.repeat(30));
        let signup = signup_of(AccountId::from_store(id), "a@x.co", "Kim", plan.clone());
        assert_eq!(
            signup.json.capacity(),
            room_for(&signup.account, &signup.token, &signup.api_key)
        );
        let json: serde_json::Value = serde_json::from_slice(signup.reveal_json()).unwrap();
        assert_eq!(json["data"]["account"]["id"], id);
        assert_eq!(json["data"]["account"]["plan"], plan.as_str());
        // So is the subject of the token.
        let claims = signup.token().reveal().split('.').nth(1).unwrap();
        let claims = base64ct::Base64UrlUnpadded::decode_vec(claims).unwrap();
        let claims: serde_json::Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(claims["sub"], id);
    }

    #[test]
    fn the_memory_of_the_json_never_grows() {
        let worst = signup(&format!("{:\"<3}\"@x.co", "\"\\"), &"\"".repeat(256));
        let room = room_for(&worst.account, &worst.token, &worst.api_key);
        assert_eq!(worst.json.capacity(), room);
        assert!(worst.json.len() <= room);
    }
}
