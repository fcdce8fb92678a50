//! The provider that runs a program to wrap and unwrap. It reaches any key service that is not built in.
//!
//! This process makes the data key. It runs the program without a shell, once for each call, with `wrap` or `unwrap`
//! as the last argument. The program gets one line of JSON on standard input and writes one JSON object to standard
//! output:
//!
//! ```text
//! wrap    in   {"version":1,"operation":"wrap","context":{NAME:VALUE,…},"plaintext":BASE64}
//!         out  {"key_id":TEXT,"ciphertext":BASE64}
//! unwrap  in   {"version":1,"operation":"unwrap","context":{NAME:VALUE,…},"key_id":TEXT,"ciphertext":BASE64}
//!         out  {"plaintext":BASE64}
//! ```
//!
//! The program must bind the ciphertext to the whole context: `unwrap` must fail with any other context. The names of
//! a context are those of [`Context::pairs`]. Both sides ignore unknown members. The exit code tells the outcome:
//!
//! | exit code (sysexits(3) where it has a word) | means |
//! |---|---|
//! | 0 | done |
//! | 65 | the context is wrong, or the ciphertext was changed |
//! | 66 | there is no such key |
//! | 76 | the key is disabled |
//! | 77 | denied |
//! | 78 | wrongly configured |
//! | 75, and every other | unavailable: the call is made again later |
//!
//! The program's standard error goes to the log, cut after [`LONGEST_COMPLAINT`] bytes. The program must end within
//! `spark.sealed.keys.timeout`; otherwise it is killed together with its children. Keys are in no argument and no
//! environment. The variables in which Spark passes secrets on (`_SPARK_…`) are removed from the program's
//! environment.

use std::io;
use std::process::{Command, ExitStatus};
use std::thread::Builder;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sealed_shuffle_protocol::crypto::random::Random as _;
use sealed_shuffle_protocol::stored::envelope::{Context, DataKey, WrappedKey};
use sealed_shuffle_transport::program::{self, ProgramError, ProgramLimits};
use sealed_shuffle_transport::random::OsRandom;
use serde_json::{Map, Value};
use tokio::sync::oneshot;
use tracing::warn;
use zeroize::Zeroizing;

use super::error::{KeyError, KeyErrorKind};
use super::key_text;
use super::provider::{Answer, KeyProvider};

/// Length of the longest answer: a wrapped key and its name as text, with room.
const LONGEST_ANSWER: usize = 32 << 10;

/// Most bytes of standard error that are passed on.
const LONGEST_COMPLAINT: usize = 1 << 10;

/// The provider `command`.
#[derive(Clone, Debug)]
pub struct CommandKeys {
    argv: Vec<String>,
    deadline: Duration,
}

impl CommandKeys {
    /// A provider with this program and its arguments, and this time for a call. `argv` must not be empty.
    pub fn new(argv: Vec<String>, deadline: Duration) -> Self {
        Self { argv, deadline }
    }

    fn program(&self) -> &str {
        self.argv.first().map_or("", String::as_str)
    }

    async fn new_key(&self, context: &Context) -> Result<(DataKey, WrappedKey), KeyError> {
        let data_key = DataKey::fill_with(|out| OsRandom.fill(out)).map_err(|error| {
            let reason = format!("no random bytes for a data key: {error}");
            KeyError::new(KeyErrorKind::Unavailable, self.program(), reason, "try again")
        })?;
        let wrapped = self.wrap_key(&data_key, context).await?;
        Ok((data_key, wrapped))
    }

    async fn wrap_key(&self, data_key: &DataKey, context: &Context) -> Result<WrappedKey, KeyError> {
        let mut request = request("wrap", context);
        request.push_str(r#","plaintext":""#);
        key_text::push(&mut request, data_key);
        request.push_str("\"}\n");
        let mut answer = self.run("wrap", self.program(), request).await?;
        let mut text = |member| match answer.get_mut(member).map(Value::take) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            _ => Err(self.nonsense(format!("an answer without the text {member:?}"))),
        };
        let (key_id, ciphertext) = (text("key_id")?, text("ciphertext")?);
        let bytes = STANDARD
            .decode(ciphertext)
            .map_err(|error| self.nonsense(format!("a ciphertext that is no Base64 ({error})")))?;
        Ok(WrappedKey { key_id, bytes: bytes.into() })
    }

    async fn open(&self, wrapped: &WrappedKey, context: &Context) -> Result<DataKey, KeyError> {
        let mut request = request("unwrap", context);
        let key_id = Value::from(wrapped.key_id.as_str());
        let ciphertext = STANDARD.encode(&wrapped.bytes);
        request.push_str(&format!(r#","key_id":{key_id},"ciphertext":"{ciphertext}"}}"#));
        request.push('\n');
        let mut answer = self.run("unwrap", &wrapped.key_id, request).await?;
        let Some(Value::String(text)) = answer.get_mut("plaintext").map(Value::take) else {
            return Err(self.nonsense("an answer without the text \"plaintext\"".into()));
        };
        key_text::parse(&Zeroizing::new(text))
            .ok_or_else(|| self.nonsense("a plaintext that is not 32 bytes in Base64".into()))
    }

    /// Runs the program to its end and returns the object that it wrote.
    async fn run(
        &self,
        operation: &str,
        key: &str,
        request: Zeroizing<String>,
    ) -> Result<Map<String, Value>, KeyError> {
        let refuse = |kind, reason: String, remedy| {
            KeyError::new(kind, key, format!("{} {operation}: {reason}", self.program()), remedy)
        };
        let command = self.command(operation);
        let limits = ProgramLimits {
            deadline: self.deadline,
            output: LONGEST_ANSWER + 1,
            complaint: LONGEST_COMPLAINT,
        };
        let mut request = request;
        let input = Zeroizing::new(std::mem::take(&mut *request).into_bytes());
        // A program that hangs has its own thread, and holds up no caller that waits for a disk.
        let (to, answer) = oneshot::channel();
        let ask = move || drop(to.send(program::run(command, input, limits)));
        let started = Builder::new().name("key-program".into()).spawn(ask).map_err(ProgramError::Start);
        let ended = match started {
            Ok(_) => answer.await.unwrap_or_else(|gone| Err(ProgramError::Pipe(io::Error::other(gone)))),
            Err(error) => Err(error),
        };
        let said = ended.map_err(|error| {
            let (kind, remedy) = match error {
                ProgramError::Start(_) => (
                    KeyErrorKind::Misconfigured,
                    "name a program by its full path, made executable (spark.sealed.keys.command)",
                ),
                ProgramError::Deadline(_) => (
                    KeyErrorKind::Unavailable,
                    "make it faster, or give it more time with spark.sealed.keys.timeout",
                ),
                ProgramError::Pipe(_) => (KeyErrorKind::Unavailable, "run it by hand as this user"),
            };
            refuse(kind, error.to_string(), remedy)
        })?;
        let complaint = String::from_utf8_lossy(&said.complaint);
        let complaint = complaint.trim();
        if !complaint.is_empty() {
            warn!(program = self.program(), operation, said = ?complaint, "the key program complains");
        }
        if !said.status.success() {
            let (kind, remedy) = meaning(said.status);
            return Err(refuse(kind, format!("it ended with {}: {complaint}", said.status), remedy));
        }
        if said.output.len() > LONGEST_ANSWER {
            return Err(self.nonsense(format!("more than {LONGEST_ANSWER} bytes")));
        }
        match serde_json::from_slice(&said.output) {
            Ok(Value::Object(answer)) => Ok(answer),
            // The error does not quote the text: it may be a key.
            _ => Err(self.nonsense("something that is not one JSON object".into())),
        }
    }

    /// Removes the variables that hold secrets of Spark.
    fn command(&self, operation: &str) -> Command {
        let mut command = Command::new(self.program());
        command.args(self.argv.iter().skip(1)).arg(operation);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("_SPARK_"))
        {
            command.env_remove(name);
        }
        command
    }

    fn nonsense(&self, what: String) -> KeyError {
        KeyError::new(
            KeyErrorKind::Misconfigured,
            self.program(),
            format!("the key program answered {what}"),
            "let it write one JSON object as the documentation of spark.sealed.keys.command says",
        )
    }
}

impl KeyProvider for CommandKeys {
    fn generate<'a>(&'a self, context: &'a Context) -> Answer<'a, (DataKey, WrappedKey)> {
        Box::pin(self.new_key(context))
    }

    fn wrap<'a>(&'a self, key: &'a DataKey, context: &'a Context) -> Answer<'a, WrappedKey> {
        Box::pin(self.wrap_key(key, context))
    }

    fn unwrap<'a>(&'a self, wrapped: &'a WrappedKey, context: &'a Context) -> Answer<'a, DataKey> {
        Box::pin(self.open(wrapped, context))
    }

    fn describe(&self) -> String {
        format!("program {}", self.program())
    }

    fn name(&self) -> &'static str {
        "command"
    }
}

/// Everything but the last members, in one allocation with room for them.
fn request(operation: &str, context: &Context) -> Zeroizing<String> {
    let pairs = context.pairs().map(|(name, value)| (name.to_owned(), Value::from(value)));
    let context = Value::Object(pairs.collect());
    let head = format!(r#"{{"version":1,"operation":"{operation}","context":{context}"#);
    let mut request = Zeroizing::new(String::with_capacity(head.len() + key_text::LEN + 32));
    request.push_str(&head);
    request
}

fn meaning(status: ExitStatus) -> (KeyErrorKind, &'static str) {
    match status.code() {
        Some(65) => (
            KeyErrorKind::WrongContext,
            "look at where the file came from; spark.sealed.cluster.name and spark.sealed.node.id must be what they \
             were when it was written",
        ),
        Some(66) => (KeyErrorKind::NotFound, "restore the key in its key service"),
        Some(76) => (KeyErrorKind::Disabled, "enable the key in its key service"),
        Some(77) => (KeyErrorKind::Denied, "allow this user the key"),
        Some(78) => (KeyErrorKind::Misconfigured, "run it by hand as this user"),
        _ => (KeyErrorKind::Unavailable, "it is run again later; run it by hand as this user"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::Instant;

    use sealed_shuffle_protocol::ids::AppId;
    use tempfile::TempDir;

    use super::*;

    /// A key service made of shell and files: it keeps each wrapped text under the hash of the context.
    const KEEPER: &str = r#"
        set -eu
        read -r line
        context=$(printf %s "$line" | sed 's/.*"context":\({[^}]*}\).*/\1/')
        member() { printf %s "$line" | sed "s/.*\"$1\":\"\([^\"]*\)\".*/\1/"; }
        hash=$(printf %s "$context" | cksum | tr ' ' -)
        case $1 in
            wrap)
                member plaintext > "$DIR/$hash"
                echo 'wrapped by hand' >&2
                printf '{"key_id":"shelf-1","ciphertext":"%s"}\n' "$(printf %s "$hash" | base64)" ;;
            unwrap)
                [ "$(member ciphertext | base64 -d)" = "$hash" ] || { echo 'not your shelf' >&2; exit 65; }
                printf '{"plaintext":"%s"}\n' "$(cat "$DIR/$hash")" ;;
        esac
    "#;

    /// A program that runs this text in `sh`.
    fn program(text: &str, deadline: Duration) -> (CommandKeys, TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("wrapper");
        fs::write(&file, format!("DIR={}\n{text}", dir.path().display())).unwrap();
        let argv = vec!["/bin/sh".to_owned(), file.display().to_string()];
        (CommandKeys::new(argv, deadline), dir)
    }

    fn patient(text: &str) -> (CommandKeys, TempDir) {
        program(text, Duration::from_secs(60))
    }

    fn context(app: &str) -> Context {
        let mut context = Context::of(AppId::new(app));
        context.cluster = "c \"quoted\"".into();
        context
    }

    #[tokio::test]
    async fn what_a_program_wraps_it_unwraps_for_the_same_context_alone() {
        let (keys, _dir) = patient(KEEPER);
        let (key, wrapped) = keys.generate(&context("app-1")).await.unwrap();
        assert_eq!(wrapped.key_id, "shelf-1");
        assert_eq!(keys.unwrap(&wrapped, &context("app-1")).await.unwrap(), key);
        let error = keys.unwrap(&wrapped, &context("app-2")).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::WrongContext);
        let text = error.to_string();
        assert!(text.contains("not your shelf") && text.contains("shelf-1"), "{text}");
    }

    #[tokio::test]
    async fn keys_are_in_no_argument_and_no_environment() {
        let (keys, dir) = patient(&format!(
            "tr '\\0' '\\n' < /proc/$$/cmdline > $DIR/seen; tr '\\0' '\\n' < /proc/$$/environ >> $DIR/seen\n{KEEPER}"
        ));
        let (key, _) = keys.generate(&context("app-1")).await.unwrap();
        let mut text = String::new();
        key_text::push(&mut text, &key);
        let seen = fs::read_to_string(dir.path().join("seen")).unwrap();
        assert!(seen.contains("wrap") && !seen.contains(&text) && !seen.contains("_SPARK_"), "{seen}");
    }

    #[tokio::test]
    async fn the_exit_code_says_what_happened() {
        for (code, kind) in [
            (1, KeyErrorKind::Unavailable),
            (65, KeyErrorKind::WrongContext),
            (66, KeyErrorKind::NotFound),
            (75, KeyErrorKind::Unavailable),
            (76, KeyErrorKind::Disabled),
            (77, KeyErrorKind::Denied),
            (78, KeyErrorKind::Misconfigured),
        ] {
            let (keys, _dir) = patient(&format!("echo because >&2; exit {code}"));
            let error = keys.generate(&context("a")).await.unwrap_err();
            assert_eq!(error.kind(), kind, "{code}");
            assert!(error.to_string().contains("because"), "{error}");
        }
    }

    #[tokio::test]
    async fn a_program_that_hangs_is_cut_with_what_it_started() {
        let (keys, dir) =
            program("sleep 300 & echo $! > $DIR/pid; cat > /dev/null; sleep 300", Duration::from_millis(500));
        let began = Instant::now();
        let error = keys.generate(&context("a")).await.unwrap_err();
        assert!(error.is_retryable() && error.to_string().contains("spark.sealed.keys.timeout"), "{error}");
        assert!(began.elapsed() < Duration::from_secs(60));
        let child = fs::read_to_string(dir.path().join("pid")).unwrap();
        let gone = || {
            let stat = fs::read_to_string(Path::new("/proc").join(child.trim()).join("stat"));
            // The process is gone, or a zombie that nobody has collected yet.
            stat.map_or(true, |stat| stat.contains(") Z "))
        };
        while !gone() {
            assert!(began.elapsed() < Duration::from_secs(60), "{child} lives");
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_program_that_never_stops_talking_is_heard_in_part() {
        let (keys, _dir) = patient("head -c 1000000 /dev/zero | tr '\\0' y >&2; exit 77");
        let error = keys.generate(&context("a")).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Denied);
        assert!(error.to_string().len() < 2 * LONGEST_COMPLAINT, "{}", error.to_string().len());
        let (keys, _dir) = patient("head -c 1000000 /dev/zero | tr '\\0' y");
        let error = keys.generate(&context("a")).await.unwrap_err();
        assert!(error.to_string().contains("more than"), "{error}");
    }

    #[tokio::test]
    async fn answers_that_make_no_sense_are_refused_and_not_shown() {
        let wrapped = WrappedKey { key_id: "k".into(), bytes: vec![1].into() };
        for answer in [
            "",
            "[]",
            "{}",
            "{\"plaintext\":7}",
            "{\"plaintext\":\"c2VjcmV0\"}",
            "c2VjcmV0",
            "{\"key_id\":\"k\"}",
        ] {
            let (keys, _dir) = patient(&format!("cat > /dev/null; echo '{answer}'"));
            for error in [
                keys.generate(&context("a")).await.map(drop).unwrap_err(),
                keys.unwrap(&wrapped, &context("a")).await.map(drop).unwrap_err(),
            ] {
                assert_eq!(error.kind(), KeyErrorKind::Misconfigured);
                assert!(!error.to_string().contains("c2VjcmV0"), "{error}");
            }
        }
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let keys = CommandKeys::new(vec!["/nonexistent/wrapper".into()], Duration::from_secs(60));
        let error = keys.generate(&context("a")).await.unwrap_err();
        assert_eq!(error.kind(), KeyErrorKind::Misconfigured);
        assert!(error.to_string().contains("/nonexistent/wrapper"), "{error}");
    }
}
