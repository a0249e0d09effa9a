//! A password is hashed by whoever has a place in the queue, once.

async fn hash(pool: &signup::hash::HashPool, password: signup::fields::Password) {
    pool.hash(password, [0; 16]).await; //~ no method named `hash`
}

async fn twice(place: signup::hash::HashPermit, one: signup::fields::Password, other: signup::fields::Password) {
    place.hash_with_salt(one, [0; 16]).await;
    place.hash_with_salt(other, [0; 16]).await; //~ use of moved value: `place`
}

fn main() {}
