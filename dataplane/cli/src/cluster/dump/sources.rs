//! Where the state of each node is read: its health port, and the files of a dev cluster.

use std::fs::{self, File};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use lograft_client::admin_wire::DescribeClusterReply;

use super::health_port::page;
use super::scrub;
use crate::contexts_file::ClusterContext;

/// Health port of a node whose configuration sets none.
const HEALTH_PORT: u16 = 9403;
/// The end of a log that is dumped, in bytes.
const LOG_MAX_BYTES: u64 = 1024 * 1024;
/// Maximum size of a configuration file, in bytes.
const CONFIG_MAX_BYTES: u64 = 1024 * 1024;
/// Maximum number of nodes.
const NODES_MAX_COUNT: usize = 1024;

/// A node to read from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct NodeSource {
    /// Name in the archive.
    name: String,
    /// Address of the health port.
    health: Option<String>,
    /// Configuration and log of a node of `lograft dev`.
    config: Option<PathBuf>,
    log: Option<PathBuf>,
}

/// A file for the archive, or why it cannot be read.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) content: Result<String, String>,
}

/// The nodes at these health ports, else those of the dev cluster, else those that the cluster has
/// described.
pub(crate) fn nodes(
    context: &ClusterContext,
    cluster: Option<&DescribeClusterReply>,
    health: &[String],
) -> Vec<NodeSource> {
    let mut nodes: Vec<NodeSource> = if !health.is_empty() {
        let source = |address: &String| NodeSource {
            name: address.replace(['/', ':', '[', ']'], "_"),
            health: Some(address.clone()),
            ..NodeSource::default()
        };
        health.iter().map(source).collect()
    } else if let Some(dir) = &context.dev_data_dir {
        dev_nodes(dir)
    } else if context.endpoints_only {
        Vec::new()
    } else {
        let described = cluster.map(|cluster| cluster.nodes.iter());
        let source = |name: &str, client_address: &str| {
            let (host, _) = client_address.rsplit_once(':')?;
            Some(NodeSource {
                name: name.replace('/', "_"),
                health: Some(format!("{host}:{HEALTH_PORT}")),
                ..NodeSource::default()
            })
        };
        let described = described.into_iter().flatten();
        described
            .filter_map(|node| source(&node.name, &node.client_address))
            .collect()
    };
    nodes.truncate(NODES_MAX_COUNT);
    nodes
}

/// The nodes of the dev cluster in `dir`, by their configuration files.
fn dev_nodes(dir: &Path) -> Vec<NodeSource> {
    let files = fs::read_dir(dir).into_iter().flatten().flatten();
    let mut nodes: Vec<NodeSource> = files
        .filter_map(|file| dev_node(dir, &file.path()))
        .collect();
    nodes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    nodes
}

fn dev_node(dir: &Path, config: &Path) -> Option<NodeSource> {
    if config.extension()? != "yaml" {
        return None;
    }
    let text = read_end(config, CONFIG_MAX_BYTES).ok()?;
    let parsed: serde_yaml::Value = serde_yaml::from_str(&text).ok()?;
    let health = parsed.get("listen")?.get("health")?.as_str()?.to_owned();
    let name = config.file_stem()?.to_str()?.to_owned();
    Some(NodeSource {
        log: Some(dir.join("logs").join(format!("{name}.log"))),
        config: Some(config.to_owned()),
        health: Some(health),
        name,
    })
}

impl NodeSource {
    /// Reads everything that there is of the node.
    pub(crate) async fn read(self) -> Vec<Part> {
        let mut parts = Vec::new();
        let name = |file: &str| format!("nodes/{}/{file}", self.name);
        if let Some(address) = &self.health {
            for (path, file) in [("/readyz", "readyz.txt"), ("/metrics", "metrics.txt")] {
                let content = page(address, path).await;
                let name = name(file);
                parts.push(Part { name, content });
            }
        }
        if let Some(path) = &self.config {
            let content = read_end(path, CONFIG_MAX_BYTES)
                .map_err(|error| error.to_string())
                .and_then(|text| scrub::config(&text).map_err(|error| error.to_string()));
            let name = name("config.yaml");
            parts.push(Part { name, content });
        }
        if let Some(path) = &self.log {
            let content = read_end(path, LOG_MAX_BYTES).map_err(|error| error.to_string());
            let name = name("log.txt");
            parts.push(Part { name, content });
        }
        parts
    }
}

/// The last bytes of a file as text. Starts with a whole line if the file is longer.
fn read_end(path: &Path, max_bytes: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let skipped = file.metadata()?.len().saturating_sub(max_bytes);
    file.seek(SeekFrom::Start(skipped))?;
    let mut bytes = Vec::new();
    file.take(max_bytes).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    if skipped == 0 {
        return Ok(text);
    }
    Ok(text
        .split_once('\n')
        .map_or(String::new(), |(_, whole)| whole.to_owned()))
}

#[cfg(test)]
mod tests {
    use lograft_client::admin_wire::NodeDescription;

    use super::*;

    fn context(endpoints_only: bool) -> ClusterContext {
        ClusterContext {
            endpoints: vec!["a:9400".into()],
            endpoints_only,
            ca: "ca".into(),
            cert: "cert".into(),
            key: "key".into(),
            dev_data_dir: None,
        }
    }

    #[test]
    fn health_ports_are_given_or_those_of_the_nodes() {
        let cluster = DescribeClusterReply {
            nodes: vec![NodeDescription {
                name: "n1".into(),
                client_address: "[::1]:9400".into(),
                ..NodeDescription::default()
            }],
            ..DescribeClusterReply::default()
        };
        let found = nodes(&context(false), Some(&cluster), &[]);
        assert_eq!(found[0].name, "n1");
        assert_eq!(found[0].health.as_deref(), Some("[::1]:9403"));
        assert!(nodes(&context(true), Some(&cluster), &[]).is_empty());
        let given = nodes(&context(true), None, &["h:1".to_owned()]);
        assert_eq!(given[0].name, "h_1");
        assert_eq!(given[0].health.as_deref(), Some("h:1"));
    }

    #[test]
    fn the_end_of_a_log_starts_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::write(&path, "one\ntwo\nthree\n").unwrap();
        assert_eq!(read_end(&path, 100).unwrap(), "one\ntwo\nthree\n");
        assert_eq!(read_end(&path, 8).unwrap(), "three\n");
        assert_eq!(read_end(&path, 3).unwrap(), "");
        assert!(read_end(&dir.path().join("none"), 3).is_err());
    }
}
