//! What crosses modules, in one binary: the library against real programs and real sockets.

mod broker;
mod broker_attacks;
mod broker_devices;
mod broker_support;
mod by_hand;
mod camera;
mod cameras;
mod cli;
mod commands;
mod corpora;
mod exchange;
mod mqtt;
mod mqtt_support;
mod mqtt_tls;
mod peer;
mod peers;
mod people;
mod systemd;
mod web;
