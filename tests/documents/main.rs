//! The documents hold together: links lead somewhere, and lists are complete.

mod consoles;
mod decisions;
mod links;

use std::fs;
use std::path::Path;

use consoles::Console;
use links::Documents;

fn tree() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn every_relative_link_and_anchor_resolves() {
    let (links, faults) = Documents::beneath(tree()).faults();
    assert!(links > 60, "found {links} links; does this test still look at the documents?");
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn every_file_that_a_document_names_exists() {
    let (named, missing) = Documents::beneath(tree()).missing_files();
    assert!(named > 30, "found {named} names; does this test still look at the documents?");
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// The control of the tests above: each kind of broken link is found, with its line, and sound ones are not.
#[test]
fn a_broken_link_is_found() {
    let dir = tempfile::tempdir().expect("a directory can be made");
    let write = |path: &str, text: &str| {
        let path = dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a file lies in a directory")).expect("it can be made");
        fs::write(path, text).expect("it can be written");
    };
    write("code.rs", "");
    write("src/a.rs", "");
    write(
        "README.md",
        "# A `b` & c\n\n[file](code.rs) [page](docs/page.md#same-1) [own](#a-b--c) [host](https://example.org/none)\n",
    );
    write(
        "docs/page.md",
        "# Same\n\n# Same\n\n`[code](none.md)`\n\n```\n[block](none.md)\n```\n\n[own](#same)\n\n\
         | [table](none.md) |\n|---|\n\n![picture](none.svg)\n\n[reference]\n\n[out](../code.rs) [far](../../code.rs)\n\n\
         [root](/code.rs) [anchor](page.md#none)\n\n[reference]: other.md\n",
    );
    write("docs/src/c.rs", "");
    write("docs/names.md", "`src/a.rs` `src/b.rs` `src/c.rs` `AES/GCM` `src/a.rs is read`\n");
    let documents = Documents::beneath(dir.path());
    assert_eq!(documents.missing_files(), (3, vec!["docs/names.md: there is no src/b.rs".to_owned()]));
    let (links, faults) = documents.faults();
    assert_eq!(links, 11);
    let expected = [
        "docs/page.md:13: none.md: there is no such file",
        "docs/page.md:16: none.svg: there is no such file",
        "docs/page.md:18: other.md: there is no such file",
        "docs/page.md:20: ../code.rs: leads out of the book",
        "docs/page.md:20: ../../code.rs: leads out of the tree",
        "docs/page.md:22: /code.rs: leads out of the tree",
        "docs/page.md:22: page.md#none: there is no such heading",
    ];
    assert_eq!(faults, expected);
}

#[test]
fn each_console_block_is_run_or_says_why_not_and_its_commands_are_there() {
    let consoles = Console::all(&Documents::beneath(tree()));
    let faults: Vec<String> = consoles.iter().flat_map(|console| console.faults(tree())).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
    let run = consoles.iter().filter(|console| console.is_run()).count();
    eprintln!("{run} of {} blocks are run by tests", consoles.len());
    assert!(consoles.len() > 20 && run >= 8, "{run} of {}; does this test still look?", consoles.len());
}

/// The control of the test above.
#[test]
fn a_command_that_is_not_there_is_found() {
    let of = |text: &str| -> Vec<String> {
        Console::of("README.md", text).iter().flat_map(|console| console.faults(tree())).collect()
    };
    let sound = "<!-- run by tests/quick_start.rs -->\n\n```console\n\
        $ A=b sealed-shuffle keys drop NAME  # --nothing\n\
        $ sealed-shuffle \\\n    serve --bind ::\nadmin on --port\n$ make demo && cargo test --test cli\n```\n";
    assert_eq!(of(sound), Vec::<String>::new());
    for (right, wrong, said) in [
        ("run by", "found by", "README.md:3: says neither"),
        ("tests/quick_start.rs", "tests/none.rs", "tests/none.rs: No such file"),
        ("tests/quick_start.rs", "tests/hostile.rs", "tests/hostile.rs does not read README.md"),
        ("run by tests/quick_start.rs", "not run: ", "does not say why"),
        ("drop", "lose", "no command lose"),
        ("serve --bind", "serve --bound", "serve has no --bound"),
        ("make demo", "make fun", "no fun"),
        ("--test cli", "--test clo", "no --test clo"),
    ] {
        let faults = of(&sound.replacen(right, wrong, 1));
        assert!(faults.len() == 1 && faults[0].contains(said), "{wrong}: {faults:?}");
    }
}

/// mdBook leaves out a file that its table of contents does not name.
#[test]
fn the_table_of_contents_names_every_chapter() {
    let documents = Documents::beneath(tree());
    let listed = documents.linked(decisions::CONTENTS);
    let missing: Vec<&Path> = documents
        .paths()
        .filter(|path| path.starts_with("docs") && *path != Path::new(decisions::CONTENTS))
        .filter(|path| !listed.iter().any(|listed| listed == path))
        .collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not name {missing:?}");
}

/// `UPDATE_DOCS=1 cargo test --test documents` writes the lists instead.
#[test]
fn the_lists_hold_every_decision() {
    let documents = Documents::beneath(tree());
    let all = decisions::all(&documents);
    assert!(all.len() >= 32, "found {} decisions; does this test still look at them?", all.len());
    for (path, head, list) in [
        (decisions::INDEX, decisions::INDEX_HEAD, decisions::index(&all)),
        (decisions::CONTENTS, decisions::CONTENTS_HEAD, decisions::contents(&all)),
    ] {
        let (before, listed) = documents.text(path).split_once(head).expect("the list has a head");
        if std::env::var_os("UPDATE_DOCS").is_some() {
            fs::write(tree().join(path), format!("{before}{head}{list}")).expect("the list can be written");
            continue;
        }
        assert!(listed == list, "the list in {path} is out of date: run with UPDATE_DOCS=1");
    }
}
