//! What a stage of the pipeline makes, nobody else can.

use signup::account::{Account, AccountId};
use signup::fields::{Email, EmailKey, Name};
use signup::http::Ticket;
use signup::store::NewAccount;

fn fields(text: String, key: EmailKey) {
    let _ = EmailKey(text.clone());
    let _ = Email { given: text.clone(), key };
    let _ = Name(text.clone());
    let _ = AccountId(text);
}

fn stages(account: std::sync::Arc<Account>) {
    let _ = NewAccount { account };
    let _ = Ticket { limit: 0 };
    let _: signup::validate::ValidSignup;
    let _: signup::admission::Admitted;
}

fn main() {}
