//! A server whose envelope keys come from a key service.

mod app;
mod aws;
mod hadoop;
