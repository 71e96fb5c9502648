use lograft_crds::{LogCluster, LogClusterSpec};

use super::*;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn cluster() -> ValidCluster {
    let mut raw = LogCluster::new("events", LogClusterSpec::default());
    raw.metadata.namespace = Some("prod".to_owned());
    raw.metadata.uid = Some("u".to_owned());
    ValidCluster::new(&raw).unwrap()
}

fn root(id: &str, from: i64, until: i64) -> ObservedCertificate {
    ObservedCertificate {
        fingerprint: format!("fp-{id}"),
        own_key: id.to_owned(),
        issuer_key: id.to_owned(),
        not_before: from,
        not_after: until,
        ..ObservedCertificate::default()
    }
}

/// The observation after `plan` was carried out at `now`.
fn carried_out(observed: &Observed, plan: &Planned, now: i64) -> Observed {
    let names = ClusterNames("events");
    let mut after = observed.clone();
    for secret in &plan.secrets {
        let name = secret.object.metadata.name.clone().unwrap();
        let until = now + secret.life_seconds;
        if secret.is_ca {
            let ca = root(
                &format!("ca@{now}"),
                now - CERTIFICATE_BACKDATE_SECONDS,
                until,
            );
            let certificates = [(ROOTS_FIELD.to_owned(), ca.clone())].into();
            let roots = vec![ca];
            after.secrets.insert(
                name,
                ObservedSecret {
                    certificates,
                    roots,
                },
            );
            continue;
        }
        let ca = after.secrets[&names.ca()].certificates[ROOTS_FIELD].clone();
        let old = after.secrets.remove(&name).unwrap_or_default();
        let mut fresh = ObservedSecret::default();
        for field in &secret.keep {
            fresh
                .certificates
                .insert(field.clone(), old.certificates[field].clone());
        }
        for leaf in &secret.issue {
            let seen = ObservedCertificate {
                fingerprint: format!("{} at {now}", leaf.field),
                issuer_key: ca.own_key.clone(),
                not_before: now - CERTIFICATE_BACKDATE_SECONDS,
                not_after: until.min(ca.not_after),
                names: leaf.hosts.iter().chain([&leaf.uri]).cloned().collect(),
                ..ObservedCertificate::default()
            };
            fresh.certificates.insert(leaf.field.clone(), seen);
        }
        fresh.roots.push(ca);
        let known: Vec<_> = observed.secrets.values().flat_map(|it| &it.roots).collect();
        let kept = secret.keep_roots.iter();
        let kept = kept.map(|root| known.iter().find(|it| it.fingerprint == *root).unwrap());
        fresh.roots.extend(kept.map(|root| (*root).clone()));
        after.secrets.insert(name, fresh);
    }
    after
}

/// The plan of the lane in a form that is easy to compare.
struct Planned {
    secrets: Vec<SecretPlan>,
    waits: Vec<Wait>,
    next_check: Option<i64>,
}

impl Planned {
    fn expired(&self) -> Option<&String> {
        self.waits.iter().find_map(|wait| match wait {
            Wait::UnderWay(Progress::ExpiredCertificate { name }) => Some(name),
            _ => None,
        })
    }

    fn is_waiting_for_root(&self) -> bool {
        self.waits.contains(&Wait::RootLoaded)
    }
}

fn planned(cluster: &ValidCluster, observed: &Observed, pods: i32) -> Planned {
    let TimedLane { lane, next_check } = plan(cluster, observed, pods);
    let secrets = lane.actions.into_iter().map(|action| match action {
        Action::WriteSecret(secret) => secret,
        other => panic!("not a Secret: {other:?}"),
    });
    Planned {
        secrets: secrets.collect(),
        waits: lane.waits,
        next_check,
    }
}

fn at(mut observed: Observed, now: i64) -> Observed {
    observed.now_unix_seconds = now;
    observed
}

fn stable() -> Observed {
    let observed = at(Observed::default(), NOW);
    carried_out(&observed, &planned(&cluster(), &observed, 3), NOW)
}

fn issued(plan: &Planned) -> usize {
    plan.secrets.iter().map(|secret| secret.issue.len()).sum()
}

#[test]
fn everything_is_issued_once() {
    let observed = at(Observed::default(), NOW);
    let first = planned(&cluster(), &observed, 3);
    assert!(first.secrets[0].is_ca);
    assert_eq!((first.secrets.len(), issued(&first)), (4, 5));
    let uris: Vec<_> = first
        .secrets
        .iter()
        .flat_map(|s| &s.issue)
        .map(|l| &l.uri)
        .collect();
    assert_eq!(
        uris[1],
        "spiffe://lograft.io/ns/prod/cluster/events/node/events-1"
    );
    assert_eq!(
        uris[3],
        "spiffe://lograft.io/ns/prod/cluster/events/operator"
    );
    assert_eq!(
        uris[4],
        "spiffe://lograft.io/ns/prod/cluster/events/user/admin"
    );
    let again = planned(&cluster(), &stable(), 3);
    assert_eq!(again.secrets, Vec::new());
    // A third of 2160 hours before the end, counted with the hour before the issue.
    assert_eq!(
        again.next_check,
        Some(NOW + 90 * DAY - (90 * DAY + 3600) / 3)
    );
}

#[test]
fn leaves_are_renewed_before_their_end_by_the_same_ca() {
    let late = at(stable(), NOW + 61 * DAY);
    let found = planned(&cluster(), &late, 3);
    assert_eq!((found.secrets.len(), issued(&found)), (3, 5));
    assert!(
        found
            .secrets
            .iter()
            .all(|s| !s.is_ca && s.keep_roots.is_empty())
    );
    assert_eq!(found.expired(), None);
    let too_late = planned(&cluster(), &at(stable(), NOW + 91 * DAY), 3);
    assert!(too_late.expired().is_some());
}

#[test]
fn a_new_pod_gets_a_certificate_and_the_others_keep_theirs() {
    let found = planned(&cluster(), &stable(), 4);
    assert_eq!((found.secrets.len(), issued(&found)), (1, 1));
    assert_eq!(found.secrets[0].keep.len(), 3);
    let fewer = planned(&cluster(), &stable(), 2);
    assert_eq!((issued(&fewer), fewer.secrets[0].keep.len()), (0, 2));
}

#[test]
fn the_root_of_a_lost_ca_is_trusted_while_its_certificates_are_in_use() {
    let names = ClusterNames("events");
    let mut observed = at(stable(), NOW + DAY);
    observed.secrets.remove(&names.ca());
    let first = planned(&cluster(), &observed, 3);
    assert!(first.secrets[0].is_ca);
    assert_eq!((first.secrets.len(), issued(&first)), (4, 0));
    let old = format!("fp-ca@{NOW}");
    assert!(
        first.secrets[1..]
            .iter()
            .all(|s| s.keep_roots == [old.clone()])
    );

    // The new root reaches every node before it issues anything.
    let observed = carried_out(&observed, &first, NOW + DAY);
    let waiting = planned(&cluster(), &observed, 3);
    assert_eq!(waiting.secrets, Vec::new());
    let then = NOW + DAY + ROOT_SETTLE_MAX_SECONDS;
    assert_eq!(waiting.next_check, Some(then));
    let observed = at(observed, then);
    let reissue = planned(&cluster(), &observed, 3);
    assert_eq!(issued(&reissue), 5);
    assert!(
        reissue
            .secrets
            .iter()
            .all(|s| s.keep_roots == [old.clone()])
    );

    // The old root is removed when everything that it signed has been replaced.
    let observed = carried_out(&observed, &reissue, then);
    assert_eq!(planned(&cluster(), &observed, 3).secrets, Vec::new());
    let observed = at(observed, then + ROOT_SETTLE_MAX_SECONDS);
    let last = planned(&cluster(), &observed, 3);
    assert_eq!((last.secrets.len(), issued(&last)), (3, 0));
    assert!(last.secrets.iter().all(|s| s.keep_roots.is_empty()));
    let observed = carried_out(&observed, &last, then + ROOT_SETTLE_MAX_SECONDS);
    assert_eq!(planned(&cluster(), &observed, 3).secrets, Vec::new());
}

#[test]
fn a_deleted_secret_or_key_is_issued_again() {
    let names = ClusterNames("events");
    let mut observed = stable();
    observed.secrets.remove(&names.admin_tls());
    let node = observed.secrets.get_mut(&names.node_tls()).unwrap();
    node.certificates.remove("events-1.crt");
    let found = planned(&cluster(), &observed, 3);
    assert_eq!((found.secrets.len(), issued(&found)), (2, 2));
    assert!(found.secrets.iter().all(|s| !s.is_ca));
}

/// A description of three nodes, each with the roots that it has loaded.
fn view(observed: &Observed, roots: &[String], is_current: bool) -> ClusterView {
    let names = ClusterNames("events");
    let expiries = expiries(observed, &names.node_tls());
    let node = |at: i32| ObservedNode {
        version: "0.1.0".to_owned(),
        certificate_not_after: expiries
            .get(&format!("{}.crt", names.pod(at)))
            .map(|expiry| expiry - i64::from(!is_current)),
        roots: roots.to_vec(),
        ..ObservedNode::member(u64::try_from(at).unwrap() + 1, names.pod(at))
    };
    ClusterView {
        nodes: (0..3).map(node).collect(),
        ..ClusterView::default()
    }
}

#[test]
fn a_new_ca_waits_for_nodes_that_have_not_loaded_their_files() {
    let names = ClusterNames("events");
    let mut observed = at(stable(), NOW + DAY);
    let old = observed.secrets[&names.node_tls()].roots[0]
        .fingerprint
        .clone();
    observed.secrets.remove(&names.ca());
    let mut observed = carried_out(&observed, &planned(&cluster(), &observed, 3), NOW + DAY);
    let new = observed.secrets[&names.node_tls()].roots[0]
        .fingerprint
        .clone();
    let then = NOW + DAY + ROOT_SETTLE_MAX_SECONDS;

    observed = at(observed, then);
    observed.view = Some(view(&observed, std::slice::from_ref(&old), true));
    let held = planned(&cluster(), &observed, 3);
    assert_eq!(issued(&held), 0);
    assert!(held.is_waiting_for_root());
    let both = [new, old];
    observed.view = Some(view(&observed, &both, true));
    let reissue = planned(&cluster(), &observed, 3);
    assert_eq!(
        (issued(&reissue), reissue.is_waiting_for_root()),
        (5, false)
    );

    // The old root is removed only when every node serves with its new certificate.
    observed = carried_out(&observed, &reissue, then);
    observed = at(observed, then + ROOT_SETTLE_MAX_SECONDS);
    observed.view = Some(view(&observed, &both, false));
    assert_eq!(planned(&cluster(), &observed, 3).secrets, Vec::new());
    observed.view = Some(view(&observed, &both, true));
    let last = planned(&cluster(), &observed, 3);
    assert!(last.secrets.len() == 3 && last.secrets.iter().all(|s| s.keep_roots.is_empty()));
}

/// The observation some seconds after the CA was lost at `NOW + DAY`, without the nodes' Secret.
fn without_ca_and_nodes(seconds: i64) -> Observed {
    let names = ClusterNames("events");
    let mut observed = at(stable(), NOW + DAY);
    observed.secrets.remove(&names.ca());
    let first = planned(&cluster(), &observed, 3);
    let mut observed = carried_out(&observed, &first, NOW + DAY);
    observed.secrets.remove(&names.node_tls());
    at(observed, NOW + DAY + seconds)
}

fn secret<'a>(plan: &'a Planned, name: &str) -> Option<&'a SecretPlan> {
    plan.secrets.iter().find(|secret| secret.name() == name)
}

#[test]
fn the_bundle_of_a_lost_secret_has_the_roots_of_the_others() {
    let names = ClusterNames("events");
    let observed = without_ca_and_nodes(8);
    let found = planned(&cluster(), &observed, 3);
    let nodes = secret(&found, &names.node_tls()).unwrap();
    assert_eq!(nodes.issue.len(), 3);
    assert_eq!(nodes.keep_roots, [format!("fp-ca@{NOW}")]);
    // The other Secrets stay as they are, and so does all in the next step.
    assert_eq!(found.secrets.len(), 1);
    let observed = carried_out(&observed, &found, NOW + DAY + 8);
    assert_eq!(planned(&cluster(), &observed, 3).secrets, []);
}

#[test]
fn a_lost_certificate_waits_while_its_node_runs_and_others_do_not_trust_the_new_root() {
    let names = ClusterNames("events");
    let mut observed = without_ca_and_nodes(8);
    let old = [format!("fp-ca@{NOW}")];
    observed.view = Some(view(&observed, &old, true));
    let held = planned(&cluster(), &observed, 3);
    assert!(held.secrets.is_empty() && held.is_waiting_for_root());
    let settled = NOW + DAY + ROOT_SETTLE_MAX_SECONDS;
    assert_eq!(held.next_check, Some(settled));
    // A node that is away cannot start without it.
    let mut away = observed.clone();
    away.view.as_mut().unwrap().nodes[1].reachable = false;
    let found = planned(&cluster(), &away, 3);
    assert_eq!(secret(&found, &names.node_tls()).unwrap().issue.len(), 3);
    // One of a client waits in the same way, and its bundle does not.
    let mut client = without_ca_and_nodes(8);
    client.secrets.remove(&names.admin_tls());
    client.view = Some(view(&client, &old, true));
    assert_eq!(planned(&cluster(), &client, 3).secrets, []);
    let both = [format!("fp-ca@{}", NOW + DAY), old[0].clone()];
    client.view = Some(view(&client, &both, true));
    let found = planned(&cluster(), &client, 3);
    assert_eq!((found.secrets.len(), issued(&found)), (2, 4));
    assert!(found.secrets.iter().all(|it| it.keep_roots == old));
    // It does not wait longer than clients need.
    let found = planned(&cluster(), &at(observed, settled), 3);
    let nodes = secret(&found, &names.node_tls()).unwrap();
    assert_eq!((nodes.issue.len(), &nodes.keep_roots[..]), (3, &old[..]));
}

#[test]
fn nothing_is_issued_before_all_bundles_have_the_new_root() {
    let names = ClusterNames("events");
    let mut observed = at(stable(), NOW + DAY);
    observed.secrets.remove(&names.ca());
    observed.secrets.remove(&names.node_tls());
    let tampered = observed.secrets.get_mut(&names.admin_tls()).unwrap();
    tampered.certificates.clear();
    let first = planned(&cluster(), &observed, 3);
    assert_eq!((first.secrets.len(), issued(&first)), (3, 0));
    let observed = carried_out(&observed, &first, NOW + DAY);
    let second = planned(&cluster(), &observed, 3);
    assert_eq!((second.secrets.len(), issued(&second)), (2, 4));
    let old = [format!("fp-ca@{NOW}")];
    assert!(second.secrets.iter().all(|it| it.keep_roots == old));
}

#[test]
fn a_second_ca_that_is_lost_leaves_its_root_only_if_it_issued_something() {
    let names = ClusterNames("events");
    let twice = |users: &[String]| {
        let mut observed = at(stable(), NOW + DAY);
        observed.user_issuers.extend(users.iter().cloned());
        for minutes in [0, 1] {
            let now = NOW + DAY + 60 * minutes;
            observed.secrets.remove(&names.ca());
            observed = at(observed, now);
            let plan = planned(&cluster(), &observed, 3);
            assert_eq!(issued(&plan), 0);
            observed = carried_out(&observed, &plan, now);
        }
        let roots = observed.secrets[&names.node_tls()].roots.iter();
        let roots: Vec<i64> = roots.map(|root| root.not_before + 3600 - NOW).collect();
        assert_eq!(planned(&cluster(), &observed, 3).secrets, []);
        roots
    };
    assert_eq!(twice(&[]), [DAY + 60, 0]);
    // A LogUser has got a certificate in between.
    let issuer = format!("ca@{}", NOW + DAY);
    assert_eq!(twice(&[issuer]), [DAY + 60, DAY, 0]);
}

#[test]
fn a_root_stays_while_a_log_user_has_a_certificate_of_it() {
    let names = ClusterNames("events");
    let mut observed = at(stable(), NOW + DAY);
    observed.user_issuers.insert(format!("ca@{NOW}"));
    observed.secrets.remove(&names.ca());
    let mut now = NOW + DAY;
    for _ in 0..4 {
        observed = at(observed, now);
        observed = carried_out(&observed, &planned(&cluster(), &observed, 3), now);
        now += ROOT_SETTLE_MAX_SECONDS;
    }
    let roots = |observed: &Observed| observed.secrets[&names.node_tls()].roots.len();
    assert_eq!(roots(&observed), 2);
    observed.user_issuers.clear();
    let last = carried_out(&observed, &planned(&cluster(), &observed, 3), now);
    assert_eq!(roots(&last), 1);
}

#[test]
fn a_certificate_that_is_due_while_the_ca_is_replaced_serves_until_the_new_root_is_trusted() {
    let names = ClusterNames("events");
    let late = NOW + 61 * DAY;
    let mut observed = at(stable(), late);
    observed.secrets.remove(&names.ca());
    let first = planned(&cluster(), &observed, 3);
    assert_eq!((first.secrets.len(), issued(&first)), (4, 0));
    let observed = carried_out(&observed, &first, late);
    let waiting = planned(&cluster(), &observed, 3);
    let settled = late + ROOT_SETTLE_MAX_SECONDS;
    assert_eq!(
        (waiting.secrets.len(), waiting.next_check),
        (0, Some(settled))
    );
    assert_eq!(issued(&planned(&cluster(), &at(observed, settled), 3)), 5);
    // One that ends before that time cannot wait.
    let mut ending = at(stable(), NOW + 90 * DAY - 60);
    ending.secrets.remove(&names.ca());
    let first = planned(&cluster(), &ending, 3);
    let kept = first.secrets.iter().map(|secret| secret.keep.len());
    assert_eq!(kept.collect::<Vec<_>>(), [0, 3, 1, 1]);
    let ending = carried_out(&ending, &first, NOW + 90 * DAY - 60);
    assert_eq!(issued(&planned(&cluster(), &ending, 3)), 5);
}
