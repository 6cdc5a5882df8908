//! The only unsafe code: what safe crates lack. Everything public here is safe; one operation per block, each with
//! a SAFETY note. Not here: any decision.

pub mod openh264;
