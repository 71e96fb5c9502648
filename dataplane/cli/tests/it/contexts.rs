//! Contexts: set, listed, chosen, forgotten.

use crate::support::World;

fn set(world: &World, name: &str, endpoint: &str) -> String {
    let args = [
        "context",
        "set",
        name,
        "--endpoint",
        endpoint,
        "--ca",
        "ca",
        "--cert",
        "c",
        "--key",
        "k",
    ];
    world.run(&args).ok()
}

#[test]
fn the_first_context_is_the_current_one_until_another_is_chosen() {
    let world = World::new();
    assert_eq!(
        set(&world, "prod", "a:9400"),
        "context prod is set, the current one\n"
    );
    assert_eq!(set(&world, "test", "b:9400"), "context test is set\n");
    let list = world.run(&["context", "list"]).ok();
    assert_eq!(
        list,
        "   NAME  ENDPOINTS\n*  prod  a:9400\n   test  b:9400\n"
    );
    world.run(&["context", "use", "test"]).ok();
    let shown = world.run(&["context", "show"]).ok();
    assert!(
        shown.starts_with("name: test\nendpoints:\n- b:9400\n"),
        "{shown}"
    );
}

#[test]
fn files_are_found_from_any_directory() {
    let world = World::new();
    set(&world, "prod", "a:9400");
    let shown = world.run(&["context", "show", "prod"]).ok();
    let ca = world
        .path("ca")
        .canonicalize()
        .unwrap_or_else(|_| world.path("ca"));
    assert!(shown.contains(&format!("ca: {}", ca.display())), "{shown}");
}

#[test]
fn a_context_that_is_not_there_is_named_with_those_that_are() {
    let world = World::new();
    set(&world, "prod", "a:9400");
    let line = world.run(&["context", "use", "nope"]).failed(3);
    assert!(
        line.contains("no context \"nope\"") && line.contains("known: prod"),
        "{line}"
    );
    let line = world.run(&["--context", "nope", "topic", "list"]).failed(3);
    assert!(line.contains("no context \"nope\""), "{line}");
}

#[test]
fn a_forgotten_context_is_no_longer_the_current_one() {
    let world = World::new();
    set(&world, "prod", "a:9400");
    world.run(&["context", "delete", "prod"]).ok();
    let line = world.run(&["topic", "list"]).failed(3);
    assert!(
        line.contains("no context is chosen") && line.contains("`lograft dev`"),
        "{line}"
    );
}
