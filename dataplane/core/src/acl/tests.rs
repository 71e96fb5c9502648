use proptest::prelude::*;

use super::*;

fn rule(effect: Effect, principal: &str, operations: &[Operation], resource: &str) -> Rule {
    Rule {
        principal: principal.parse().unwrap(),
        effect,
        operations: operations.iter().copied().collect(),
        resource: resource.parse().unwrap(),
    }
}

fn table(rules: impl IntoIterator<Item = Rule>) -> RuleTable {
    let mut table = RuleTable::default();
    for rule in rules {
        table.change(&RuleChange::Add(rule), "operator", 1).unwrap();
    }
    table
}

#[test]
fn a_denial_wins_and_nothing_that_matches_refuses() {
    use Operation::{Describe, Read, Write};
    let table = table([
        rule(Effect::Allow, "user/*", &[Read], "topic:public.*"),
        rule(Effect::Allow, "user/alice", &[Read, Write], "topic:*"),
        rule(Effect::Deny, "user/alice", &[Write], "topic:public.audit"),
        rule(Effect::Allow, "user/team/*", &[Write], "topic:team.a"),
    ]);
    let compiled = CompiledRules::new(&table);
    let decide = |principal: &str, operation, topic| {
        let principal: Principal = principal.parse().unwrap();
        let resource = Resource::Topic(topic);
        let allowed = compiled.decide(&principal, operation, resource);
        let explained = table.explain(&principal, operation, resource);
        assert_eq!(allowed, explained.is_allowed, "{explained:?}");
        allowed
    };
    assert!(decide("user/bob", Read, "public.a"));
    assert!(!decide("user/bob", Read, "public"));
    assert!(!decide("user/bob", Write, "public.a"));
    assert!(decide("user/alice", Write, "public.a"));
    assert!(!decide("user/alice", Write, "public.audit"));
    assert!(decide("user/alice", Read, "public.audit"));
    assert!(decide("user/team/alice", Write, "team.a"));
    assert!(!decide("user/alice2", Write, "team.a"));
    assert!(!decide("user/other/alice", Write, "x"), "another namespace");
    assert!(decide("user/bob", Describe, "public.a"), "implied");
    for principal in ["operator", "node/a"] {
        assert!(!decide(principal, Read, "public.a"), "rules are for users");
    }
}

#[test]
fn a_rule_that_is_explained_is_the_one_that_decides() {
    let deny = rule(Effect::Deny, "user/*", &[Operation::Describe], "topic:a*");
    let allow = rule(Effect::Allow, "user/x", &[Operation::Read], "topic:ab");
    let table = table([deny.clone(), allow.clone()]);
    let user = Principal::user("x");
    let explain = |operation| table.explain(&user, operation, Resource::Topic("ab"));
    assert_eq!(explain(Operation::Describe).rules, [deny]);
    assert_eq!(explain(Operation::Read).rules, [allow]);
    assert_eq!(explain(Operation::Write).rules, []);
}

#[test]
fn a_table_changes_only_by_valid_rules_and_repeats_change_nothing() {
    let mut table = RuleTable::default();
    let read = RuleChange::Add(rule(Effect::Allow, "user/a", &[Operation::Read], "topic:t"));
    let write = RuleChange::Add(rule(
        Effect::Allow,
        "user/a",
        &[Operation::Write],
        "topic:t",
    ));
    table.change(&read, "user/admin", 1).unwrap();
    table.change(&write, "user/other", 2).unwrap();
    assert_eq!(table.len(), 1, "one rule with both operations");
    table.change(&write, "user/third", 3).unwrap();
    let stored: Vec<_> = table.iter().collect();
    assert_eq!(
        stored[0].changed_by, "user/other",
        "nothing was changed by the repeat"
    );
    assert_eq!(stored[0].rule.operations.to_string(), "read,write");

    let no_operation = rule(Effect::Allow, "user/a", &[], "topic:t");
    let other = rule(Effect::Allow, "user/a", &[Operation::Admin], "topic:t");
    for (invalid, field) in [(no_operation, "operations"), (other, "operations")] {
        let error = table.change(&RuleChange::Add(invalid), "x", 4).unwrap_err();
        assert_eq!(error.field(), field);
    }
    let before = table.clone();
    let unknown = rule(Effect::Deny, "user/a", &[Operation::Read], "topic:t");
    table.change(&RuleChange::Remove(unknown), "x", 5).unwrap();
    assert_eq!(table, before);
    for change in [read, write] {
        let removal = RuleChange::Remove(change.rule().clone());
        table.change(&removal, "x", 6).unwrap();
    }
    assert!(table.is_empty());
}

#[test]
fn texts_that_are_no_principal_or_resource_are_refused() {
    let long = format!("user/{}", "a".repeat(254));
    for text in [
        "",
        "user",
        "user/",
        "user//a",
        "user/a/",
        "User/a",
        "user/a/b/c",
        "user/*a",
        "user/a*",
        "user/%61",
        "user/..",
        "user/.",
        "user/a b",
        "user/ä",
        "node/",
        "operator/",
        "root",
        "*",
        &long,
    ] {
        text.parse::<Principal>().unwrap_err();
        text.parse::<PrincipalPattern>().unwrap_err();
    }
    for text in ["node/a", "operator", "user/*/a", "user/*/*"] {
        text.parse::<PrincipalPattern>().unwrap_err();
    }
    let long = format!("topic:{}", "a".repeat(250));
    for text in [
        "",
        "topic",
        "topic:",
        "topic:**",
        "topic:*a",
        "topic:a*b",
        "Topic:a",
        "cluster:",
        "x:a",
        "cluster:a",
        "topic:a/b",
        "group:",
        &long,
    ] {
        text.parse::<ResourcePattern>().unwrap_err();
    }
}

#[test]
fn a_producer_needs_some_topic_that_it_may_write() {
    let may = |rules: &[Rule]| {
        let compiled = CompiledRules::new(&table(rules.to_vec()));
        let rights = compiled.rights(&Principal::user("a"));
        rights.may_allow_on_a_topic(Operation::Write)
    };
    let allow = |resource| rule(Effect::Allow, "user/a", &[Operation::Write], resource);
    let deny = |resource| rule(Effect::Deny, "user/*", &[Operation::Write], resource);
    assert!(!may(&[]));
    for resource in ["topic:*", "topic:x", "topic:x*"] {
        assert!(may(&[allow(resource)]));
        assert!(may(&[allow(resource), deny("topic:y*")]));
        assert!(!may(&[allow(resource), deny("topic:*")]));
    }
    assert!(!may(&[rule(
        Effect::Allow,
        "user/a",
        &[Operation::Read],
        "group:*"
    )]));
}

fn names() -> impl Strategy<Value = String> {
    "[ab.]{1,4}"
}

fn principals() -> impl Strategy<Value = String> {
    prop_oneof![
        Just("operator".to_owned()),
        Just("node/a".to_owned()),
        "user/[ab]",
        "user/[xy]/[ab]"
    ]
}

fn rules() -> impl Strategy<Value = Rule> {
    let principal = prop_oneof!["user/[ab]", "user/[xy]/[ab]", "user/[xy]/[*]", "user/[*]"];
    let resource = prop_oneof![
        4 => (prop_oneof![Just("topic"), Just("group")], names(), any::<bool>()).prop_map(
            |(kind, name, is_prefix)| format!("{kind}:{name}{}", if is_prefix { "*" } else { "" })
        ),
        1 => prop_oneof![Just("topic:*"), Just("group:*"), Just("cluster")].prop_map(str::to_owned),
    ];
    let effect = prop_oneof![3 => Just(Effect::Allow), 1 => Just(Effect::Deny)];
    let operations = proptest::collection::vec(proptest::sample::select(&Operation::ALL[..]), 1..4);
    let parts = (principal, resource, effect, operations);
    parts.prop_filter_map(
        "no such operation",
        |(principal, resource, effect, some)| {
            let rule = rule(effect, &principal, &some, &resource);
            let known = Operations::of_kind(rule.resource.kind());
            let unknown = rule.operations.without(known);
            let operations = rule.operations.without(unknown);
            let rule = Rule { operations, ..rule };
            rule.validate().is_ok().then_some(rule)
        },
    )
}

/// All names of up to three characters, which are prefixes of each other.
fn short_names() -> Vec<String> {
    let letters = ["a", "b", "."];
    let longer = |names: &[String]| -> Vec<String> {
        names
            .iter()
            .flat_map(|name| letters.map(|letter| format!("{name}{letter}")))
            .collect()
    };
    let one = longer(&[String::new()]);
    let two = longer(&one);
    let three = longer(&two);
    [one, two, three].concat()
}

fn assert_same_decisions(table: &RuleTable, names: &[String]) {
    let compiled = CompiledRules::new(table);
    let with_names = names
        .iter()
        .flat_map(|name| [Resource::Topic(name), Resource::Group(name)]);
    let resources: Vec<Resource<'_>> = with_names.chain([Resource::Cluster]).collect();
    for principal in [
        "operator", "node/a", "user/a", "user/b", "user/x/a", "user/y/b",
    ] {
        let principal: Principal = principal.parse().unwrap();
        for operation in Operation::ALL {
            for resource in &resources {
                let explained = table.explain(&principal, operation, *resource);
                let decided = compiled.decide(&principal, operation, *resource);
                let request = format!("{principal} {operation} {resource}");
                assert_eq!(decided, explained.is_allowed, "{request}: {explained:?}");
            }
        }
    }
}

proptest! {
    // Each case is a table and 3,318 requests: a million in all.
    #![proptest_config(ProptestConfig::with_cases(310))]

    #[test]
    fn compiled_rules_decide_like_the_table(
        rules in proptest::collection::vec(rules(), 0..20),
    ) {
        assert_same_decisions(&table(rules), &short_names());
    }

    #[test]
    fn texts_read_back(rule in rules(), principal in principals()) {
        let Rule { principal: pattern, resource, operations, .. } = &rule;
        prop_assert_eq!(&pattern.to_string().parse::<PrincipalPattern>().unwrap(), pattern);
        prop_assert_eq!(&resource.to_string().parse::<ResourcePattern>().unwrap(), resource);
        let read: Principal = principal.parse().unwrap();
        prop_assert_eq!(read.to_string(), principal);
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<Rule>(&json).unwrap(), rule.clone());
        prop_assert_eq!(operations.iter().collect::<Operations>(), *operations);
    }
}

fn id(serial: &str, not_before_s: i64) -> CertificateId {
    CertificateId {
        serial: serial.parse().unwrap(),
        not_before_s,
    }
}

#[test]
fn a_certificate_is_revoked_by_its_serial_number_or_the_time_of_its_principal() {
    let user = Principal::user("a");
    let mut table = RevocationTable::default();
    let revoke = |not_before_s| RevocationChange::RevokePrincipal {
        principal: Principal::user("a"),
        not_before_s,
        not_after_s: None,
    };
    table.change(&revoke(100), 0);
    let older = Revoked::Older {
        principal: user.clone(),
        not_before_s: 100,
    };
    assert_eq!(table.check(&user, &id("01", 99)), Err(older));
    assert_eq!(table.check(&user, &id("01", 100)), Ok(()));
    assert_eq!(table.check(&Principal::user("b"), &id("01", 1)), Ok(()));
    table.change(&revoke(i64::MAX), 0);
    let suspended = Revoked::Suspended(user.clone());
    assert_eq!(table.check(&user, &id("01", i64::MAX)), Err(suspended));
    table.change(&RevocationChange::AllowPrincipal(user.clone()), 0);
    let serial: Serial = "01".parse().unwrap();
    let revoke = RevocationChange::RevokeSerial {
        serial: serial.clone(),
        not_after_s: 1000,
    };
    table.change(&revoke, 0);
    assert_eq!(
        table.check(&user, &id("01", 99)),
        Err(Revoked::Serial(serial.clone()))
    );
    assert_eq!(table.check(&user, &id("02", 99)), Ok(()));
    table.change(&RevocationChange::AllowSerial(serial), 0);
    assert!(table.is_empty());
}

#[test]
fn a_principal_is_revoked_until_its_last_certificate_has_expired_long_ago() {
    let revoke = |name: &str, not_before_s, not_after_s| RevocationChange::RevokePrincipal {
        principal: Principal::user(name),
        not_before_s,
        not_after_s,
    };
    let mut table = RevocationTable::default();
    let left = |table: &RevocationTable| -> Vec<(String, Option<i64>)> {
        let all = table.principals();
        all.map(|(principal, revoked)| (principal.to_string(), revoked.not_after_s))
            .collect()
    };
    for change in [
        revoke("short", 5, Some(10)),
        revoke("long", 5, Some(50)),
        // The certificates of the former revocation live longer, or nobody knows how long.
        revoke("long", 6, Some(20)),
        revoke("unknown", 5, None),
        revoke("unknown", 6, Some(20)),
        revoke("suspended", i64::MAX, Some(10)),
    ] {
        table.change(&change, 0);
    }
    let day_ms = 86_400_000;
    table.change(&revoke("next", 5, Some(100_000)), 30_000 + day_ms);
    let names = [
        ("user/long", Some(50)),
        ("user/next", Some(100_000)),
        ("user/suspended", Some(10)),
        ("user/unknown", None),
    ];
    let expected = names.map(|(name, end_s)| (name.to_owned(), end_s));
    assert_eq!(left(&table), expected);
}

#[test]
fn serial_numbers_of_expired_certificates_are_dropped() {
    let revoke = |serial: &str, not_after_s| RevocationChange::RevokeSerial {
        serial: serial.parse().unwrap(),
        not_after_s,
    };
    let mut table = RevocationTable::default();
    table.change(&revoke("01", 10), 10_000);
    let day_ms = 86_400_000;
    table.change(&revoke("02", 20), 10_000 + day_ms);
    assert_eq!(table.counts(), (2, 0));
    table.change(&revoke("03", 100_000), 11_000 + day_ms);
    let left: Vec<String> = table
        .serials()
        .map(|(serial, _)| serial.to_string())
        .collect();
    assert_eq!(left, ["02", "03"]);
}

#[test]
fn a_serial_number_has_one_text() {
    assert_eq!(Serial::from_bytes(&[0, 0, 0x0a, 0xff]).to_string(), "0aff");
    assert_eq!(Serial::from_bytes(&[]).to_string(), "00");
    assert_eq!(Serial::from_bytes(&[0]), "00".parse().unwrap());
    for text in ["", "0", "0A", "000a", "xx", "0a0", &"11".repeat(21)] {
        text.parse::<Serial>().unwrap_err();
    }
}
