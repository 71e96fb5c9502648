//! Writes while nothing should be written: what they changed, and by whom.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::ensure;
use k8s_openapi::api::core::v1::Event;
use kube::api::{ApiResource, DynamicObject, ListParams};
use kube::{Api, ResourceExt as _};
use lograft_crds::{LogTopic, LogUser};
use serde_json::{Map, Value};

use super::many::metric;
use crate::kinds::owned_kinds;
use crate::operator::Operator;
use crate::sandbox::Sandbox;

/// Differences that are printed for an object.
const DIFFERENCES_PRINTED: usize = 8;
/// The field of a LogCluster whose entries end by time.
const FORGOTTEN: &str = ".status.recentlyBlocked";
/// Counter of the operator's writes.
const WRITES: &str = "lograft_operator_writes_total";

/// All objects of the kinds that the operator writes, of all namespaces, and its own counter. A
/// Lease is not among them: it is renewed at rest too.
pub(super) struct AtRest {
    objects: BTreeMap<String, Value>,
    /// Values of the counter by kind.
    counted: BTreeMap<String, f64>,
    /// Metrics of the operator.
    pub(super) metrics: String,
}

/// The writes between two times.
pub(super) struct Writes {
    /// In the namespace of the case.
    pub(super) own: Vec<String>,
    /// In those of other cases, whose clusters the same operator manages, and those that forget an
    /// obstacle of a LogCluster.
    others: Vec<String>,
    /// Those that the operator has counted, by kind.
    counted: Vec<String>,
}

impl AtRest {
    pub(super) async fn new(sandbox: &Sandbox, operator: &Operator) -> anyhow::Result<Self> {
        let metrics = operator.metrics().await?;
        let mut objects = BTreeMap::new();
        let more = [
            ApiResource::erase::<LogTopic>(&()),
            ApiResource::erase::<LogUser>(&()),
            ApiResource::erase::<Event>(&()),
        ];
        for kind in owned_kinds().into_iter().chain(more) {
            let api: Api<DynamicObject> = Api::all_with(sandbox.client.clone(), &kind);
            for object in api.list(&ListParams::default()).await? {
                let namespace = object.namespace().unwrap_or_default();
                let key = format!("{namespace}/{} {}", kind.kind, object.name_any());
                objects.insert(key, readable(&kind.kind, object)?);
            }
        }
        let lines = metrics.lines().filter(|line| line.starts_with(WRITES));
        let counted = lines.filter_map(|line| {
            let (name, value) = line.rsplit_once(' ')?;
            Some((name.to_owned(), value.parse().ok()?))
        });
        Ok(Self {
            counted: counted.collect(),
            objects,
            metrics,
        })
    }

    /// Growth of a counter of the operator since `before`.
    pub(super) fn growth(&self, before: &Self, name: &str) -> anyhow::Result<f64> {
        Ok(metric(&self.metrics, name)? - metric(&before.metrics, name)?)
    }

    /// The writes since `before`.
    pub(super) fn since(&self, before: &Self, sandbox: &Sandbox) -> Writes {
        let prefix = format!("{}/", sandbox.namespace);
        // An obstacle that has ended is forgotten some minutes later, by one write.
        let is_own = |it: &String| it.starts_with(&prefix) && !it.contains(FORGOTTEN);
        let (own, others) = self.changes(before).partition(is_own);
        Writes {
            own,
            others,
            counted: self.counted_since(before),
        }
    }

    fn changes(&self, before: &Self) -> impl Iterator<Item = String> {
        let former = before.objects.keys();
        let gone = former.filter(|key| !self.objects.contains_key(*key));
        let gone = gone.map(|key| format!("{key}: deleted"));
        let kept = self.objects.iter().filter_map(|(key, now)| {
            let Some(former) = before.objects.get(key) else {
                return Some(format!("{key}: created"));
            };
            let mut found = Vec::new();
            differences("", former, now, &mut found);
            found.truncate(DIFFERENCES_PRINTED);
            (!found.is_empty()).then(|| format!("{key}: {}", found.join("; ")))
        });
        gone.chain(kept)
    }

    fn counted_since(&self, before: &Self) -> Vec<String> {
        let counters = self.counted.iter().filter_map(|(name, value)| {
            let former = before.counted.get(name).copied().unwrap_or_default();
            (*value > former).then(|| format!("{name}: {former} became {value}"))
        });
        counters.collect()
    }
}

impl Writes {
    /// Prints the writes of other cases beside the result.
    pub(super) fn report_others(&self, sandbox: &Sandbox) {
        for write in self.others.iter().chain(&self.counted) {
            sandbox.report_figure(format!("beside it {write}"));
        }
    }

    /// Fails if the operator has written something of this case, or something that is not seen in
    /// the objects of other cases.
    pub(super) fn check_none(&self) -> anyhow::Result<()> {
        ensure!(self.own.is_empty(), "writes at rest: {:#?}", self.own);
        let has_cause = self.counted.is_empty() || !self.others.is_empty();
        ensure!(has_cause, "writes without a change: {:#?}", self.counted);
        Ok(())
    }
}

/// An object with the time of the last write of each manager in place of its fields.
fn readable(kind: &str, mut object: DynamicObject) -> anyhow::Result<Value> {
    let managed = object.metadata.managed_fields.take().unwrap_or_default();
    let mut object = serde_json::to_value(&object)?;
    if kind == "Secret" {
        // Keys are not printed.
        object["data"] = Value::Null;
    }
    for entry in managed {
        let part = entry.subresource.unwrap_or_default();
        let name = [entry.manager.unwrap_or_default(), part].join("/");
        let time = serde_json::to_value(entry.time)?;
        object["metadata"]["managedBy"][name] = time;
    }
    Ok(object)
}

/// Paths of fields that differ, with both values.
fn differences(path: &str, former: &Value, now: &Value, found: &mut Vec<String>) {
    match (former, now) {
        (Value::Object(former), Value::Object(now)) => {
            let names: BTreeSet<&String> = former.keys().chain(now.keys()).collect();
            for name in names {
                let value = |object: &Map<String, Value>| object.get(name).cloned();
                let (former, now) = (value(former), value(now));
                let path = format!("{path}.{name}");
                differences(
                    &path,
                    &former.unwrap_or_default(),
                    &now.unwrap_or_default(),
                    found,
                );
            }
        }
        (former, now) if former == now => {}
        (former, now) => found.push(format!("{path}: {former} became {now}")),
    }
}
