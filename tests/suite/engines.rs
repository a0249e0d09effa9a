//! The engines against the vectors of RFC 9106 and of the reference
//! implementation, and against each other.

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde_json::Value;
use signup::hash::{Argon2Engine, Engine, EngineHasher, HashInput, SimdEngine, WorkFactor};

use crate::support::{corpus, rounds};

fn engines() -> [Box<dyn Engine>; 2] {
    [Box::new(Argon2Engine), Box::new(SimdEngine)]
}

fn tag(hasher: &mut dyn EngineHasher, input: &HashInput<'_>) -> [u8; 32] {
    let mut tag = [0; 32];
    hasher.hash(input, &mut tag).unwrap();
    tag
}

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<_> = digits.bytes().filter(|digit| !digit.is_ascii_whitespace()).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

#[test]
fn the_vector_of_rfc_9106_section_5_3() {
    let vector = corpus("argon2-kats/argon2id");
    let expected = hex(vector.rsplit_once("Tag: ").unwrap().1);
    let factor = WorkFactor::stored(32, 3, 4).unwrap();
    let input = HashInput::new(&[1; 32], &[2; 16], factor).with(&[3; 8], &[4; 12]);
    for engine in engines() {
        assert_eq!(tag(&mut *engine.hasher(), &input), *expected, "{}", engine.name());
    }
}

fn vectors() -> Vec<Value> {
    let vectors: Vec<Value> =
        serde_json::from_str(&corpus("argon2-vectors/hashtest-vectors.json")).unwrap();
    assert_eq!(vectors.len(), 26);
    vectors
}

#[test]
fn the_reference_vectors_of_argon2id() {
    let mut hashers = engines().map(|engine| engine.hasher());
    let ours = vectors().into_iter().filter(|vector| vector["type"] == "Argon2_id");
    let mut count = 0;
    for vector in ours {
        let number = |key: &str| u32::try_from(vector[key].as_u64().unwrap()).unwrap();
        let factor = WorkFactor::stored(1 << number("log2_m_kib"), number("t"), number("p"));
        let text = |key: &str| vector[key].as_str().unwrap().as_bytes();
        let input = HashInput::new(text("password"), text("salt"), factor.unwrap());
        for hasher in &mut hashers {
            // One arena for all of them: it grows, and is more than is needed.
            let expected = hex(vector["tag_hex"].as_str().unwrap());
            assert_eq!(tag(&mut **hasher, &input), *expected, "{vector}");
        }
        count += 1;
    }
    assert_eq!(count, 8);
}

/// The other 18 are of variants that no engine computes: there the crates behind
/// the engines are held to them.
#[test]
fn the_reference_vectors_of_argon2i_and_version_16() {
    use argon2_rust::params::Memory;
    let others: Vec<_> =
        vectors().into_iter().filter(|vector| vector["type"] == "Argon2_i").collect();
    assert_eq!(others.len(), 18);
    // The larger ones take most of a minute.
    let largest = u64::try_from(rounds(14, 20)).unwrap();
    let is_small = |vector: &Value| vector["log2_m_kib"].as_u64().unwrap() <= largest;
    for vector in others.into_iter().filter(is_small) {
        let number = |key: &str| u32::try_from(vector[key].as_u64().unwrap()).unwrap();
        let (m, t, p) = (1 << number("log2_m_kib"), number("t"), number("p"));
        let text = |key: &str| vector[key].as_str().unwrap().as_bytes();
        let expected = hex(vector["tag_hex"].as_str().unwrap());
        let mut tag = [0; 32];

        let version = argon2::Version::try_from(number("version")).unwrap();
        let params = argon2::Params::new(m, t, p, Some(32)).unwrap();
        argon2::Argon2::new(argon2::Algorithm::Argon2i, version, params)
            .hash_password_into(text("password"), text("salt"), &mut tag)
            .unwrap();
        assert_eq!(tag, *expected, "{vector}");

        let version = argon2_rust::Version::from_u32(number("version")).unwrap();
        let params = argon2_rust::Params::builder().memory(Memory::kib(m.into()));
        let params = params.passes(t).lanes(p).threads(1).build().unwrap();
        argon2_rust::Argon2::new(argon2_rust::Algorithm::Argon2i, version, params)
            .hash_into(text("password"), text("salt"), &mut tag)
            .unwrap();
        assert_eq!(tag, *expected, "{vector}");
    }
}

#[derive(Debug)]
struct Case {
    factor: WorkFactor,
    password: Vec<u8>,
    salt: Vec<u8>,
    secret: Vec<u8>,
    associated_data: Vec<u8>,
}

fn bytes(length: impl Strategy<Value = usize>) -> impl Strategy<Value = Vec<u8>> {
    length.prop_flat_map(|length| proptest::collection::vec(any::<u8>(), length))
}

fn case() -> impl Strategy<Value = Case> {
    let factor = (1u32..=8, 1u32..=4)
        .prop_flat_map(|(p, t)| (8 * p..=2048, Just(t), Just(p)))
        .prop_map(|(m, t, p)| WorkFactor::stored(m, t, p).unwrap());
    let secret = prop_oneof![Just(Vec::new()), bytes(1usize..=64)];
    (factor, bytes(0usize..=1024), bytes(8usize..=64), secret, bytes(0usize..=32)).prop_map(
        |(factor, password, salt, secret, associated_data)| Case {
            factor,
            password,
            salt,
            secret,
            associated_data,
        },
    )
}

#[test]
fn the_engines_agree() {
    let mut hashers = engines().map(|engine| engine.hasher());
    let cases = u32::try_from(rounds(2_000, 20_000)).unwrap();
    let mut runner = TestRunner::new(Config { cases, ..Config::default() });
    let run = std::cell::RefCell::new(&mut hashers);
    runner
        .run(&case(), |case| {
            let input = HashInput::new(&case.password, &case.salt, case.factor)
                .with(&case.secret, &case.associated_data);
            let mut hashers = run.borrow_mut();
            let [one, other] = &mut **hashers;
            prop_assert_eq!(tag(&mut **one, &input), tag(&mut **other, &input));
            Ok(())
        })
        .unwrap();
}

#[test]
fn an_input_that_argon2_does_not_take_is_an_error() {
    let short_salt = HashInput::new(b"password", b"salt", WorkFactor::default());
    for engine in engines() {
        assert!(engine.hasher().hash(&short_salt, &mut [0; 32]).is_err());
        let input = HashInput::new(b"password", b"somesalt", WorkFactor::stored(8, 1, 1).unwrap());
        assert!(engine.hasher().hash(&input, &mut [0; 3]).is_err());
    }
}

#[test]
fn the_engine_in_use_can_be_asked_for() {
    let pool = signup::hash::HashPool::builder().workers(1).engine(SimdEngine).build().unwrap();
    assert_eq!(pool.engine(), "argon2-rust");
    let pool = signup::hash::HashPool::builder().workers(1).build().unwrap();
    assert_eq!(pool.engine(), "argon2");
}
