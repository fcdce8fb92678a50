//! A running application whose driver and executors hold blocks of every kind (`python/live.py`): the peers of
//! clients that fetch from live block managers.

use std::{collections::BTreeMap, fs, net::SocketAddr};

use serde_json::Value;

use super::{
    driver::Driver,
    keys::{Keys, MASTER},
    program::Program,
};
use crate::{
    machine::{Turn, files_named},
    modes::Mode,
    spark::Spark,
};

const PROGRAM: Program = Program { file: "live.py", text: include_str!("../../python/live.py") };

/// The application, alive until dropped.
#[derive(Debug)]
pub struct LiveApplication {
    /// Its application id, which clients authenticate as.
    pub app: String,
    /// The driver's block manager.
    pub driver: SocketAddr,
    /// Executor id to block manager.
    pub executors: BTreeMap<String, SocketAddr>,
    /// Map ids of shuffle 0 (3 partitions) and the executor that wrote them.
    pub maps: Vec<(u64, String)>,
    /// A block persisted on disk and its executor.
    pub rdd_disk: (String, String),
    /// A block persisted in memory and its executor.
    pub rdd_memory: (String, String),
    /// The id of a broadcast value whose piece 0 the driver holds.
    pub broadcast: u64,
    driver_process: Driver,
}

impl LiveApplication {
    /// Starts it on `local-cluster` with two executors, authenticated and sealed as `mode` says.
    pub fn start(mode: &Mode, secret: &str) -> Self {
        let release = Spark::release(mode.version);
        let mut keys = Keys::new();
        keys.speak(mode, secret);
        keys.see_classes(&release);
        let mut driver_process =
            Driver::start(PROGRAM, &release, Some(Turn::wait()), (MASTER, keys), None, &[]);
        let ready = driver_process.ready();
        Self {
            app: text(&ready["app"]),
            driver: address(&ready["driver"]),
            executors: ready["executors"]
                .as_object()
                .expect("executors by id")
                .iter()
                .map(|(id, at)| (id.clone(), address(at)))
                .collect(),
            maps: ready["maps"]
                .as_array()
                .expect("a list of maps")
                .iter()
                .map(|map| (map["map"].as_u64().expect("map ids are numbers"), text(&map["executor"])))
                .collect(),
            rdd_disk: (text(&ready["rdd_disk"]["block"]), text(&ready["rdd_disk"]["executor"])),
            rdd_memory: (text(&ready["rdd_memory"]["block"]), text(&ready["rdd_memory"]["executor"])),
            broadcast: ready["broadcast"].as_u64().expect("broadcast ids are numbers"),
            driver_process,
        }
    }

    /// The content of one partition of a map output, read from the executor's own files.
    pub fn partition(&self, map: u64, reduce: usize) -> Vec<u8> {
        let index = self.file(&format!("shuffle_0_{map}_0.index"));
        let ends: Vec<usize> = index
            .chunks_exact(8)
            .map(|row| u64::from_be_bytes(row.try_into().expect("rows of eight")))
            .map(|end| usize::try_from(end).expect("test files are small"))
            .collect();
        self.file(&format!("shuffle_0_{map}_0.data"))[ends[reduce]..ends[reduce + 1]].to_vec()
    }

    /// The content of a file of this name in any executor's directories.
    pub fn file(&self, name: &str) -> Vec<u8> {
        let local = self.driver_process.local_dirs();
        let found = files_named(local, |file| file == name);
        let path = found.first().unwrap_or_else(|| panic!("no {name} beneath {}", local.display()));
        fs::read(path).unwrap_or_else(|e| panic!("cannot read {}: {e}", path.display()))
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("not text: {value}")).to_owned()
}

fn address(value: &Value) -> SocketAddr {
    text(value).parse().unwrap_or_else(|e| panic!("no address: {value}: {e}"))
}
