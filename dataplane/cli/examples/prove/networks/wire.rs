//! A switch that delays every frame, in this program: the ends of the hosts' tunnels.
//!
//! A tunnelled frame is a UDP datagram: 8 bytes of VXLAN header, of which bytes 4 to 6 are the
//! tunnel's number (the host's), then the Ethernet frame, which starts with the receiver's address.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustix::net::sockopt::set_socket_recv_buffer_size_force;

/// Upper bound of the frames under way; further ones are dropped, as by a full buffer.
const FRAMES_MAX_COUNT: usize = 100_000;
const FRAME_MAX_BYTES: usize = 16 * 1024;
const HOST_AT: usize = 6;
const RECEIVER_AT: usize = 8;
/// Room for the frames that arrive while this program has no CPU.
const RECEIVE_BUFFER_BYTES: usize = 16 * 1024 * 1024;
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The running switch.
#[derive(Debug)]
pub(super) struct Wire {
    is_stopped: Arc<AtomicBool>,
    overflows: Arc<AtomicU64>,
    task: std::thread::JoinHandle<Result<()>>,
}

impl Wire {
    /// Address of the other ends of the tunnels.
    pub(super) const TUNNELS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    pub(super) const TUNNELS_PORT: u16 = 4789;
    /// Address of the switch.
    pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
    pub(super) const PORT: u16 = 4790;

    /// Starts to pass frames on between these hosts.
    pub(super) fn start(socket: UdpSocket, hosts: Vec<u8>, delay: Duration) -> Result<Self> {
        socket.set_read_timeout(Some(POLL_INTERVAL))?;
        set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES)?;
        let is_stopped = Arc::<AtomicBool>::default();
        let overflows = Arc::<AtomicU64>::default();
        let switch = Switch {
            socket,
            hosts,
            delay,
            under_way: VecDeque::new(),
            is_stopped: Arc::clone(&is_stopped),
            overflows: Arc::clone(&overflows),
        };
        Ok(Self {
            is_stopped,
            overflows,
            task: std::thread::spawn(move || switch.run()),
        })
    }

    /// Stops it. Fails if it had failed, or had more frames under way than its bound.
    pub(super) fn stop(self) -> Result<()> {
        self.is_stopped.store(true, Ordering::Relaxed);
        let Ok(ended) = self.task.join() else {
            bail!("the switch panicked");
        };
        ended?;
        let overflows = self.overflows.load(Ordering::Relaxed);
        if overflows > 0 {
            bail!("the switch has dropped {overflows} frames above its bound");
        }
        Ok(())
    }
}

struct Switch {
    socket: UdpSocket,
    hosts: Vec<u8>,
    delay: Duration,
    /// In the order of their time, since all have the same delay.
    under_way: VecDeque<(Instant, Vec<u8>)>,
    is_stopped: Arc<AtomicBool>,
    overflows: Arc<AtomicU64>,
}

impl Switch {
    fn run(mut self) -> Result<()> {
        let mut buffer = vec![0; FRAME_MAX_BYTES];
        while !self.is_stopped.load(Ordering::Relaxed) {
            match self.socket.recv(&mut buffer) {
                Ok(len) if self.under_way.len() < FRAMES_MAX_COUNT => {
                    let due = Instant::now() + self.delay;
                    self.under_way.push_back((due, buffer[..len].to_vec()));
                }
                Ok(_) => {
                    self.overflows.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if is_timeout(error.kind()) => {}
                Err(error) => return Err(error.into()),
            }
            let now = Instant::now();
            while let Some((_, frame)) = self.under_way.pop_front_if(|(due, _)| *due <= now) {
                self.pass_on(frame)?;
            }
        }
        Ok(())
    }

    fn pass_on(&self, mut frame: Vec<u8>) -> Result<()> {
        let (Some(from), Some(receiver)) = (
            frame.get(HOST_AT).copied(),
            frame.get(RECEIVER_AT..RECEIVER_AT + 6).map(<[u8]>::to_vec),
        ) else {
            return Ok(());
        };
        let others = self.hosts.iter().filter(|host| **host != from);
        for host in others {
            // Frames to a group or to all have the lowest bit set.
            let is_meant = receiver[0] & 1 == 1 || receiver[5] == *host;
            if is_meant {
                frame[HOST_AT] = *host;
                self.socket
                    .send_to(&frame, (Wire::TUNNELS, Wire::TUNNELS_PORT))?;
            }
        }
        Ok(())
    }
}

const fn is_timeout(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
    )
}
