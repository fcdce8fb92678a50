//! The client library against our own server, and against scripted ones.

mod against_server;
mod support;
