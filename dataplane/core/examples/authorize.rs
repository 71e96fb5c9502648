//! Measures decisions of compiled authorization rules: `cargo run --release -p lograft-core
//! --example authorize`. Prints the time of a decision for tables of several sizes: the median and
//! the spread of rounds.

#![expect(clippy::disallowed_methods, reason = "a benchmark needs a clock")]

use std::hint::black_box;
use std::time::Instant;

use lograft_core::acl::{
    CompiledRules, Effect, Operation, Principal, Resource, Rule, RuleChange, RuleTable,
};

const ROUNDS: usize = 11;
const DECISIONS_PER_ROUND: u32 = 200_000;

/// A table in which every user has a prefix of its own and some topics of others, and a few rules
/// are for everybody.
fn table(count: usize) -> RuleTable {
    let mut table = RuleTable::default();
    for n in 0..count {
        let (principal, resource) = match n % 10 {
            0 => ("user/*".to_owned(), format!("topic:public.{n}.*")),
            1..=3 => (format!("user/team-{}/*", n % 7), format!("topic:team.{n}")),
            _ => (format!("user/app-{}", n / 100), format!("topic:app.{n}.*")),
        };
        let rule = Rule {
            principal: principal.parse().expect("a principal"),
            effect: Effect::Allow,
            operations: [Operation::Read, Operation::Write].into_iter().collect(),
            resource: resource.parse().expect("a resource"),
        };
        let add = RuleChange::Add(rule);
        table.change(&add, "operator", 0).expect("a valid rule");
    }
    table
}

/// Nanoseconds of each decision, one number per round, sorted.
fn rounds(mut decide: impl FnMut(usize) -> bool) -> Vec<f64> {
    let mut rounds: Vec<f64> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            for n in 0..DECISIONS_PER_ROUND {
                black_box(decide(black_box(n as usize)));
            }
            started.elapsed().as_secs_f64() * 1e9 / f64::from(DECISIONS_PER_ROUND)
        })
        .collect();
    rounds.sort_by(f64::total_cmp);
    rounds
}

fn print(what: &str, count: usize, rounds: &[f64]) {
    let (least, median, most) = (rounds[0], rounds[ROUNDS / 2], rounds[ROUNDS - 1]);
    println!("{count:>6} rules, {what}: median {median:.0} ns ({least:.0} to {most:.0})");
}

fn main() {
    println!("{ROUNDS} rounds of {DECISIONS_PER_ROUND} decisions each");
    let topics: Vec<String> = (0..64).map(|n| format!("app.{}.orders", n * 13)).collect();
    let user: Principal = "user/app-3".parse().expect("a principal");
    let other: Principal = "user/team-3/x".parse().expect("a principal");
    for count in [10, 100, 1_000, 10_000] {
        let compiled = CompiledRules::new(&table(count));
        let rights = compiled.rights(&user);
        let topic = |n: usize| Resource::Topic(&topics[n % topics.len()]);
        let known = rounds(|n| rights.allow(Operation::Write, topic(n)));
        print("rights known", count, &known);
        let of_user = rounds(|n| compiled.decide(&user, Operation::Write, topic(n)));
        print("a user", count, &of_user);
        let of_other = rounds(|n| compiled.decide(&other, Operation::Write, topic(n)));
        print("a user of a namespace", count, &of_other);
    }
}
