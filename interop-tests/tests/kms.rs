//! Envelope keys from AWS KMS: the SDK as it comes, an emulator over HTTP, and a proxy that fails as KMS does.

use std::{
    fs,
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_kms::config::Credentials;
use sealed_shuffle::internals::keys::envelope::{
    EnvelopeKeys, KeyCalls, KeyError, KeyErrorKind, KmsKeys, KmsSettings, RingSettings,
};
use sealed_shuffle_config::OutagePolicy;
use sealed_shuffle_interop_tests::{
    kms::{Fault, KmsProxy, Moto, REGION},
    ours::binary,
};
use sealed_shuffle_protocol::ids::AppId;
use serde_json::json;

const TIMEOUT: Duration = Duration::from_secs(20);

async fn sdk() -> SdkConfig {
    let loader = aws_config::defaults(BehaviorVersion::v2026_01_12()).region(Region::new(REGION));
    loader.credentials_provider(Credentials::new("AKIDTEST", "of the test", None, None, "test")).load().await
}

async fn open(proxy: &KmsProxy, key_id: &str, timeout: Duration) -> Result<KmsKeys, KeyError> {
    let mut settings = KmsSettings::new(key_id, timeout);
    settings.endpoint = Some(proxy.url());
    KmsKeys::with_sdk(settings, &sdk().await).await
}

async fn ring(proxy: &KmsProxy, key_id: &str) -> EnvelopeKeys {
    ring_within(proxy, key_id, TIMEOUT).await
}

async fn ring_within(proxy: &KmsProxy, key_id: &str, timeout: Duration) -> EnvelopeKeys {
    let provider = open(proxy, key_id, timeout).await.expect("the key can be used");
    let mut settings = RingSettings::new(OutagePolicy::Refuse, timeout);
    settings.cluster = "prod".into();
    settings.node = Some("node-7".into());
    EnvelopeKeys::new(Arc::new(provider), settings, KeyCalls::default())
}

fn app(name: &str) -> AppId {
    AppId::new(name)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_generation_for_an_application_and_one_unwrap_after_a_restart() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let arn = moto.symmetric_key();
    moto.point_alias("CreateAlias", "alias/shuffle", &arn);
    let keys = ring(&proxy, "alias/shuffle").await;
    assert_eq!(proxy.calls("DescribeKey").len(), 1);
    let asking: Vec<_> = (0..64)
        .map(|n| {
            let (keys, app) = (keys.clone(), app(["app-1", "app-2"][n % 2]));
            tokio::spawn(async move { keys.current(&app).await.map(|key| key.wrapped.clone()) })
        })
        .collect();
    for asked in asking {
        let wrapped = asked.await.expect("no panic").expect("a key");
        assert_eq!(wrapped.key_id, arn, "the key is named, and not the alias");
    }
    let calls = proxy.calls("GenerateDataKey");
    assert_eq!(calls.len(), 2, "one for each application");
    let context = |app| json!({"sealed-shuffle:cluster": "prod", "sealed-shuffle:app": app, "sealed-shuffle:node": "node-7"});
    for app in ["app-1", "app-2"] {
        assert!(calls.iter().any(|call| call.body["EncryptionContext"] == context(app)), "{calls:?}");
    }

    // The alias leads elsewhere by now, and the data still opens.
    moto.point_alias("UpdateAlias", "alias/shuffle", &moto.symmetric_key());
    let first = keys.current(&app("app-1")).await.expect("a key");
    let restarted = ring(&proxy, "alias/shuffle").await;
    for _ in 0..3 {
        let opened = restarted.unwrap(&app("app-1"), &first.wrapped).await.expect("it opens");
        assert!(opened.key == first.key);
        assert_eq!(restarted.current(&app("app-1")).await.expect("a key").wrapped.key_id, arn);
    }
    assert_eq!((proxy.calls("Decrypt").len(), proxy.calls("GenerateDataKey").len()), (1, 2));
    assert_eq!(proxy.calls("Decrypt")[0].body["EncryptionContext"], context("app-1"));
    let new = restarted.current(&app("app-3")).await.expect("a key");
    assert_ne!(new.wrapped.key_id, arn, "new applications follow the alias");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrapped_key_of_another_application_or_with_a_changed_byte_never_unwraps() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let keys = ring(&proxy, &moto.symmetric_key()).await;
    let wrapped = keys.current(&app("app-1")).await.expect("a key").wrapped.clone();
    let error = keys.unwrap(&app("app-2"), &wrapped).await.expect_err("another application");
    assert_eq!(error.kind(), KeyErrorKind::WrongContext, "{error}");
    assert!(error.to_string().contains(&wrapped.key_id), "{error}");
    let mut changed = wrapped.clone();
    let mut bytes = changed.bytes.to_vec();
    *bytes.last_mut().expect("wrapped keys have bytes") ^= 1;
    changed.bytes = bytes.into();
    let error = keys.unwrap(&app("app-1"), &changed).await.expect_err("changed");
    assert_eq!(error.kind(), KeyErrorKind::WrongContext, "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_that_cannot_work_are_refused_by_name_at_start() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let (disabled, doomed) = (moto.symmetric_key(), moto.symmetric_key());
    moto.administer("DisableKey", &disabled);
    moto.administer("ScheduleKeyDeletion", &doomed);
    for (key, kind, word) in [
        (moto.create_key("RSA_2048", "ENCRYPT_DECRYPT"), KeyErrorKind::Misconfigured, "RSA_2048"),
        (moto.create_key("ECC_NIST_P256", "SIGN_VERIFY"), KeyErrorKind::Misconfigured, "SIGN_VERIFY"),
        (moto.create_key("HMAC_256", "GENERATE_VERIFY_MAC"), KeyErrorKind::Misconfigured, "HMAC_256"),
        ("alias/nobody".to_owned(), KeyErrorKind::NotFound, "key-id"),
    ] {
        let error = open(&proxy, &key, TIMEOUT).await.map(drop).expect_err(&key);
        assert_eq!(error.kind(), kind, "{error}");
        let text = error.to_string();
        assert!(text.contains(&key) && text.contains(word), "{text}");
    }
    assert!(proxy.calls("GenerateDataKey").is_empty());
    // Somebody may enable the one, and cancel the deletion of the other.
    for key in [disabled, doomed] {
        open(&proxy, &key, TIMEOUT).await.map(drop).expect(&key);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_not_look_at_the_key_or_reaches_nobody_at_start_goes_on() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let arn = moto.symmetric_key();
    proxy.fail_next("DescribeKey", &[Fault::Answer(400, "AccessDeniedException", "no kms:DescribeKey")]);
    ring(&proxy, &arn).await.current(&app("app-1")).await.expect("a key");
    proxy.fail_always(Some(Fault::Answer(503, "ServiceUnavailable", "away")));
    let keys = ring(&proxy, &arn).await;
    let error = keys.current(&app("app-1")).await.expect_err("an outage");
    assert!(error.is_retryable() && error.for_peer().contains("try again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_kms_refuses_is_told_apart_and_not_tried_again() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let keys = ring(&proxy, &moto.symmetric_key()).await;
    for (n, (code, kind)) in [
        ("AccessDeniedException", KeyErrorKind::Denied),
        ("UnrecognizedClientException", KeyErrorKind::Unauthenticated),
        ("ExpiredTokenException", KeyErrorKind::Unauthenticated),
        ("DisabledException", KeyErrorKind::Disabled),
        ("KMSInvalidStateException", KeyErrorKind::Disabled),
        ("NotFoundException", KeyErrorKind::NotFound),
        ("InvalidKeyUsageException", KeyErrorKind::Misconfigured),
    ]
    .into_iter()
    .enumerate()
    {
        proxy.fail_next("GenerateDataKey", &[Fault::Answer(400, code, "it was told to")]);
        let error = keys.current(&app(&n.to_string())).await.expect_err(code);
        assert_eq!(error.kind(), kind, "{error}");
        assert!(error.to_string().contains(code), "{error}");
        assert_eq!(proxy.calls("GenerateDataKey").len(), n + 1, "{code} is tried once");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_pass_is_tried_again_a_few_times() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let keys = ring(&proxy, &moto.symmetric_key()).await;
    let throttled = Fault::Answer(400, "ThrottlingException", "slower");
    proxy.fail_next(
        "GenerateDataKey",
        &[throttled, Fault::Answer(500, "KMSInternalException", "?"), Fault::Cut],
    );
    keys.current(&app("patient")).await.expect("the fourth attempt passes");
    assert_eq!(proxy.calls("GenerateDataKey").len(), 4);

    proxy.fail_always(Some(Fault::Answer(502, "BadGateway", "away")));
    let error = keys.current(&app("impatient")).await.expect_err("always away");
    assert!(error.is_retryable(), "{error}");
    assert_eq!(proxy.calls("GenerateDataKey").len(), 8, "four attempts, no more");
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_nonsense_end_within_the_time_of_a_call_and_data_waits() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let timeout = Duration::from_secs(2);
    let keys = ring_within(&proxy, &moto.symmetric_key(), timeout).await;
    let key = keys.current(&app("app-1")).await.expect("a key");

    proxy.fail_always(Some(Fault::Hang));
    let restarted = ring_within(&proxy, &key.wrapped.key_id, timeout).await;
    let began = Instant::now();
    let error = restarted.unwrap(&app("app-1"), &key.wrapped).await.expect_err("nobody answers");
    assert!(error.is_retryable() && error.for_peer().contains("waits for the key service"), "{error}");
    // A busy machine is late, but not by all of the hang.
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
    keys.current(&app("app-1")).await.expect("it is in memory");

    proxy.fail_always(Some(Fault::Garbage));
    let error = keys.current(&app("app-2")).await.expect_err("nonsense");
    assert!(error.is_retryable(), "{error}");

    proxy.fail_always(None);
    let back = async {
        loop {
            match restarted.unwrap(&app("app-1"), &key.wrapped).await {
                Ok(opened) => return opened,
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    let opened = tokio::time::timeout(Duration::from_secs(60), back).await.expect("it comes back");
    assert!(opened.key == key.key);
}

/// `keys check` with nothing of this process's environment but what is given.
fn check(proxy: &KmsProxy, key_id: &str, environment: &[(&str, String)]) -> (Option<i32>, String) {
    let mut command = Command::new(binary());
    command.env_clear().env("AWS_EC2_METADATA_DISABLED", "true").args(["keys", "check"]);
    for setting in [
        "spark.sealed.keys.provider=aws-kms".to_owned(),
        format!("spark.sealed.keys.kms.key-id={key_id}"),
        format!("spark.sealed.keys.kms.endpoint={}", proxy.url()),
    ] {
        command.arg("--conf").arg(setting);
    }
    let output = command.envs(environment.iter().cloned()).output().expect("the binary starts");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn credentials_are_found_as_the_sdk_finds_them() {
    let moto = Moto::start();
    let proxy = KmsProxy::before(moto.address());
    let arn = moto.symmetric_key();
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).expect("the temporary directory is writable");
        path.display().to_string()
    };
    let id = |id: &str| format!("aws_access_key_id = {id}\naws_secret_access_key = s\n");
    let static_keys =
        [("AWS_ACCESS_KEY_ID", "AKIDSTATIC".to_owned()), ("AWS_SECRET_ACCESS_KEY", "s".to_owned())];
    let profile = [
        ("AWS_SHARED_CREDENTIALS_FILE", file("credentials", &format!("[shuffle]\n{}", id("AKIDPROFILE")))),
        ("AWS_CONFIG_FILE", file("config", "")),
        ("AWS_PROFILE", "shuffle".to_owned()),
    ];
    let web_identity = [
        ("AWS_WEB_IDENTITY_TOKEN_FILE", file("token", "a.b.c")),
        ("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/shuffle".to_owned()),
        ("AWS_ROLE_SESSION_NAME", "shuffle".to_owned()),
        ("AWS_ENDPOINT_URL_STS", proxy.url()),
    ];
    for environment in [&static_keys[..], &profile, &web_identity] {
        let (code, text) = check(&proxy, &arn, environment);
        assert_eq!(code, Some(0), "{environment:?}: {text}");
        assert!(text.contains(&arn) && text.contains("right application alone"), "{text}");
    }
    assert_eq!(proxy.calls("AssumeRoleWithWebIdentity").len(), 1);

    // Who hands out credentials is away: that passes.
    proxy.fail_always(Some(Fault::Answer(503, "ServiceUnavailable", "away")));
    let (code, text) = check(&proxy, &arn, &web_identity);
    assert_eq!(code, Some(69), "{text}");
    proxy.fail_always(None);
    // So may what is missing: an instance role that comes late.
    let (code, text) = check(&proxy, &arn, &[]);
    assert_eq!(code, Some(77), "{text}");
    assert!(text.contains("give the server credentials of AWS"), "{text}");
    let (code, text) = check(&proxy, "alias/shuffle", &static_keys);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("no region"), "{text}");
}
