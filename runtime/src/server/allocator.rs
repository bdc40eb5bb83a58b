//! How the process uses the C library's allocator.

/// Has buffers larger than those that workers keep given back to the system when they are freed. Left to itself, the
/// allocator takes the first large buffer that is freed for a reason to keep as much for ever, so that what was held of
/// large messages would stay with the process when they are long gone.
///
/// Nor does it set small chunks aside unjoined: it would go through all of them whenever a kilobyte or more is asked for, as
/// each opening connection does.
pub(super) fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "the C library has no safe way to say so")]
    // SAFETY: all parameters take any size, at any time.
    let _ = unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, 2 * LARGE);
        libc::mallopt(libc::M_MXFAST, 0)
    };
}

/// Allocating smaller ones from the system each time would cost more than they hold: a worker keeps as much, too.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 4 << 20;
