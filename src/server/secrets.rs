//! Which secret an application proves itself with.

use std::sync::Arc;

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_protocol::secret::AppSecret;

/// The secrets that this server knows.
///
/// Today one for all applications, as a standalone cluster has: any holder may claim any application
/// id. One secret per application goes here.
#[derive(Clone, Debug)]
pub struct Secrets {
    shared: Option<Arc<AppSecret>>,
}

impl Secrets {
    /// No secret: nobody can prove anything.
    pub fn none() -> Self {
        Self { shared: None }
    }

    /// One secret for every application.
    pub fn shared(secret: AppSecret) -> Self {
        Self { shared: Some(Arc::new(secret)) }
    }

    /// The secret of `app`.
    pub fn of(&self, _app: &AppId) -> Option<Arc<AppSecret>> {
        self.shared.clone()
    }

    /// Whether anybody can prove anything.
    pub fn exist(&self) -> bool {
        self.shared.is_some()
    }
}
