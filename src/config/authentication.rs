//! Whether peers must prove an application, and with which secret.
//!
//! Three settings decide together: `spark.authenticate` (unset, true or false), whether there is a secret, and
//! `spark.sealed.security.minimum`. Nothing weak happens without being asked for in so many words:
//!
//! | `spark.authenticate` | secret | minimum | |
//! |---|---|---|---|
//! | unset or true | yes | any | proof required |
//! | unset | no | plaintext | proof optional: nobody can give one |
//! | false | any | plaintext | proof optional |
//! | false | yes | above | proof optional in name: peers that give none cannot reach the minimum yet |
//! | any | no | above | refused |
//! | true | no | any | refused |

use super::error::Issue;
use super::key::AnyKey;
use super::keys;
use super::policy::SecurityLevel;
use super::secret::{self, ConfiguredSecret};
use super::values::Values;

/// Whether peers must prove an application.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Authentication {
    /// Every connection does, before anything else is answered.
    Required,
    /// Connections that do not are served, too, if their channel reaches the minimum.
    Optional,
}

pub(crate) fn resolve(
    values: &mut Values<'_>,
    minimum: SecurityLevel,
) -> (Authentication, Option<ConfiguredSecret>) {
    let secret = secret::resolve(values);
    let asked = values.optional(&keys::AUTHENTICATE).map(|(value, _)| value);
    let plaintext = minimum == SecurityLevel::Plaintext;
    let authenticate = keys::AUTHENTICATE.name();
    let minimum_key = keys::SECURITY_MINIMUM.name();
    match (asked, &secret) {
        (Some(false), None) if plaintext => {
            values.warn("anyone who reaches the port reads every registered block: no peer proves anything");
        }
        (Some(false), Some(_)) if plaintext => {
            values.warn(format!("{authenticate} = false: peers without proof reach what was registered without proof"));
        }
        (Some(false), Some(_)) => values.warn(format!(
            "{authenticate} = false has no effect: peers without proof come in plaintext, below {minimum_key} = {minimum}"
        )),
        (None, None) if plaintext => {
            values.warn("anyone who reaches the port reads every registered block: there is no secret");
        }
        (Some(true), None) if plaintext => refuse_without_secret(
            values,
            format!("{authenticate} = true, and there is no secret"),
            format!("or {authenticate}=false to serve everyone"),
        ),
        (_, None) => refuse_without_secret(
            values,
            format!("there is no secret, and {minimum_key} = {minimum} serves nobody without one"),
            "or --allow-plaintext to serve everyone in clear text".to_owned(),
        ),
        (None | Some(true), Some(_)) => {
            if plaintext {
                values.info(format!(
                    "{minimum_key} = plaintext changes nothing while peers must prove the secret: \
                     {authenticate}=false serves those that do not"
                ));
            }
        }
    }
    let authentication = match (asked, &secret) {
        (Some(false), _) | (None, None) => Authentication::Optional,
        (Some(true), _) | (None, Some(_)) => Authentication::Required,
    };
    (authentication, secret)
}

/// Unless a secret was named and could not be used, which has been refused already.
pub(crate) fn refuse_without_secret(values: &mut Values<'_>, reason: String, otherwise: String) {
    if values.refused(&[secret::VARIABLE, keys::AUTHENTICATE_SECRET.name(), keys::SECRET_FILE.name()]) {
        return;
    }
    let key = keys::AUTHENTICATE_SECRET.name();
    let remedy = format!(
        "set {} or {key} to the secret of the applications, name a file with --secret-file, {otherwise}",
        secret::VARIABLE,
    );
    values.refuse(Issue::new(key, reason, remedy));
}
