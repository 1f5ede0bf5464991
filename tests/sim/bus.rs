//! A bus hub: one thread that plays a [`VirtualBus`] for any number of nodes behind a Unix socket.
//!
//! It serves the `virtual:` transport (ARCHITECTURE.md). A timed bus runs in real time: a frame is delivered when the
//! wall clock reaches its end, and frames follow each other without a gap in bus time even if the thread wakes late.
//! An untimed bus runs as fast as its slowest node reads.

mod client;

use std::io::{self, ErrorKind};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use canfd::bit_timing::BitTiming;
use canfd::bus::BusUrl;
use canfd::frame::FdFrame;
use canfd::virtual_bus::{BusStatistics, Fault, NodeId, VirtualBus, VirtualBusConfig};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use client::Client;

/// Frames a node may have queued on the hub; further ones stay in its socket.
const QUEUE_LEN: usize = 1024;
/// Nodes at once.
const MAX_CLIENTS: usize = 256;
/// On an untimed bus, how long a node that does not read may hold up the others before it is thrown off.
const STALL_LIMIT: Duration = Duration::from_secs(5);

/// Figures of a running hub.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HubStatistics {
    /// What the bus has carried.
    pub bus: BusStatistics,
    /// Deliveries a node missed because it did not read, as an overrun controller would.
    pub overruns: u64,
    /// Time since the hub began.
    pub uptime: Duration,
}

impl HubStatistics {
    /// Busy time over uptime, 0 to 1; zero on an untimed bus.
    pub fn load(&self) -> f64 {
        if self.uptime.is_zero() { 0.0 } else { self.bus.busy.as_secs_f64() / self.uptime.as_secs_f64() }
    }
}

/// A running hub. It stops, and its socket disappears, when this is dropped.
#[derive(Debug)]
pub struct BusHub {
    path: PathBuf,
    shared: Arc<Shared>,
    commands: mpsc::Sender<FaultFilter>,
    waker: UnixStream,
    thread: Option<JoinHandle<io::Result<()>>>,
}

type FaultFilter = Box<dyn FnMut(NodeId, &FdFrame) -> Fault + Send>;

#[derive(Debug)]
struct Shared {
    began: Instant,
    frames: AtomicU64,
    bytes: AtomicU64,
    busy_nanos: AtomicU64,
    overruns: AtomicU64,
}

impl BusHub {
    /// Listens at `path` and starts the thread. A socket left over there by a dead hub is replaced.
    ///
    /// # Errors
    /// What the system said about the socket or the thread.
    pub fn start(path: &Path, timing: Option<BitTiming>) -> io::Result<Self> {
        if UnixStream::connect(path).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            std::fs::remove_file(path)?;
        }
        let listener = UnixListener::bind(path)?;
        listener.set_nonblocking(true)?;
        let (waker, wake) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        let (commands, inbox) = mpsc::channel();
        let began = Instant::now();
        let zero = || AtomicU64::new(0);
        let shared =
            Arc::new(Shared { began, frames: zero(), bytes: zero(), busy_nanos: zero(), overruns: zero() });
        let mut hub = Hub {
            bus: VirtualBus::new(began, VirtualBusConfig { timing, queue_len: QUEUE_LEN }),
            timed: timing.is_some(),
            listener,
            wake,
            inbox,
            clients: Vec::new(),
            shared: Arc::clone(&shared),
        };
        let thread = std::thread::Builder::new().name("bus-hub".into()).spawn(move || hub.run())?;
        Ok(Self { path: path.into(), shared, commands, waker, thread: Some(thread) })
    }

    /// The URL nodes connect to.
    pub fn url(&self) -> BusUrl {
        BusUrl::Virtual(self.path.clone())
    }

    /// What the bus has done so far; at most one turn of the hub old.
    pub fn statistics(&self) -> HubStatistics {
        let load = |it: &AtomicU64| it.load(Ordering::Relaxed);
        HubStatistics {
            bus: BusStatistics {
                frames: load(&self.shared.frames),
                bytes: load(&self.shared.bytes),
                busy: Duration::from_nanos(load(&self.shared.busy_nanos)),
            },
            overruns: load(&self.shared.overruns),
            uptime: self.shared.began.elapsed(),
        }
    }

    /// Puts a filter between senders and receivers from the next turn on.
    pub fn set_fault(&self, fault: impl FnMut(NodeId, &FdFrame) -> Fault + Send + 'static) {
        // A hub whose thread has ended carries no frames that could be faulty.
        let _ = self.commands.send(Box::new(fault));
        let _ = io::Write::write(&mut &self.waker, &[1]);
    }

    /// Stops the hub and says how it ended.
    ///
    /// # Errors
    /// What ended the thread before its time.
    pub fn stop(mut self) -> io::Result<()> {
        self.join()
    }

    fn join(&mut self) -> io::Result<()> {
        let Some(thread) = self.thread.take() else { return Ok(()) };
        // The thread sees the end of the stream.
        let _ = self.waker.shutdown(std::net::Shutdown::Both);
        let outcome = thread.join().unwrap_or_else(|_| Err(io::Error::other("the bus hub panicked")));
        let _ = std::fs::remove_file(&self.path);
        outcome
    }
}

impl Drop for BusHub {
    fn drop(&mut self) {
        let _ = self.join();
    }
}

struct Hub {
    bus: VirtualBus,
    timed: bool,
    listener: UnixListener,
    wake: UnixStream,
    inbox: mpsc::Receiver<FaultFilter>,
    clients: Vec<Client>,
    shared: Arc<Shared>,
}

/// Which descriptors have something, in the order they were polled.
struct Ready {
    wake: bool,
    accept: bool,
    clients: Vec<PollFlags>,
}

impl Hub {
    fn run(&mut self) -> io::Result<()> {
        // By default the kernel lets timers come 50 us late, an eighth of a frame.
        let _ = rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1_000));
        let mut ready = Ready { wake: false, accept: false, clients: Vec::new() };
        loop {
            self.wait(&mut ready)?;
            if ready.wake && !self.obey()? {
                return Ok(());
            }
            for (client, flags) in self.clients.iter_mut().zip(&ready.clients) {
                if flags.intersects(PollFlags::OUT) {
                    client.write();
                }
                // A hang-up may come with records still unread.
                if flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
                    client.read();
                }
                if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
                    client.handle_hang_up();
                }
            }
            self.play();
            let now = Instant::now();
            for client in &mut self.clients {
                client.write();
                client.check_stall(now, STALL_LIMIT);
            }
            self.bury();
            if ready.accept {
                self.accept()?;
            }
            self.publish();
        }
    }

    /// Waits for a descriptor or for the end of the frame on the bus.
    fn wait(&self, ready: &mut Ready) -> io::Result<()> {
        let mut fds = Vec::with_capacity(self.clients.len() + 2);
        fds.push(PollFd::from_borrowed_fd(self.wake.as_fd(), PollFlags::IN));
        fds.push(PollFd::from_borrowed_fd(self.listener.as_fd(), PollFlags::IN));
        for client in &self.clients {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, client.wants_read());
            flags.set(PollFlags::OUT, client.wants_write());
            fds.push(PollFd::from_borrowed_fd(client.as_fd(), flags));
        }
        let held_up = !self.timed && self.clients.iter().any(Client::is_full);
        let now = Instant::now();
        let until = match self.bus.poll_timeout() {
            _ if held_up => Some(STALL_LIMIT),
            Some(at) => Some(at.saturating_duration_since(now)),
            None => None,
        };
        let timeout = until.map(|it| Timespec {
            tv_sec: i64::try_from(it.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: it.subsec_nanos().into(),
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let mut flags = fds.iter().map(PollFd::revents);
        ready.wake = flags.next().is_some_and(|it| !it.is_empty());
        ready.accept = flags.next().is_some_and(|it| !it.is_empty());
        ready.clients.clear();
        ready.clients.extend(flags);
        Ok(())
    }

    /// Takes commands; false where the owner is gone.
    fn obey(&mut self) -> io::Result<bool> {
        match io::Read::read(&mut &self.wake, &mut [0; 64]) {
            Ok(0) => return Ok(false),
            Err(error) if error.kind() != ErrorKind::WouldBlock => return Err(error),
            _ => {}
        }
        while let Ok(fault) = self.inbox.try_recv() {
            self.bus.set_fault(fault);
        }
        Ok(true)
    }

    /// Moves frames from the nodes to the bus and from the bus to the nodes until neither side has more.
    fn play(&mut self) {
        loop {
            let now = Instant::now();
            let mut moved = false;
            for client in &mut self.clients {
                moved |= client.queue_on(now, &mut self.bus);
            }
            while self.timed || !self.clients.iter().any(Client::is_full) {
                let Some(delivery) = self.bus.poll_delivery(now) else { break };
                moved = true;
                for client in &mut self.clients {
                    client.deliver(&delivery);
                }
            }
            if !moved {
                return;
            }
        }
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) if self.clients.len() < MAX_CLIENTS => {
                    stream.set_nonblocking(true)?;
                    let node = self.bus.attach();
                    self.clients.push(Client::new(stream, node));
                }
                // One too many: it sees its connection closed.
                Ok(_) => {}
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock) => return Ok(()),
                Err(error)
                    if matches!(error.kind(), ErrorKind::Interrupted | ErrorKind::ConnectionAborted) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn bury(&mut self) {
        let (bus, shared) = (&mut self.bus, &self.shared);
        self.clients.retain_mut(|client| {
            shared.overruns.fetch_add(client.take_overruns(), Ordering::Relaxed);
            if client.is_gone() {
                bus.detach(client.node());
            }
            !client.is_gone()
        });
    }

    fn publish(&self) {
        let statistics = self.bus.statistics();
        let nanos = u64::try_from(statistics.busy.as_nanos()).unwrap_or(u64::MAX);
        self.shared.frames.store(statistics.frames, Ordering::Relaxed);
        self.shared.bytes.store(statistics.bytes, Ordering::Relaxed);
        self.shared.busy_nanos.store(nanos, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use canfd::bus::{Bus, Received, SendOutcome, UnixBus};
    use canfd::frame::{CanId, FrameFormat};

    fn path(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("bus-hub-{}-{name}", std::process::id()))
    }

    fn frame(tag: u16) -> FdFrame {
        let data = [tag.to_be_bytes(); 32].concat();
        FdFrame::new(CanId::standard(0x123).unwrap(), FrameFormat::Fd { brs: true }, &data).unwrap()
    }

    fn connect(hub: &BusHub) -> UnixBus {
        UnixBus::connect(&hub.path).unwrap()
    }

    /// The next frame, waited for at most ten seconds.
    fn receive(bus: &mut UnixBus) -> Received {
        let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
        loop {
            bus.flush().unwrap();
            if let Some(received) = bus.recv().unwrap() {
                return received;
            }
            let mut flags = PollFlags::IN;
            flags.set(PollFlags::OUT, bus.wants_write());
            let ready = poll(&mut [PollFd::from_borrowed_fd(bus.as_fd(), flags)], Some(&limit)).unwrap();
            assert!(ready > 0, "nothing arrived within ten seconds");
        }
    }

    /// A node is attached once it sees its own frame; only then does it hear others.
    fn announce(bus: &mut UnixBus) {
        assert_eq!(bus.send(&frame(0xFFFF)).unwrap(), SendOutcome::Queued);
        while !receive(bus).own {}
    }

    #[test]
    fn every_node_sees_a_frame_and_the_sender_sees_it_as_its_own() {
        let hub = BusHub::start(&path("each"), None).unwrap();
        let (mut one, mut other) = (connect(&hub), connect(&hub));
        announce(&mut other);
        announce(&mut one);
        assert_eq!(receive(&mut other).frame, frame(0xFFFF));
        for tag in 0..3_000 {
            while one.send(&frame(tag)).unwrap() == SendOutcome::WouldBlock {
                one.flush().unwrap();
            }
            let (confirmed, received) = (receive(&mut one), receive(&mut other));
            assert_eq!((confirmed.frame, confirmed.own), (frame(tag), true));
            assert_eq!((received.frame, received.own), (frame(tag), false));
        }
        let statistics = hub.statistics();
        assert_eq!((statistics.overruns, statistics.load()), (0, 0.0));
        hub.stop().unwrap();
    }

    #[test]
    fn a_timed_bus_keeps_its_frames_back_to_back_and_not_ahead_of_the_clock() {
        const FRAMES: u32 = 200;
        let timing = BitTiming::FD_500K_2M;
        let hub = BusHub::start(&path("timed"), Some(timing)).unwrap();
        let mut bus = connect(&hub);
        let began = Instant::now();
        for _ in 0..FRAMES {
            assert_eq!(bus.send(&frame(7)).unwrap(), SendOutcome::Queued);
        }
        let first = receive(&mut bus).timestamp.unwrap();
        let held = timing.frame_duration(&frame(7));
        for index in 1..FRAMES {
            assert_eq!(receive(&mut bus).timestamp.unwrap(), first + held * index);
        }
        assert!(began.elapsed() >= held * FRAMES - timing.intermission());
        hub.stop().unwrap();
    }

    #[test]
    fn a_fault_set_on_the_running_hub_hides_frames_from_receivers_only() {
        let hub = BusHub::start(&path("fault"), None).unwrap();
        let (mut one, mut other) = (connect(&hub), connect(&hub));
        announce(&mut other);
        announce(&mut one);
        assert_eq!(receive(&mut other).frame, frame(0xFFFF));
        hub.set_fault(|_, it| if *it == frame(1) { Fault::Drop } else { Fault::None });
        // The filter is in place from some turn on; the last frame dropped shows that it is.
        loop {
            assert_eq!(one.send(&frame(1)).unwrap(), SendOutcome::Queued);
            assert!(receive(&mut one).own);
            assert_eq!(one.send(&frame(2)).unwrap(), SendOutcome::Queued);
            assert!(receive(&mut one).own);
            if receive(&mut other).frame == frame(2) {
                break;
            }
            assert_eq!(receive(&mut other).frame, frame(2));
        }
        hub.stop().unwrap();
    }

    #[test]
    fn a_node_that_does_not_read_a_timed_bus_loses_frames_and_holds_up_nobody() {
        // So fast that the hub's buffer is full within a moment.
        let timing = BitTiming::new(1_000_000_000, 1_000_000_000).unwrap();
        let hub = BusHub::start(&path("overrun"), Some(timing)).unwrap();
        let (mut one, mut deaf) = (connect(&hub), connect(&hub));
        announce(&mut deaf);
        let (mut sent, mut confirmed) = (0u32, 0u32);
        while confirmed < 30_000 {
            // With more of its own on the way, this node would be a deaf one as well and lose confirmations.
            while sent < (confirmed + 256).min(30_000) && one.send(&frame(3)).unwrap() == SendOutcome::Queued
            {
                sent += 1;
            }
            confirmed += u32::from(receive(&mut one).own);
        }
        // The figures are published at the end of the hub's turn, which may come after the last confirmation.
        announce(&mut one);
        assert!(hub.statistics().overruns > 10_000, "{:?}", hub.statistics());
        hub.stop().unwrap();
    }

    #[test]
    fn a_node_that_speaks_another_protocol_is_thrown_off_and_the_others_go_on() {
        let hub = BusHub::start(&path("alien"), None).unwrap();
        let mut one = connect(&hub);
        let mut alien = UnixStream::connect(&hub.path).unwrap();
        io::Write::write_all(&mut alien, &[0xFF; 8 * canfd::bus::RECORD_LEN]).unwrap();
        alien.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        // Closed with records unread, a Unix socket resets.
        let end = io::Read::read(&mut alien, &mut [0; 1]);
        assert!(matches!(&end, Ok(0)) || end.is_err_and(|it| it.kind() == ErrorKind::ConnectionReset));
        announce(&mut one);
        hub.stop().unwrap();
    }

    #[test]
    fn the_socket_is_gone_with_the_hub_and_a_left_over_one_is_replaced() {
        let path = path("again");
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        drop(BusHub::start(&path, None).unwrap());
        assert!(!path.exists());
    }
}
