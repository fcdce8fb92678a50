//! Every cell of the matrix ([`sealed_shuffle_interop_tests::cells`]).
//!
//! By default a few releases; `SEALED_SHUFFLE_MATRIX=full` (`make interop-matrix`) goes through all of them. The
//! table goes to `target/interop-matrix.md`. One JVM runs at a time: the cells of a release share it.

use std::{fs, path::PathBuf, sync::Arc, time::Instant};

use sealed_shuffle_interop_tests::{
    cells::{Row, rows_of, table},
    modes::{
        Abilities,
        matrix::{VERSIONS, cell_versions},
    },
    ours::binary,
    spark::{Peer, Spark},
};

#[test]
fn every_mode_of_every_release_in_both_roles() {
    let mut rows: Vec<Row> = Vec::new();
    for (version, part) in cell_versions() {
        let begun = Instant::now();
        let peer = Arc::new(Peer::start(Spark::release(version)));
        let abilities = peer.abilities();
        assert_eq!(abilities, Abilities::of(version), "the classes of Spark {version} say otherwise");
        rows.extend(rows_of(&peer, version, abilities, part, |row| {
            let words = row.verdicts.each_ref().map(|(_, verdict)| verdict.word());
            eprintln!("{}: {}", row.mode, words.join(", "));
        }));
        eprintln!("Spark {version} took {:?}", begun.elapsed());
    }
    assert!(!rows.is_empty(), "SEALED_SHUFFLE_MATRIX names no mode");
    let path = table_path();
    fs::write(&path, table(&rows)).unwrap_or_else(|e| panic!("cannot write {}: {e}", path.display()));
    eprintln!("the table is in {}", path.display());
    update_docs(&table(&rows));
    let failed: Vec<String> = rows.iter().flat_map(Row::failures).collect();
    assert!(failed.is_empty(), "{} cells failed:\n{}", failed.len(), failed.join("\n"));
}

/// Puts the table between the marks of `docs/compatibility.md`, where all of it was run and `UPDATE_DOCS` is set.
fn update_docs(table: &str) {
    if std::env::var_os("UPDATE_DOCS").is_none() || cell_versions().len() != VERSIONS.len() {
        return;
    }
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/compatibility.md");
    let chapter = fs::read_to_string(&path).expect("the chapter can be read");
    let (before, rest) = chapter.split_once("<!-- matrix:begin -->\n").expect("the table has a beginning");
    let (_, after) = rest.split_once("<!-- matrix:end -->").expect("and an end");
    let chapter = format!("{before}<!-- matrix:begin -->\n\n{table}\n<!-- matrix:end -->{after}");
    fs::write(&path, chapter).expect("the chapter can be written");
}

/// `target/interop-matrix.md`: beside the directory of the profile that our binary lies in, or of this test.
fn table_path() -> PathBuf {
    let profile = binary();
    let target = profile.ancestors().nth(2).expect("binaries lie in target/PROFILE");
    target.join("interop-matrix.md")
}
