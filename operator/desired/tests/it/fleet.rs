//! The order in which the clusters of a fleet get a changed template.

use std::collections::BTreeMap;

use lograft_operator_desired::fleet::{Cause, Held, Member, Policy, Progress, Request, admit};

use crate::dice::Dice;

const R: &str = "2";
const NOW: i64 = 1_800_000_000;
const SOAK: i64 = 300;

fn policy(concurrent_max_count: usize) -> Policy {
    Policy {
        concurrent_max_count,
        soak_seconds: SOAK,
        is_paused: false,
    }
}

fn request(cause: Cause) -> Request {
    Request {
        cause,
        new_image: None,
        may_start: true,
        is_paused: false,
    }
}

/// A healthy cluster of an earlier operator that has a change for it.
fn waiting(wave: i32) -> Member {
    Member {
        wave,
        is_urgent: false,
        is_healthy: true,
        progress: Progress::Settled(Some(NOW - 10_000)),
        revision: Some("1".to_owned()),
        cause: Some(Cause::Operator),
        image: "node:1".to_owned(),
        request: Some(request(Cause::Operator)),
    }
}

fn with_progress(progress: Progress) -> Member {
    Member {
        progress,
        revision: Some(R.to_owned()),
        request: None,
        ..waiting(0)
    }
}

fn fleet<const N: usize>(members: [(&str, Member); N]) -> BTreeMap<String, Member> {
    members
        .into_iter()
        .map(|(key, member)| (key.to_owned(), member))
        .collect()
}

fn ask(members: &BTreeMap<String, Member>, own: &str, slots: usize) -> Result<(), Held> {
    admit(members, own, R, &policy(slots), NOW)
}

#[test]
fn one_cluster_gets_a_change_of_the_operator_first() {
    let mut members = fleet([
        ("n/a", waiting(1)),
        ("n/b", waiting(0)),
        ("n/c", waiting(0)),
    ]);
    assert_eq!(ask(&members, "n/b", 5), Ok(()));
    let first = || Err(Held::Canary("n/b".to_owned()));
    assert_eq!(ask(&members, "n/a", 5), first());
    assert_eq!(ask(&members, "n/c", 5), first());
    members.insert("n/b".to_owned(), with_progress(Progress::Rolling));
    assert_eq!(ask(&members, "n/c", 5), first());
    // It has to stay healthy.
    let done = with_progress(Progress::Settled(Some(NOW - SOAK + 1)));
    members.insert("n/b".to_owned(), done.clone());
    let soak = Held::Soak("n/b".to_owned(), NOW + 1);
    assert_eq!(ask(&members, "n/c", 5), Err(soak));
    let sick = Member {
        is_healthy: false,
        ..done
    };
    members.insert("n/b".to_owned(), sick);
    assert_eq!(ask(&members, "n/c", 5), Err(Held::Sick("n/b".to_owned())));
    let proven = with_progress(Progress::Settled(Some(NOW - SOAK)));
    members.insert("n/b".to_owned(), proven);
    assert_eq!(ask(&members, "n/c", 5), Ok(()));
    assert_eq!(ask(&members, "n/a", 5), Err(Held::Wave("n/c".to_owned())));
}

#[test]
fn nobody_is_first_before_all_have_been_looked_at() {
    let members = fleet([("n/a", waiting(0)), ("n/b", Member::unknown(0))]);
    assert_eq!(ask(&members, "n/a", 1), Err(Held::Survey));
}

#[test]
fn the_first_one_that_is_stuck_stops_the_rest() {
    let mut members = fleet([
        ("n/a", with_progress(Progress::Settled(Some(NOW - SOAK)))),
        ("n/b", with_progress(Progress::Stuck)),
        ("n/c", waiting(0)),
    ]);
    assert_eq!(ask(&members, "n/c", 5), Err(Held::Stuck("n/b".to_owned())));
    // With another change it may be repaired, and is the first to get it.
    let stuck = Member {
        progress: Progress::Stuck,
        ..waiting(7)
    };
    members.insert("n/b".to_owned(), stuck);
    members.remove("n/a");
    assert_eq!(ask(&members, "n/b", 5), Ok(()));
    assert_eq!(ask(&members, "n/c", 5), Err(Held::Canary("n/b".to_owned())));
}

#[test]
fn clusters_that_are_paused_or_not_healthy_hold_up_nobody() {
    let done = with_progress(Progress::Settled(Some(NOW - SOAK)));
    let mut paused = waiting(0);
    paused.request = Some(Request {
        may_start: false,
        is_paused: true,
        ..request(Cause::Operator)
    });
    let sick = Member {
        is_healthy: false,
        ..waiting(0)
    };
    let members = fleet([
        ("n/a", done),
        ("n/b", paused),
        ("n/c", sick),
        ("n/d", waiting(1)),
    ]);
    assert_eq!(ask(&members, "n/d", 1), Ok(()));
    assert_eq!(ask(&members, "n/c", 1), Err(Held::NotHealthy));
    // One that waits for its maintenance window is waited for.
    let mut windowed = waiting(0);
    windowed.request = Some(Request {
        may_start: false,
        ..request(Cause::Operator)
    });
    let done = with_progress(Progress::Settled(Some(NOW - SOAK)));
    let members = fleet([("n/a", done), ("n/b", windowed), ("n/d", waiting(1))]);
    assert_eq!(ask(&members, "n/d", 1), Err(Held::Wave("n/b".to_owned())));
}

#[test]
fn a_change_of_the_spec_waits_for_a_slot_alone() {
    let spec = Member {
        request: Some(request(Cause::Spec)),
        ..waiting(9)
    };
    let mut members = fleet([("n/a", waiting(0)), ("n/b", spec.clone())]);
    assert_eq!(ask(&members, "n/b", 1), Ok(()));
    members.insert("n/c".to_owned(), with_progress(Progress::Rolling));
    assert_eq!(ask(&members, "n/b", 1), Err(Held::Slots(1)));
    assert_eq!(ask(&members, "n/b", 2), Ok(()));
    // The repair of a cluster waits for nobody.
    let broken = Member {
        is_healthy: false,
        ..spec.clone()
    };
    members.insert("n/b".to_owned(), broken);
    assert_eq!(ask(&members, "n/b", 1), Ok(()));
    // A cluster that is stuck takes no slot, but its image goes nowhere else.
    members.insert("n/b".to_owned(), spec.clone());
    let mut stuck = with_progress(Progress::Stuck);
    (stuck.cause, stuck.image) = (Some(Cause::Spec), "node:2".to_owned());
    members.insert("n/c".to_owned(), stuck);
    assert_eq!(ask(&members, "n/b", 1), Ok(()));
    let mut same = spec;
    same.request.as_mut().unwrap().new_image = Some("node:2".to_owned());
    members.insert("n/b".to_owned(), same);
    assert_eq!(ask(&members, "n/b", 1), Err(Held::Stuck("n/c".to_owned())));
}

#[test]
fn a_pause_of_the_fleet_leaves_specs_and_urgent_clusters_alone() {
    let paused = Policy {
        is_paused: true,
        ..policy(1)
    };
    let mut members = fleet([("n/a", waiting(0)), ("n/b", Member::unknown(0))]);
    let ask = |members: &BTreeMap<_, _>| admit(members, "n/a", R, &paused, NOW);
    assert_eq!(ask(&members), Err(Held::FleetPaused));
    members.get_mut("n/a").unwrap().is_urgent = true;
    assert_eq!(ask(&members), Ok(()));
    for cause in [Cause::Spec, Cause::Restart] {
        let spec = Member {
            request: Some(request(cause)),
            ..waiting(0)
        };
        members.insert("n/a".to_owned(), spec);
        assert_eq!(ask(&members), Ok(()));
    }
}

/// A fleet in which clusters ask in a random order.
struct Random {
    seed: u64,
    dice: Dice,
    members: BTreeMap<String, Member>,
    slots: usize,
    now: i64,
    /// The first cluster that got the change.
    first: Option<String>,
    stuck: Option<String>,
}

impl Random {
    fn new(seed: u64) -> Self {
        let mut dice = Dice(seed);
        let count = 2 + dice.below(12);
        let members = (0..count).map(|at| {
            let wave = i32::try_from(dice.below(3)).unwrap() - 1;
            (format!("n{}/c{at}", dice.below(3)), waiting(wave))
        });
        Self {
            seed,
            members: members.collect(),
            slots: usize::try_from(1 + dice.below(3)).unwrap(),
            dice,
            now: NOW,
            first: None,
            stuck: None,
        }
    }

    fn rolling(&self) -> usize {
        let is_rolling = |member: &&Member| member.progress == Progress::Rolling;
        self.members.values().filter(is_rolling).count()
    }

    fn step(&mut self, may_break: bool) {
        self.now += i64::try_from(self.dice.below(60)).unwrap();
        let nth = usize::try_from(self.dice.below(self.members.len() as u64)).unwrap();
        let key = self.members.keys().nth(nth).unwrap().clone();
        let member = self.members[&key].clone();
        match member.progress {
            Progress::Rolling if may_break && self.dice.one_in(40) => {
                self.members.get_mut(&key).unwrap().progress = Progress::Stuck;
                self.stuck.get_or_insert(key);
            }
            Progress::Rolling if self.dice.one_in(3) => {
                self.members.get_mut(&key).unwrap().progress = Progress::Settled(Some(self.now));
            }
            _ => self.ask(&key, &member),
        }
        let seed = self.seed;
        assert!(self.rolling() <= self.slots, "fleet {seed}: too many");
    }

    fn ask(&mut self, key: &str, member: &Member) {
        let policy = policy(self.slots);
        let is_asking = member.request.is_some();
        if !is_asking || admit(&self.members, key, R, &policy, self.now).is_err() {
            return;
        }
        let seed = self.seed;
        assert_eq!(
            self.stuck, None,
            "fleet {seed}: {key} goes though one is stuck"
        );
        match &self.first {
            None => self.first = Some(key.to_owned()),
            Some(first) => {
                let Progress::Settled(Some(at)) = self.members[first].progress else {
                    panic!("fleet {seed}: {key} goes before {first} has ended");
                };
                assert!(self.now - at >= SOAK, "fleet {seed}: {key} goes too early");
            }
        }
        let asks = |other: &Member| other.request.is_some() && other.wave < member.wave;
        let is_earlier = self.members.values().any(asks);
        assert!(!is_earlier, "fleet {seed}: {key} goes before its wave");
        let member = self.members.get_mut(key).unwrap();
        *member = Member {
            wave: member.wave,
            ..with_progress(Progress::Rolling)
        };
    }
}

#[test]
fn random_fleets_get_a_change_one_first_then_by_wave_and_all_in_the_end() {
    for seed in 0..2000 {
        let mut fleet = Random::new(seed);
        let may_break = seed % 2 == 0;
        for _ in 0..3000 {
            fleet.step(may_break);
        }
        let is_done = |member: &Member| member.request.is_none();
        let are_done = fleet.members.values().all(is_done);
        assert!(
            are_done || fleet.stuck.is_some(),
            "fleet {seed} does not end"
        );
    }
}
