//! What crosses modules, in one binary: the library against real programs and real sockets.

mod broker;
mod broker_attacks;
mod broker_devices;
mod broker_siege;
mod broker_support;
mod brokers_doc;
mod by_hand;
mod camera;
mod cameras;
mod cli;
mod commands;
mod corpora;
mod coturn;
mod exchange;
mod hostile;
mod mqtt;
mod mqtt_support;
mod mqtt_tls;
mod mqtt_wire;
mod peer;
mod peers;
mod people;
mod running;
mod systemd;
mod web;
mod whep;
