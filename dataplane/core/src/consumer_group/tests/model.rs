//! A coordinator with its log, its leaders and members that crash, hang, restart and lose calls,
//! against a reference that knows who reads what.

mod reference;
mod world;

use proptest::prelude::*;

use world::{Op, World};

/// The kinds of operations, some more often than others.
fn op() -> impl Strategy<Value = (Op, u16)> {
    let kinds = prop_oneof![
        4 => Just(Op::Start),
        2 => Just(Op::Restart),
        1 => Just(Op::Kill),
        2 => Just(Op::Suspend),
        3 => Just(Op::Resume),
        1 => Just(Op::Leave),
        1 => Just(Op::Subscribe),
        20 => Just(Op::Beat),
        12 => Just(Op::Decide),
        4 => Just(Op::Propose),
        4 => Just(Op::Apply),
        6 => Just(Op::Call),
        6 => Just(Op::DeliverCall),
        6 => Just(Op::Reply),
        6 => Just(Op::DeliverReply),
        10 => Just(Op::Read),
        8 => Just(Op::Commit),
        8 => Just(Op::DeliverCommits),
        2 => Just(Op::LoseCommits),
        7 => Just(Op::Wait),
        2 => Just(Op::ChangeTopics),
        1 => Just(Op::ChangeLeader),
        1 => Just(Op::DeleteGroup),
        1 => Just(Op::Reset),
        1 => Just(Op::Restore),
    ];
    (kinds, any::<u16>())
}

proptest! {
    #[test]
    fn a_group_keeps_its_promises(
        ops in prop::collection::vec(op(), 200..300),
        range in prop::bool::weighted(0.15),
    ) {
        let mut world = World::new(range);
        for (op, chance) in ops {
            world.run(op, chance);
        }
        world.quiet();
    }
}

/// The random operations reach what they are for: without this, the test above could hold because
/// nothing happens.
#[test]
fn the_operations_reach_all_parts() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    let mut runner = TestRunner::deterministic();
    let ops = prop::collection::vec(op(), 400);
    let mut seen = world::Seen::default();
    for _ in 0..40 {
        let mut world = World::new(false);
        for (op, chance) in ops.new_tree(&mut runner).unwrap().current() {
            world.run(op, chance);
        }
        world.quiet();
        seen.add(world.seen());
    }
    let world::Seen {
        accepted_commits,
        fenced_commits,
        commits_of_strangers,
        moves_after_acknowledgement,
        moves_from_removed,
        take_overs,
        replaced,
        stale_proposals,
        rejoined,
    } = seen;
    for (what, count, least) in [
        ("accepted commits", accepted_commits, 1000),
        ("fenced commits", fenced_commits, 20),
        (
            "commits of members that were removed",
            commits_of_strangers,
            50,
        ),
        (
            "partitions moved after an acknowledgement",
            moves_after_acknowledgement,
            50,
        ),
        (
            "partitions taken from removed members",
            moves_from_removed,
            100,
        ),
        ("static take-overs", take_overs, 20),
        ("members that learned that they were replaced", replaced, 5),
        (
            "proposals of former leaders that came too late",
            stale_proposals,
            1,
        ),
        ("members that joined again", rejoined, 20),
    ] {
        assert!(count >= least, "{what}: {count} of {least}; {seen:?}");
    }
}
