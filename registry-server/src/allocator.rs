//! The allocator of the binary, and how soon it gives memory back.

use std::ffi::{c_int, c_long};

/// The system's allocator took a fifth of the time of a write.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// `mi_option_purge_delay` in `mimalloc.h`, which the bindings leave out.
const PURGE_DELAY: c_int = 15;
/// In milliseconds: as in mimalloc 2. In mimalloc 3 it is a second, in which transfers free and take more than they need: half of
/// what a server had with 32 of them at once.
const SOON: c_long = 10;

/// To be called while there is one thread only.
pub(crate) fn configure() {
    #[expect(unsafe_code, reason = "the bindings have no safe function for it")]
    // SAFETY: it stores the number if there is such an option. Nobody reads it meanwhile: there is no other thread.
    unsafe {
        libmimalloc_sys::mi_option_set(PURGE_DELAY, SOON);
    }
}
