//! Hashes that a store has kept: of this crate and of other systems, within their limits.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use signup::fields::Password;
use signup::hash::{FakeEngine, ForeignHashes, HashPool, PasswordHash};
use signup_fuzz::run;

static POOL: LazyLock<HashPool> = LazyLock::new(|| {
    let mut foreign = ForeignHashes::default();
    foreign.bcrypt_cost = 4;
    foreign.pbkdf2_iterations = 100;
    foreign.scrypt_memory_kib = 64;
    foreign.scrypt_parallelism = 2;
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default());
    pool.foreign_hashes(foreign).build().unwrap()
});

fuzz_target!(|text: &str| {
    let stored = PasswordHash::from_store(text, None);
    let password = Password::parse_for_login("correct horse").unwrap();
    let verified = run(POOL.reserve().unwrap().verify(password, &stored));
    if let Err(error) = verified {
        // Nothing of what a store has kept gets into a log: no error has such a sign.
        let said = error.to_string();
        assert!(!said.contains('$'), "{said}");
    }
});
