//! H.264 as bytes (ITU-T H.264): finding NAL units, grouping them into access units, reading a sequence
//! parameter set. Everything here is pure and takes hostile input. Not here: encoding (`encode`) and
//! packetising (`peer/rtc.rs`).

pub mod access_unit;
pub mod annexb;
pub mod sps;
