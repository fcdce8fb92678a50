//! How two ends speak: handshake, cipher, TLS, the keys that say so, and which of that is tried.

mod abilities;
pub mod matrix;
mod mode;
mod service;
mod tls;
mod version;

pub use abilities::{Abilities, Gcm};
pub use mode::{Auth, Cipher, Mode, SaslCipher};
pub use service::Service;
pub use tls::{Material, PASSWORD, Stores, pem_client_conf};
pub use version::{number, patch};
