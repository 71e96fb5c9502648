//! Cases against a real API server: `KUBECONFIG=... cargo run -p lograft-e2e [part of a name]`.
//!
//! Needs the operator's binary (`cargo build -p lograft-operator`), beside this one or named by
//! `LOGRAFT_OPERATOR`. The custom resource is applied from `crds/generated`. Each case has a
//! namespace of its own, which goes at the end; one operator looks after all of them. A kubelet is
//! not needed: no pod has to start.

mod cases;
mod operator;
mod world;

use std::process::ExitCode;
use std::time::Instant;

use cases::{CASES, Case};
use operator::Operator;
use world::World;

/// What a run came to when it could not begin: neither passed nor failed.
const NOT_RUN: u8 = 2;

#[tokio::main]
async fn main() -> ExitCode {
    if std::env::var_os("KUBECONFIG").is_none() {
        println!("not run: KUBECONFIG is not set; it names an API server to run the cases against");
        println!("for one without nodes, see envtest-up.sh of a local Kubernetes, or kind/");
        return ExitCode::from(NOT_RUN);
    }
    match run(std::env::args().nth(1).unwrap_or_default()).await {
        Ok(0) => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            println!("not run: {error:#}");
            ExitCode::from(NOT_RUN)
        }
    }
}

/// The number of cases that failed.
async fn run(wanted: String) -> anyhow::Result<usize> {
    let wanted: Vec<&Case> = CASES.iter().filter(|c| c.name.contains(&wanted)).collect();
    anyhow::ensure!(!wanted.is_empty(), "no case of that name");
    let client = world::connect().await?;
    world::install_crd(&client).await?;
    let mut worlds = Vec::new();
    for case in &wanted {
        worlds.push(World::new(client.clone(), case.name).await?);
    }
    let namespaces: Vec<String> = worlds.iter().map(|world| world.namespace.clone()).collect();
    let mut operator = Operator::new(&namespaces)?;
    operator.start()?;
    let mut failed = 0;
    for (case, world) in wanted.iter().zip(&worlds) {
        let begun = Instant::now();
        let result = (case.run)(world, &mut operator).await;
        let took = begun.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("ok      {:<44} {took:.1} s", case.name),
            Err(error) => {
                failed += 1;
                println!("FAILED  {:<44} {took:.1} s\n  {error:#}", case.name);
                println!("{}", world.story().await);
                println!("--- the operator's last lines\n{}", operator.last_lines());
            }
        }
    }
    operator.stop().await?;
    for world in worlds {
        world.remove().await?;
    }
    println!("{} case(s), {failed} failed", wanted.len());
    Ok(failed)
}
