//! `lograft cluster dump`: what a bug report needs in one archive, without records and secrets.
//!
//! A cluster that is dumped has a problem, so that a part which cannot be read is noted in the
//! archive and the others are written.

mod archive;
mod health_port;
mod scrub;
mod sources;

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use lograft_client::admin_wire::DescribeClusterReply;
use lograft_client::{Client, ClientError};
use serde::Serialize;
use tokio::time::timeout;

use super::{members, render};
use crate::clock;
use crate::error::CliError;
use crate::global::GlobalArgs;
use crate::output::{StatusLine, plural, print};
use crate::topic;

use archive::Archive;
use sources::NodeSource;

/// Maximum time to wait for one answer of the cluster.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Number of nodes whose health ports are read at the same time.
const NODES_AT_ONCE_COUNT: usize = 8;

/// Options of `lograft cluster dump`.
#[derive(Clone, Debug, Args)]
pub(crate) struct DumpArgs {
    /// Archive to write [default: lograft-dump-TIME.tar.gz]
    #[arg(long, short, value_name = "FILE", value_hint = clap::ValueHint::FilePath)]
    file: Option<PathBuf>,
    /// Health ports to read metrics from [default: port 9403 of each node; of `lograft dev`, all]
    #[arg(long, value_name = "HOST:PORT,...", value_delimiter = ',')]
    health: Vec<String>,
}

/// Index of the archive.
#[derive(Debug, Serialize)]
struct Manifest<'a> {
    /// Format of the archive: 1.
    format: u32,
    created_at: &'a str,
    /// Version of this program.
    version: &'static str,
    os: &'static str,
    arch: &'static str,
    context: ContextJson<'a>,
    files: &'a [String],
    /// Parts that could not be read.
    missing: &'a [Missing],
}

/// The connection, without certificates and keys.
#[derive(Debug, Serialize)]
struct ContextJson<'a> {
    endpoints: &'a [String],
    endpoints_only: bool,
    is_dev: bool,
}

/// A part that could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Missing {
    part: String,
    error: String,
}

/// Writes the archive.
pub(crate) async fn run(args: DumpArgs, global: &GlobalArgs) -> Result<(), CliError> {
    let (_, context) = global.context()?;
    let created_at = clock::format_s(clock::now_s());
    let name = format!("lograft-dump-{}", created_at.replace([':', '-'], ""));
    let path = args.file.unwrap_or_else(|| format!("{name}.tar.gz").into());
    let mut dump = Dump {
        archive: Archive::create(&path, &name)?,
        missing: Vec::new(),
    };
    let mut status = StatusLine::new();
    status.show("reading the cluster");
    let cluster = match timeout(CALL_TIMEOUT, global.connect()).await {
        Ok(Ok(client)) => dump.add_cluster(&client).await?,
        Ok(Err(error)) => {
            dump.miss("cluster", error.line().unwrap_or_default());
            None
        }
        Err(_) => {
            dump.miss("cluster", "no answer in time".to_owned());
            None
        }
    };
    status.show("reading the nodes");
    let sources = sources::nodes(&context, cluster.as_ref(), &args.health);
    if sources.is_empty() {
        let error = "no node is known, or --endpoints-only is set: use --health";
        dump.miss("nodes", error.to_owned());
    }
    dump.add_nodes(sources).await?;
    status.clear();

    let files = dump.archive.files().to_vec();
    let manifest = Manifest {
        format: 1,
        created_at: &created_at,
        version: env!("CARGO_PKG_VERSION"),
        os: std::env::consts::OS,
        arch: std::env::consts::ARCH,
        context: ContextJson {
            endpoints: &context.endpoints,
            endpoints_only: context.endpoints_only,
            is_dev: context.dev_data_dir.is_some(),
        },
        files: &files,
        missing: &dump.missing,
    };
    dump.archive.add_json("manifest.json", &manifest)?;
    dump.archive.finish()?;
    let mut text = format!(
        "{} written: {}\n",
        path.display(),
        plural(files.len() + 1, "file")
    );
    for missing in &dump.missing {
        // Writing to a String does not fail.
        let _ = writeln!(text, "not included: {}: {}", missing.part, missing.error);
    }
    print(&text)
}

/// An archive that is being written.
struct Dump {
    archive: Archive,
    missing: Vec<Missing>,
}

impl Dump {
    fn miss(&mut self, part: &str, error: String) {
        let part = part.to_owned();
        self.missing.push(Missing { part, error });
    }

    /// The result of a call, unless it fails or takes too long.
    async fn call<T>(
        &mut self,
        part: &str,
        call: impl Future<Output = Result<T, ClientError>>,
    ) -> Option<T> {
        let error = match timeout(CALL_TIMEOUT, call).await {
            Ok(Ok(reply)) => return Some(reply),
            Ok(Err(error)) => lograft_proto::error_text::error_chain(&error),
            Err(_) => "no answer in time".to_owned(),
        };
        self.miss(part, error);
        None
    }

    async fn add_cluster(
        &mut self,
        client: &Client,
    ) -> Result<Option<DescribeClusterReply>, CliError> {
        let admin = client.admin();
        let cluster = self
            .call("status.json", admin.describe_cluster(false))
            .await;
        if let Some(cluster) = &cluster {
            self.archive
                .add_json("status.json", &render::status_json(cluster))?;
            self.archive
                .add_json("members.json", &members::json(cluster))?;
        }
        if let Some(topics) = self.call("topics.json", admin.list_topics()).await {
            self.archive
                .add_json("topics.json", &topic::list_json(&topics))?;
        }
        Ok(cluster)
    }

    async fn add_nodes(&mut self, sources: Vec<NodeSource>) -> Result<(), CliError> {
        let mut read = futures_util::stream::iter(sources.into_iter().map(NodeSource::read))
            .buffered(NODES_AT_ONCE_COUNT);
        while let Some(parts) = read.next().await {
            for part in parts {
                match part.content {
                    Ok(text) => self
                        .archive
                        .add(&part.name, scrub::text(&text).as_bytes())?,
                    Err(error) => self.miss(&part.name, error),
                }
            }
        }
        Ok(())
    }
}
