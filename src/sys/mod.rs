//! The only unsafe code: system calls that neither std nor a crate wraps. All that is public here is safe to
//! call. Not here: what the calls are for.
#![allow(unsafe_code)]

pub mod buffers;
pub mod fd;
pub mod process;
pub mod time;
pub mod video;
