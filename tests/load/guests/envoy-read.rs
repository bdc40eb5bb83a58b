//! A proxy-wasm module (ABI 0.2.1) that reads every byte of a WebSocket both ways and lets it pass: what Envoy with a
//! Wasm filter costs at least. Built by hand without an SDK, so that it costs no more than it must:
//! `rustc --edition 2024 -O --target wasm32-unknown-unknown --crate-type cdylib envoy-read.rs`

#[path = "../../guests/reader/src/fold.rs"]
mod fold;

use std::alloc::{Layout, alloc, dealloc};

use fold::fold;

#[link(wasm_import_module = "env")]
unsafe extern "C" {
    fn proxy_get_buffer_bytes(kind: u32, start: u32, most: u32, data: *mut *mut u8, size: *mut u32) -> u32;
}

#[unsafe(no_mangle)]
extern "C" fn proxy_abi_version_0_2_1() {}

#[unsafe(no_mangle)]
extern "C" fn malloc(size: u32) -> *mut u8 {
    unsafe { alloc(layout(size)) }
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_memory_allocate(size: u32) -> *mut u8 {
    malloc(size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_context_create(_context: u32, _parent: u32) {}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_vm_start(_context: u32, _size: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_configure(_context: u32, _size: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_request_body(_context: u32, size: u32, _end: u32) -> u32 {
    read(REQUEST_BODY, size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_response_body(_context: u32, size: u32, _end: u32) -> u32 {
    read(RESPONSE_BODY, size)
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_done(_context: u32) -> u32 {
    1
}

#[unsafe(no_mangle)]
extern "C" fn proxy_on_delete(_context: u32) {}

/// The parity of all bytes, exported so that reading them is not optimised away.
#[unsafe(no_mangle)]
static mut PARITY: u8 = 0;

fn read(kind: u32, size: u32) -> u32 {
    let (mut data, mut length) = (std::ptr::null_mut(), 0);
    unsafe {
        if size > 0 && proxy_get_buffer_bytes(kind, 0, size, &mut data, &mut length) == 0 && !data.is_null() {
            PARITY ^= fold(std::slice::from_raw_parts(data, length as usize));
            dealloc(data, layout(length));
        }
    }
    0
}

fn layout(size: u32) -> Layout {
    unsafe { Layout::from_size_align_unchecked(size.max(1) as usize, 8) }
}

const REQUEST_BODY: u32 = 0;
const RESPONSE_BODY: u32 = 1;
