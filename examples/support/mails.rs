//! The mails of the example servers, by SMTP or on stderr.

use super::process::Complaint;
use super::settings::Settings;

/// The queue, if addresses are verified.
#[cfg(feature = "verification")]
pub type Mails = Option<signup::mail::MailQueue>;

/// No queue without the feature.
#[cfg(not(feature = "verification"))]
pub type Mails = ();

/// Opens the queue that the settings ask for.
#[cfg(feature = "verification")]
pub fn open(settings: &Settings) -> Result<Mails, Complaint> {
    settings.mails.as_ref().map(proving::queue).transpose()
}

#[cfg(not(feature = "verification"))]
#[expect(clippy::unnecessary_wraps, reason = "its twin may fail")]
pub fn open(_: &Settings) -> Result<Mails, Complaint> {
    Ok(())
}

/// Waits until the last mail is sent.
#[cfg(feature = "verification")]
pub async fn drained(mails: Mails) {
    if let Some(mails) = mails {
        mails.drained().await;
    }
}

#[cfg(not(feature = "verification"))]
pub async fn drained((): Mails) {}

#[cfg(feature = "verification")]
mod proving {
    use async_trait::async_trait;
    use signup::mail::{Mail, MailError, MailQueue, Mailer};

    use super::super::settings::Mails;
    use super::Complaint;

    /// A mailer that prints mails, for development.
    struct Printed;

    #[async_trait]
    impl Mailer for Printed {
        async fn send(&self, mail: &Mail) -> Result<(), MailError> {
            eprintln!("mail to {}: {}\n{}", mail.to().as_str(), mail.subject(), mail.text());
            Ok(())
        }
    }

    pub(super) fn queue(mails: &Mails) -> Result<MailQueue, Complaint> {
        match &mails.smtp {
            None => Ok(MailQueue::new(Printed)),
            #[cfg(feature = "smtp")]
            Some(url) => {
                let mailer = signup::mail::SmtpMailer::from_url(url, &mails.from);
                Ok(MailQueue::new(mailer.map_err(|error| format!("SMTP_URL: {error}"))?))
            }
            // The settings have refused it.
            #[cfg(not(feature = "smtp"))]
            Some(_) => Err("SMTP_URL: this server is built without the feature smtp".to_owned()),
        }
    }
}
