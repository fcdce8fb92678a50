//! `certs dev`: keys and certificates for trying TLS out.

use std::fs::{self, OpenOptions};
use std::io::{self, Write, stdout};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sealed_shuffle_transport::random::random_bytes;
use sealed_shuffle_transport::tls::dev::{self, DevFile};

use super::{Exit, Failure, tell};

/// Make keys and certificates
#[derive(Args, Debug)]
pub(crate) struct Certs {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Dev(Dev),
}

/// Make a development authority and a certificate of it, in every format, with the properties to paste
///
/// For localhost, 127.0.0.1, ::1 and the name of this machine, good for 30 days. Not for production: the names of the
/// certificates say so, and a server that uses one warns.
#[derive(Args, Debug)]
struct Dev {
    /// Directory to write into; made if it does not exist
    #[arg(value_name = "DIR")]
    dir: PathBuf,

    /// Further host name or address of the server; may be given many times
    #[arg(long, value_name = "NAME")]
    host: Vec<String>,

    /// Replace existing files
    #[arg(long)]
    force: bool,
}

impl Certs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match self.what {
            What::Dev(dev) => dev.run(),
        }
    }
}

impl Dev {
    fn run(self) -> Result<(), Failure> {
        let failed = |path: &Path, error: io::Error| {
            Failure::new(Exit::Failed, format_args!("cannot write {}: {error}", path.display()))
        };
        fs::create_dir_all(&self.dir).map_err(|error| failed(&self.dir, error))?;
        let dir = fs::canonicalize(&self.dir).map_err(|error| failed(&self.dir, error))?;
        let names = self.names();
        let password = password()?;
        let files = dev::make(&names, &password, &dir.display().to_string())
            .map_err(|error| Failure::new(Exit::Failed, error))?;
        if !self.force
            && let Some(there) = files.iter().map(|file| dir.join(file.name)).find(|path| path.exists())
        {
            let text =
                format!("{} is there already: name another directory, or add --force", there.display());
            return Err(Failure::new(Exit::Failed, text));
        }
        for file in &files {
            let path = dir.join(file.name);
            write(&path, file).map_err(|error| failed(&path, error))?;
            writeln!(stdout(), "{}", path.display()).map_err(|error| Failure::new(Exit::Failed, error))?;
        }
        tell(format_args!(
            "for {}; good for {} days; paste {} into spark-defaults.conf",
            names.join(", "),
            dev::VALIDITY.as_secs() / 86_400,
            dir.join(dev::PROPERTIES).display()
        ));
        Ok(())
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into();
        let machine = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        for name in std::iter::once(machine.trim()).chain(self.host.iter().map(String::as_str)) {
            if !name.is_empty() && !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
        }
        names
    }
}

/// Opens only these files, and hides them from other users. Java's stores want a password.
fn password() -> Result<String, Failure> {
    let bytes: [u8; 12] = random_bytes().map_err(|error| Failure::new(Exit::Failed, error))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Writes a file beside the target and renames it, so that a running server sees the old content or the new one.
fn write(path: &Path, file: &DevFile) -> io::Result<()> {
    let beside = path.with_extension("new");
    if beside.exists() {
        fs::remove_file(&beside)?;
    }
    let mode = if file.is_secret { 0o600 } else { 0o644 };
    let mut out = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    out.write_all(&file.content)?;
    fs::rename(&beside, path)
}
