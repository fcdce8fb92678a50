//! AWS KMS: an emulator, and a proxy before it that fails as KMS fails.

mod faults;
mod moto;

pub use faults::{Call, Fault, KmsProxy};
pub use moto::{Moto, REGION};
