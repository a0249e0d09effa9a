use std::sync::Arc;

use super::*;
use crate::hash::{FakeEngine, HashPool};
use crate::store::MemoryStore;
use crate::{SignupRequest, SignupService};

#[test]
fn a_name_has_up_to_a_hundred_characters() {
    for good in ["x", " ", "\u{1f511}", &"\u{e9}".repeat(100)] {
        assert!(ApiKeyOptions::new().name(good).is_ok(), "{good}");
    }
    for bad in ["", "a\nb", "\u{7f}", &"\u{e9}".repeat(101)] {
        assert_eq!(ApiKeyOptions::new().name(bad).err(), Some(INVALID_NAME), "{bad}");
    }
}

#[tokio::test]
async fn a_retried_rotation_has_the_same_name_and_grace_period() {
    use crate::idempotency::{IdempotencyKey, ReplaySecret};

    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.retry_safe(ReplaySecret::new(&[8; 32]).unwrap());
    let service = service.hash_pool(Arc::new(pool)).build().unwrap();
    let signup = service.signup(SignupRequest::new("dev@x.co", "correct horse")).await.unwrap();
    let (credentials, id) = (service.credentials(), signup.account().id());
    let old = credentials.api_keys(id).await.unwrap().remove(0).id;
    let options = || {
        let key = IdempotencyKey::new("0123456789abcdef".to_owned()).unwrap();
        ApiKeyOptions::new().idempotency_key(key)
    };
    let (hour, minute) = (Duration::from_hours(1), Duration::from_mins(1));
    let named = || options().name("deploy").unwrap();
    let rotated = credentials.rotate_api_key_with(id, &old, hour, &named()).await.unwrap();
    let again = credentials.rotate_api_key_with(id, &old, hour, &named()).await.unwrap();
    assert_eq!(again.key().reveal(), rotated.key().reveal());
    for (grace, other) in [
        (minute, named()),
        (hour, options().name("another").unwrap()),
        // It would have the name of the old key.
        (hour, options()),
    ] {
        let refused = credentials.rotate_api_key_with(id, &old, grace, &other).await;
        assert!(matches!(refused, Err(CredentialError::Conflict)), "{refused:?}");
    }
}

#[tokio::test]
async fn a_rotated_key_passes_its_name_on() {
    let pool = HashPool::builder().workers(1).engine(FakeEngine::default()).build().unwrap();
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.hash_pool(Arc::new(pool)).build().unwrap();
    let signup = service.signup(SignupRequest::new("dev@x.co", "correct horse")).await.unwrap();
    let (credentials, id) = (service.credentials(), signup.account().id());
    let options = |name| ApiKeyOptions::new().name(name).unwrap();
    let issued = credentials.issue_api_key_with(id, &options("deploy")).await.unwrap();
    let heir = credentials.rotate_api_key(id, &issued.info().id, Duration::ZERO, None).await;
    let heir = heir.unwrap().info().clone();
    let with = options("another");
    let other = credentials.rotate_api_key_with(id, &heir.id, Duration::ZERO, &with).await;
    let other = other.unwrap().info().clone();
    let listed = credentials.api_keys(id).await.unwrap();
    assert!(listed.contains(&other), "{listed:?}");
    let mut names: Vec<_> = listed.iter().filter_map(|key| key.name.as_deref()).collect();
    names.sort_unstable();
    assert_eq!(names, ["another", "deploy", "deploy"]);
    assert_eq!(heir.name.as_deref(), Some("deploy"));
}
