//! A dynamic module for Envoy: a network filter, native code, that reads every byte both ways and changes nothing.
//!
//! It declares what it needs of Envoy's C interface by itself, as of Envoy 1.40: there is no SDK among the crates of
//! crates.io. Envoy says in its log that it does not know the version, and loads it.

#[path = "../../guests/reader/src/fold.rs"]
mod fold;

use std::ffi::{c_char, c_void};
use std::hint::black_box;

use fold::fold;

/// Bytes that belong to Envoy.
#[repr(C)]
#[derive(Clone, Copy)]
struct Chunk {
    bytes: *const u8,
    length: usize,
}

unsafe extern "C" {
    fn envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks_size(envoy: *mut c_void) -> usize;
    fn envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks(
        envoy: *mut c_void,
        chunks: *mut Chunk,
    ) -> bool;
    fn envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks_size(envoy: *mut c_void) -> usize;
    fn envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks(
        envoy: *mut c_void,
        chunks: *mut Chunk,
    ) -> bool;
}

/// Something to point to: the filter has no state.
static STATELESS: u8 = 0;

/// What a filter answers that lets everything pass.
const CONTINUE: u32 = 0;

fn stateless() -> *const c_void {
    (&raw const STATELESS).cast()
}

/// Looks at every byte.
fn read(chunks: &[Chunk]) {
    for chunk in chunks.iter().filter(|chunk| chunk.length > 0) {
        // SAFETY: Envoy lends the bytes for as long as the call takes.
        let bytes = unsafe { std::slice::from_raw_parts(chunk.bytes, chunk.length) };
        black_box(fold(bytes));
    }
}

/// Hands out the chunks of a buffer, of which there are few.
fn each(count: usize, fill: impl FnOnce(*mut Chunk) -> bool) {
    let mut chunks = [Chunk { bytes: std::ptr::null(), length: 0 }; 64];
    if count <= chunks.len() {
        if fill(chunks.as_mut_ptr()) {
            read(&chunks[..count]);
        }
    } else {
        let mut chunks = vec![Chunk { bytes: std::ptr::null(), length: 0 }; count];
        if fill(chunks.as_mut_ptr()) {
            read(&chunks);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_program_init() -> *const c_char {
    c"tidegate-load".as_ptr()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_config_new(
    _envoy: *mut c_void,
    _name: Chunk,
    _config: Chunk,
) -> *const c_void {
    stateless()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_config_destroy(_config: *const c_void) {}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_new(_config: *const c_void, _envoy: *mut c_void) -> *const c_void {
    stateless()
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_new_connection(_envoy: *mut c_void, _filter: *const c_void) -> u32 {
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_read(
    envoy: *mut c_void,
    _filter: *const c_void,
    _length: usize,
    _is_last: bool,
) -> u32 {
    // SAFETY: this is the filter that Envoy calls, and there is room for as many chunks as it says.
    unsafe {
        let count = envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks_size(envoy);
        each(count, |chunks| envoy_dynamic_module_callback_network_filter_get_read_buffer_chunks(envoy, chunks));
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_write(
    envoy: *mut c_void,
    _filter: *const c_void,
    _length: usize,
    _is_last: bool,
) -> u32 {
    // SAFETY: as above.
    unsafe {
        let count = envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks_size(envoy);
        each(count, |chunks| envoy_dynamic_module_callback_network_filter_get_write_buffer_chunks(envoy, chunks));
    }
    CONTINUE
}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_event(_envoy: *mut c_void, _filter: *const c_void, _event: u32) {}

#[unsafe(no_mangle)]
extern "C" fn envoy_dynamic_module_on_network_filter_destroy(_filter: *const c_void) {}
