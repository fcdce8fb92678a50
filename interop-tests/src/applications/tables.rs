//! The tables of TPC-H, made once for each scale by DuckDB (`python/tables.py`). The queries come from it, too.

use std::{fs, path::PathBuf, process::Command};

use crate::machine::{cache, made_once, run};

const TEXT: &str = include_str!("../../python/tables.py");
/// A release whose package on PyPI has the tables and queries in it; later ones load them from a network.
const DUCKDB: &str = "1.1.3";

/// The directory with `TABLE.parquet` of each table and `queries.json`; a scale of 1 is a gigabyte of text.
pub fn tables(scale: f64) -> PathBuf {
    let package = made_once(cache().join(format!("duckdb-{DUCKDB}")), |into| {
        run(
            Command::new("python3")
                .args([
                    "-m",
                    "pip",
                    "install",
                    "--quiet",
                    "--disable-pip-version-check",
                    "--no-deps",
                    "--target",
                ])
                .arg(into)
                .arg(format!("duckdb=={DUCKDB}")),
            || format!("cannot install duckdb {DUCKDB} with pip, which makes the tables of TPC-H"),
        );
    });
    made_once(cache().join(format!("tpch-{scale}")), |into| {
        let program = into.join("tables.py");
        fs::write(&program, TEXT).expect("the directory is fresh");
        run(
            Command::new("python3").arg(program).arg(into).arg(scale.to_string()).env("PYTHONPATH", &package),
            || "DuckDB cannot make the tables of TPC-H".to_owned(),
        );
    })
}
