//! The default words, in English.

use std::time::Duration;

use crate::event::KeyCounts;

use super::{Mail, MailKind};

pub(super) fn subject(kind: MailKind) -> &'static str {
    match kind {
        MailKind::SignupCode | MailKind::EmailCode => "Your code",
        MailKind::AccountExists => "You already have an account",
        MailKind::ReclaimCode => "Your code to take over an account",
        MailKind::AlreadyVerified => "Your account",
        MailKind::ResetCode => "Your code for another password",
        MailKind::NewEmailCode => "Your code for another address",
        MailKind::EmailChanged => "The address of your account has changed",
        MailKind::PasswordChanged => "Your password has changed",
        MailKind::AccountReclaimed => "You have taken over your account",
    }
}

/// Returns what a mail says before its code, and after it.
fn words(kind: MailKind) -> [&'static str; 2] {
    match kind {
        MailKind::SignupCode => [
            "Your code to complete the sign-up:",
            "Enter it where you signed up. If you did not sign up, ignore this mail: nothing \
             happens without the code.",
        ],
        MailKind::EmailCode => [
            "Your code to confirm that this address is yours:",
            "Enter it in your account. If you have no account, somebody has made one with your \
             address: give the code to nobody.",
        ],
        MailKind::ReclaimCode => [
            "Your code to take over the account that was made with this address:",
            "Enter it where you asked for it, with a new password. It ends everything that the \
             account's maker has. If you did not ask for it, ignore this mail.",
        ],
        MailKind::ResetCode => [
            "Your code to set another password:",
            "Enter it where you asked for it. If you did not ask for it, ignore this mail: your \
             password stays as it is.",
        ],
        MailKind::NewEmailCode => [
            "Your code to use this address for your account from now on:",
            "Enter it in your account. If you have no account, somebody has mistyped an address: \
             give the code to nobody.",
        ],
        MailKind::EmailChanged => [
            "Your account has another address from now on, and no longer this one.",
            "If it was not you who has changed it, somebody else has your account: ask its \
             operator for help.",
        ],
        MailKind::PasswordChanged => [
            "The password of your account was changed.",
            "If you did not change it, someone else may have access to your account: reset your \
             password, and ask its operator for help.",
        ],
        MailKind::AccountReclaimed => [
            "The account with this address was taken over with a code from this mailbox. \
             Everything that its earlier owner had has ended.",
            "If you did not take it over, someone else can read your mail: reset your password, \
             and ask the account's operator for help.",
        ],
        MailKind::AccountExists => [
            "Someone, probably you, has signed up with this address, which has an account \
             already. Log in instead; if you have forgotten your password, reset it.",
            "If it was not you, ignore this mail: nothing has changed.",
        ],
        MailKind::AlreadyVerified => [
            "Someone, probably you, has asked to take over the account of this address. It can't \
             be taken over. Log in instead; if you have forgotten your password, reset it.",
            "If it was not you, ignore this mail: nothing has changed.",
        ],
    }
}

/// Writes the paragraphs of a mail. The code stands alone, and no input of the client is in
/// them.
fn paragraphs(mail: &Mail) -> Vec<String> {
    let [before, after] = words(mail.kind).map(str::to_owned);
    if let Some(code) = &mail.code {
        let after = format!("It is valid for {}. {after}", in_words(mail.expires_in));
        return vec![before, code.reveal_grouped(), after];
    }
    let often = mail.occurrences;
    let often =
        (often > 1).then(|| format!("This has happened {often} times since our last mail."));
    let counts = mail.api_keys.map(in_numbers);
    [Some(before), often, counts, Some(after)].into_iter().flatten().collect()
}

fn in_numbers(KeyCounts { ended, kept }: KeyCounts) -> String {
    match (ended, kept) {
        (0, 0) => "The account has no API keys.".to_owned(),
        _ => format!("API keys that ended with it: {ended}. Still valid: {kept}."),
    }
}

pub(super) fn plain(mail: &Mail) -> String {
    paragraphs(mail).join("\n\n") + "\n"
}

pub(super) fn html(mail: &Mail) -> String {
    let code = mail.code.as_ref().map(super::Code::reveal_grouped);
    let mut html = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">".to_owned();
    html += &format!("<title>{}</title>", mail.subject());
    for paragraph in paragraphs(mail) {
        html += &if code.as_ref() == Some(&paragraph) {
            format!("<p style=\"font:700 1.5em monospace;letter-spacing:.1em\">{paragraph}</p>")
        } else {
            format!("<p>{paragraph}</p>")
        };
    }
    html + "</html>\n"
}

fn in_words(span: Duration) -> String {
    let minutes = span.as_millis().div_ceil(60_000);
    match (minutes / 60, minutes % 60) {
        (hours @ 2.., 0) => format!("{hours} hours"),
        _ if minutes == 1 => "one minute".to_owned(),
        _ => format!("{minutes} minutes"),
    }
}

#[cfg(test)]
mod tests {
    use MailKind::{AccountExists, AlreadyVerified, EmailChanged, EmailCode};
    use MailKind::{NewEmailCode, ReclaimCode, ResetCode, SignupCode};

    use super::*;
    use crate::fields::{Email, EmailProfile};
    use crate::mail::Code;

    fn mail(kind: MailKind) -> Mail {
        let to = Email::parse("<b>\"@x.co".replace(['<', '>', '"'], "b"), EmailProfile::Strict);
        Mail::new(kind, to.unwrap(), Code::parse("7HXW3K9P").unwrap(), Duration::from_hours(1))
    }

    #[test]
    fn a_mail_says_what_it_is_for_and_has_no_link() {
        let code = mail(SignupCode);
        assert!(code.text().contains("\n\n7HXW-3K9P\n\n") && code.text().contains("60 minutes"));
        assert!(code.html().contains(">7HXW-3K9P</p>"));
        assert!(!code.subject().contains("7HXW"));
        for kind in [EmailCode, ReclaimCode, ResetCode, NewEmailCode] {
            assert!(mail(kind).text().contains("7HXW-3K9P") && mail(kind).html().contains("7HXW"));
        }
        for kind in [AccountExists, AlreadyVerified, EmailChanged] {
            assert!(mail(kind).reveal_code().is_none() && !mail(kind).text().contains("7HXW"));
        }
        let kinds = [
            AccountExists,
            EmailCode,
            ReclaimCode,
            AlreadyVerified,
            ResetCode,
            NewEmailCode,
            EmailChanged,
        ];
        for mail in kinds.map(mail).into_iter().chain([code]) {
            let all = [mail.text(), mail.html(), mail.subject().to_owned()].concat();
            assert!(!all.contains("://") && !all.contains("href") && !all.contains("src="));
            assert!(!format!("{mail:?}").contains("7HXW") && !format!("{mail:?}").contains("x.co"));
        }
    }

    #[test]
    fn each_kind_says_something_else() {
        let kinds = [
            SignupCode,
            EmailCode,
            ReclaimCode,
            ResetCode,
            NewEmailCode,
            EmailChanged,
            AccountExists,
            AlreadyVerified,
        ];
        let texts = kinds.map(|kind| words(kind).concat());
        for (number, text) in texts.iter().enumerate() {
            assert!(text.len() > 80 && !texts[..number].contains(text), "{text}");
        }
        // In HTML, the code alone stands out.
        let html = mail(SignupCode).html();
        assert_eq!(html.matches("<p style=").count(), 1);
        assert!(html.contains("em\">7HXW-3K9P</p>"));
    }

    #[test]
    fn a_span_is_told_in_words() {
        for (seconds, words) in
            [(30, "one minute"), (90, "2 minutes"), (3600, "60 minutes"), (86_400, "24 hours")]
        {
            assert_eq!(in_words(Duration::from_secs(seconds)), words);
        }
    }
}
