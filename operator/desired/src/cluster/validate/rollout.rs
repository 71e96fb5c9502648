//! Rollouts of a LogCluster: its place in the fleet, its maintenance windows, and the last rollout
//! by its status.

use std::collections::BTreeMap;

use lograft_crds::limits::{ROLLOUT_WAVE_MAX_COUNT, WINDOW_MAX_SECONDS, WINDOW_MIN_SECONDS};
use lograft_crds::log_cluster::{Blocked, MaintenanceWindow, RolloutStatus};
use lograft_crds::names::{ANNOTATION_ROLLOUT_NOW, ANNOTATION_ROLLOUT_WAVE};
use lograft_crds::{LogCluster, conditions::ConditionType};

use super::{ValidationError, out_of_bounds};
use crate::cluster::windows::Window;

/// Rollouts of a LogCluster, by its metadata and its stored status.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RolloutRecord {
    /// Its place in the order of the fleet.
    pub wave: i32,
    /// Whether its rollouts wait for nothing.
    pub is_urgent: bool,
    /// Whether it was ready by the stored status.
    pub was_ready: bool,
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Waits of the operator, by the stored status.
    pub blocked: Vec<Blocked>,
    /// The last rollout, by the stored status.
    pub stored: Option<RolloutStatus>,
}

impl RolloutRecord {
    pub(super) fn new(cluster: &LogCluster) -> Result<Self, ValidationError> {
        let annotation = |name: &str| cluster.metadata.annotations.as_ref()?.get(name);
        let status = cluster.status.as_ref();
        let mut conditions = status.iter().flat_map(|status| &status.conditions);
        let is_ready =
            conditions.any(|it| it.type_ == ConditionType::Ready.name() && it.status == "True");
        Ok(Self {
            wave: annotation(ANNOTATION_ROLLOUT_WAVE).map_or(Ok(0), |text| wave(text))?,
            is_urgent: annotation(ANNOTATION_ROLLOUT_NOW).is_some_and(|text| text == "true"),
            was_ready: is_ready,
            generation: cluster.metadata.generation,
            blocked: status
                .map(|status| status.blocked.clone())
                .unwrap_or_default(),
            stored: status.and_then(|status| status.rollout.clone()),
        })
    }
}

/// The wave of a LogCluster with these annotations, also of one that is invalid.
pub fn wave_of_annotations(annotations: &BTreeMap<String, String>) -> i32 {
    let text = annotations.get(ANNOTATION_ROLLOUT_WAVE);
    text.and_then(|text| wave(text).ok()).unwrap_or(0)
}

fn wave(text: &str) -> Result<i32, ValidationError> {
    let max = ROLLOUT_WAVE_MAX_COUNT;
    let parsed = text.parse().ok();
    parsed
        .filter(|wave| (-max..=max).contains(wave))
        .ok_or_else(|| {
            let bound = format!("an integer between -{max} and {max}");
            out_of_bounds("the annotation lograft.io/rollout-wave", &text, &bound)
        })
}

pub(super) fn windows(windows: &[MaintenanceWindow]) -> Result<Vec<Window>, ValidationError> {
    windows.iter().map(window).collect()
}

fn window(window: &MaintenanceWindow) -> Result<Window, ValidationError> {
    let field = "spec.update.maintenanceWindows.start";
    let start_second = second_of_day(&window.start)
        .ok_or_else(|| out_of_bounds(field, &window.start, &"a time like 02:30"))?;
    let field = "spec.update.maintenanceWindows.duration";
    let duration_seconds = super::seconds(field, &window.duration)?;
    if !(WINDOW_MIN_SECONDS..=WINDOW_MAX_SECONDS).contains(&duration_seconds) {
        return Err(out_of_bounds(
            field,
            &window.duration.0,
            &"between 5m and 24h",
        ));
    }
    Ok(Window {
        days: window.days.clone(),
        start_second,
        duration_seconds,
    })
}

fn second_of_day(text: &str) -> Option<i64> {
    let (hours, minutes) = text.split_once(':')?;
    let number = |text: &str, max: i64| {
        let parsed = text.parse().ok().filter(|_| text.len() == 2);
        parsed.filter(|number| (0..max).contains(number))
    };
    Some(number(hours, 24)? * 3600 + number(minutes, 60)? * 60)
}
