//! A hostile broker, attack by attack: it reads, changes, repeats, reorders, reflects, loses and invents messages, and
//! each time nobody is served who was not paired, nothing is learnt, and the paired viewer gets its picture afterwards.
//! What time alone can show (a nonce of two rotations ago) is shown in signal/desk/tests.rs, the page's part in
//! src/web/page/hostile.test.mjs.

mod frames;
mod house;
mod inventing;
mod losing;
mod pairing;
mod proxy;
mod reading;
mod replaying;
mod rewriting;
mod steady;
