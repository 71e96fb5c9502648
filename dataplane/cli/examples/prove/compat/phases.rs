//! The phases of the upgrade.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::time::sleep;

use super::cli::Version;
use super::features::{transfer_meta, use_all};
use super::load::{Probe, Soak};
use super::nodes::{Cluster, Programs};
use super::report::Report;
use super::{groups, large_records};

const PROBE_TOPIC: &str = "probe";
/// Topics of the soaks: one partition, and several.
const SOAK_TOPICS: [(&str, &str, Version); 2] = [
    ("soak-one", "1", Version::Old),
    ("soak-many", "6", Version::New),
];
/// The nodes that are replaced first. The others keep the old version in the mixed state.
const FIRST: [usize; 2] = [0, 1];
const SECOND: [usize; 2] = [2, 3];
/// The node that is decommissioned and joins again.
const SPARE: usize = 3;
/// Option of `topic create` that sets a topic's settings.
const SETTING_OPTION: &str = "--config";
const MIXED_POLL_INTERVAL: Duration = Duration::from_secs(5);

/// The arguments of a run.
pub(super) struct Upgrade<'a> {
    pub(super) folder: &'a Path,
    pub(super) programs: Programs,
    pub(super) rate: u32,
    pub(super) mixed: Duration,
}

/// Feature levels in status; 0 where it has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Levels {
    finalized: u64,
    /// Lowest level of a node.
    lowest: u64,
}

struct Run<'a> {
    folder: PathBuf,
    cluster: Cluster,
    probe: Probe,
    soaks: Vec<Soak>,
    report: &'a mut Report,
}

impl Upgrade<'_> {
    /// Runs all phases.
    pub(super) async fn run(&self, report: &mut Report) -> Result<()> {
        let mut run = self.start(report).await?;
        let old_levels = run.levels().await?;
        run.roll_and_use("roll up: first half", &FIRST, Version::New, "a")
            .await?;
        run.mixed(self.mixed).await?;
        run.roll_and_use("roll up: second half", &SECOND, Version::New, "c")
            .await?;
        let new_levels = run.levels().await?;
        ensure!(
            new_levels.finalized == old_levels.finalized,
            "level {} was finalized by itself",
            new_levels.finalized
        );
        run.roll_and_use("roll back", &[3, 1, 0, 2], Version::Old, "d")
            .await?;
        run.roll_and_use("roll up again", &[1, 2, 3, 0], Version::New, "e")
            .await?;
        run.finalize(new_levels).await?;
        if new_levels.lowest >= large_records::LEVEL {
            run.use_groups().await?;
        }
        if new_levels.lowest > old_levels.lowest {
            run.refuse_old().await?;
        } else {
            run.report.note(format!(
                "both versions have feature level {}: no node had to be refused",
                new_levels.lowest
            ));
        }
        run.finish().await
    }

    /// The cluster of the old version, its topics, and the load.
    async fn start<'a>(&self, report: &'a mut Report) -> Result<Run<'a>> {
        report.begin("old version: create, load, features");
        let mut cluster = Cluster::create(self.folder, &self.programs).await?;
        let old = cluster.cli(Version::Old);
        let create = ["topic", "create", PROBE_TOPIC, "-p", "1", "-r", "3"];
        old.run(&create).await?;
        for (topic, partitions, _) in SOAK_TOPICS {
            let create = ["topic", "create", topic, "-p", partitions, "-r", "3"];
            old.run(&create).await?;
        }
        // On a slow machine a new partition may not have a leader yet.
        cluster.wait_healthy().await?;
        let mut soaks = Vec::new();
        for (topic, _, version) in SOAK_TOPICS {
            let cli = cluster.cli(version);
            soaks.push(Soak::start(&cli, topic, self.rate, self.folder)?);
        }
        let probe = Probe::start(&cluster.client, PROBE_TOPIC).await?;
        for version in Version::BOTH {
            use_all(&cluster, version, 0, "start").await?;
        }
        let mut run = Run {
            folder: self.folder.to_owned(),
            cluster,
            probe,
            soaks,
            report,
        };
        run.end_phase()?;
        Ok(run)
    }
}

impl Run<'_> {
    fn end_phase(&mut self) -> Result<()> {
        self.cluster.check_running()?;
        self.soaks.iter_mut().try_for_each(Soak::check_running)?;
        self.report.end(Some(self.probe.take_longest_pause()));
        Ok(())
    }

    /// Features at these nodes, through one command line and the other in turn.
    async fn use_features(&mut self, nodes: &[usize], round: &str) -> Result<()> {
        for (at, version) in nodes.iter().zip(Version::BOTH.into_iter().cycle()) {
            use_all(&self.cluster, version, *at, round).await?;
        }
        Ok(())
    }

    /// Features at all nodes, through both command lines.
    async fn use_features_everywhere(&mut self, round: &str) -> Result<()> {
        for at in 0..self.cluster.nodes.len() {
            for version in Version::BOTH {
                use_all(&self.cluster, version, at, round).await?;
            }
        }
        Ok(())
    }

    /// Replaces the program of these nodes one by one, and uses all features.
    async fn roll_and_use(
        &mut self,
        phase: &str,
        nodes: &[usize],
        version: Version,
        round: &str,
    ) -> Result<()> {
        self.report.begin(phase);
        for at in nodes {
            self.cluster.roll(*at, version).await?;
        }
        self.end_phase()?;
        self.report.begin(&format!("{phase}: features"));
        self.use_features(nodes, round).await?;
        self.end_phase()
    }

    /// Nodes of both versions side by side.
    async fn mixed(&mut self, duration: Duration) -> Result<()> {
        let started = Instant::now();
        self.report.begin("mixed: features at all nodes");
        self.use_features_everywhere("mixed").await?;
        if self.levels().await?.finalized < large_records::LEVEL {
            large_records::are_refused(&self.cluster).await?;
            groups::are_refused(&self.cluster).await?;
        }
        self.end_phase()?;

        self.report.begin("mixed: metadata led by each version");
        for (number, leader) in [SECOND[0], FIRST[0]].into_iter().enumerate() {
            transfer_meta(&self.cluster, Version::BOTH[number], leader).await?;
            let round = format!("meta{number}");
            self.use_features(&[FIRST[1], SECOND[1]], &round).await?;
        }
        self.end_phase()?;

        self.report
            .begin("mixed: kill -9 of a node of each version");
        for at in [FIRST[1], SECOND[0]] {
            self.cluster.kill(at).await?;
        }
        self.end_phase()?;

        self.report.begin("mixed: decommission, recommission, join");
        self.replace_spare(Version::New).await?;
        self.replace_spare(Version::Old).await?;
        self.end_phase()?;

        self.report.begin("mixed: held");
        while started.elapsed() < duration {
            sleep(MIXED_POLL_INTERVAL).await;
            self.cluster.wait_healthy().await?;
        }
        self.end_phase()
    }

    /// Decommissions the spare node, cancels it, decommissions it again, wipes its disk, and lets
    /// it join with this version.
    async fn replace_spare(&mut self, version: Version) -> Result<()> {
        let name = self.cluster.nodes[SPARE].name.clone();
        let id = self.cluster.node_id(SPARE).await?.to_string();
        let (old, new) = (
            self.cluster.cli_at(Version::Old, FIRST[0]),
            self.cluster.cli_at(Version::New, SECOND[0]),
        );
        old.run(&["cluster", "decommission", &id, "--no-wait"])
            .await?;
        // A node without replicas is removed before the decommission can be cancelled.
        let cancel = ["cluster", "recommission", &id];
        if new.run_unless("NODE_DECOMMISSIONED", &cancel).await? {
            self.cluster.wait_healthy().await?;
        }
        new.run(&["cluster", "decommission", &id, "--timeout", "100s"])
            .await
            .with_context(|| format!("cannot empty {name}"))?;
        self.cluster.terminate(SPARE).await?;
        std::fs::remove_dir_all(&self.cluster.nodes[SPARE].data_dir)?;
        self.cluster.start(SPARE, version).await?;
        use_all(&self.cluster, version, SPARE, &format!("joined{id}")).await
    }

    /// The levels according to status.
    async fn levels(&self) -> Result<Levels> {
        let status = self.cluster.status().await?;
        let nodes = status["nodes"].as_array().context("no nodes in status")?;
        let members = nodes.iter().filter(|node| node["state"] != "removed");
        let levels = members.map(|node| node["feature_level"].as_u64().unwrap_or(0));
        Ok(Levels {
            finalized: status["finalized_level"].as_u64().unwrap_or(0),
            lowest: levels.min().context("no members in status")?,
        })
    }

    /// Finalizes the level of the new version and uses what it brings.
    async fn finalize(&mut self, levels: Levels) -> Result<()> {
        self.report.begin("finalize");
        let new = self.cluster.cli(Version::New);
        if !new.help_has(&["cluster"], "finalize").await? {
            self.report
                .note("the new version has no `lograft cluster finalize`: not tested".to_owned());
            return self.end_phase();
        }
        new.run(&["cluster", "finalize"]).await?;
        let reached = self.levels().await?;
        ensure!(
            reached.finalized == levels.lowest,
            "finalized level must be {}, got {}",
            levels.lowest,
            reached.finalized
        );
        self.report.note(format!(
            "finalized feature level: {} before, {} after",
            levels.finalized, reached.finalized
        ));
        self.use_settings().await?;
        if reached.finalized >= large_records::LEVEL {
            large_records::are_kept(&self.cluster, &self.folder).await?;
        }
        for at in 0..self.cluster.nodes.len() {
            use_all(&self.cluster, Version::New, at, "finalized").await?;
        }
        for at in [FIRST[0], SECOND[0]] {
            self.cluster.kill(at).await?;
        }
        use_all(&self.cluster, Version::Old, 0, "finalized").await?;
        self.end_phase()
    }

    /// Topic settings, which level 1 brings.
    async fn use_settings(&mut self) -> Result<()> {
        let new = self.cluster.cli(Version::New);
        if !new.help_has(&["topic", "create"], SETTING_OPTION).await? {
            self.report
                .note("the new version has no topic settings: not tested".to_owned());
            return Ok(());
        }
        let setting = [SETTING_OPTION, "batch.max.bytes=65536"];
        let create = ["topic", "create", "settings", "-p", "1"];
        new.run(&[create.as_slice(), &setting].concat()).await?;
        let described = new
            .json(&["topic", "describe", "settings", "--json"])
            .await?;
        ensure!(
            described.to_string().contains("batch.max.bytes"),
            "the setting is not described: {described}"
        );
        new.run(&["topic", "delete", "settings"]).await?;
        Ok(())
    }

    /// A consumer group while each node is restarted in turn.
    async fn use_groups(&mut self) -> Result<()> {
        self.report.begin("consumer group: each node restarted");
        let text = groups::survive_restarts(&mut self.cluster).await?;
        self.report.note(text);
        self.end_phase()
    }

    /// A node of the old version must refuse to start. The others continue: the loads run on.
    async fn refuse_old(&mut self) -> Result<()> {
        self.report.begin("old version refused after finalizing");
        self.cluster.stop(SPARE).await?;
        let said = self.cluster.start_refused(SPARE, Version::Old).await?;
        self.report.note(format!("the old version refused: {said}"));
        self.cluster.start(SPARE, Version::New).await?;
        use_all(&self.cluster, Version::New, FIRST[0], "refused").await?;
        self.end_phase()
    }

    /// Verifies all acknowledged records and stops the nodes.
    async fn finish(self) -> Result<()> {
        let Self {
            folder: _,
            cluster,
            probe,
            soaks,
            report,
        } = self;
        report.begin("verify");
        let mut acked = probe.verify(&cluster.client, PROBE_TOPIC).await?;
        for soak in soaks {
            acked += soak.verify().await?;
        }
        report.note(format!(
            "{acked} acknowledged records, each found exactly once"
        ));
        let final_status: Value = cluster.status().await?;
        ensure!(
            final_status["healthy"] == true,
            "not healthy: {final_status}"
        );
        cluster.finish().await?;
        report.end(None);
        Ok(())
    }
}
