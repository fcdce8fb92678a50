//! The table, for people and for programs.

use indicatif::HumanBytes;
use serde_json::{Value, json};

use super::cell::Cell;
use super::load::Figures;
use super::mode::Mode;

/// One line of the table.
pub(super) struct Row {
    pub(super) mode: Mode,
    pub(super) cell: Cell,
    pub(super) figures: Figures,
}

/// The cost of a mode apart from bytes.
pub(super) struct ConnectionFigures {
    pub(super) mode: Mode,
    /// Number of connections a second that were opened, authenticated and used once.
    pub(super) per_second: f64,
    /// CPU seconds of the server for one connection.
    pub(super) cpu: f64,
    /// Memory of the server for each idle connection.
    pub(super) idle: u64,
}

const GB: f64 = 1e9;

impl Row {
    pub(super) const HEADING: &str = "MODE        OPERATION  BLOCK      CONNECTIONS      MB/S  SERVER CPU-S/GB  CLIENT CPU-S/GB    P50 MS    P99 MS  SERVER MEMORY";

    fn gigabytes(&self) -> f64 {
        self.figures.bytes as f64 / GB
    }

    pub(super) fn line(&self) -> String {
        let (m, Cell { operation, size, connections }) = (&self.figures, self.cell);
        format!(
            "{:<11} {:<10} {:<10} {:>11} {:>9.0} {:>16.3} {:>16.3} {:>9.2} {:>9.2}  {:>13}",
            self.mode.name(),
            operation.name(),
            HumanBytes(size).to_string(),
            connections,
            self.gigabytes() * 1000.0 / m.wall,
            m.server_cpu / self.gigabytes(),
            m.client_cpu / self.gigabytes(),
            1000.0 * m.latencies.percentile(50),
            1000.0 * m.latencies.percentile(99),
            HumanBytes(m.server_memory).to_string(),
        )
    }

    pub(super) fn json(&self) -> Value {
        let m = &self.figures;
        json!({
            "mode": self.mode.name(),
            "block_bytes": self.cell.size,
            "connections": self.cell.connections,
            "bytes": m.bytes,
            "seconds": m.wall,
            "bytes_per_second": m.bytes as f64 / m.wall,
            "server_cpu_seconds_per_gb": m.server_cpu / self.gigabytes(),
            "client_cpu_seconds_per_gb": m.client_cpu / self.gigabytes(),
            "request_seconds_p50": m.latencies.percentile(50),
            "request_seconds_p99": m.latencies.percentile(99),
            "server_anonymous_bytes": m.server_memory,
        })
    }
}

impl ConnectionFigures {
    pub(super) const HEADING: &str =
        "MODE        CONNECTIONS/S  SERVER CPU MS EACH  SERVER MEMORY EACH, IDLE";

    pub(super) fn line(&self) -> String {
        format!(
            "{:<11} {:>13.0} {:>19.3} {:>25}",
            self.mode.name(),
            self.per_second,
            1000.0 * self.cpu,
            HumanBytes(self.idle).to_string(),
        )
    }

    pub(super) fn json(&self) -> Value {
        json!({
            "mode": self.mode.name(),
            "connections_per_second": self.per_second,
            "server_cpu_seconds_each": self.cpu,
            "server_anonymous_bytes_each_idle": self.idle,
        })
    }
}
