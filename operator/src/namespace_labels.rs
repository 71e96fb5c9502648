//! Labels of namespaces, kept for a short time: they decide which LogClusters the objects of a
//! namespace may name.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{Api, Client};
use lograft_crds::limits::{NAMESPACE_LABELS_MAX_COUNT, NAMESPACE_LABELS_MAX_SECONDS};
use tokio::time::Instant;
use tracing::warn;

use crate::error_text::error_text;

/// Status code of a call that the API server does not permit.
const FORBIDDEN: u16 = 403;
/// Time for which an answer of the API server counts.
const KEPT: Duration = Duration::from_secs(NAMESPACE_LABELS_MAX_SECONDS);

type Labels = BTreeMap<String, String>;

/// Labels of namespaces.
pub(crate) struct NamespaceLabels {
    namespaces: Api<Namespace>,
    known: Mutex<BTreeMap<String, (Instant, Option<Labels>)>>,
}

impl NamespaceLabels {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            namespaces: Api::all(client),
            known: Mutex::default(),
        }
    }

    /// The labels of a namespace; none if the operator may not read it, or if it does not exist.
    pub(crate) async fn of(&self, namespace: &str) -> Result<Option<Labels>, kube::Error> {
        let now = Instant::now();
        let known = self.lock().get(namespace).cloned();
        if let Some((_, labels)) = known.filter(|(until, _)| now < *until) {
            return Ok(labels);
        }
        let labels = match self.namespaces.get_metadata_opt(namespace).await {
            Ok(found) => found.map(|found| found.metadata.labels.unwrap_or_default()),
            Err(kube::Error::Api(status)) if status.code == FORBIDDEN => {
                let error = error_text(&kube::Error::Api(status));
                warn!(namespace, error, "cannot read the labels of a namespace");
                None
            }
            Err(error) => return Err(error),
        };
        let mut known = self.lock();
        if known.len() >= NAMESPACE_LABELS_MAX_COUNT {
            known.clear();
        }
        known.insert(namespace.to_owned(), (now + KEPT, labels.clone()));
        Ok(labels)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, (Instant, Option<Labels>)>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
