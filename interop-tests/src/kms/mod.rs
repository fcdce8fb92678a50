//! Key services: an emulator of AWS KMS, a proxy before it that fails as KMS fails, and Hadoop's own.

mod faults;
mod hadoop;
mod moto;

pub use faults::{Call, Fault, KmsProxy};
pub use hadoop::HadoopKms;
pub use moto::{Moto, REGION};
