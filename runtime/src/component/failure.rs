//! Telling failures apart: what a call's error means, and what the operator reads about it.

use std::fmt::Write as _;
use std::time::Duration;

use wasmtime::{Error, Trap, WasmBacktrace};

use super::guest::Guest;
use super::limits::Exceeded;
use super::types::Failure;
use super::wasi::Denied;
use crate::metrics::FailureReason;

/// What a guest that failed in a call did. `deadline` is the one that was set for it.
pub(super) fn classify(component: &str, error: &Error, guest: &Guest, deadline: Duration) -> Failure {
    let (reason, mut message) = if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        (FailureReason::Memory, exceeded.to_string())
    } else if let Some(denied) = error.downcast_ref::<Denied>() {
        (FailureReason::Trap, denied.to_string())
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => (
                FailureReason::Deadline,
                format!("it ran past its deadline of {deadline:?}"),
            ),
            Some(trap) => (FailureReason::Trap, trap.to_string()),
            None => (FailureReason::InvalidAnswer, without_backtrace(error)),
        }
    };
    // Writing to a String cannot fail.
    if let Some(words) = guest.log.last_words() {
        let _ = write!(message, ": {words}");
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        describe(backtrace, &mut message);
    }
    Failure {
        component: component.to_owned(),
        reason,
        message,
    }
}

/// The most frames shown: enough to see past the panic machinery into the component.
const MAX_FRAMES: usize = 8;

fn describe(backtrace: &WasmBacktrace, message: &mut String) {
    let mut separator = "; in ";
    for frame in backtrace.frames().iter().take(MAX_FRAMES) {
        let symbol = frame.symbols().first();
        let name = symbol.and_then(|symbol| symbol.name()).or_else(|| frame.func_name());
        let _ = match name {
            Some(name) => write!(message, "{separator}{name}"),
            None => write!(message, "{separator}function {}", frame.func_index()),
        };
        if let Some((file, line)) = symbol.and_then(|symbol| symbol.file().zip(symbol.line())) {
            let _ = write!(message, " ({file}:{line})");
        }
        separator = " < ";
    }
}

/// The causes without the backtrace among them, which is described in one line.
fn without_backtrace(error: &Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let told = causes.into_iter().filter(|cause| Some(cause) != backtrace.as_ref());
    told.collect::<Vec<_>>().join(": ")
}
