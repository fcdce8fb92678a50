//! `register`: tells a shuffle service where the directories of an executor are.

use std::io::{Write, stdout};

use clap::Args;
use sealed_shuffle_protocol::shuffle::{ExecutorShuffleInfo, Strings};

use super::target::{Target, TargetArgs};
use super::versioned::versioned;
use super::{Exit, Failure};

/// Register an executor's directories with a shuffle service, as Spark's executors do
///
/// The service must be able to read the directories. They are paths on its machine, and it accepts only directories
/// beneath its roots.
#[derive(Args, Debug)]
#[command(after_help = "Example:
  sealed-shuffle register --server node-1:7337 --secret-file secret \\
      --app-id app-20261122052236-0000 --executor-id 3 \\
      --local-dir /data/1/blockmgr-6cd8 --local-dir /data/2/blockmgr-b7a1

Exit codes:
  0 registered, 1 the service failed, 2 wrong usage, 69 unreachable, 77 refused,
  78 wrong configuration")]
pub(crate) struct Register {
    #[command(flatten)]
    target: TargetArgs,

    /// Directory of the executor's block manager (…/blockmgr-…); once for each, in Spark's order
    #[arg(long, required = true, value_name = "DIR")]
    local_dir: Vec<String>,

    /// Sub-directories in each, spark.diskStore.subDirectories of the application
    #[arg(long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(i32).range(1..))]
    sub_dirs: i32,

    /// Class of the application's shuffle manager
    #[arg(long, value_name = "CLASS", default_value = "org.apache.spark.shuffle.sort.SortShuffleManager")]
    shuffle_manager: String,

    /// Print the result as one JSON object
    #[arg(long)]
    json: bool,
}

impl Register {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Target { client, server, executor, runtime } = self.target.prepare()?;
        let local_dirs = Strings::try_from_iter(&self.local_dir)
            .map_err(|error| Failure::new(Exit::Usage, format!("--local-dir: {error}")))?;
        let info = ExecutorShuffleInfo {
            local_dirs,
            sub_dirs_per_local_dir: self.sub_dirs,
            shuffle_manager: self.shuffle_manager,
        };
        runtime.block_on(client.register(&server, &executor, info))?;
        let app = client.app();
        let line = match self.json {
            false => format!(
                "registered executor {executor} of {app} at {server} with {} directories",
                self.local_dir.len()
            ),
            true => versioned(serde_json::json!({
                "server": server.to_string(),
                "app": app.as_str(),
                "executor": executor.as_str(),
                "local_dirs": self.local_dir,
            }))
            .to_string(),
        };
        writeln!(stdout(), "{line}").map_err(|error| Failure::new(Exit::Failed, error))
    }
}
