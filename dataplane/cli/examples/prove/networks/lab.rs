//! A cluster in namespaces under load, and the checks after a fault.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::net::{Fault, Net};
use super::nodes::{Nodes, Shape};
use super::watch::{Watch, Watched};
use super::writers::{Writer, Written};

/// Topics of the load, each with one partition.
pub(super) const TOPICS: [&str; 3] = ["net-0", "net-1", "net-2"];
/// Time after the end of a fault in which all nodes see each other alive by gossip.
const AGREEMENT_MAX: Duration = Duration::from_secs(10);
/// Time of load before the fault.
const WARM_UP: Duration = Duration::from_secs(3);
/// Time in which the load goes on during a fault that leaves a majority connected. Far above an
/// election: it tells a pause from a standstill.
pub(super) const GOES_ON_MAX: Duration = Duration::from_secs(20);

/// The figures of a case.
#[derive(Debug, Default)]
pub(super) struct Shown {
    pub(super) records: u64,
    pub(super) longest_pause: Duration,
    pub(super) agreed_after: Option<Duration>,
    pub(super) new_terms: Option<u64>,
    /// Nodes that a node did not see alive by gossip, and how often.
    pub(super) unseen: BTreeMap<String, u64>,
    /// Further figures.
    pub(super) notes: Vec<String>,
}

/// The cluster, its network and its load.
pub(super) struct Lab {
    pub(super) nodes: Nodes,
    pub(super) writers: Vec<Writer>,
    /// A writer to a leader that was cut off: its pause is that of the fault.
    pub(super) cut_off: Option<Writer>,
    pub(super) notes: Vec<String>,
    watch: Option<Watch>,
    /// Dropped last: it removes the namespaces.
    pub(super) net: Net,
}

impl Lab {
    /// Starts a cluster without load.
    pub(super) async fn quiet(
        net: Net,
        program: &Path,
        folder: &Path,
        shape: Shape,
    ) -> Result<Self> {
        Ok(Self {
            nodes: Nodes::create(program, folder, shape).await?,
            net,
            writers: Vec::new(),
            cut_off: None,
            notes: Vec::new(),
            watch: None,
        })
    }

    /// Starts a cluster, its load and the watch.
    pub(super) async fn start(
        net: Net,
        program: &Path,
        folder: &Path,
        shape: Shape,
    ) -> Result<Self> {
        let mut lab = Self::quiet(net, program, folder, shape).await?;
        for topic in TOPICS {
            lab.nodes.create_topic(topic).await?;
        }
        lab.nodes.wait_healthy().await?;
        lab.watch = Some(Watch::start(&lab.nodes).await?);
        for topic in TOPICS {
            lab.writers
                .push(Writer::start(&lab.nodes.client, topic).await?);
        }
        tokio::time::sleep(WARM_UP).await;
        lab.goes_on().await?;
        Ok(lab)
    }

    /// Waits until every writer has another acknowledgement.
    pub(super) async fn goes_on(&self) -> Result<()> {
        let waits = self
            .writers
            .iter()
            .map(|writer| writer.wait_ack(GOES_ON_MAX));
        futures_util::future::try_join_all(waits).await.map(drop)
    }

    /// Sets faults for a time, in which the load must go on. Fails if at the end of that time a
    /// topic does not take records.
    pub(super) async fn hold(&self, faults: &[Fault], time: Duration) -> Result<()> {
        Net::set_faults(faults)?;
        tokio::time::sleep(time).await;
        self.goes_on().await
    }

    /// Ends all faults, and checks what must be true afterwards.
    pub(super) async fn finish(mut self) -> Result<Shown> {
        Net::set_faults(&[])?;
        let agreed_after = self.nodes.gossip_agrees(AGREEMENT_MAX).await?;
        self.goes_on().await?;
        let mut all = Written::default();
        for writer in self.writers.drain(..) {
            let written = writer.finish(&self.nodes.client).await?;
            all.records += written.records;
            all.longest_pause = all.longest_pause.max(written.longest_pause);
        }
        if let Some(writer) = self.cut_off.take() {
            all.records += writer.finish(&self.nodes.client).await?.records;
        }
        self.nodes.wait_healthy().await?;
        let watched = self.end_watch().await?;
        self.notes
            .push(format!("{} samples", watched.samples.answers));
        ensure!(all.records > 0, "no record was acknowledged");
        self.nodes.stop().await?;
        Ok(Shown {
            records: all.records,
            longest_pause: all.longest_pause,
            agreed_after: Some(agreed_after),
            new_terms: Some(watched.new_terms),
            unseen: watched.samples.unseen,
            notes: self.notes,
        })
    }

    async fn end_watch(&mut self) -> Result<Watched> {
        let watch = self.watch.take().context("nothing was watched")?;
        watch.finish(&self.nodes).await
    }
}
