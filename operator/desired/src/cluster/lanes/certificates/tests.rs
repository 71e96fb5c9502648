use lograft_crds::{LogCluster, LogClusterSpec};

use super::*;
use crate::{Observed, View};

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;

fn cluster() -> ValidCluster {
    let mut raw = LogCluster::new("events", LogClusterSpec::default());
    raw.metadata.namespace = Some("prod".to_owned());
    raw.metadata.uid = Some("u".to_owned());
    ValidCluster::new(&raw).unwrap()
}

fn root(id: &str, from: i64, until: i64) -> CertificateSeen {
    CertificateSeen {
        fingerprint: format!("fp-{id}"),
        own_key: id.to_owned(),
        issuer_key: id.to_owned(),
        not_before: from,
        not_after: until,
        ..CertificateSeen::default()
    }
}

/// What stands after `plan` was carried out at `now`.
fn carried_out(observed: &Observed, plan: &Certificates, now: i64) -> Observed {
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
            let certificates = [(ROOTS.to_owned(), ca.clone())].into();
            let roots = vec![ca];
            after.secrets.insert(
                name,
                SecretSeen {
                    certificates,
                    roots,
                    stranger: None,
                },
            );
            continue;
        }
        let ca = after.secrets[&names.ca()].certificates[ROOTS].clone();
        let old = after.secrets.remove(&name).unwrap_or_default();
        let mut fresh = SecretSeen::default();
        for field in &secret.keep {
            fresh
                .certificates
                .insert(field.clone(), old.certificates[field].clone());
        }
        for leaf in &secret.issue {
            let seen = CertificateSeen {
                fingerprint: format!("{} at {now}", leaf.field),
                issuer_key: ca.own_key.clone(),
                not_before: now - CERTIFICATE_BACKDATE_SECONDS,
                not_after: until.min(ca.not_after),
                names: leaf.hosts.iter().chain([&leaf.uri]).cloned().collect(),
                ..CertificateSeen::default()
            };
            fresh.certificates.insert(leaf.field.clone(), seen);
        }
        fresh.roots.push(ca);
        let kept = old
            .roots
            .iter()
            .filter(|r| secret.keep_roots.contains(&r.fingerprint));
        fresh.roots.extend(kept.cloned());
        after.secrets.insert(name, fresh);
    }
    after
}

fn at(mut observed: Observed, now: i64) -> Observed {
    observed.now_unix_seconds = now;
    observed
}

fn settled() -> Observed {
    let world = at(Observed::default(), NOW);
    carried_out(&world, &plan(&cluster(), &world, 3), NOW)
}

fn issued(plan: &Certificates) -> usize {
    plan.secrets.iter().map(|secret| secret.issue.len()).sum()
}

#[test]
fn everything_is_issued_once() {
    let world = at(Observed::default(), NOW);
    let first = plan(&cluster(), &world, 3);
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
    let again = plan(&cluster(), &settled(), 3);
    assert_eq!(again.secrets, Vec::new());
    // A third of 2160 hours before the end, counted with the hour before the issue.
    assert_eq!(again.next, Some(NOW + 90 * DAY - (90 * DAY + 3600) / 3));
}

#[test]
fn leaves_are_renewed_before_their_end_by_the_same_ca() {
    let late = at(settled(), NOW + 61 * DAY);
    let found = plan(&cluster(), &late, 3);
    assert_eq!((found.secrets.len(), issued(&found)), (3, 5));
    assert!(
        found
            .secrets
            .iter()
            .all(|s| !s.is_ca && s.keep_roots.is_empty())
    );
    assert_eq!(found.expired, None);
    let too_late = plan(&cluster(), &at(settled(), NOW + 91 * DAY), 3);
    assert!(too_late.expired.is_some());
}

#[test]
fn a_new_pod_gets_one_and_the_others_keep_theirs() {
    let found = plan(&cluster(), &settled(), 4);
    assert_eq!((found.secrets.len(), issued(&found)), (1, 1));
    assert_eq!(found.secrets[0].keep.len(), 3);
    let fewer = plan(&cluster(), &settled(), 2);
    assert_eq!((issued(&fewer), fewer.secrets[0].keep.len()), (0, 2));
}

#[test]
fn a_lost_ca_leaves_its_root_trusted_until_nothing_of_its_is_in_use() {
    let names = ClusterNames("events");
    let mut world = at(settled(), NOW + DAY);
    world.secrets.remove(&names.ca());
    let first = plan(&cluster(), &world, 3);
    assert!(first.secrets[0].is_ca);
    assert_eq!((first.secrets.len(), issued(&first)), (4, 0));
    let old = format!("fp-ca@{NOW}");
    assert!(
        first.secrets[1..]
            .iter()
            .all(|s| s.keep_roots == [old.clone()])
    );

    // The new root has to reach every node before anything of its is shown.
    let world = carried_out(&world, &first, NOW + DAY);
    let waiting = plan(&cluster(), &world, 3);
    assert_eq!(waiting.secrets, Vec::new());
    let then = NOW + DAY + ROOT_SETTLE_MAX_SECONDS;
    assert_eq!(waiting.next, Some(then));
    let world = at(world, then);
    let reissue = plan(&cluster(), &world, 3);
    assert_eq!(issued(&reissue), 5);
    assert!(
        reissue
            .secrets
            .iter()
            .all(|s| s.keep_roots == [old.clone()])
    );

    // The old root goes when what it signed has been replaced everywhere.
    let world = carried_out(&world, &reissue, then);
    assert_eq!(plan(&cluster(), &world, 3).secrets, Vec::new());
    let world = at(world, then + ROOT_SETTLE_MAX_SECONDS);
    let last = plan(&cluster(), &world, 3);
    assert_eq!((last.secrets.len(), issued(&last)), (3, 0));
    assert!(last.secrets.iter().all(|s| s.keep_roots.is_empty()));
    let world = carried_out(&world, &last, then + ROOT_SETTLE_MAX_SECONDS);
    assert_eq!(plan(&cluster(), &world, 3).secrets, Vec::new());
}

#[test]
fn a_secret_lost_or_without_a_key_is_made_again() {
    let names = ClusterNames("events");
    let mut world = settled();
    world.secrets.remove(&names.admin_tls());
    let node = world.secrets.get_mut(&names.node_tls()).unwrap();
    node.certificates.remove("events-1.crt");
    let found = plan(&cluster(), &world, 3);
    assert_eq!((found.secrets.len(), issued(&found)), (2, 2));
    assert!(found.secrets.iter().all(|s| !s.is_ca));
}

/// A view of three nodes, each with what it has loaded.
fn view(world: &Observed, roots: &[String], is_current: bool) -> View {
    let names = ClusterNames("events");
    let ends = ends(world, &names.node_tls());
    let node = |at: i32| NodeSeen {
        id: u64::try_from(at).unwrap() + 1,
        name: names.pod(at),
        state: NodeState::Active,
        reachable: true,
        version: "0.1.0".to_owned(),
        disk_total_bytes: 0,
        disk_free_bytes: 0,
        disk_low: false,
        leaders: 0,
        meta: None,
        lag_entries: 0,
        certificate_not_after: ends
            .get(&format!("{}.crt", names.pod(at)))
            .map(|end| end - i64::from(!is_current)),
        roots: roots.to_vec(),
    };
    View {
        nodes: (0..3).map(node).collect(),
        ..View::default()
    }
}

#[test]
fn a_node_that_has_not_loaded_its_files_holds_a_new_ca_up() {
    let names = ClusterNames("events");
    let mut world = at(settled(), NOW + DAY);
    let old = world.secrets[&names.node_tls()].roots[0]
        .fingerprint
        .clone();
    world.secrets.remove(&names.ca());
    let mut world = carried_out(&world, &plan(&cluster(), &world, 3), NOW + DAY);
    let new = world.secrets[&names.node_tls()].roots[0]
        .fingerprint
        .clone();
    let then = NOW + DAY + ROOT_SETTLE_MAX_SECONDS;

    world = at(world, then);
    world.view = Some(view(&world, std::slice::from_ref(&old), true));
    let held = plan(&cluster(), &world, 3);
    assert_eq!(issued(&held), 0);
    assert!(held.wait.is_some());
    let both = [new, old];
    world.view = Some(view(&world, &both, true));
    let reissue = plan(&cluster(), &world, 3);
    assert_eq!((issued(&reissue), reissue.wait.clone()), (5, None));

    // The old root goes only when every node serves with its new certificate.
    world = carried_out(&world, &reissue, then);
    world = at(world, then + ROOT_SETTLE_MAX_SECONDS);
    world.view = Some(view(&world, &both, false));
    assert_eq!(plan(&cluster(), &world, 3).secrets, Vec::new());
    world.view = Some(view(&world, &both, true));
    let last = plan(&cluster(), &world, 3);
    assert!(last.secrets.len() == 3 && last.secrets.iter().all(|s| s.keep_roots.is_empty()));
}
