//! Results of pipeline stages, which only their stage creates.

use signup::account::{Account, AccountId};
use signup::fields::{EmailKey, Name};
use signup::http::AcceptedHead;
use signup::store::NewAccount;

fn fields(text: String) {
    let _ = EmailKey(text.clone()); //~ private fields
    let _ = Name(text.clone()); //~ private fields
    let _ = AccountId(text); //~ private fields
}

fn stages(account: std::sync::Arc<Account>) {
    let _ = NewAccount { account }; //~ private fields
    let _ = AcceptedHead { limit: 0 }; //~ private fields
    let _: signup::validate::ValidSignup; //~ module `validate` is private
    let _: signup::lookup::Lookup; //~ module `lookup` is private
}

fn main() {}
