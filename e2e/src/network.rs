//! Hosts in network namespaces, joined by a bridge in a further one. There is no route to any other
//! network. Needs root.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Prefix of all namespaces of this program; the process id follows.
const PREFIX: &str = "lge2e";
const DEVICE: &str = "eth0";

/// The hosts and their bridge; removed when dropped.
pub(crate) struct Network {
    hosts: Vec<u8>,
}

/// The missing requirement for namespaces, if there is one.
pub(crate) fn lacks_namespaces() -> Option<String> {
    if let Err(error) = run("ip", &["-V"]) {
        return Some(format!("ip does not run (iproute2): {error:#}"));
    }
    let tried = run("unshare", &["--net", "--mount", "true"]);
    let why = tried.err()?;
    Some(format!("network and mount namespaces need root: {why:#}"))
}

/// An address in the network of the hosts.
pub(crate) const fn address(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 78, number)
}

/// Name of a host's namespace.
pub(crate) fn namespace(host: u8) -> String {
    format!("{PREFIX}{}-{host}", std::process::id())
}

fn hub() -> String {
    format!("{PREFIX}{}-hub", std::process::id())
}

fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Moves this thread, and those that it starts, into the namespace of a host.
pub(crate) fn enter(host: u8) -> anyhow::Result<()> {
    let path = path(&namespace(host));
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {}", path.display()))
}

/// Listens on the loopback address of a host, at any port.
pub(crate) fn listen(host: u8) -> anyhow::Result<TcpListener> {
    // A socket stays in the namespace of the thread that opens it.
    let opened = std::thread::spawn(move || {
        enter(host)?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        TcpListener::bind(address).with_context(|| format!("cannot listen on {address}"))
    });
    let Ok(listener) = opened.join() else {
        bail!("the thread that opens a socket panicked");
    };
    listener
}

impl Network {
    /// Makes the namespaces of hosts, each with the address of its number.
    pub(crate) fn create(hosts: &[u8]) -> anyhow::Result<Self> {
        remove_left_over()?;
        let hub = hub();
        // From here on a failure removes what was made.
        let network = Self {
            hosts: hosts.to_vec(),
        };
        run("ip", &["netns", "add", &hub])?;
        let in_hub = |words: &[&str]| run("ip", &[&["-n", &hub], words].concat());
        in_hub(&["link", "add", "br0", "type", "bridge"])?;
        in_hub(&["link", "set", "br0", "up"])?;
        for host in hosts {
            let (own, port) = (namespace(*host), format!("p{host}"));
            run("ip", &["netns", "add", &own])?;
            let peer = ["peer", "name", DEVICE, "netns", &own];
            in_hub(&[&["link", "add", &port, "type", "veth"], &peer[..]].concat())?;
            in_hub(&["link", "set", &port, "master", "br0", "up"])?;
            for device in ["lo", DEVICE] {
                run("ip", &["-n", &own, "link", "set", device, "up"])?;
            }
            set_address(*host, *host)?;
        }
        Ok(network)
    }
}

/// Replaces the address of a host.
pub(crate) fn set_address(host: u8, number: u8) -> anyhow::Result<()> {
    let own = namespace(host);
    run(
        "ip",
        &[
            "-n", &own, "-4", "addr", "flush", "dev", DEVICE, "scope", "global",
        ],
    )?;
    let added = format!("{}/24", address(number));
    run("ip", &["-n", &own, "addr", "add", &added, "dev", DEVICE]).map(drop)
}

impl Drop for Network {
    fn drop(&mut self) {
        let hosts = self.hosts.iter().map(|host| namespace(*host));
        for namespace in hosts.chain([hub()]) {
            // One that remains is removed by the next run.
            drop(remove(&namespace));
        }
    }
}

/// Removes a namespace and ends the processes in it.
fn remove(namespace: &str) -> anyhow::Result<()> {
    let own = std::process::id().to_string();
    let pids = run("ip", &["netns", "pids", namespace])?;
    for pid in pids.lines().filter(|pid| *pid != own) {
        // It may have ended since.
        drop(run("kill", &["-KILL", pid]));
    }
    run("ip", &["netns", "del", namespace]).map(drop)
}

/// Removes the namespaces of runs that were killed.
fn remove_left_over() -> anyhow::Result<()> {
    for line in run("ip", &["netns", "list"])?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let rest = name.strip_prefix(PREFIX);
        let Some((id, _)) = rest.and_then(|rest| rest.split_once('-')) else {
            continue;
        };
        let is_number = id.parse::<u32>().is_ok();
        if is_number && !Path::new("/proc").join(id).exists() {
            remove(name)?;
        }
    }
    Ok(())
}

/// Runs a tool of the system, and returns its output.
fn run(program: &str, args: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {program}"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
