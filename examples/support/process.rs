//! The end of a server: when it is asked to, or with an error for the person at the
//! terminal.

#![allow(dead_code, reason = "each server uses its part")]

use std::error::Error;
use std::pin::Pin;
use std::process::ExitCode;

/// An error for the person at the terminal, in one line.
pub type Complaint = String;

/// Resolves when the process is asked to end.
pub type End = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Resolves when the process is asked to end: by SIGTERM, as supervisors send it, or from
/// the keyboard. It listens from the call on, not from the first poll.
#[cfg(unix)]
pub fn asked_to_end() -> End {
    use tokio::signal::unix::{SignalKind, signal};
    let signals = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()));
    Box::pin(async {
        let (Ok(mut terminate), Ok(mut interrupt)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Resolves when the process is asked to end: by Ctrl-C, Ctrl-Break, a closed console or
/// the system's shutdown. It listens from the call on.
#[cfg(windows)]
pub fn asked_to_end() -> End {
    use tokio::signal::windows::{ctrl_break, ctrl_c, ctrl_close, ctrl_shutdown};
    let signals = (ctrl_c(), ctrl_break(), ctrl_close(), ctrl_shutdown());
    Box::pin(async {
        let (Ok(mut c), Ok(mut pause), Ok(mut close), Ok(mut shutdown)) = signals else {
            return std::future::pending().await;
        };
        tokio::select! {
            _ = c.recv() => {}
            _ = pause.recv() => {}
            _ = close.recv() => {}
            _ = shutdown.recv() => {}
        }
    })
}

/// Returns the exit code, and prints the error on stderr.
pub fn exit(result: Result<(), Complaint>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("error: {complaint}");
            ExitCode::FAILURE
        }
    }
}

/// Joins an error and its causes to one line, without repetitions.
pub fn chain(error: &dyn Error) -> Complaint {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if !line.contains(&text) {
            line = format!("{line}: {text}");
        }
        cause = error.source();
    }
    line
}
