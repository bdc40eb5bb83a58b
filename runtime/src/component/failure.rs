//! Telling failures apart: what a call's error means, and what the operator reads about it.

use std::fmt::Write as _;
use std::time::Duration;

use wasmtime::{Error, FrameInfo, Trap, WasmBacktrace};

use super::guest::Guest;
use super::limits::Exceeded;
use super::load::Component;
use super::types::Failure;
use super::wasi::Denied;
use super::wishes::Greedy;
use crate::metrics::FailureReason;

/// What a guest that failed in a call did. `deadline` is the one that was set for it.
pub(super) fn classify(component: &Component, error: &Error, guest: &Guest, deadline: Duration) -> Failure {
    let (reason, mut message) = if let Some(exceeded) = error.downcast_ref::<Exceeded>() {
        (FailureReason::Memory, exceeded.to_string())
    } else if let Some(greedy) = error.downcast_ref::<Greedy>() {
        (greedy.reason(), greedy.to_string())
    } else if let Some(denied) = error.downcast_ref::<Denied>() {
        (FailureReason::Trap, denied.to_string())
    } else {
        match error.downcast_ref::<Trap>() {
            Some(Trap::Interrupt) => (FailureReason::Deadline, format!("it ran past its deadline of {deadline:?}")),
            Some(trap) => (FailureReason::Trap, trap.to_string()),
            None => {
                let message = without_backtrace(error);
                (
                    if exceeds_hand_over(error) { FailureReason::ReplySize } else { FailureReason::InvalidAnswer },
                    message,
                )
            }
        }
    };
    // Until it is configured, its words may quote the configuration.
    match guest.log.last_words() {
        Some(words) if guest.log.is_released() => {
            message.push_str(": ");
            message.push_str(words);
        }
        None if is_mute(component, error) => message.push_str(MUTE),
        _ => {}
    }
    if let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() {
        describe(backtrace, &mut message);
    }
    Failure { component: component.name().to_owned(), reason, message }
}

/// Whether it gave up, as a panic or an exception that nobody catches does, and has no standard error to say why.
fn is_mute(component: &Component, error: &Error) -> bool {
    let gave_up = matches!(error.downcast_ref::<Trap>(), Some(Trap::UnreachableCodeReached));
    gave_up && !component.imports().iter().any(|import| import.name.starts_with("wasi:cli/stderr@"))
}

/// What a stubbed guest's operator has to know.
const MUTE: &str = " (it logged no error before and imports no wasi:cli/stderr to say why; a language that prints its exceptions \
                    has to be built with WASI, which is lent, and not with stubs in its place)";

/// Whether a guest handed over more than [`Limits::handed_over`](super::limits::Limits::handed_over). Wasmtime keeps the type
/// of this error to itself, so it is told by the name of the type, which no guest can give its own errors; a test has one
/// raised.
fn exceeds_hand_over(error: &Error) -> bool {
    let cause = error.chain().last();
    cause.is_some_and(|cause| format!("{cause:?}") == "HostcallFuelExhausted")
}

/// The most frames shown, counted without those of the machinery.
const MAX_FRAMES: usize = 4;

/// Appends where it happened, innermost first, without the panic machinery that every Rust guest ends in.
fn describe(backtrace: &WasmBacktrace, message: &mut String) {
    let places: Vec<String> = backtrace.frames().iter().map(place).collect();
    let own: Vec<&String> = places.iter().filter(|place| !is_machinery(place)).collect();
    let shown = if own.is_empty() { places.iter().collect() } else { own };
    let mut separator = "; in ";
    for place in shown.into_iter().take(MAX_FRAMES) {
        message.push_str(separator);
        message.push_str(place);
        separator = " < ";
    }
}

/// A frame's function and, with debug information, its line.
fn place(frame: &FrameInfo) -> String {
    let symbol = frame.symbols().first();
    let name = symbol.and_then(|symbol| symbol.name()).or_else(|| frame.func_name());
    let mut place = match name {
        Some(name) => format!("{:#}", rustc_demangle::demangle(name)),
        None => format!("function {}", frame.func_index()),
    };
    if let Some((file, line)) = symbol.and_then(|symbol| symbol.file().zip(symbol.line())) {
        // Writing to a String cannot fail.
        let _ = write!(place, " ({file}:{line})");
    }
    place
}

fn is_machinery(place: &str) -> bool {
    let crates = ["std::", "core::", "alloc::", "__rust", "rust_", "dlmalloc", "abort"];
    let place = place.trim_start_matches('<');
    crates.iter().any(|name| place.starts_with(name)) || place.contains("(/rustc/") || place.contains("(wasisdk:")
}

/// The causes without the backtrace among them, which is described in one line.
fn without_backtrace(error: &Error) -> String {
    let causes: Vec<String> = error.chain().map(ToString::to_string).collect();
    let backtrace = error.downcast_ref::<WasmBacktrace>().map(ToString::to_string);
    let told = causes.into_iter().filter(|cause| Some(cause) != backtrace.as_ref());
    told.collect::<Vec<_>>().join(": ")
}
