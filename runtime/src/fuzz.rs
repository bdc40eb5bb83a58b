//! The entry points of fuzzing: what `runtime/fuzz` runs on bytes of its own making, and a test on the committed seeds.
//!
//! Each function takes any bytes and panics when a promise is broken. It is compiled for fuzzing and for tests only.

mod connection;
mod handshake;
#[cfg(test)]
mod order;
mod script;
#[cfg(test)]
mod tests;

use std::path::Path;
#[cfg(fuzzing)]
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

pub use crate::pipe::fuzz::{compressed, messages};
pub use crate::ws::fuzz::{deflate, frames};
pub use connection::connection;
pub use handshake::{answer, extensions, request};

use crate::config;
use crate::proxy_protocol::{self, Ends, Header};
use crate::ws::cost;

/// A target: the name of its binary and of the folder of its seeds, and what it runs.
pub type Target = (&'static str, fn(&[u8]));

/// All targets.
pub const TARGETS: [Target; 10] = [
    ("answer", answer),
    ("compressed", compressed),
    ("configuration", configuration),
    ("connection", connection),
    ("deflate", deflate),
    ("extensions", extensions),
    ("frames", frames),
    ("introduction", introduction),
    ("messages", messages),
    ("request", request),
];

/// Runs a target.
///
/// # Panics
/// As the target does, and when these bytes cost more than so many may.
pub fn check(run: fn(&[u8]), data: &[u8]) {
    let most = COST + COST_OF_A_BYTE * data.len() as u64;
    #[cfg(fuzzing)]
    let started = processor_time();
    let spent = cost::of(|| run(data));
    assert!(spent <= most, "{spent} for {} bytes", data.len());
    // What nobody has thought of to count: coarse, because instrumented code is slow.
    #[cfg(fuzzing)]
    {
        let taken = processor_time() - started;
        let most =
            Duration::from_millis(500) + Duration::from_micros(50) * u32::try_from(data.len()).unwrap_or(u32::MAX);
        assert!(taken <= most, "{taken:?} for {} bytes", data.len());
    }
}

/// What a run may cost whatever it is given.
const COST: u64 = 1 << 20;

/// What a byte may cost: deflate makes 1032 of one, and a target may inflate it several times.
const COST_OF_A_BYTE: u64 = 16 * 1032;

/// The processor time of this thread.
#[cfg(fuzzing)]
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// Reads a configuration.
///
/// # Panics
/// When a text is refused without a reason, or for a line that it does not have.
pub fn configuration(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Err(problems) =
        config::parse("fuzzed.toml", text, Path::new("/"), &["conditions", "rate-limit", "round-robin"])
    else {
        return;
    };
    assert!(!problems.is_empty());
    for problem in &problems {
        assert!(!problem.message.is_empty(), "{problem:?}");
        assert!(problem.line <= text.lines().count() + 1, "{problem:?}");
        assert!(problem.line > 0 || !problem.key.is_empty() || !problem.help.is_empty(), "{problem:?}");
    }
    assert!(!problems.to_string().contains("please report this"), "{problems}");
}

/// Reads a header of the PROXY protocol.
///
/// # Panics
/// When a part of one is another, or it is not read again as it was written.
pub fn introduction(data: &[u8]) {
    let whole = Header::parse(data);
    let Ok(Some((header, length))) = whole else {
        // What is none becomes none by what follows it.
        let followed = [data, b"\r\n"].concat();
        assert!(whole.is_ok() || Header::parse(&followed) == whole, "{whole:?}");
        return;
    };
    assert!(length <= data.len().min(proxy_protocol::MOST), "{length}");
    let part = |end: usize| data.get(..end).map(Header::parse);
    assert_eq!(part(length), Some(Ok(Some((header.clone(), length)))));
    (0..length).for_each(|end| assert_eq!(part(end), Some(Ok(None)), "{end} of {length}"));
    let wire = header.write();
    let again = Header::parse(&wire);
    let told = again.as_ref().ok().and_then(Option::as_ref);
    let ends = told.and_then(|(again, _)| again.ends);
    let canonical = |ends: Ends| (ends.source.ip().to_canonical(), ends.source.port(), ends.destination.port());
    assert_eq!(ends.map(canonical), header.ends.map(canonical), "{header:?} became {again:?}");
}

/// Runs to the end what waits for nothing but timers and [`Script`].
fn run(future: impl Future<Output = ()>) {
    thread_local! {
        static RUNTIME: Option<Runtime> = Builder::new_current_thread().enable_time().build().ok();
    }
    RUNTIME.with(|runtime| runtime.as_ref().map(|runtime| runtime.block_on(future)));
}
