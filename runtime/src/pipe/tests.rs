//! What a pipe promises, without components: those need Wasm and are tested over real sockets.

mod closing;
mod compressed;
mod conversation;
mod cost;
mod delays;
mod ends;
mod panics;
mod parts;
mod piped;
mod replies;
mod splits;
mod timing;
mod turns;
mod unhurried;

use super::Pipe;

#[test]
fn an_open_pipe_is_small() {
    let size = size_of::<Pipe>();
    assert!(size <= 720, "{size} bytes");
}
