//! Garbage for gossip ports at a steady rate: random bytes, and changed copies of real datagrams.

use std::io::IoSlice;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};
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
const SENDERS_COUNT: usize = 2;
/// Datagrams of one system call, all to one host.
const BATCH_COUNT: usize = 32;
/// Pause while a sender is ahead of its rate.
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
    pub(super) garbage: Arc<[Vec<u8>]>,
}

/// The datagrams that were sent.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Flooded {
    pub(super) sent: u64,
    pub(super) seconds: f64,
    /// CPU time of the sending threads, the kernel's work on its way to the receiver included.
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
    pub(super) fn start(self) -> Flooding {
        let flood = Arc::new(self);
        let senders = (0..SENDERS_COUNT).map(|number| {
            let flood = Arc::clone(&flood);
            std::thread::spawn(move || {
                enter(&namespace(STRANGER))?;
                flood.send(number)
            })
        });
        Flooding(senders.collect())
    }

    /// Sends the part of one sender, batch by batch: each goes to the next host.
    fn send(&self, number: usize) -> Result<Flooded> {
        let sockets = self.hosts.iter().map(|host| self.connect(*host));
        let sockets = sockets.collect::<Result<Vec<UdpSocket>>>()?;
        let slices = self.garbage.iter().map(|datagram| [IoSlice::new(datagram)]);
        let slices: Vec<[IoSlice<'_>; 1]> = slices.collect();
        let mut controls: Vec<SendAncillaryBuffer<'_, '_, '_>> = Vec::new();
        controls.resize_with(slices.len(), SendAncillaryBuffer::default);
        let messages = slices.iter().zip(&mut controls);
        let messages = messages.map(|(slice, control)| MMsgHdr::new(slice, control));
        let mut messages: Vec<MMsgHdr<'_>> = messages.collect();
        let batches_count = messages.len().div_ceil(BATCH_COUNT);
        ensure!(batches_count > 0 && !sockets.is_empty(), "nothing to send");
        // The senders do not send the same datagrams at the same time.
        let mut turn = number * batches_count / SENDERS_COUNT;
        let (started, cpu_before) = (Instant::now(), cpu());
        let mut sent = 0_u64;
        while self.wait_due(started, sent)? {
            let from = turn % batches_count * BATCH_COUNT;
            let to = messages.len().min(from + BATCH_COUNT);
            let socket = &sockets[turn % sockets.len()];
            // A closed port's answer is an error of a later call, whose datagrams are not sent.
            let passed = sendmmsg(socket, &mut messages[from..to], SendFlags::empty());
            sent += u64::try_from(passed.unwrap_or(0))?;
            turn += 1;
        }
        Ok(Flooded {
            sent,
            seconds: started.elapsed().as_secs_f64(),
            cpu_seconds: cpu().saturating_sub(cpu_before).as_secs_f64(),
        })
    }

    /// Waits until a sender is behind its rate. Returns false at the end of the flood.
    fn wait_due(&self, started: Instant, sent: u64) -> Result<bool> {
        let rate = self.rate / u64::try_from(SENDERS_COUNT)?;
        loop {
            let elapsed = started.elapsed();
            if elapsed >= self.time {
                return Ok(false);
            }
            if sent < u64::try_from(elapsed.as_micros())? * rate / 1_000_000 {
                return Ok(true);
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn connect(&self, host: u8) -> Result<UdpSocket> {
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("cannot open a socket")?;
        socket.connect((address(host), self.port))?;
        Ok(socket)
    }
}

/// A flood under way.
pub(super) struct Flooding(Vec<std::thread::JoinHandle<Result<Flooded>>>);

impl Flooding {
    pub(super) fn is_finished(&self) -> bool {
        self.0.iter().all(std::thread::JoinHandle::is_finished)
    }

    /// Waits for all senders, and returns the sum of what they sent.
    pub(super) fn join(self) -> Result<Flooded> {
        let mut sum = Flooded::default();
        for sender in self.0 {
            let Ok(flooded) = sender.join() else {
                bail!("a sender panicked");
            };
            let flooded = flooded?;
            sum.sent += flooded.sent;
            sum.seconds = sum.seconds.max(flooded.seconds);
            sum.cpu_seconds += flooded.cpu_seconds;
        }
        Ok(sum)
    }
}

/// CPU time of this thread.
fn cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or(0),
        u32::try_from(time.tv_nsec).unwrap_or(0),
    )
}
