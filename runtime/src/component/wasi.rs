//! The part of WASI 0.2 that is lent: what a guest built with a language's standard library for `wasm32-wasip2` imports
//! whether it uses it or not, plus clocks and random numbers.
//!
//! Rust's standard library always imports `wasi:cli/environment`, so it is there and empty: no variable, no argument,
//! no working directory. Standard output and error go to the log, standard input has ended, the terminal functions
//! answer that there is none, and exiting is a trap. Nothing waits: a guest that blocks on a pollable which is not
//! ready traps, because its worker's other connections would wait with it. Files, sockets and HTTP are lent empty, by
//! `hollow`.

use thiserror::Error;
use wasmtime::StoreContextMut;
use wasmtime::component::{ComponentType, Lift, Linker, Lower, Resource, ResourceType, WasmList};

use super::guest::{Guest, Stream};
use super::lent::{monotonic, nanoseconds, wall};

/// The interfaces lent, by name without version.
pub(super) const INTERFACES: &[&str] = &[
    "wasi:cli/environment",
    "wasi:cli/exit",
    "wasi:cli/stdin",
    "wasi:cli/stdout",
    "wasi:cli/stderr",
    "wasi:cli/terminal-input",
    "wasi:cli/terminal-output",
    "wasi:cli/terminal-stdin",
    "wasi:cli/terminal-stdout",
    "wasi:cli/terminal-stderr",
    "wasi:clocks/monotonic-clock",
    "wasi:clocks/wall-clock",
    "wasi:io/error",
    "wasi:io/poll",
    "wasi:io/streams",
    "wasi:random/random",
    "wasi:random/insecure",
    "wasi:random/insecure-seed",
];

/// A guest did what is lent in form only; it traps.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum Denied {
    #[error("it called exit")]
    Exit,
    #[error("it waited; a component may not")]
    Wait,
    #[error("it asked for {0} random bytes at once and may ask for {MAX_RANDOM}")]
    Random(u64),
    #[error("it wrote {0} bytes at once to a stream that takes {WRITE_PERMIT}")]
    Write(u64),
    #[error("there is no randomness to be had")]
    NoEntropy,
    #[error("it called {0}; a component finds no files and no network")]
    Absent(String),
}

/// Defines the functions. A component built against another 0.2 of WASI links as well.
pub(super) fn lend(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    cli(linker)?;
    clocks(linker)?;
    random(linker)?;
    io(linker)
}

/// The type of a resource of `wasi:io`, by its name.
pub(super) fn resource(name: &str) -> Option<ResourceType> {
    match name {
        "input-stream" => Some(ResourceType::host::<InputStream>()),
        "output-stream" => Some(ResourceType::host::<OutputStream>()),
        "pollable" => Some(ResourceType::host::<Pollable>()),
        "error" => Some(ResourceType::host::<IoError>()),
        _ => None,
    }
}

/// The most random bytes of one call.
const MAX_RANDOM: u64 = 64 << 10;

/// What an output stream takes in one call, by `check-write` and by the definition of `blocking-write-and-flush`; a
/// longer line is cut anyway.
const WRITE_PERMIT: u64 = 4 << 10;

struct InputStream;
struct OutputStream;
struct Pollable;
struct IoError;
struct TerminalInput;
struct TerminalOutput;

/// A pollable's representation: it is ready.
const READY: u32 = 0;
/// A pollable's representation: it becomes ready at a time to come, which nobody may wait for.
const LATER: u32 = 1;

/// An output stream's representation.
const STDOUT: u32 = 1;
/// An output stream's representation.
const STDERR: u32 = 2;

#[derive(ComponentType, Lower)]
#[component(variant)]
enum StreamError {
    #[component(name = "last-operation-failed")]
    #[expect(dead_code, reason = "no operation on these streams fails, but the type has the case")]
    LastOperationFailed(Resource<IoError>),
    #[component(name = "closed")]
    Closed,
}

#[derive(ComponentType, Lift, Lower)]
#[component(record)]
struct Datetime {
    seconds: u64,
    nanoseconds: u32,
}

type Store<'a> = StoreContextMut<'a, Guest>;

fn cli(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut environment = linker.instance("wasi:cli/environment@0.2.0")?;
    environment.func_wrap("get-environment", |_, (): ()| Ok((Vec::<(String, String)>::new(),)))?;
    environment.func_wrap("get-arguments", |_, (): ()| Ok((Vec::<String>::new(),)))?;
    environment.func_wrap("initial-cwd", |_, (): ()| Ok((None::<String>,)))?;

    let mut exit = linker.instance("wasi:cli/exit@0.2.0")?;
    exit.func_wrap("exit", |_, (_status,): (Result<(), ()>,)| -> wasmtime::Result<()> { Err(Denied::Exit.into()) })?;

    let mut stdin = linker.instance("wasi:cli/stdin@0.2.0")?;
    stdin.func_wrap("get-stdin", |_, (): ()| Ok((Resource::<InputStream>::new_own(0),)))?;
    let mut stdout = linker.instance("wasi:cli/stdout@0.2.0")?;
    stdout.func_wrap("get-stdout", |_, (): ()| Ok((Resource::<OutputStream>::new_own(STDOUT),)))?;
    let mut stderr = linker.instance("wasi:cli/stderr@0.2.0")?;
    stderr.func_wrap("get-stderr", |_, (): ()| Ok((Resource::<OutputStream>::new_own(STDERR),)))?;

    let mut input = linker.instance("wasi:cli/terminal-input@0.2.0")?;
    input.resource("terminal-input", ResourceType::host::<TerminalInput>(), |_, _| Ok(()))?;
    let mut output = linker.instance("wasi:cli/terminal-output@0.2.0")?;
    output.resource("terminal-output", ResourceType::host::<TerminalOutput>(), |_, _| Ok(()))?;
    let mut stdin = linker.instance("wasi:cli/terminal-stdin@0.2.0")?;
    stdin.func_wrap("get-terminal-stdin", |_, (): ()| Ok((None::<Resource<TerminalInput>>,)))?;
    let mut stdout = linker.instance("wasi:cli/terminal-stdout@0.2.0")?;
    stdout.func_wrap("get-terminal-stdout", |_, (): ()| Ok((None::<Resource<TerminalOutput>>,)))?;
    let mut stderr = linker.instance("wasi:cli/terminal-stderr@0.2.0")?;
    stderr.func_wrap("get-terminal-stderr", |_, (): ()| Ok((None::<Resource<TerminalOutput>>,)))
}

fn clocks(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut monotonic_clock = linker.instance("wasi:clocks/monotonic-clock@0.2.0")?;
    monotonic_clock.func_wrap("now", |_, (): ()| Ok((nanoseconds(monotonic()),)))?;
    monotonic_clock.func_wrap("resolution", |_, (): ()| Ok((1_u64,)))?;
    monotonic_clock.func_wrap("subscribe-instant", |_, (instant,): (u64,)| {
        let ready = instant <= nanoseconds(monotonic());
        Ok((Resource::<Pollable>::new_own(if ready { READY } else { LATER }),))
    })?;
    monotonic_clock.func_wrap("subscribe-duration", |_, (duration,): (u64,)| {
        Ok((Resource::<Pollable>::new_own(if duration == 0 { READY } else { LATER }),))
    })?;

    let mut wall_clock = linker.instance("wasi:clocks/wall-clock@0.2.0")?;
    wall_clock.func_wrap("now", |_, (): ()| {
        let now = wall();
        Ok((Datetime { seconds: now.as_secs(), nanoseconds: now.subsec_nanos() },))
    })?;
    wall_clock.func_wrap("resolution", |_, (): ()| Ok((Datetime { seconds: 0, nanoseconds: 1 },)))
}

fn random(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut secure = linker.instance("wasi:random/random@0.2.0")?;
    secure.func_wrap("get-random-bytes", |_, (length,): (u64,)| {
        let mut bytes = vec![0; random_length(length)?];
        getrandom::fill(&mut bytes).map_err(|_| Denied::NoEntropy)?;
        Ok((bytes,))
    })?;
    secure.func_wrap("get-random-u64", |_, (): ()| Ok((getrandom::u64().map_err(|_| Denied::NoEntropy)?,)))?;

    let mut insecure = linker.instance("wasi:random/insecure@0.2.0")?;
    insecure.func_wrap("get-insecure-random-bytes", |mut store: Store<'_>, (length,): (u64,)| {
        let length = random_length(length)?;
        Ok((store.data_mut().random.bytes(length),))
    })?;
    insecure
        .func_wrap("get-insecure-random-u64", |mut store: Store<'_>, (): ()| Ok((store.data_mut().random.next(),)))?;

    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.0")?;
    seed.func_wrap("insecure-seed", |mut store: Store<'_>, (): ()| {
        let random = &mut store.data_mut().random;
        Ok(((random.next(), random.next()),))
    })
}

fn random_length(length: u64) -> Result<usize, Denied> {
    if length > MAX_RANDOM {
        return Err(Denied::Random(length));
    }
    usize::try_from(length).map_err(|_| Denied::Random(length))
}

fn io(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut error = linker.instance("wasi:io/error@0.2.0")?;
    error.resource("error", ResourceType::host::<IoError>(), |_, _| Ok(()))?;
    error.func_wrap("[method]error.to-debug-string", |_, (_error,): (Resource<IoError>,)| Ok((String::new(),)))?;

    let mut poll = linker.instance("wasi:io/poll@0.2.0")?;
    poll.resource("pollable", ResourceType::host::<Pollable>(), |_, _| Ok(()))?;
    poll.func_wrap("[method]pollable.ready", |_, (this,): (Resource<Pollable>,)| Ok((this.rep() == READY,)))?;
    poll.func_wrap(
        "[method]pollable.block",
        |_, (this,): (Resource<Pollable>,)| {
            if this.rep() == READY { Ok(()) } else { Err(Denied::Wait.into()) }
        },
    )?;
    poll.func_wrap("poll", |_, (pollables,): (Vec<Resource<Pollable>>,)| {
        let ready = (0_u32..).zip(&pollables).filter(|(_, this)| this.rep() == READY);
        let ready: Vec<u32> = ready.map(|(place, _)| place).collect();
        if ready.is_empty() { Err(Denied::Wait.into()) } else { Ok((ready,)) }
    })?;

    input_stream(linker)?;
    output_stream(linker)
}

fn input_stream(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    let mut streams = linker.instance("wasi:io/streams@0.2.0")?;
    streams.resource("input-stream", ResourceType::host::<InputStream>(), |_, _| Ok(()))?;
    for name in ["[method]input-stream.read", "[method]input-stream.blocking-read"] {
        streams.func_wrap(name, |_, (_this, _length): (Resource<InputStream>, u64)| {
            Ok((Err::<Vec<u8>, _>(StreamError::Closed),))
        })?;
    }
    for name in ["[method]input-stream.skip", "[method]input-stream.blocking-skip"] {
        streams.func_wrap(name, |_, (_this, _length): (Resource<InputStream>, u64)| {
            Ok((Err::<u64, _>(StreamError::Closed),))
        })?;
    }
    streams.func_wrap("[method]input-stream.subscribe", |_, (_this,): (Resource<InputStream>,)| {
        Ok((Resource::<Pollable>::new_own(READY),))
    })
}

fn output_stream(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    type This = Resource<OutputStream>;
    let mut streams = linker.instance("wasi:io/streams@0.2.0")?;
    streams.resource("output-stream", ResourceType::host::<OutputStream>(), |_, _| Ok(()))?;
    streams.func_wrap("[method]output-stream.check-write", |_, (_this,): (This,)| {
        Ok((Ok::<_, StreamError>(WRITE_PERMIT),))
    })?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        streams.func_wrap(name, |mut store: Store<'_>, (this, bytes): (This, WasmList<u8>)| {
            let bytes = bytes.as_le_slice(&store);
            permit(bytes.len() as u64)?;
            let bytes = bytes.to_vec();
            let stream = if this.rep() == STDERR { Stream::Stderr } else { Stream::Stdout };
            store.data_mut().print(stream, &bytes);
            Ok((Ok::<_, StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.flush", "[method]output-stream.blocking-flush"] {
        streams.func_wrap(name, |_, (_this,): (This,)| Ok((Ok::<_, StreamError>(()),)))?;
    }
    for name in ["[method]output-stream.write-zeroes", "[method]output-stream.blocking-write-zeroes-and-flush"] {
        streams.func_wrap(name, |_, (_this, length): (This, u64)| {
            permit(length)?;
            Ok((Ok::<_, StreamError>(()),))
        })?;
    }
    for name in ["[method]output-stream.splice", "[method]output-stream.blocking-splice"] {
        streams.func_wrap(name, |_, (_this, _source, _length): (This, Resource<InputStream>, u64)| {
            Ok((Err::<u64, _>(StreamError::Closed),))
        })?;
    }
    streams.func_wrap("[method]output-stream.subscribe", |_, (_this,): (This,)| {
        Ok((Resource::<Pollable>::new_own(READY),))
    })
}

/// Whether so many bytes may be written in one call. Beyond it `wasi:io/streams` has the guest trap.
fn permit(length: u64) -> Result<(), Denied> {
    if length > WRITE_PERMIT { Err(Denied::Write(length)) } else { Ok(()) }
}
