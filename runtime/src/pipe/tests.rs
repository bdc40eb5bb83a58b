//! What a pipe promises, without components: those need Wasm and are tested over real sockets.

mod splits;
mod timing;
