//! One encode, many viewers: a ring of the newest encoded frames, and a cursor for each viewer.
//! Publishing never waits; a viewer that falls out of the ring goes on at the next key frame and is told
//! how many frames it lost. Not here: encoding, and sending.

pub mod ring;
