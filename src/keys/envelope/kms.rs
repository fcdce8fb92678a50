//! AWS KMS, through the SDK of AWS.
//!
//! `GenerateDataKey` makes a data key, and `Decrypt` opens its wrapped form. The encryption context of both is
//! [`Context::pairs`]. KMS authenticates it and writes it to its audit log (CloudTrail), so the names in it are no
//! secrets. A wrapped key carries the ARN of the key that wrapped it: an alias may lead elsewhere later, and older
//! data still opens. The SDK finds credentials (environment, profile, web identity, container, instance), renews them
//! and signs. It repeats calls that may succeed later: [`ATTEMPTS`] attempts at most, with growing pauses, and never
//! beyond `spark.sealed.keys.timeout`.
//!
//! Data keys are wiped once they have left the SDK. The SDK's HTTP client may keep parts of an answer; this code
//! cannot wipe them.

use std::error::Error;
use std::time::Duration;

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_kms::Client;
use aws_sdk_kms::config::retry::RetryConfig;
use aws_sdk_kms::config::timeout::TimeoutConfig;
use aws_sdk_kms::error::{DisplayErrorContext, ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId as _;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata, KeySpec, KeyState, KeyUsageType};
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use tracing::{info, warn};
use zeroize::Zeroizing;

use super::error::{KeyError, KeyErrorKind};
use super::key_text;
use super::provider::{Answer, KeyProvider};
use super::witness::note_request;

/// Attempts of one call, the first one included.
const ATTEMPTS: u32 = 4;

/// The longest pause before the second attempt; it doubles, with jitter.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The longest pause at all.
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// The longest time of an attempt; it is also at most a third of the call's time.
const LONGEST_ATTEMPT: Duration = Duration::from_secs(3);

/// The key, and the way to reach it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct KmsSettings {
    /// Id, ARN or alias (`spark.sealed.keys.kms.key-id`).
    pub key_id: String,
    /// An endpoint other than that of the region (`spark.sealed.keys.kms.endpoint`).
    pub endpoint: Option<String>,
    /// The region; `None` leaves it to the SDK (`spark.sealed.keys.kms.region`).
    pub region: Option<String>,
    /// Time for one call (`spark.sealed.keys.timeout`).
    pub timeout: Duration,
}

impl KmsSettings {
    /// Settings with this key and this time for a call. The SDK finds everything else.
    pub fn new(key_id: impl Into<String>, timeout: Duration) -> Self {
        Self { key_id: key_id.into(), endpoint: None, region: None, timeout }
    }
}

/// The provider `aws-kms`.
#[derive(Clone, Debug)]
pub struct KmsKeys {
    client: Client,
    settings: KmsSettings,
    region: String,
}

impl KmsKeys {
    /// Finds region and credentials as the SDK does, and checks the key. A key that cannot work is an error. If the
    /// check is denied, nobody answers, or the key is disabled, that is logged and is no error: it may pass.
    pub async fn open(settings: KmsSettings) -> Result<Self, KeyError> {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(region) = &settings.region {
            loader = loader.region(Region::new(region.clone()));
        }
        Self::with_sdk(settings, &loader.load().await).await
    }

    /// The same with an existing configuration of the SDK. Our key, endpoint, region and time override it.
    pub async fn with_sdk(settings: KmsSettings, sdk: &SdkConfig) -> Result<Self, KeyError> {
        let region = settings.region.clone().or_else(|| sdk.region().map(ToString::to_string));
        let Some(region) = region else {
            return Err(KeyError::new(
                KeyErrorKind::Misconfigured,
                &settings.key_id,
                "no region of AWS is known",
                "set spark.sealed.keys.kms.region, or AWS_REGION",
            ));
        };
        let attempt = LONGEST_ATTEMPT.min(settings.timeout / 3);
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(attempt)
            .operation_attempt_timeout(attempt)
            .operation_timeout(settings.timeout)
            .build();
        let retries = RetryConfig::standard()
            .with_max_attempts(ATTEMPTS)
            .with_initial_backoff(FIRST_PAUSE)
            .with_max_backoff(LONGEST_PAUSE);
        let mut config = aws_sdk_kms::config::Builder::from(sdk)
            .region(Region::new(region.clone()))
            .timeout_config(timeouts)
            .retry_config(retries);
        if let Some(endpoint) = &settings.endpoint {
            config = config.endpoint_url(endpoint);
        }
        let keys = Self { client: Client::from_conf(config.build()), settings, region };
        keys.look().await?;
        Ok(keys)
    }

    /// Refuses a key that cannot work, whatever happens elsewhere.
    async fn look(&self) -> Result<(), KeyError> {
        let key_id = &self.settings.key_id;
        let described = match self.client.describe_key().key_id(key_id).send().await {
            Ok(described) => described,
            Err(error) => {
                let not_allowed = error.code() == Some("AccessDeniedException");
                let error = self.error(key_id, "DescribeKey", &error);
                if not_allowed {
                    info!(
                        key = key_id,
                        "AWS KMS does not let us look at the key (kms:DescribeKey): it shows when it is used"
                    );
                    return Ok(());
                }
                return unless_it_may_pass(error);
            }
        };
        match described.key_metadata().map(|metadata| fitness(key_id, metadata)) {
            Some(Err(error)) => unless_it_may_pass(error),
            Some(Ok(())) | None => Ok(()),
        }
    }

    async fn new_key(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let asked = &self.settings.key_id;
        let mut call = self.client.generate_data_key().key_id(asked).key_spec(DataKeySpec::Aes256);
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        let answer = call.send().await.map_err(|error| self.error(asked, "GenerateDataKey", &error))?;
        note_request(answer.request_id());
        let key = self.data_key(asked, answer.plaintext)?;
        let (Some(key_id), Some(bytes)) = (answer.key_id, answer.ciphertext_blob) else {
            return Err(self.incomplete(asked, "a wrapped key and the name of its key"));
        };
        Ok((key, WrappedKey { key_id, bytes: bytes.into_inner().into() }))
    }

    async fn open_key(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        let key_id = &wrapped.key_id;
        let mut call =
            self.client.decrypt().key_id(key_id).ciphertext_blob(Blob::new(wrapped.bytes.to_vec()));
        for (name, value) in context.pairs() {
            call = call.encryption_context(name, value);
        }
        let answer = call.send().await.map_err(|error| self.error(key_id, "Decrypt", &error))?;
        note_request(answer.request_id());
        let key = self.data_key(key_id, answer.plaintext)?;
        if answer.key_id.as_ref().is_some_and(|by| by != key_id) {
            return Err(KeyError::new(
                KeyErrorKind::WrongContext,
                key_id,
                "the data key was wrapped by another key than its file says",
                "look at where the file came from",
            ));
        }
        Ok(key)
    }

    fn data_key(&self, key_id: &str, plaintext: Option<Blob>) -> Result<DataKey, KeyError> {
        let bytes = plaintext.map(|blob| Zeroizing::new(blob.into_inner()));
        bytes
            .and_then(|bytes| key_text::from_slice(&bytes))
            .ok_or_else(|| self.incomplete(key_id, "a data key of 32 bytes"))
    }

    fn incomplete(&self, key_id: &str, what: &str) -> KeyError {
        KeyError::new(
            KeyErrorKind::Unavailable,
            key_id,
            format!("{} answered without {what}", self.place()),
            "look at what answers there",
        )
    }

    /// The target of the calls.
    fn place(&self) -> String {
        match &self.settings.endpoint {
            Some(endpoint) => format!("AWS KMS at {endpoint}"),
            None => format!("AWS KMS in {}", self.region),
        }
    }

    /// The kind of an error of the SDK.
    fn error<E>(&self, key_id: &str, call: &str, error: &SdkError<E>) -> KeyError
    where
        E: ProvideErrorMetadata + Error + 'static,
    {
        let place = self.place();
        let SdkError::ServiceError(_) = error else {
            let why = DisplayErrorContext(error).to_string();
            let (kind, remedy) = match credentials_fault(error) {
                // Who gives them may be away, or not be there yet.
                Some(CredentialsError::CredentialsNotLoaded(_)) => (
                    KeyErrorKind::Unauthenticated,
                    "give the server credentials of AWS: environment, profile, web identity or instance role",
                ),
                Some(CredentialsError::InvalidConfiguration(_)) => (
                    KeyErrorKind::Misconfigured,
                    "give the server credentials of AWS: environment, profile, web identity or instance role",
                ),
                // The source of the credentials may be away, too.
                None if matches!(error, SdkError::ConstructionFailure(_)) => {
                    (KeyErrorKind::Misconfigured, "look at spark.sealed.keys.kms.*")
                }
                _ => (
                    KeyErrorKind::Unavailable,
                    "it is asked again later; look whether it can be reached from here",
                ),
            };
            return KeyError::new(
                kind,
                key_id,
                format!("{call} of {place} brought no answer: {why}"),
                remedy,
            );
        };
        note_request(error.request_id());
        let code = error.code().unwrap_or("an error without a name");
        let (kind, remedy) = meaning(code);
        let said = error.message().unwrap_or("no reason given");
        KeyError::new(kind, key_id, format!("{place} answers {call} with {code}: {said}"), remedy)
    }
}

impl KeyProvider for KmsKeys {
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
        Box::pin(self.new_key(context))
    }

    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
        Box::pin(self.open_key(wrapped, context))
    }

    fn describe(&self) -> String {
        format!("{}, key {}", self.place(), self.settings.key_id)
    }

    fn name(&self) -> &'static str {
        "aws-kms"
    }
}

fn unless_it_may_pass(error: KeyError) -> Result<(), KeyError> {
    if !error.kind().may_pass() {
        return Err(error);
    }
    warn!(%error, "AWS KMS does not let the key be used now: sealed data waits for it");
    Ok(())
}

/// The fault of our credentials, if they are the cause.
fn credentials_fault<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a CredentialsError> {
    let mut causes =
        std::iter::successors(Some(error), |error: &&'a (dyn Error + 'static)| (*error).source());
    causes.find_map(|cause| cause.downcast_ref())
}

/// Whether a key can wrap data keys.
fn fitness(key_id: &str, metadata: &KeyMetadata) -> Result<(), KeyError> {
    let refuse = |kind, reason: String, remedy| Err(KeyError::new(kind, key_id, reason, remedy));
    let (spec, usage) = (metadata.key_spec(), metadata.key_usage());
    if spec.is_some_and(|spec| *spec != KeySpec::SymmetricDefault)
        || usage.is_some_and(|usage| *usage != KeyUsageType::EncryptDecrypt)
    {
        let spec = spec.map_or("?", KeySpec::as_str);
        let usage = usage.map_or("?", KeyUsageType::as_str);
        return refuse(
            KeyErrorKind::Misconfigured,
            format!("the key is {spec} for {usage}, and cannot wrap data keys"),
            "name a symmetric key (SYMMETRIC_DEFAULT for ENCRYPT_DECRYPT) with spark.sealed.keys.kms.key-id",
        );
    }
    match metadata.key_state() {
        Some(KeyState::Disabled) => {
            refuse(KeyErrorKind::Disabled, "the key is disabled".into(), "enable it, or name another one")
        }
        Some(state @ (KeyState::PendingDeletion | KeyState::PendingReplicaDeletion)) => refuse(
            KeyErrorKind::Disabled,
            format!("the key is to be deleted ({})", state.as_str()),
            "cancel its deletion before it is too late, or name another one",
        ),
        Some(KeyState::PendingImport) => refuse(
            KeyErrorKind::Disabled,
            "the key has no key material yet (PendingImport)".into(),
            "import it, or name another one",
        ),
        _ => Ok(()),
    }
}

/// The kind of a named error of KMS (AWS KMS API reference, GenerateDataKey, Decrypt and common errors), and its
/// remedy.
fn meaning(code: &str) -> (KeyErrorKind, &'static str) {
    match code {
        "AccessDeniedException"
        | "AccessDenied"
        | "DryRunOperationException"
        | "NotAuthorized"
        | "OptInRequired" => (
            KeyErrorKind::Denied,
            "allow this role kms:GenerateDataKey and kms:Decrypt on the key, in its policy and in the key's",
        ),
        "ExpiredTokenException"
        | "IncompleteSignature"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => {
            (KeyErrorKind::Unauthenticated, "renew the server's credentials of AWS, and look at its clock")
        }
        "DisabledException" => (KeyErrorKind::Disabled, "enable the key in AWS KMS"),
        "KMSInvalidStateException" => (
            KeyErrorKind::Disabled,
            "look at the state of the key in AWS KMS: it may wait for its deletion, which can be cancelled",
        ),
        "NotFoundException" => (
            KeyErrorKind::NotFound,
            "look at spark.sealed.keys.kms.key-id, .region and .endpoint: the key is not there",
        ),
        "InvalidCiphertextException" | "IncorrectKeyException" => (
            KeyErrorKind::WrongContext,
            "the wrapped key belongs to another application, cluster or node, or was changed: look at where the file \
             came from; spark.sealed.cluster.name and spark.sealed.node.id must be what they were when it was written",
        ),
        "InvalidKeyUsageException"
        | "InvalidGrantTokenException"
        | "InvalidArnException"
        | "UnsupportedOperationException"
        | "ValidationException"
        | "ValidationError" => {
            (KeyErrorKind::Misconfigured, "name a symmetric key with spark.sealed.keys.kms.key-id")
        }
        // Throttling, KMSInternalException, DependencyTimeoutException, KeyUnavailableException, and unknown names.
        _ => (KeyErrorKind::Unavailable, "it is asked again later"),
    }
}
