//! `completions` and `man`: what a shell and a reader know of the command line, made of the command line itself.

use std::io::{Write, stdout};
use std::path::PathBuf;

use clap::{Args, Command};
use clap_complete::Shell;

use super::{Exit, Failure};

/// Print a script that completes this command line in a shell
///
/// Packages install it. By hand: write it to where the shell looks, for bash to
/// ~/.local/share/bash-completion/completions/sealed-shuffle, for fish to ~/.config/fish/completions/sealed-shuffle.fish,
/// for zsh to _sealed-shuffle in a directory of $fpath.
#[derive(Args, Debug)]
pub(crate) struct Completions {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

impl Completions {
    pub(crate) fn run(self, command: &mut Command) -> Result<(), Failure> {
        // Into memory first: the library panics where a stream does not take it.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, command, command.get_name().to_owned(), &mut script);
        if self.shell == Shell::Bash {
            script = mended(&script, command.get_name()).into_bytes();
        }
        let mut out = stdout();
        let printed = out.write_all(&script).and_then(|()| out.flush());
        printed.map_err(|error| Failure::new(Exit::Failed, format!("cannot print: {error}")))
    }
}

/// clap_complete writes the hyphen of a program's name in one way where bash notes the command, and in another where it
/// looks for its flags, so that no flag of a command is found (clap-rs/clap#6421, open in 4.6.12). It becomes the first way.
fn mended(script: &[u8], name: &str) -> String {
    let (noted, sought) = (name.replace('-', "__"), name.replace('-', "__subcmd__"));
    String::from_utf8_lossy(script).replace(&sought, &noted)
}

/// Write a manual page for each command into a directory
#[derive(Args, Debug)]
pub(crate) struct Man {
    /// The directory; it must be there
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

impl Man {
    pub(crate) fn run(self, command: Command) -> Result<(), Failure> {
        let Self { dir } = self;
        clap_mangen::generate_to(command, &dir).map_err(|error| {
            Failure::new(Exit::Failed, format!("cannot write manual pages to {}: {error}", dir.display()))
        })
    }
}
