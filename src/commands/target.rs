//! Arguments that the client commands share: the server, the application and the executor.

use clap::Args;
use sealed_shuffle_client::{Address, Client, ClientConfig};
use sealed_shuffle_config::ProcessEnvironment;
use sealed_shuffle_protocol::ids::{AppId, ExecutorId};
use tokio::runtime::Runtime;

use super::{ConfigArgs, Exit, Failure, complain, start_logging};

/// The server that a client command talks to, and the application and executor of the blocks.
#[derive(Args, Debug)]
pub(crate) struct TargetArgs {
    /// Shuffle service or executor; without a port, that of spark.shuffle.service.port [7337]
    #[arg(long, value_name = "HOST:PORT")]
    server: String,

    /// Application that the blocks belong to, as Spark shows it (app-20261122052236-0000)
    #[arg(long, value_name = "APP")]
    app_id: String,

    /// Executor that wrote the blocks, as Spark shows it (0, 1, … or driver)
    #[arg(long, value_name = "EXECUTOR")]
    executor_id: String,

    #[command(flatten)]
    config: ConfigArgs,
}

/// A client that is ready for requests.
pub(crate) struct Target {
    pub(crate) client: Client,
    pub(crate) server: Address,
    pub(crate) executor: ExecutorId,
    pub(crate) runtime: Runtime,
}

impl TargetArgs {
    /// Reads the configuration; nothing is sent yet.
    pub(crate) fn prepare(self) -> Result<Target, Failure> {
        let config = ClientConfig::from_sources(&self.config.sources(), &ProcessEnvironment)?;
        let server = Address::parse(&self.server, config.service_port)
            .map_err(|error| Failure::new(Exit::Usage, format!("--server: {error}")))?;
        start_logging(&config.log)?;
        for notice in &config.report.notices {
            complain(notice);
        }
        let settings = config.settings().map_err(|error| Failure::new(Exit::Config, error))?;
        let client = Client::new(settings, AppId::new(self.app_id));
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .map_err(|error| Failure::new(Exit::Failed, format!("cannot start threads: {error}")))?;
        Ok(Target { client, server, executor: ExecutorId::new(self.executor_id), runtime })
    }
}
