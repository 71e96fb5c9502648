//! The image of the nodes. It never goes to a version below the running one unless the spec allows
//! it, and the operator's default version does not move clusters that exist: `helm upgrade` without
//! the former values would otherwise replace all nodes of all clusters by another version.

use k8s_openapi::api::core::v1::PodTemplateSpec;
use lograft_crds::names::CONTAINER;

use crate::Settings;
use crate::cluster::action::Event;
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::view::{ClusterView, FeatureLevel};
use crate::cluster::wait::Intervention;
use crate::version::Version;

/// Feature levels by minor version. A newer version has at least the last level.
const LEVELS: [((u64, u64), FeatureLevel); 3] = [
    ((0, 1), FeatureLevel(0)),
    ((0, 2), FeatureLevel(1)),
    ((0, 3), FeatureLevel(2)),
];

/// The image, and what has to be said about it.
pub(crate) struct ImageChoice {
    /// The image to run.
    pub(crate) image: String,
    /// Version for a spec that names none.
    pub(crate) default_version: String,
    /// Why the requested image is not run.
    pub(crate) refusal: Option<Intervention>,
    /// A move of the default version.
    pub(crate) event: Option<Event>,
}

/// Chooses the image of the nodes.
pub(crate) fn choose(
    cluster: &ValidCluster,
    observed: &Observed,
    settings: &Settings,
) -> ImageChoice {
    let spec = &cluster.spec;
    let repository = &settings.image_repository;
    let former = former_version(cluster, observed, settings);
    let running = running_version(cluster, observed);
    let default_version = moved_version(&former, settings, running.as_ref());
    let version = spec.version.as_ref().unwrap_or(&default_version);
    let requested = spec.image.clone();
    let requested = requested.unwrap_or_else(|| format!("{repository}:{version}"));
    let accepted = cluster.image.clone().or_else(|| live_image(observed));
    // An image that is kept is no downgrade, whatever its tag says.
    let is_kept = accepted.as_ref() == Some(&requested);
    let refused = refusal(cluster, observed, &requested).filter(|_| !is_kept);
    if let (Some(refused), Some(image)) = (refused, accepted) {
        return ImageChoice {
            image,
            default_version: former,
            refusal: Some(refused),
            event: None,
        };
    }
    let has_moved = spec.version.is_none() && spec.image.is_none() && default_version != former;
    let event = has_moved.then(|| Event {
        reason: "MovingToDefaultVersion",
        text: format!("moving from version {former} to {default_version}, the operator's default"),
        is_warning: false,
        about: None,
    });
    ImageChoice {
        image: requested,
        default_version,
        refusal: None,
        event,
    }
}

/// The version for a spec that names none, so far: from status, or from the image of a cluster that
/// a former operator made.
fn former_version(cluster: &ValidCluster, observed: &Observed, settings: &Settings) -> String {
    let live = || {
        let is_default = cluster.spec.version.is_none() && cluster.spec.image.is_none();
        let image = live_image(observed).filter(|_| is_default)?;
        let tag = image.strip_prefix(&settings.image_repository)?;
        Some(tag.strip_prefix(':')?.to_owned())
    };
    let stored = cluster.default_version.clone().or_else(live);
    stored.unwrap_or_else(|| settings.version.clone())
}

/// The version for a spec that names none, from now on. A former one that not all nodes have
/// reached can be taken back: it may be the one that does not start.
fn moved_version(former: &str, settings: &Settings, running: Option<&Version>) -> String {
    let is_older = match (Version::parse(&settings.version), Version::parse(former)) {
        (Some(new), Some(former)) => new < former && running.is_none_or(|running| new < *running),
        _ => false,
    };
    if settings.upgrade_clusters && !is_older {
        settings.version.clone()
    } else {
        former.to_owned()
    }
}

/// Why the nodes must not run this image, if its tag is a version below the running one. An image
/// without such a tag is accepted: nodes that are too old refuse to start.
///
/// The running version is the lowest that a node runs: before the last node is replaced, the way
/// back is open.
fn refusal(cluster: &ValidCluster, observed: &Observed, requested: &str) -> Option<Intervention> {
    let requested = Version::parse(tag(requested)?)?;
    let running = running_version(cluster, observed)?;
    let view = observed.view.as_ref();
    let finalized = view
        .map(|view| view.finalized_level)
        .max(cluster.finalized_level);
    let finalized = finalized.unwrap_or_default();
    let is_too_old = level(&requested).is_some_and(|level| level < finalized);
    let is_below = requested < running;
    let is_allowed = cluster.spec.update.allow_downgrade && !is_too_old;
    (is_below && !is_allowed).then(|| Intervention::DowngradeRefused {
        running: running.to_string(),
        requested: requested.to_string(),
        finalized: is_too_old.then_some(finalized),
    })
}

fn running_version(cluster: &ValidCluster, observed: &Observed) -> Option<Version> {
    let members = observed.view.iter().flat_map(ClusterView::members);
    let reached = members.filter(|node| node.reachable);
    let lowest = reached
        .filter_map(|node| Version::parse(&node.version))
        .min();
    lowest.or_else(|| Version::parse(cluster.lowest_version.as_ref()?))
}

fn level(version: &Version) -> Option<FeatureLevel> {
    let mut levels = LEVELS.iter();
    let found = levels.find(|(minor, _)| *minor == version.minor())?;
    Some(found.1)
}

/// The level of the program in an image, by its tag. An image whose tag is no version has at least
/// the newest level that is known here.
pub(crate) fn assumed_level(image: &str) -> FeatureLevel {
    let [.., (_, newest)] = LEVELS;
    let version = tag(image).and_then(Version::parse);
    version
        .and_then(|version| level(&version))
        .unwrap_or(newest)
}

/// The lowest level of a program that may read the configuration. Before a node has reported the
/// finalized level, that of the images that pods may be made from: a new cluster has one, and its
/// nodes shall not restart once they have reported.
pub(crate) fn lowest_level(
    cluster: &ValidCluster,
    observed: &Observed,
    image: &str,
) -> FeatureLevel {
    if let Some(finalized) = cluster.finalized_level {
        return finalized;
    }
    let live = live_image(observed);
    let images = [Some(image), cluster.image.as_deref(), live.as_deref()];
    let levels = images.into_iter().flatten().map(assumed_level);
    levels.min().unwrap_or_default()
}

/// The tag of an image, if it has one and no digest.
fn tag(image: &str) -> Option<&str> {
    let (_, tag) = image.rsplit_once(':')?;
    // The colon before a port is followed by a path.
    (!tag.contains('/') && !image.contains('@')).then_some(tag)
}

/// The image of the nodes in the existing StatefulSet.
pub(crate) fn live_image(observed: &Observed) -> Option<String> {
    let set = observed.stateful_set.as_ref()?.spec.as_ref()?;
    image_of(&set.template)
}

/// The image of the nodes in a template.
pub(crate) fn image_of(template: &PodTemplateSpec) -> Option<String> {
    let mut containers = template.spec.as_ref()?.containers.iter();
    let node = containers.find(|container| container.name == CONTAINER)?;
    node.image.clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of the data plane is the truth.
    #[test]
    fn levels_are_those_of_the_data_plane() {
        let path = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../dataplane/docs/upgrades.md"
        );
        let text = std::fs::read_to_string(path).unwrap();
        let rows = text.lines().filter_map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let version = Version::parse(cells.next()?)?;
            Some((version.minor(), FeatureLevel(cells.next()?.parse().ok()?)))
        });
        assert_eq!(rows.collect::<Vec<_>>(), LEVELS);
    }

    #[test]
    fn the_level_of_an_image_is_that_of_its_tag() {
        for (image, level) in [
            ("node:0.1.7", 0),
            ("node:0.2.0", 1),
            ("node:v0.3.1-rc.1", 2),
            ("node:9.0.0", 2),
            ("node:mine", 2),
            ("node@sha256:ab", 2),
        ] {
            assert_eq!(assumed_level(image), FeatureLevel(level), "{image}");
        }
    }

    #[test]
    fn tags_are_found() {
        assert_eq!(tag("ghcr.io/lograft/node:0.3.0"), Some("0.3.0"));
        assert_eq!(tag("localhost:5000/node:0.3.0"), Some("0.3.0"));
        for none in [
            "node",
            "localhost:5000/node",
            "node:0.3.0@sha256:ab",
            "node@sha256:ab",
        ] {
            assert_eq!(tag(none), None, "{none}");
        }
    }
}
