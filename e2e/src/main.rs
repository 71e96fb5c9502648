//! Cases against a real API server, and with real pods where there are nodes.
//!
//! ```text
//! cargo run -p lograft-e2e -- [api|pods] [part of a name]
//! ```
//!
//! `api` needs an API server alone: that of `KUBECONFIG`, else one that is started from the
//! programs in `KUBEBUILDER_ASSETS`. The operator runs as a process of its own
//! (`cargo build -p lograft-operator`, or `LOGRAFT_OPERATOR`).
//!
//! `pods` needs nodes, helm, and images that the nodes have: `LOGRAFT_E2E_OPERATOR_IMAGE` and
//! `LOGRAFT_E2E_NODE_IMAGE`, each `REPOSITORY:TAG`. The operator is installed from the chart.
//! `LOGRAFT_E2E_NODE_DOWN` and `_UP` are commands that take the node named by `$NODE` away and
//! bring it back; `LOGRAFT_E2E_SIZED_DISKS=1` says that volumes are as large as their claims and
//! grow with them; `LOGRAFT_E2E_QUIET_SECONDS` is how long a cluster at rest is watched (60).
//!
//! Without either word all cases run. One that cannot is named, with what it lacks, and the exit
//! code is 2: it does not count as passed.

mod assets;
mod cases;
mod chart;
mod load;
mod operator;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Context as _;
use cases::{API, ApiCase, PODS, PodCase};
use chart::Chart;
use kube::Client;
use operator::Operator;
use world::World;

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
        println!("broken off: {error:#}");
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

/// How it went.
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

    /// Tells of a case, and its story if it failed.
    async fn take(
        &mut self,
        name: &str,
        begun: Instant,
        result: anyhow::Result<()>,
        world: &World,
    ) {
        let took = begun.elapsed().as_secs_f32();
        for figure in world.figures() {
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
                println!("{}", world.story().await);
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
    anyhow::ensure!(!api.is_empty() || !pods.is_empty(), "no case of that name");
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
        None => world::connect().await?,
    };
    world::install_crd(&client).await?;
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

/// One operator looks after all the cases, each in a namespace of its own.
async fn run_api(
    client: &Client,
    cases: &[&ApiCase],
    kubeconfig: Option<std::path::PathBuf>,
    tally: &mut Tally,
) -> anyhow::Result<()> {
    if let Some(place) = chart::installed(client).await? {
        let why = format!("an operator runs in {place} and would take part");
        tally.none_run(cases.iter().map(|case| case.name), &why);
        return Ok(());
    }
    let mut worlds = Vec::new();
    for case in cases {
        worlds.push(World::without_pods(client.clone(), case.name).await?);
    }
    let namespaces: Vec<String> = worlds.iter().map(|world| world.namespace.clone()).collect();
    let mut operator = Operator::new(&namespaces, kubeconfig)?;
    operator.start()?;
    for (case, world) in cases.iter().zip(&worlds) {
        let begun = Instant::now();
        let result = (case.run)(world, &mut operator).await;
        let has_failed = result.is_err();
        tally.take(case.name, begun, result, world).await;
        if has_failed {
            println!("--- the operator's last lines\n{}", operator.last_lines());
        }
    }
    operator.stop().await?;
    for world in worlds {
        world.remove().await?;
    }
    Ok(())
}

/// The operator is installed from the chart; each case has its namespace for as long as it runs.
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
    chart.install().await.context("installing the chart")?;
    for case in cases {
        if let Some(lack) = (case.lacks)() {
            tally.not_run(case.name, &lack);
            continue;
        }
        let world = World::new(client.clone(), case.name).await?;
        let begun = Instant::now();
        let result = (case.run)(&world, &chart).await;
        let has_failed = result.is_err();
        tally.take(case.name, begun, result, &world).await;
        if has_failed {
            println!(
                "--- the operator's last lines\n{}",
                chart.last_lines().await
            );
        }
        // A case that failed in the middle may have left the operator away.
        chart.start().await?;
        world.remove().await?;
    }
    chart.remove().await
}
