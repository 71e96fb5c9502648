use std::time::Duration;

use super::*;
use crate::limits::{GROUP_CUT_CALL_MAX, GROUP_DUE_AGAIN_INTERVAL};

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn group_of(specs: &[MemberSpec]) -> ConsumerGroup {
    let topics = Topics::new(&[("t", 4)]);
    let mut group = ConsumerGroup::default();
    let joins: Vec<_> = specs.iter().cloned().map(GroupEvent::Join).collect();
    take(&mut group, &topics, &joins);
    group
}

fn due(sessions: &mut Sessions, now: Duration) -> Vec<(String, DueReason)> {
    let due = sessions.due(now).into_iter();
    due.map(|due| (due.member.to_string(), due.reason))
        .collect()
}

#[test]
fn a_member_without_a_call_is_due_after_its_session() {
    let mut sessions = Sessions::default();
    assert_eq!(sessions.next(), None);
    let short = MemberSpec {
        session_timeout_ms: 10_000,
        ..spec("b", &["t"])
    };
    sessions.observe("g", &group_of(&[spec("a", &["t"]), short]), s(100));
    assert_eq!(
        (sessions.next(), sessions.member_count()),
        (Some(s(110)), 2)
    );
    assert_eq!(due(&mut sessions, s(109)), []);
    assert_eq!(
        due(&mut sessions, s(110)),
        [("b".to_owned(), DueReason::SessionEnded)]
    );
    let again = s(110) + GROUP_DUE_AGAIN_INTERVAL;
    assert_eq!(sessions.next(), Some(again), "its leave may have failed");
    assert_eq!(
        due(&mut sessions, again),
        [("b".to_owned(), DueReason::SessionEnded)]
    );
    sessions.left("g", &id("b"));
    assert_eq!(sessions.next(), Some(s(130)));
    sessions.observe("g", &ConsumerGroup::default(), s(111));
    assert_eq!((sessions.next(), sessions.member_count()), (None, 0));
}

#[test]
fn a_waiting_call_keeps_the_member_and_its_reply_starts_the_session() {
    let mut sessions = Sessions::default();
    let group = group_of(&[spec("a", &["t"])]);
    sessions.observe("g", &group, s(0));
    let call = sessions.called("g", &id("a"));
    assert_eq!(sessions.next(), None);
    sessions.observe("g", &group, s(90));
    assert_eq!(
        due(&mut sessions, s(99)),
        [],
        "a membership is no sign of absence"
    );
    sessions.answered("g", &id("a"), call, s(100));
    assert_eq!(sessions.next(), Some(s(130)));
    let _ = sessions.called("other", &id("a"));
    let _ = sessions.called("g", &id("x"));
    assert_eq!(
        (sessions.next(), sessions.member_count()),
        (Some(s(130)), 1)
    );
}

#[test]
fn a_cut_call_must_be_repeated_soon_unless_the_member_has_an_instance_id() {
    let mut sessions = Sessions::default();
    sessions.observe(
        "g",
        &group_of(&[spec("a", &["t"]), instance("b", "i", &["t"])]),
        s(0),
    );
    let (a, b) = (
        sessions.called("g", &id("a")),
        sessions.called("g", &id("b")),
    );
    sessions.cut("g", &id("a"), a, s(10));
    sessions.cut("g", &id("b"), b, s(10));
    assert_eq!(sessions.next(), Some(s(10) + GROUP_CUT_CALL_MAX));
    let repeated = sessions.called("g", &id("a"));
    assert_eq!(sessions.next(), Some(s(40)), "the session of b");
    sessions.cut("g", &id("a"), repeated, s(11));
    let found = due(&mut sessions, s(11) + GROUP_CUT_CALL_MAX);
    assert_eq!(found, [("a".to_owned(), DueReason::CallCut)]);
}

#[test]
fn only_the_latest_call_of_a_member_counts() {
    let mut sessions = Sessions::default();
    sessions.observe("g", &group_of(&[spec("a", &["t"])]), s(0));
    let former = sessions.called("g", &id("a"));
    let latest = sessions.called("g", &id("a"));
    sessions.cut("g", &id("a"), former, s(1));
    assert_eq!(
        sessions.next(),
        None,
        "the client repeated its call, then the former one was cut"
    );
    sessions.answered("g", &id("a"), former, s(2));
    assert_eq!(sessions.next(), None);
    sessions.answered("g", &id("a"), latest, s(3));
    assert_eq!(sessions.next(), Some(s(33)));
}

#[test]
fn a_member_must_give_up_partitions_within_its_rebalance_timeout() {
    let topics = Topics::new(&[("t", 4)]);
    let mut sessions = Sessions::default();
    let mut group = group_of(&[spec("a", &["t"])]);
    sessions.observe("g", &group, s(0));
    let call = sessions.called("g", &id("a"));
    take(&mut group, &topics, &[join("b", &["t"])]);
    sessions.observe("g", &group, s(10));
    let _ = sessions.called("g", &id("b"));
    assert_eq!(sessions.next(), Some(s(70)));
    sessions.answered("g", &id("a"), call, s(50));
    let _ = sessions.called("g", &id("a"));
    take(&mut group, &topics, &[join("c", &["t"])]);
    sessions.observe("g", &group, s(60));
    let _ = sessions.called("g", &id("c"));
    assert_eq!(
        sessions.next(),
        Some(s(70)),
        "a further revocation does not prolong it"
    );
    let found = due(&mut sessions, s(70));
    assert_eq!(found, [("a".to_owned(), DueReason::RebalanceTimeout)]);
    settle(&mut group, &topics);
    sessions.observe("g", &group, s(71));
    assert_eq!(sessions.next(), None, "it has given up all of them");
}
