//! Mails by SMTP (RFC 5321), by lettre.

use std::fmt;

use async_trait::async_trait;
use lettre::address::Envelope;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::{Address, AsyncTransport as _, Message, Tokio1Executor};

use crate::fields::{Email, EmailProfile};
use crate::issue::{BoxError, InvalidValue};
use crate::random::{SecureRandom as _, SystemRandom};

use super::{Mail, MailError, Mailer};

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// A mailer by SMTP, over TLS by rustls with the system's certificates.
///
/// Each mail opens a new connection. A reply of 5xx is
/// [permanent](MailError::Permanent); anything else, a connection that is refused or lost
/// included, is [temporary](MailError::Temporary).
///
/// ```
/// use signup::mail::{MailQueue, SmtpMailer};
///
/// let url = "smtps://user:password@smtp.example.com";
/// let mailer = SmtpMailer::from_url(url, "Example <no-reply@example.com>").unwrap();
/// let mails = MailQueue::new(mailer);
/// ```
pub struct SmtpMailer {
    transport: Transport,
    from: Mailbox,
}

impl SmtpMailer {
    /// Creates a mailer from a URL and the sender:
    /// `smtps://user:password@host` for TLS from the start, or
    /// `smtp://user:password@host:587?tls=required` for STARTTLS. Without TLS a server is
    /// accepted on this machine alone. User and password are percent-encoded.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for another URL or an invalid sender. It quotes neither: a
    /// URL may have a password in it.
    pub fn from_url(url: &str, from: &str) -> Result<Self, InvalidValue> {
        const URL: &str =
            "invalid SMTP URL: write smtps://user:password@host or smtp://…?tls=required";
        if !is_private(url) {
            return Err(InvalidValue::new(URL));
        }
        let is_local = !url.starts_with("smtps://") && !url.contains("tls=required");
        if !is_local && rustls_native_certs::load_native_certs().certs.is_empty() {
            return Err(InvalidValue::new("the system has no root certificates for SMTP over TLS"));
        }
        let transport = Transport::from_url(url).map_err(|_| InvalidValue::new(URL))?;
        Self::with_transport(transport.build(), from)
    }

    /// Creates a mailer with a transport of the host's own: its certificates, its name, its
    /// pool of connections.
    ///
    /// # Errors
    /// Returns [`InvalidValue`] for an invalid sender.
    pub fn with_transport(transport: Transport, from: &str) -> Result<Self, InvalidValue> {
        const FROM: &str = "invalid sender: write Name <address> or an address";
        let from: Mailbox = from.parse().map_err(|_| InvalidValue::new(FROM))?;
        // In A-labels, as recipients are. A local part that is not ASCII needs SMTPUTF8.
        let sender = Email::parse(from.email.to_string(), EmailProfile::Rfc5321);
        let sender = sender.map_err(|_| InvalidValue::new(FROM))?;
        let email = address(&sender).map_err(|_| InvalidValue::new(FROM))?;
        Ok(Self { transport, from: Mailbox::new(from.name, email) })
    }

    fn message(&self, mail: &Mail) -> Result<Message, BoxError> {
        let to = address(mail.to())?;
        let mut id = [0; 16];
        SystemRandom.fill(&mut id)?;
        let id = format!("<{:032x}@{}>", u128::from_be_bytes(id), self.from.email.domain());
        let body = MultiPart::alternative_plain_html(mail.text(), mail.html());
        // Nobody's vacation answers it (RFC 3834, section 5).
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .subject(mail.subject())
            .message_id(Some(id))
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .envelope(Envelope::new(Some(self.from.email.clone()), vec![to])?)
            .multipart(body)?;
        Ok(message)
    }
}

/// Returns whether codes and credentials are encrypted on their way, or stay on this
/// machine.
fn is_private(url: &str) -> bool {
    let Some(rest) = url.strip_prefix("smtp://") else {
        return url.starts_with("smtps://");
    };
    let (authority, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = authority.split('/').next().unwrap_or_default();
    let host = host.rsplit('@').next().unwrap_or_default();
    let host = match host.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    query.split('&').any(|pair| pair == "tls=required")
        || matches!(host, "localhost" | "127.0.0.1" | "::1")
}

/// Returns the address for the envelope: its local part as it was given, and its domain in
/// A-labels, so that no server needs SMTPUTF8 (RFC 6531).
fn address(email: &Email) -> Result<Address, BoxError> {
    let ascii = email.to_ascii();
    let (local, domain) = ascii.rsplit_once('@').unwrap_or_default();
    Ok(Address::new(local, domain)?)
}

#[async_trait]
impl Mailer for SmtpMailer {
    async fn send(&self, mail: &Mail) -> Result<(), MailError> {
        let message = self.message(mail).map_err(MailError::Permanent)?;
        match self.transport.send(message).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_permanent() => Err(MailError::Permanent(without_text(error))),
            Err(error) => Err(MailError::Temporary(without_text(error))),
        }
    }
}

/// Returns an error for the log. Of a reply it has the code alone: servers repeat the
/// recipient's address in the text.
fn without_text(error: lettre::transport::smtp::Error) -> BoxError {
    match error.status() {
        Some(code) => format!("the server has replied {code}").into(),
        None => error.into(),
    }
}

impl fmt::Debug for SmtpMailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SmtpMailer").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::mail::{Code, MailKind};

    const FROM: &str = "\"Kim, Inc.\" <no-reply@example.com>";

    #[test]
    fn a_url_without_tls_is_of_this_machine_alone() {
        for url in [
            "smtps://u:p@smtp.example.com",
            "smtps://smtp.example.com:465",
            "smtp://u:p@smtp.example.com:587?tls=required",
            "smtp://127.0.0.1:2525",
            "smtp://localhost",
            "smtp://[::1]:25",
        ] {
            assert!(SmtpMailer::from_url(url, FROM).is_ok(), "{url}");
        }
        for url in [
            "smtp://u:s3cret@smtp.example.com",
            "smtp://u:s3cret@smtp.example.com?tls=opportunistic",
            "smtp://localhost@smtp.example.com",
            "smtp://127.0.0.1.example.com",
            "smtp://u:s3cret@smtp.example.com/127.0.0.1",
            "http://smtp.example.com",
            "smtp.example.com",
            "",
        ] {
            let said = SmtpMailer::from_url(url, FROM).unwrap_err().to_string();
            assert!(said.contains("smtps://") && !said.contains("s3cret"), "{url}: {said}");
        }
        for from in ["", "nobody", "a@x.co\r\nBcc: b@x.co", "mar\u{ed}a@x.co"] {
            assert!(SmtpMailer::from_url("smtp://localhost", from).is_err(), "{from:?}");
        }
    }

    #[test]
    fn a_sender_of_an_internationalized_domain_is_sent_in_ascii() {
        let from = "Example <no-reply@m\u{fc}nchen.example>";
        let mailer = SmtpMailer::from_url("smtp://localhost", from).unwrap();
        assert_eq!(mailer.from.email.to_string(), "no-reply@xn--mnchen-3ya.example");
    }

    #[test]
    fn an_address_goes_into_the_envelope_in_ascii_and_into_no_header_as_text() {
        let mailer = SmtpMailer::from_url("smtp://localhost", FROM).unwrap();
        let long = format!("{}@example.com", "l".repeat(64));
        for (given, sent) in [
            ("Kim@m\u{fc}nchen.de", "Kim@xn--mnchen-3ya.de"),
            ("a+b@EXAMPLE.com", "a+b@example.com"),
            (&long, &long),
            (r#""a b\"<c>"@x.co"#, r#""a b\"<c>"@x.co"#),
        ] {
            let to = Email::parse(given, EmailProfile::Rfc5321).unwrap();
            let code = Code::parse("7HXW3K9P").unwrap();
            let mail = Mail::new(MailKind::SignupCode, to, code, Duration::from_hours(1));
            let message = mailer.message(&mail).unwrap();
            assert_eq!(message.envelope().to()[0].to_string(), sent);
            let text = String::from_utf8(message.formatted()).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains("Auto-Submitted: auto-generated") && head.contains("Date: "));
            assert!(body.contains("7HXW-3K9P") && !head.contains("7HXW"));
            let named = |name: &str| head.lines().filter(|line| line.starts_with(name)).count();
            assert_eq!((named("To: "), named("From: "), named("Bcc: ")), (1, 1, 0), "{head}");
        }
    }
}
