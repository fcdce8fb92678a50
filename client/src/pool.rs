//! Connections to servers, kept and shared.
//!
//! Key is host and port; each server has a few slots (`spark.shuffle.io.numConnectionsPerPeer`), taken in
//! turn. A dead slot is connected anew by whoever finds it, while others of the same slot wait for the
//! outcome (TransportClientFactory, Spark 4.3.0, which takes slots at random).

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use sealed_shuffle_protocol::ids::AppId;
use sealed_shuffle_transport::seal::{Budget, SegmentPool};

use super::connection::Connection;
use super::{Address, ClientError, Settings};

/// Requests and large answers in memory over all connections.
const BUDGET: u64 = 128 << 20;

/// Requests are small: a million blocks take 12 MiB in many segments.
const SEGMENT: usize = 64 << 10;

/// All connections of one client.
pub(super) struct Pool {
    segments: SegmentPool,
    servers: Mutex<HashMap<Address, Arc<Slots>>>,
}

/// The connections to one server.
struct Slots {
    turn: AtomicUsize,
    slots: Vec<tokio::sync::Mutex<Option<Connection>>>,
}

/// A connection on loan.
pub(super) struct Lease {
    pub(super) connection: Connection,
    /// It may have died in the pool without anyone noticing: one more try costs nothing.
    pub(super) reused: bool,
}

impl Pool {
    pub(super) fn new() -> Self {
        let segments = SegmentPool::new(Budget::new(BUDGET), SEGMENT, 2);
        Self { segments, servers: Mutex::default() }
    }

    /// A live connection of the pool.
    pub(super) async fn lease(
        &self,
        server: &Address,
        app: &AppId,
        settings: &Settings,
    ) -> Result<Lease, ClientError> {
        let slots = self.slots(server, settings);
        let turn = slots.turn.fetch_add(1, Ordering::Relaxed) % slots.slots.len();
        let mut slot = slots.slots[turn].lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| !connection.has_ended()) {
            return Ok(Lease { connection: connection.clone(), reused: true });
        }
        *slot = None;
        let connection = self.fresh(server, app, settings).await?;
        *slot = Some(connection.clone());
        Ok(Lease { connection, reused: false })
    }

    /// A connection of its own, which the pool does not keep.
    pub(super) async fn fresh(
        &self,
        server: &Address,
        app: &AppId,
        settings: &Settings,
    ) -> Result<Connection, ClientError> {
        Connection::open(server, app, settings, &self.segments).await
    }

    fn slots(&self, server: &Address, settings: &Settings) -> Arc<Slots> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slots) = servers.get(server) {
            return Arc::clone(slots);
        }
        let slots =
            (0..settings.connections_per_peer.max(1)).map(|_| tokio::sync::Mutex::default()).collect();
        let slots = Arc::new(Slots { turn: AtomicUsize::new(0), slots });
        servers.insert(server.clone(), Arc::clone(&slots));
        slots
    }
}
