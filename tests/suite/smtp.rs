//! Mails through a real SMTP server: delivered, deferred, refused, cut and encrypted.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use lettre::transport::smtp::AsyncSmtpTransport;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use signup::fields::{Email, EmailProfile};
use signup::idempotency::ReplaySecret;
use signup::mail::{Code, Mail, MailError, MailKind, MailQueue, Mailer, SmtpMailer};
use signup::store::MemoryStore;
use signup::verification::EmailCodes;
use signup::{SignupRequest, SignupService};

const FROM: &str = "Example <no-reply@example.com>";

/// The server of `tests/support/smtp.py`, with its folder.
struct Server {
    process: Child,
    port: String,
    folder: tempfile::TempDir,
}

impl Server {
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_in(folder: tempfile::TempDir) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/smtp.py");
        // The system's own, for which its packages are.
        let mut process = Command::new("/usr/bin/python3");
        process.arg("-B").arg(script).arg(folder.path()).stdout(Stdio::piped());
        let mut process = process.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let port = line.trim().strip_prefix("listening on ").expect(&line).to_owned();
        Self { process, port, folder }
    }

    fn mailer(&self) -> SmtpMailer {
        SmtpMailer::from_url(&format!("smtp://127.0.0.1:{}", self.port), FROM).unwrap()
    }

    /// The mails that were taken, the oldest first: recipient and encryption, and the text.
    fn taken(&self) -> Vec<(String, String)> {
        let mails = (0..).map(|number| self.folder.path().join(format!("{number}.eml")));
        let mails = mails.map_while(|path| std::fs::read_to_string(path).ok());
        let split = mails.map(|mail| {
            let (first, text) = mail.split_once('\n').unwrap();
            (first.to_owned(), text.to_owned())
        });
        split.collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn mail(address: &str) -> Mail {
    let to = Email::parse(address, EmailProfile::Strict).unwrap();
    Mail::new(MailKind::SignupCode, to, Code::parse("7HXW3K9P").unwrap(), Duration::from_hours(1))
}

/// The code in the plain text of a delivered mail, as a person copies it.
fn code_of(text: &str) -> String {
    let mut lines = text.lines().map(str::trim);
    let code = lines.find(|line| line.len() == 9 && line.as_bytes()[4] == b'-');
    code.unwrap_or_else(|| panic!("no code: {text}")).to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3-aiosmtpd: scripts/test.sh installs it"]
async fn a_delivered_code_completes_the_sign_up() {
    let server = Server::start();
    let mails = MailQueue::new(server.mailer());
    let verification = EmailCodes::new(ReplaySecret::new(&[8; 32]).unwrap(), mails.clone());
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.verify_first(verification).build().unwrap();
    let local = "l".repeat(64);
    let long = format!("{local}@x.co");
    for (number, (given, delivered)) in
        [("Kim@m\u{fc}nchen.de", "Kim@xn--mnchen-3ya.de"), (&long, &long)].into_iter().enumerate()
    {
        let request = || SignupRequest::new(given, "correct horse").name("<b>Kim</b>\u{202e}");
        let pending = service.verification().first().unwrap().begin(request()).await.unwrap();
        mails.drained().await;
        let (to, text) = server.taken()[2 * number].clone();
        assert_eq!(to, format!("{delivered} plain"));
        assert!(!text.contains("<b>"), "nothing of the client's is in it");
        let signup = service
            .verification()
            .first()
            .unwrap()
            .complete(pending.reveal_ticket(), &code_of(&text))
            .await
            .unwrap();
        assert_eq!(signup.account().email().as_str(), given);
        // The address is taken now, and its owner is told.
        service.verification().first().unwrap().begin(request()).await.unwrap();
        mails.drained().await;
        let (_, text) = server.taken()[2 * number + 1].clone();
        assert!(text.contains("Subject: You already have an account"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3-aiosmtpd: scripts/test.sh installs it"]
async fn what_a_server_defers_cuts_or_forgets_is_sent_again_and_what_it_refuses_is_not() {
    let server = Server::start();
    let mails = MailQueue::new(server.mailer()).deadline(Duration::from_secs(2));
    let mails = mails.attempts(3, Duration::from_millis(10));
    // The queue takes mails of a service alone; a mailer takes each.
    let mailer = Arc::new(server.mailer());
    let refused = mailer.send(&mail("refused@x.co")).await;
    assert!(matches!(refused, Err(MailError::Permanent(_))), "{refused:?}");
    // The reply repeats the address, and no log may.
    let said = format!("{refused:?}");
    assert!(said.contains("550") && !said.contains("x.co"), "{said}");
    for deferred in ["greylisted-0@x.co", "cut-0@x.co"] {
        let answer = mailer.send(&mail(deferred)).await;
        assert!(matches!(answer, Err(MailError::Temporary(_))), "{deferred}: {answer:?}");
    }
    let gone = SmtpMailer::from_url("smtp://127.0.0.1:1", FROM).unwrap();
    assert!(matches!(gone.send(&mail("a@x.co")).await, Err(MailError::Temporary(_))));

    let verification = EmailCodes::new(ReplaySecret::new(&[8; 32]).unwrap(), mails.clone());
    let service = SignupService::builder(MemoryStore::default()).jwt_secret(&[7; 32]);
    let service = service.verify_first(verification).build().unwrap();
    let addresses = ["greylisted-1@x.co", "cut-1@x.co", "hanging-1@x.co", "refused@x.co"];
    for address in addresses {
        service
            .verification()
            .first()
            .unwrap()
            .begin(SignupRequest::new(address, "correct horse"))
            .await
            .unwrap();
    }
    mails.drained().await;
    let stats = mails.stats();
    assert_eq!((stats.waiting, stats.sent, stats.failed), (0, 3, 1));
    let mut taken: Vec<_> = server.taken().into_iter().map(|(to, _)| to).collect();
    taken.sort();
    assert_eq!(taken, ["cut-1@x.co plain", "greylisted-1@x.co plain", "hanging-1@x.co plain"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs python3-aiosmtpd: scripts/test.sh installs it"]
async fn starttls_is_required_where_it_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", "key.pem", "-out", "cert.pem"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .status();
    assert!(made.unwrap().success());
    let certificate = std::fs::read(folder.path().join("cert.pem")).unwrap();
    let server = Server::start_in(folder);
    let trusted = Certificate::from_pem(&certificate).unwrap();
    let tls = TlsParameters::builder("localhost".to_owned()).add_root_certificate(trusted);
    let transport = AsyncSmtpTransport::<lettre::Tokio1Executor>::builder_dangerous("127.0.0.1")
        .port(server.port.parse().unwrap())
        .tls(Tls::Required(tls.build().unwrap()));
    let mailer = SmtpMailer::with_transport(transport.build(), FROM).unwrap();
    mailer.send(&mail("kim@x.co")).await.unwrap();
    assert_eq!(server.taken()[0].0, "kim@x.co TLS");
    // A certificate that nobody vouches for, and a server without TLS.
    let url = |port: &str| format!("smtp://localhost:{port}?tls=required");
    let plain = Server::start();
    for port in [&server.port, &plain.port] {
        let mailer = SmtpMailer::from_url(&url(port), FROM).unwrap();
        assert!(mailer.send(&mail("kim@x.co")).await.is_err());
    }
    assert_eq!((server.taken().len(), plain.taken().len()), (1, 0));
}
