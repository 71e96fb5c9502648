//! Garbage for gossip ports at a steady rate: random bytes, and changed copies of real datagrams.

use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::time::{ClockId, clock_gettime};

use super::links::Random;
use super::net::{STRANGER, address, enter, namespace};
use super::nodes::GOSSIP_PORT;

const DATAGRAM_MAX_BYTES: usize = 1200;
/// Datagrams that are kept to be sent again.
const CAPTURED_MAX_COUNT: usize = 256;
const CAPTURED_MIN_COUNT: usize = 8;
const CAPTURE_TIME: Duration = Duration::from_secs(4);
/// Different datagrams that are sent.
const GARBAGE_COUNT: usize = 1024;
/// Pause while the sender is ahead of its rate.
const PAUSE: Duration = Duration::from_micros(500);
/// Where the id of the key is in a datagram.
const KEY_ID: std::ops::Range<usize> = 3..7;

/// The options of a flood.
#[derive(Clone, Debug)]
pub(super) struct Flood {
    /// Host numbers and port that get the datagrams in turn.
    pub(super) hosts: Vec<u8>,
    pub(super) port: u16,
    /// Datagrams per second to all together.
    pub(super) rate: u64,
    pub(super) time: Duration,
    pub(super) garbage: std::sync::Arc<[Vec<u8>]>,
}

/// The datagrams that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flooded {
    pub(super) sent: u64,
    pub(super) seconds: f64,
    /// CPU time of the sending thread, the kernel's work on its way to the receiver included.
    pub(super) cpu_seconds: f64,
}

/// Receives real datagrams at the address that all nodes have as a seed of their gossip.
pub(super) fn capture() -> Result<Vec<Vec<u8>>> {
    let socket = super::net::socket(namespace(STRANGER), (address(STRANGER), GOSSIP_PORT))?;
    socket.set_read_timeout(Some(CAPTURE_TIME))?;
    let started = Instant::now();
    let mut captured = Vec::new();
    let mut buffer = [0; DATAGRAM_MAX_BYTES];
    while started.elapsed() < CAPTURE_TIME && captured.len() < CAPTURED_MAX_COUNT {
        let Ok(len) = socket.recv(&mut buffer) else {
            break;
        };
        captured.push(buffer[..len].to_vec());
    }
    ensure!(
        captured.len() >= CAPTURED_MIN_COUNT,
        "only {} datagrams were captured",
        captured.len()
    );
    Ok(captured)
}

/// Garbage of five kinds, in turn: random bytes, and real datagrams as they are, cut off, with the
/// key id of another cluster, and with a changed byte.
pub(super) fn garbage(captured: &[Vec<u8>], seed: u64) -> Vec<Vec<u8>> {
    let mut random = Random(seed);
    let mut below = |bound: usize| usize::try_from(random.next()).unwrap_or(0) % bound.max(1);
    let mut all = Vec::new();
    for at in 0..GARBAGE_COUNT {
        let mut real = captured[below(captured.len())].clone();
        match at % 5 {
            0 => {
                let len = 1 + below(DATAGRAM_MAX_BYTES);
                real = (0..len).map(|_| below(256).to_le_bytes()[0]).collect();
            }
            1 => {}
            2 => real.truncate(below(real.len())),
            3 => real[KEY_ID].fill(0x5a),
            _ => {
                let at = KEY_ID.end + below(real.len() - KEY_ID.end);
                real[at] ^= 1;
            }
        }
        all.push(real);
    }
    all
}

impl Flood {
    /// Starts to send, from the stranger's namespace.
    pub(super) fn start(self) -> std::thread::JoinHandle<Result<Flooded>> {
        std::thread::spawn(move || {
            enter(&namespace(STRANGER))?;
            self.send()
        })
    }

    fn send(&self) -> Result<Flooded> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a socket")?;
        let cpu = || {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::new(
                u64::try_from(time.tv_sec).unwrap_or(0),
                u32::try_from(time.tv_nsec).unwrap_or(0),
            )
        };
        let (started, cpu_before) = (Instant::now(), cpu());
        let mut sent = 0_u64;
        let mut datagrams = self.garbage.iter().cycle();
        let mut hosts = self.hosts.iter().cycle();
        while started.elapsed() < self.time {
            let elapsed_us = u64::try_from(started.elapsed().as_micros())?;
            let due = elapsed_us * self.rate / 1_000_000;
            if sent >= due {
                std::thread::sleep(PAUSE);
                continue;
            }
            let (Some(datagram), Some(host)) = (datagrams.next(), hosts.next()) else {
                bail!("nothing to send");
            };
            // A closed port's answer is an error of a later call; the datagram is sent again.
            if socket
                .send_to(datagram, (address(*host), self.port))
                .is_ok()
            {
                sent += 1;
            }
        }
        Ok(Flooded {
            sent,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: cpu().saturating_sub(cpu_before).as_secs_f64(),
        })
    }
}
