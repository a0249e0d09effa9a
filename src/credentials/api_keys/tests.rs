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
