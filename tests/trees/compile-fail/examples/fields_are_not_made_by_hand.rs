//! Parsed fields, which only parsing creates.

use signup::fields::{Email, EmailKey};

fn email(given: String, key: EmailKey) {
    let _ = Email { given, key }; //~ private
}

fn main() {}
