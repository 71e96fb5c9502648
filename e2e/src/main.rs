//! Cases against a real API server, and with real pods where there are nodes.
//!
//! ```text
//! cargo run -p lograft-e2e -- [api|pods] [part of a name]
//! ```
//!
//! `api` needs only an API server: that of `KUBECONFIG`, else one started from the programs in
//! `KUBEBUILDER_ASSETS`. The operator runs as a separate process (`cargo build -p
//! lograft-operator`, or `LOGRAFT_OPERATOR`). Cases with nodes as processes need root and the API
//! server that this program starts (`cargo build -p lograft-node -p lograft`, or `LOGRAFT_NODE` and
//! `LOGRAFT_CLI`).
//!
//! `pods` needs nodes, helm, and images that the nodes can run: `LOGRAFT_E2E_OPERATOR_IMAGE` and
//! `LOGRAFT_E2E_NODE_IMAGE`, each `REPOSITORY:TAG`. The operator is installed from the chart.
//! `LOGRAFT_E2E_NODE_DOWN` and `_UP` are commands that stop and restart the Kubernetes node named
//! by `$NODE`; `LOGRAFT_E2E_SIZED_DISKS=1` means that volumes have exactly the size of their claims
//! and grow with them; `LOGRAFT_E2E_POD_NETWORK=1` means that this machine reaches the addresses of
//! pods; `LOGRAFT_E2E_QUIET_SECONDS` is how long a cluster at rest is watched (60).
//! `LOGRAFT_E2E_AUTHORIZATION_SECONDS` is how long users are served while rules and certificates
//! change (60). `LOGRAFT_E2E_FORMER_OPERATOR_IMAGE` and `LOGRAFT_E2E_FORMER_NODE_IMAGE` are images
//! of the former version.
//!
//! `LOGRAFT_E2E_CURL_IMAGE` is an image with `curl` and `sh`, and `LOGRAFT_E2E_NETWORK_POLICY=1`
//! means that NetworkPolicies are enforced.
//!
//! Without `api` or `pods` all cases run. A case that cannot run is listed with the missing
//! requirement, and the exit code is 2: it does not count as passed.

mod assets;
mod cases;
mod chart;
mod curl_pod;
mod kinds;
mod load;
mod network;
mod node_log;
mod node_processes;
mod nodes;
mod operator;
mod pod_client;
mod sandbox;
mod user_load;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use cases::{API, ApiCase, PODS, PodCase};
use chart::Chart;
use kube::Client;
use nodes::Nodes;
use operator::Operator;
use sandbox::Sandbox;

/// Some cases could not run, and none failed.
const NOT_RUN: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    let kind = words
        .first()
        .filter(|word| ["api", "pods"].contains(&word.as_str()));
    let kind = kind.cloned().inspect(|_| drop(words.remove(0)));
    let part = words.first().cloned().unwrap_or_default();
    let mut tally = Tally::default();
    if let Err(error) = run(kind.as_deref(), &part, &mut tally).await {
        println!("aborted: {error:#}");
        tally.not_run += 1;
    }
    let Tally {
        passed,
        failed,
        not_run,
    } = tally;
    println!("{passed} passed, {failed} failed, {not_run} not run");
    match (failed, not_run) {
        (0, 0) => ExitCode::SUCCESS,
        (0, _) => ExitCode::from(NOT_RUN),
        _ => ExitCode::FAILURE,
    }
}

/// Results of the cases.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    not_run: usize,
}

impl Tally {
    fn not_run(&mut self, name: &str, why: &str) {
        self.not_run += 1;
        println!("not run {name:<52} {why}");
    }

    fn none_run(&mut self, names: impl Iterator<Item = &'static str>, why: &str) {
        for name in names {
            self.not_run(name, why);
        }
    }

    /// Records and prints the result of a case, with diagnostics if it failed.
    async fn take(
        &mut self,
        name: &str,
        started: Instant,
        result: anyhow::Result<()>,
        sandbox: &Sandbox,
    ) {
        let took = started.elapsed().as_secs_f32();
        for figure in sandbox.figures() {
            println!("        {figure}");
        }
        match result {
            Ok(()) => {
                self.passed += 1;
                println!("ok      {name:<52} {took:.1} s");
            }
            Err(error) => {
                self.failed += 1;
                println!("FAILED  {name:<52} {took:.1} s\n  {error:#}");
                println!("{}", sandbox.describe_failure().await);
            }
        }
    }
}

async fn run(kind: Option<&str>, part: &str, tally: &mut Tally) -> anyhow::Result<()> {
    let api: Vec<&ApiCase> = API.iter().filter(|case| case.name.contains(part)).collect();
    let pods: Vec<&PodCase> = PODS
        .iter()
        .filter(|case| case.name.contains(part))
        .collect();
    let api = if kind == Some("pods") {
        Vec::new()
    } else {
        api
    };
    let pods = if kind == Some("api") {
        Vec::new()
    } else {
        pods
    };
    anyhow::ensure!(
        !api.is_empty() || !pods.is_empty(),
        "no case matches this name"
    );
    let is_local = std::env::var_os("KUBECONFIG").is_none();
    let server = if is_local {
        match assets::Server::start().await {
            Ok(server) => Some(server),
            Err(why) => {
                let why = format!("{why:#}");
                let names = api.iter().map(|case| case.name);
                tally.none_run(names.chain(pods.iter().map(|case| case.name)), &why);
                return Ok(());
            }
        }
    } else {
        None
    };
    let client = match &server {
        Some(server) => server.client().await?,
        None => sandbox::connect().await?,
    };
    sandbox::install_crds(&client).await?;
    if !api.is_empty() {
        let kubeconfig = server.as_ref().map(assets::Server::kubeconfig);
        run_api(&client, &api, kubeconfig, tally).await?;
    }
    if !pods.is_empty() {
        run_pods(&client, &pods, is_local, tally).await?;
    }
    if let Some(server) = server {
        server.stop().await?;
    }
    Ok(())
}

/// One operator process manages the clusters of all cases, each in a separate namespace.
async fn run_api(
    client: &Client,
    cases: &[&ApiCase],
    kubeconfig: Option<std::path::PathBuf>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    if let Some(place) = chart::installed(client).await? {
        let why = format!("another operator already runs in namespace {place}");
        tally.none_run(cases.iter().map(|case| case.name), &why);
        return Ok(());
    }
    let (mut sandboxes, mut runnable) = (Vec::new(), Vec::new());
    for case in cases {
        if let Some(lack) = (case.lacks)() {
            tally.not_run(case.name, &lack);
            continue;
        }
        runnable.push(case);
        sandboxes.push(Sandbox::without_pods(client.clone(), case.name).await?);
    }
    if runnable.is_empty() {
        return Ok(());
    }
    let namespaces: Vec<String> = sandboxes
        .iter()
        .map(|sandbox| sandbox.namespace.clone())
        .collect();
    let nodes = Nodes::start().await?;
    let mut operator = Operator::new(&namespaces, kubeconfig, nodes)?;
    operator.start()?;
    for (case, sandbox) in runnable.iter().zip(&sandboxes) {
        let started = Instant::now();
        let result = (case.run)(sandbox, &mut operator).await;
        let has_failed = result.is_err();
        tally.take(case.name, started, result, sandbox).await;
        if has_failed {
            println!(
                "--- last log lines of the operator\n{}",
                operator.last_lines()
            );
        }
    }
    operator.stop().await?;
    for sandbox in sandboxes {
        sandbox.remove().await?;
    }
    Ok(())
}

/// The operator is installed from the chart; each case has a namespace that is deleted afterwards.
async fn run_pods(
    client: &Client,
    cases: &[&PodCase],
    is_local: bool,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    let chart = match Chart::new(client, is_local).await {
        Ok(chart) => chart,
        Err(lack) => {
            let why = format!("{lack:#}");
            tally.none_run(cases.iter().map(|case| case.name), &why);
            return Ok(());
        }
    };
    chart.install().await.context("cannot install the chart")?;
    for case in cases {
        if let Some(lack) = (case.lacks)() {
            tally.not_run(case.name, &lack);
            continue;
        }
        let sandbox = Sandbox::new(client.clone(), case.name).await?;
        let started = Instant::now();
        let result = (case.run)(&sandbox, &chart).await;
        let has_failed = result.is_err();
        tally.take(case.name, started, result, &sandbox).await;
        if has_failed {
            println!(
                "--- last log lines of the operator\n{}",
                chart.last_lines().await
            );
        }
        // A failed case may have left the operator stopped.
        chart.start().await?;
        sandbox.remove().await?;
    }
    chart.remove().await
}
