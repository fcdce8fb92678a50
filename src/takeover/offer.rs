//! The predecessor's end: offers ports and records to a process of the same user.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use sealed_shuffle_transport::lane::Lane;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::line::{self, Incoming};
use super::{CHECKING, GREETING, OPENING, PATIENCE, Ports, identity};
use crate::local_socket::{LocalSocket, peer_user};
use crate::server::{PauseRefusal, Server};

/// Offers `ports` and the records of `server` at `socket`, until it stops or a successor has them. One successor at a
/// time; another one waits.
pub(crate) async fn offer(socket: LocalSocket, server: Server, ports: Ports) {
    let places = Arc::new(Semaphore::new(1));
    let ports = Arc::new(ports);
    let mut conversations = JoinSet::new();
    let take = |stream: UnixStream, user: u32, place: OwnedSemaphorePermit| {
        while conversations.try_join_next().is_some() {}
        let is_admitted = socket.admits(user);
        let (server, ports) = (server.clone(), Arc::clone(&ports));
        conversations.spawn(async move {
            let _place = place;
            let mut successor = Successor { stream, incoming: Incoming::default() };
            if !is_admitted {
                warn!(user, "refused to let another user take over");
                // Whether it reads that or not.
                successor.send("refused only the server's own user and root may take over").await.ok();
                return;
            }
            match successor.converse(&server, &ports).await {
                Ok(()) => info!("a successor serves in our place"),
                Err(error) => warn!("a successor did not take over, so this server goes on: {error}"),
            }
        });
    };
    socket.accept_loop(places, server.ends(), peer_user, take).await;
}

struct Successor {
    stream: UnixStream,
    incoming: Incoming,
}

impl Successor {
    async fn converse(&mut self, server: &Server, ports: &Ports) -> io::Result<()> {
        let greeting = self.next(PATIENCE).await?;
        if greeting != GREETING {
            return self.refuse(&format!("the first line is not `{GREETING}`")).await;
        }
        let Some(records) = server.records().map(Path::to_owned) else {
            return self.refuse(&PauseRefusal::NoRecords.to_string()).await;
        };
        let records =
            Lane::new(1).run(move |on| identity(on, &records)).await.map_err(io::Error::other)??;
        let admin = if ports.admin.is_some() { " admin" } else { "" };
        let Some(service) = ports.service.upgrade() else {
            return self.refuse(&PauseRefusal::NotServing.to_string()).await;
        };
        let descriptors: Vec<_> =
            [Some(service.as_fd()), ports.admin.as_ref().map(AsFd::as_fd)].into_iter().flatten().collect();
        let said = format!("ports service{admin} records {records}");
        let sent = self.stream.async_io(Interest::WRITABLE, || line::send(&self.stream, &said, &descriptors));
        timeout(PATIENCE, sent).await??;
        drop(service);
        self.expect("store", CHECKING).await?;
        info!("a successor comes: nobody is accepted here until it serves");
        let pause = match server.pause().await {
            Ok(pause) => pause,
            Err(refused) => return self.refuse(&refused.to_string()).await,
        };
        self.send("closed").await?;
        self.expect("serving", OPENING).await?;
        self.send("retired").await?;
        // One that is gone by now serves nobody. One that is silent has read that it does.
        match self.expect("placed", PATIENCE).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(error),
            Ok(()) | Err(_) => {
                pause.retire();
                Ok(())
            }
        }
    }

    async fn refuse(&mut self, why: &str) -> io::Result<()> {
        self.send(&format!("refused {why}")).await?;
        Err(io::Error::other(why.to_owned()))
    }

    async fn expect(&mut self, wanted: &str, within: Duration) -> io::Result<()> {
        let said = self.next(within).await?;
        match said == wanted {
            true => Ok(()),
            false => Err(io::Error::other(format!("it says {said:?} in the place of {wanted:?}"))),
        }
    }

    async fn next(&mut self, within: Duration) -> io::Result<String> {
        let Self { stream, incoming } = self;
        let line = async {
            loop {
                if let Some(line) = incoming.line() {
                    return line;
                }
                stream.async_io(Interest::READABLE, || incoming.receive(&*stream)).await?;
            }
        };
        let line = timeout(within, line).await;
        line.unwrap_or_else(|_| Err(io::Error::other(format!("it was silent for {within:?}"))))
    }

    async fn send(&self, line: &str) -> io::Result<()> {
        let sent = self.stream.async_io(Interest::WRITABLE, || line::send(&self.stream, line, &[]));
        timeout(PATIENCE, sent).await?
    }
}
