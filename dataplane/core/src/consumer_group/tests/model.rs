//! A coordinator with its log, its leaders and members that crash, hang, restart and lose calls,
//! against a reference that knows who reads what.

mod reference;
mod world;

use proptest::prelude::*;

use world::{Op, World};

/// How often each operation happens.
const WEIGHTS: &[(Op, u32)] = &[
    (Op::Start, 4),
    (Op::Restart, 2),
    (Op::Kill, 1),
    (Op::Suspend, 2),
    (Op::Resume, 3),
    (Op::Leave, 1),
    (Op::Subscribe, 1),
    (Op::Beat, 20),
    (Op::Decide, 12),
    (Op::Propose, 4),
    (Op::Apply, 4),
    (Op::Call, 6),
    (Op::DeliverCall, 6),
    (Op::Reply, 6),
    (Op::DeliverReply, 6),
    (Op::Read, 10),
    (Op::Commit, 8),
    (Op::DeliverCommits, 8),
    (Op::LoseCommits, 2),
    (Op::DeliverDuplicate, 4),
    (Op::Wait, 7),
    (Op::ChangeTopics, 2),
    (Op::ChangeLeader, 1),
    (Op::DeleteGroup, 1),
    (Op::Reset, 1),
    (Op::Restore, 1),
];

/// A random operation and a number by which it chooses. It is made of one random number: a choice
/// among strategies takes most of the time of the whole test.
fn op() -> impl Strategy<Value = (Op, u16)> {
    any::<u32>().prop_map(|random| {
        let total: u32 = WEIGHTS.iter().map(|(_, weight)| weight).sum();
        let mut left = (random >> 16) % total;
        let chosen = WEIGHTS.iter().find(|(_, weight)| {
            let is_chosen = left < *weight;
            left = left.saturating_sub(*weight);
            is_chosen
        });
        let (op, _) = chosen.unwrap();
        (*op, u16::try_from(random & 0xffff).unwrap())
    })
}

proptest! {
    #[test]
    fn a_group_keeps_its_promises(
        ops in prop::collection::vec(op(), 200..400),
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
        late_duplicates,
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
        ("late duplicates", late_duplicates, 50),
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
