//! A way in which Spark speaks, and stores.

use sealed_shuffle_interop_tests::modes::{Auth, Cipher, Mode, Stores};

/// A mode in which jobs run.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) mode: Mode,
    /// `spark.io.encryption.enabled`
    pub(crate) encrypts_files: bool,
}

impl Case {
    pub(crate) fn all() -> [Self; 7] {
        let case = |name, mode, encrypts_files| Self { name, mode, encrypts_files };
        let gcm = Mode::aes("3.5.9", Cipher::Gcm, 1);
        let tls = |version| Mode::new(version, Auth::Sasl).inside_tls(Stores::Pkcs12);
        [
            case("clear", Mode::new("4.3.0", Auth::None), false),
            case("ctr", Mode::newest(Cipher::Ctr, 2), false),
            case("gcm", gcm, false),
            case("gcm-io", gcm, true),
            case("tls", tls("4.3.0"), false),
            case("tls-4.0.5", tls("4.0.5"), false),
            case("tls-io", tls("4.3.0"), true),
        ]
    }

    /// For a heading.
    pub(crate) fn title(&self) -> String {
        let files = if self.encrypts_files { ", with spark.io.encryption" } else { "" };
        format!("{}{files}", self.mode)
    }
}
