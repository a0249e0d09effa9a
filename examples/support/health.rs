//! `GET /health`: whether sign-ups can succeed here.

use std::sync::Arc;

use signup::hash::HashPool;

use super::backend::Backend;

pub const PATH: &str = "/health";

/// The parts that are checked.
#[derive(Clone)]
pub struct Health {
    pub backend: Backend,
    pub pool: Arc<HashPool>,
}

impl Health {
    /// Returns status and JSON: 503 if the store does not answer. A long queue is reported
    /// but is no failure: clients that are sent elsewhere fill the next one.
    pub async fn report(&self) -> (u16, String) {
        let is_up = self.backend.answers().await;
        let (status, text) = if is_up { (200, "up") } else { (503, "down") };
        let jobs = self.pool.stats();
        let hashes = serde_json::json!({
            "queued": jobs.queued,
            "running": jobs.running,
            "refused": jobs.refused,
        });
        let json = serde_json::json!({ "status": text, "store": text, "hashes": hashes });
        (status, json.to_string())
    }
}
