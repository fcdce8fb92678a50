//! Whether peers must prove an application, and with which secret.
//!
//! Three settings decide together: `spark.authenticate` (unset, true or false), whether there is a secret (one or
//! one per application), and which channels the policy serves. A peer that proves nothing can come in plaintext or
//! in TLS alone; every other channel proves an application. The server does nothing weak unless a setting asks for it
//! by name:
//!
//! | `spark.authenticate` | secret | served | |
//! |---|---|---|---|
//! | unset or true | yes | any | proof required |
//! | unset | no | plaintext and more | proof optional: nobody can give one |
//! | false | any | plaintext and more | proof optional |
//! | false | yes | tls, not plaintext | proof optional over TLS |
//! | false | yes | neither | proof optional in name: a peer without proof finds no channel |
//! | false | no | tls alone | proof optional |
//! | any | no | otherwise, not plaintext | refused: the channels that are served need a secret |
//! | true | no | any | refused |

use sealed_shuffle_protocol::channel::SecurityLevel;

use super::error::Issue;
use super::key::AnyKey;
use super::keys;
use super::policy::Policy;
use super::secret::{self, ServerSecrets};
use super::values::Values;

/// Whether peers must prove an application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// Every connection must prove one before anything else is answered.
    Required,
    /// A connection that proves none is served, too, if its channel reaches the minimum.
    Optional,
}

pub(crate) fn resolve(values: &mut Values<'_>, policy: &Policy) -> (Authentication, ServerSecrets) {
    let secrets = secret::resolve_all(values);
    let has_secret = secrets.exist();
    let asked = values.optional(&keys::AUTHENTICATE).map(|(value, _)| value);
    let plaintext = policy.serves(SecurityLevel::Plaintext);
    let tls = policy.serves(SecurityLevel::Tls);
    let tls_alone =
        SecurityLevel::ALL.iter().all(|level| policy.serves(*level) == (*level == SecurityLevel::Tls));
    let authenticate = keys::AUTHENTICATE.name();
    let minimum_key = keys::SECURITY_MINIMUM.name();
    let minimum = policy.minimum;
    match (asked, has_secret) {
        (Some(false), false) if plaintext => {
            values.warn("anyone who reaches the port reads every registered block: no peer proves anything");
        }
        (Some(false), false) if tls_alone => {
            values.warn("anyone who gets a TLS connection reads every registered block: peers prove nothing beyond TLS");
        }
        (Some(false), true) if plaintext => {
            values.warn(format!(
                "{authenticate} = false: peers without proof reach the blocks that were registered without proof"
            ));
        }
        (Some(false), true) if tls_alone => values.info(format!(
            "{authenticate} = false: over TLS, peers without proof reach the blocks that were registered without proof"
        )),
        (Some(false), true) if tls => values.warn(format!(
            "{authenticate} = false has no effect but over TLS: in plaintext, peers without proof are below \
             {minimum_key} = {minimum}"
        )),
        (Some(false), true) => values.warn(format!(
            "{authenticate} = false has no effect: a peer without proof needs plaintext or TLS, and neither is served"
        )),
        (None, false) if plaintext => {
            values.warn("anyone who reaches the port reads every registered block: there is no secret");
        }
        (Some(true), false) if plaintext => refuse_without_secret(
            values,
            format!("{authenticate} = true, and there is no secret"),
            format!("or {authenticate}=false to serve everyone"),
        ),
        (_, false) if tls_alone => refuse_without_secret(
            values,
            format!("there is no secret, and {minimum_key} = {minimum} alone lets nobody prove an application"),
            format!("or {authenticate}=false to serve everyone over TLS"),
        ),
        (_, false) => refuse_without_secret(
            values,
            format!("there is no secret, and {minimum_key} = {minimum} serves nobody without one"),
            "or --allow-plaintext to serve everyone in clear text".to_owned(),
        ),
        (None | Some(true), true) => {
            if plaintext {
                values.info(format!(
                    "{minimum_key} = plaintext changes nothing but for SASL without encryption, since peers must prove \
                     the secret: set {authenticate}=false to serve peers that prove nothing"
                ));
            }
        }
    }
    let authentication = match (asked, has_secret) {
        (Some(false), _) | (None, false) => Authentication::Optional,
        (Some(true), _) | (None, true) => Authentication::Required,
    };
    (authentication, secrets)
}

/// Refuses a configuration without a secret. If a secret was named and cannot be used, that was refused already, and
/// nothing is added.
pub fn refuse_without_secret(values: &mut Values<'_>, reason: String, otherwise: String) {
    let secret = &keys::AUTHENTICATE_SECRET as &dyn AnyKey;
    let named = [
        secret,
        &keys::SECRET_FILE,
        &keys::EXECUTOR_SECRET_BYTES,
        &keys::SECRET_BYTES,
        &keys::SECRET_DIR,
        &keys::HANDOVER_SOCKET,
    ];
    if values.refused(&[secret::VARIABLE]) || values.refused(&named.map(AnyKey::name)) {
        return;
    }
    let key = keys::AUTHENTICATE_SECRET.name();
    let remedy = format!(
        "set {} or {key} to the secret of the applications, name a file with --secret-file, {otherwise}",
        secret::VARIABLE,
    );
    values.refuse(Issue::new(key, reason, remedy));
}
