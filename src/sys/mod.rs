//! The only unsafe code: system calls that neither std nor a crate wraps, OpenH264's options that its crate lacks, and vector
//! code for 32-bit ARM.
//! All that is public here is safe to call; one operation per block, each with a SAFETY note. Not here: any decision.
#![allow(unsafe_code)]

pub mod buffers;
pub mod controls;
pub mod fd;
pub mod format;
pub mod fs;
pub mod m2m;
#[cfg(target_arch = "arm")]
pub mod neon;
pub mod openh264;
pub mod process;
pub mod terminal;
pub mod time;
pub mod timings;
pub mod video;

mod ioctl;
mod map;
