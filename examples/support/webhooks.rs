//! The relay of the example servers: it posts the events of accounts to a webhook.

use std::sync::Arc;

use signup::SignupService;

use super::process::Complaint;
use super::settings::Settings;
use signup::store::EventStore;

/// The service on a store whose type is chosen at run time.
type Service = SignupService<Arc<dyn EventStore>>;

/// A relay that runs, if the settings name a webhook.
#[derive(Default)]
pub struct Relay {
    #[cfg(feature = "webhooks")]
    running: Option<(tokio::task::JoinHandle<()>, Arc<tokio::sync::Notify>)>,
}

impl Relay {
    /// Starts the relay that the settings ask for.
    #[cfg(feature = "webhooks")]
    pub fn start(settings: &Settings, service: &Service) -> Result<Self, Complaint> {
        use super::process::chain;
        use signup::relay::{Webhook, WebhookSecret};

        let Some(webhook) = &settings.webhook else { return Ok(Self::default()) };
        let secret = WebhookSecret::parse(&webhook.secret)
            .map_err(|error| format!("SIGNUP_WEBHOOK_SECRET: {}", chain(&error)))?;
        // Who sets the variable may name a receiver of his own network.
        let sink = Webhook::internal(&webhook.url, secret)
            .map_err(|error| format!("SIGNUP_WEBHOOK_URL: {}", chain(&error)))?;
        let relay = service.event_relay(sink).deadline(webhook.deadline);
        let end = Arc::new(tokio::sync::Notify::new());
        let ended = Arc::clone(&end);
        let task = tokio::spawn(relay.run(async move { ended.notified().await }));
        Ok(Self { running: Some((task, end)) })
    }

    /// The settings have refused a webhook.
    #[cfg(not(feature = "webhooks"))]
    #[expect(clippy::unnecessary_wraps, reason = "its twin may fail")]
    pub fn start(_: &Settings, _: &Service) -> Result<Self, Complaint> {
        Ok(Self::default())
    }

    /// Ends it after the deliveries that it has begun.
    pub async fn end(self) {
        #[cfg(feature = "webhooks")]
        if let Some((task, end)) = self.running {
            end.notify_one();
            let _ = task.await;
        }
    }
}
