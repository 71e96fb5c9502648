//! The shape of the repository as a test: sizes, dependency directions, names, bans, layout.
//! Each rule is a function from text to findings, tried on small bad inputs beside it, and run
//! here over the whole tree. A finding says what to do.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test: the panic is the finding"
)]

mod crates;
mod docs;
mod floors;
mod frozen;
mod imports;
mod layout;
mod limits;
#[path = "../mutants/table.rs"]
mod mutant_table;
mod mutants;
mod names;
mod protos;
mod rust;
mod source;
mod tree;
mod wording;

use tree::{Finding, Tree};

/// Fails with every finding, one per line.
fn report(findings: &[Finding]) {
    let lines: Vec<String> = findings.iter().map(ToString::to_string).collect();
    assert!(
        findings.is_empty(),
        "{} findings\n{}\n",
        lines.len(),
        lines.join("\n")
    );
}

/// Runs a rule over each Rust file.
fn over_rust(rule: fn(&source::Source) -> Vec<Finding>) {
    let tree = Tree::of_repository();
    let files = tree.rust();
    assert!(
        files.len() > 10,
        "the walk found almost nothing: {}",
        files.len()
    );
    report(&files.iter().flat_map(rule).collect::<Vec<_>>());
}

#[test]
fn files_are_small() {
    over_rust(rust::size);
}

#[test]
fn lines_are_short() {
    over_rust(rust::width);
}

#[test]
fn signatures_have_few_generics() {
    over_rust(rust::generics);
}

#[test]
fn modules_are_named_files() {
    over_rust(rust::no_mod_rs);
}

#[test]
fn lib_rs_only_lists() {
    over_rust(rust::lib_only_lists);
}

#[test]
fn exceptions_have_reasons() {
    over_rust(rust::no_bare_allow);
}

#[test]
fn only_programs_print() {
    over_rust(rust::no_printing);
}

#[test]
fn openraft_is_named_by_one_crate() {
    over_rust(rust::openraft_only_in_raft);
}

#[test]
fn the_core_is_pure() {
    over_rust(rust::core_is_pure);
}

#[test]
fn names_say_what_a_thing_is() {
    over_rust(names::check);
}

#[test]
fn limits_are_in_one_file() {
    over_rust(limits::only_in_limits);
}

#[test]
fn limits_end_in_their_unit() {
    let tree = Tree::of_repository();
    for path in limits::FILES {
        let file = tree.read(path);
        assert!(
            file.contains("_MAX_BYTES"),
            "{path} has moved: tell this test"
        );
        report(&limits::units_last(&source::Source::new(path, &file)));
    }
}

#[test]
fn crates_depend_downwards() {
    let metadata = crates::metadata(&Tree::of_repository());
    report(&crates::directions(&metadata));
}

#[test]
fn manifests_follow_the_workspace() {
    let tree = Tree::of_repository();
    let manifests = tree.with_suffix("Cargo.toml");
    assert!(manifests.len() > 5, "the walk found almost no manifests");
    report(
        &manifests
            .iter()
            .flat_map(|(p, t)| crates::manifest(p, t))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn banned_crates_are_not_built() {
    let listing = crates::built_packages(&Tree::of_repository());
    assert!(
        listing.lines().count() > 50,
        "cargo tree listed almost nothing"
    );
    report(&crates::banned(&listing));
}

#[test]
fn locked_crates_come_from_crates_io() {
    let tree = Tree::of_repository();
    report(&crates::sources(&tree.read("Cargo.lock")));
}

#[test]
fn the_root_holds_what_architecture_names() {
    let tree = Tree::of_repository();
    report(&layout::root(&tree.root_names()));
}

#[test]
fn no_large_or_binary_files() {
    let tree = Tree::of_repository();
    report(&layout::sizes(&tree.sizes()));
}

#[test]
fn decisions_are_dated() {
    let tree = Tree::of_repository();
    report(&layout::decisions(&tree.paths()));
}

#[test]
fn protos_explain_each_field() {
    let tree = Tree::of_repository();
    let protos = tree.with_suffix(".proto");
    assert!(!protos.is_empty(), "no .proto found");
    report(
        &protos
            .iter()
            .flat_map(|(p, t)| protos::commented(p, t))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn links_lead_somewhere() {
    let tree = Tree::of_repository();
    let pages = tree.with_suffix(".md");
    assert!(pages.len() > 2, "the walk found almost no pages");
    report(
        &pages
            .iter()
            .flat_map(|(p, t)| docs::links(&tree, p, t))
            .collect::<Vec<_>>(),
    );
}

#[test]
fn the_changelog_is_open() {
    let tree = Tree::of_repository();
    report(&docs::changelog(&tree.read("CHANGELOG.md")));
}

#[test]
fn imports_form_no_circle() {
    report(&imports::circles(&Tree::of_repository().rust()));
}

#[test]
fn statuses_are_made_at_the_edge() {
    over_rust(floors::statuses_at_the_edge);
}

#[test]
fn the_domain_knows_no_protocol() {
    over_rust(floors::domain_without_protocol);
}

#[test]
fn comments_are_in_plain_words() {
    report(&wording::dialect(&Tree::of_repository().rust()));
}

#[test]
fn public_names_are_frozen() {
    let tree = Tree::of_repository();
    let names = frozen::public_names(&tree);
    let list = tree.root().join(frozen::LIST);
    if std::env::var_os("LOGRAFT_BLESS").is_some() {
        let listed = std::fs::read_to_string(&list).unwrap_or_default();
        std::fs::write(&list, frozen::blessed(&names, &listed)).unwrap();
    }
    report(&frozen::differences(&names, &tree.read(frozen::LIST)));
}

#[test]
fn mutants_apply() {
    let tree = Tree::of_repository();
    let table = tree.read(mutants::TABLE);
    let paths = tree.paths();
    let found = mutants::stale(&table, |path| {
        paths.contains(&path).then(|| tree.read(path))
    });
    report(&found);
    assert!(mutant_table::parse(&table).unwrap().len() >= 40);
}
