//! Hosts in network namespaces of their own, joined by a bridge in a further one. There is no route
//! to any other network.

use std::fmt::Write as _;
use std::fs::File;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::command::{feed, run};
use super::wire::Wire;
use crate::proc;

/// Prefix of all namespaces that this program makes; the process id follows.
const PREFIX: &str = "lgprove";
/// Number of the load client's host.
pub(super) const CLIENT: u8 = 100;
/// Number of the host that is no member of the cluster.
pub(super) const STRANGER: u8 = 101;

/// A fault of the paths between the hosts.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// Frames from one host to another one are dropped.
    Drop { from: u8, to: u8 },
    /// This part of all frames is dropped.
    LossPercent(u32),
}

/// The hosts and their bridge; removed when dropped.
#[derive(Debug)]
pub(super) struct Net {
    hosts: Vec<u8>,
    wire: Option<Wire>,
}

/// Address of a host.
pub(super) const fn address(host: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 213, 77, host)
}

/// Name of a host's namespace.
pub(super) fn namespace(host: u8) -> String {
    format!("{PREFIX}{}-{host}", std::process::id())
}

fn hub() -> String {
    format!("{PREFIX}{}-hub", std::process::id())
}

fn wire_namespace() -> String {
    format!("{PREFIX}{}-wire", std::process::id())
}

fn path(namespace: &str) -> PathBuf {
    Path::new("/run/netns").join(namespace)
}

/// Moves this thread, and those that it starts, into a namespace.
pub(super) fn enter(namespace: &str) -> Result<()> {
    let path = path(namespace);
    let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network))
        .with_context(|| format!("cannot enter {namespace}"))
}

/// Opens a socket in a host's namespace.
pub(super) fn socket(namespace: String, address: (Ipv4Addr, u16)) -> Result<UdpSocket> {
    let opened = std::thread::spawn(move || {
        enter(&namespace)?;
        UdpSocket::bind(address).context("cannot open a socket")
    });
    let Ok(socket) = opened.join() else {
        bail!("the thread that opens a socket panicked");
    };
    socket
}

impl Net {
    /// Makes the namespaces of `nodes` nodes (hosts 1 to `nodes`), the client and the stranger.
    pub(super) fn create(nodes: u8) -> Result<Self> {
        remove_left_over()?;
        let hosts: Vec<u8> = (1..=nodes).chain([CLIENT, STRANGER]).collect();
        // From here on a failure removes what was made.
        let net = Self { hosts, wire: None };
        let hub = hub();
        run("ip", &format!("netns add {hub}"))?;
        for command in [
            "link set lo up",
            "link add br0 type bridge",
            "link set br0 up",
        ] {
            run("ip", &format!("-n {hub} {command}"))?;
        }
        for host in &net.hosts {
            let (own, address) = (namespace(*host), address(*host));
            run("ip", &format!("netns add {own}"))?;
            let mac = format!("02:00:00:00:00:{host:02x}");
            let pair = format!("type veth peer name eth0 address {mac} netns {own}");
            run("ip", &format!("-n {hub} link add p{host} {pair}"))?;
            run("ip", &format!("-n {hub} link set p{host} master br0 up"))?;
            run("ip", &format!("-n {own} link set lo up"))?;
            run("ip", &format!("-n {own} addr add {address}/24 dev eth0"))?;
            run("ip", &format!("-n {own} link set eth0 up"))?;
        }
        Ok(net)
    }

    /// Replaces the faults of the paths.
    pub(super) fn set_faults(faults: &[Fault]) -> Result<()> {
        let mut rules = String::from(
            "add table bridge faults\ndelete table bridge faults\nadd table bridge faults\n\
             add chain bridge faults forward { type filter hook forward priority 0; }\n",
        );
        for fault in faults {
            let rule = match fault {
                Fault::Drop { from, to } => format!("iifname \"p{from}\" oifname \"p{to}\" drop"),
                Fault::LossPercent(percent) => format!("numgen random mod 100 < {percent} drop"),
            };
            writeln!(rules, "add rule bridge faults forward {rule}")?;
        }
        feed(&hub(), &["nft", "-f", "-"], &rules)
    }

    /// Connects or disconnects a host.
    pub(super) fn set_link(host: u8, is_up: bool) -> Result<()> {
        let state = if is_up { "up" } else { "down" };
        run("ip", &format!("-n {} link set p{host} {state}", hub())).map(drop)
    }

    /// Delays every frame from one host to another one by this time, from now on. This is done by
    /// this program, since not every kernel has netem: each host's port is joined with a tunnel
    /// (VXLAN) instead of the bridge, and all tunnels end at [`Wire`].
    pub(super) fn delay(&mut self, time: std::time::Duration) -> Result<()> {
        let (hub, wire) = (hub(), wire_namespace());
        run("ip", &format!("netns add {wire}"))?;
        let pair = format!("link add w0 type veth peer name w1 netns {wire}");
        run("ip", &format!("-n {hub} {pair}"))?;
        for (own, address, device) in [(&hub, Wire::TUNNELS, "w0"), (&wire, Wire::ADDRESS, "w1")] {
            run(
                "ip",
                &format!("-n {own} addr add {address}/30 dev {device}"),
            )?;
            // Room for the tunnel's header.
            run("ip", &format!("-n {own} link set {device} mtu 9000 up"))?;
        }
        // The tunnelled frames must be whole before they leave the kernel.
        let offloads = "ethtool -K w0 tx off tso off gso off";
        run("ip", &format!("netns exec {hub} {offloads}"))?;
        let socket = socket(wire, (Wire::ADDRESS, Wire::PORT))?;
        self.wire = Some(Wire::start(socket, self.hosts.clone(), time)?);
        for host in &self.hosts {
            let tunnel = format!("link add x{host} type vxlan id {host} nolearning");
            let ends = format!("local {} dstport {}", Wire::TUNNELS, Wire::TUNNELS_PORT);
            run("ip", &format!("-n {hub} {tunnel} {ends}"))?;
            let to = format!("dst {} port {}", Wire::ADDRESS, Wire::PORT);
            let entry = format!("bridge fdb append 00:00:00:00:00:00 dev x{host} {to}");
            run("ip", &format!("netns exec {hub} {entry}"))?;
            run("ip", &format!("-n {hub} link add b{host} type bridge"))?;
            run("ip", &format!("-n {hub} link set b{host} up"))?;
            run(
                "ip",
                &format!("-n {hub} link set x{host} master b{host} up"),
            )?;
        }
        self.join(|host| format!("b{host}"))
    }

    /// Moves all hosts' ports to bridges, at once: while some are moved and others are not, they do
    /// not reach each other.
    fn join(&self, bridge: impl Fn(u8) -> String) -> Result<()> {
        let lines = self.hosts.iter().map(|host| {
            let bridge = bridge(*host);
            format!("link set p{host} master {bridge}\n")
        });
        feed(&hub(), &["ip", "-batch", "-"], &lines.collect::<String>())
    }

    /// Joins all hosts by the bridge again, without delay.
    pub(super) fn end_delay(&mut self) -> Result<()> {
        self.join(|_| "br0".to_owned())?;
        self.wire.take().map_or(Ok(()), Wire::stop)?;
        let lost = overflows(&wire_namespace())?;
        ensure!(lost == 0, "the switch has lost {lost} frames: no CPU left");
        Ok(())
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        drop(self.wire.take().map(Wire::stop));
        let hosts = self.hosts.iter().map(|host| namespace(*host));
        for namespace in hosts.chain([wire_namespace(), hub()]) {
            if path(&namespace).exists()
                && let Err(error) = remove(&namespace)
            {
                eprintln!("cannot remove {namespace}: {error:#}");
            }
        }
    }
}

/// Datagrams that did not fit into the buffer of a socket in a namespace, by the kernel's counters: a
/// line of names and a line of values.
pub(super) fn overflows(namespace: &str) -> Result<u64> {
    let counters = run("ip", &format!("netns exec {namespace} cat /proc/net/snmp"))?;
    let mut lines = counters.lines().filter(|line| line.starts_with("Udp:"));
    let (names, values) = lines.next().zip(lines.next()).context("no counters")?;
    let mut pairs = names.split(' ').zip(values.split(' '));
    let found = pairs.find(|(name, _)| *name == "RcvbufErrors");
    let (_, value) = found.context("no counter of full buffers")?;
    Ok(value.parse()?)
}

/// Removes a namespace and ends the processes in it.
fn remove(namespace: &str) -> Result<()> {
    let pids = run("ip", &format!("netns pids {namespace}"))?;
    for pid in pids.lines().filter_map(|pid| pid.parse::<u32>().ok()) {
        if pid != std::process::id() {
            // It may have ended since.
            drop(proc::signal(pid, Signal::KILL));
        }
    }
    run("ip", &format!("netns del {namespace}")).map(drop)
}

/// Removes the namespaces of runs that were killed.
fn remove_left_over() -> Result<()> {
    for line in run("ip", "netns list")?.lines() {
        let name = line.split(' ').next().unwrap_or_default();
        let id = name
            .strip_prefix(PREFIX)
            .and_then(|rest| rest.split_once('-'));
        let Some((id, _)) = id else { continue };
        let is_number = id.parse::<u32>().is_ok();
        if is_number && !Path::new("/proc").join(id).exists() {
            remove(name)?;
        }
    }
    Ok(())
}
