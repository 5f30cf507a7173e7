//! `halod run`: puts the core between the control port, the kernel's queue and the kernel's rules.
//!
//! One loop owns the cluster and carries out what it asks for. Packets are other threads'; they and the loop meet in the
//! plane, behind a lock.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use halod_core::cluster::{Cluster, ConnId, Input, Note, Output};
use halod_core::plane::steer::Entry;
use halod_core::plane::{PlaneKind, Transmit};
use halod_core::protocol::{Token, encode};
use halod_core::record::Head;
use halod_core::time::Instant;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::net::TcpStream;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::EnvFilter;

use crate::clock::Clock;
use crate::config::Config;
use crate::control::{Connection, ControlPort, Event, Sent, redial};
use crate::kernel::{Former, Kernel};
use crate::plane::{self, Answerer, SharedPlane};
use crate::queue::{Queue, QueueStatus, Queues};
use crate::record::{RecordFile, Recorder, Recording};

/// Events of the control port that may wait for the loop; peers are not read while it is full.
const EVENTS_MAX: usize = 1024;
/// Events that are handled before what comes of them is carried out.
const EVENTS_AT_ONCE: usize = 64;

/// Runs the daemon until SIGTERM or SIGINT. After SIGTERM the rules of the `steer` plane stay in force. Logs to standard
/// error, at the level that `RUST_LOG` says, or INFO. What the core is told is appended to the file `record`, if there is
/// one to be written.
///
/// # Errors
///
/// Something that the daemon needs cannot be had: a port, a queue, the rules, the record. The message says which.
pub fn run(config: &Config, record: Option<&Path>) -> anyhow::Result<()> {
    let filter = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    tracing_subscriber::fmt()
        .with_writer(io::stderr)
        .with_ansi(colours)
        .with_env_filter(filter)
        // Whoever read the log may be gone; that is no reason to end.
        .log_internal_errors(false)
        .init();
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    tokio::task::LocalSet::new().block_on(&runtime, serve(config, record))
}

/// Each node costs a descriptor, and the usual soft limit is 1,024.
fn raise_descriptor_limit() {
    let raised =
        getrlimit(Resource::RLIMIT_NOFILE).and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::warn!(%error, "the limit of open files cannot be raised; fewer nodes can connect");
    }
}

async fn serve(config: &Config, record: Option<&Path>) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (events, mut inbox) = mpsc::channel(EVENTS_MAX);
    let (mut daemon, queues) = Daemon::start(config, record, events).await?;
    // Before the first packet: it would find no owner.
    daemon.carry_out();
    let mut packet_threads = plane::start(queues, &daemon.plane, daemon.clock)?;
    tracing::info!(routes = config.ports.routes(), control = ?config.control, "ready");

    let mut housekeeping = tokio::time::interval(Duration::from_secs(1));
    housekeeping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut happened = Vec::with_capacity(EVENTS_AT_ONCE);
    let is_left_in_force = loop {
        daemon.carry_out();
        // The plane has heard of a loss before the cluster looks for its flows.
        daemon.look();
        let deadline = daemon.clock.timer(daemon.deadline());
        tokio::select! {
            biased;
            // What a service manager sends, to start another in its place, it may be.
            _ = terminate.recv() => break daemon.kernel.goes_on_alone(),
            _ = interrupt.recv() => break false,
            Some(ended) = packet_threads.join_next() => {
                let error = ended?.context("a packet thread panicked")?;
                return Err(error).context("the packet queue failed");
            }
            () = tokio::time::sleep_until(deadline) => {
                daemon.catch_up(&mut inbox);
                daemon.carry_out();
                daemon.timeout();
            }
            answer = daemon.kernel.answer() => daemon.survey(answer),
            _ = housekeeping.tick() => daemon.keep_house(),
            // Of thousands of nodes there are thousands of heartbeats a second: not each is worth another look at the clock.
            1.. = inbox.recv_many(&mut happened, EVENTS_AT_ONCE) => {
                happened.drain(..).for_each(|event| daemon.handle(event));
            }
        }
    };
    if is_left_in_force {
        tracing::info!("forwarding goes on by the last table; `halod remove --config FILE` ends it");
    } else {
        daemon.kernel.remove().context("the packet rules are still in force")?;
    }
    tracing::info!("stopped");
    Ok(())
}

struct Daemon {
    clock: Clock,
    redial_timeout: Duration,
    cluster: Cluster,
    plane: SharedPlane,
    /// Sends the plane's own packets.
    answerer: Answerer,
    kernel: Kernel,
    queues: Queues,
    control: ControlPort,
    connections: BTreeMap<ConnId, Connection>,
    connections_opened: u64,
    events: mpsc::Sender<Event>,
    recorder: Recorder,
    /// Complete on disk when this is dropped, whatever the daemon ends by: what led to a panic is most worth having.
    _recording: Option<Recording>,
}

impl Daemon {
    /// Everything but the threads that serve the queues.
    async fn start(
        config: &Config,
        record: Option<&Path>,
        events: mpsc::Sender<Event>,
    ) -> anyhow::Result<(Self, Vec<Queue>)> {
        let clock = Clock::start();
        let began = clock.now();
        let cluster = config.cluster(own_addresses()?);
        let answerer = Answerer::open().context("raw sockets cannot be opened (try `halod check`)")?;
        // No event of it is handled before everything is in place for a node that is let in.
        let control = ControlPort::open(&config.control, config.heartbeat, &events).await?;
        let cannot_record = |path: &Path| format!("{} cannot be written", path.display());
        let file = record.map(|path| RecordFile::open(path).with_context(|| cannot_record(path))).transpose()?;
        // The rules stay in force unless they are removed.
        let (kind, queues, kernel, former) = take_hold(config)?;
        let had_rules = former.last.is_some();
        let mut head = Head::new(began, cluster, kind, config.plane_config(rand::random()));
        (head.last, head.has_former_flows) = (former.last, former.has_flows);
        let (cluster, plane) = head.core();
        let recording = match file.map(|file| file.begin(&head)).transpose() {
            Ok(recording) => recording,
            Err(error) => {
                // Others have left forwarding in force, and it goes on.
                if !had_rules {
                    kernel.remove()?;
                }
                return Err(error).context("the record cannot be written");
            }
        };
        let recorder = recording.as_ref().map(Recording::recorder).unwrap_or_default();
        let plane = SharedPlane::new(plane, recorder.clone());
        let daemon = Self {
            clock,
            redial_timeout: config.redial_timeout,
            cluster,
            plane,
            answerer,
            kernel,
            queues: config.queues_of(kind),
            control,
            connections: BTreeMap::new(),
            connections_opened: 0,
            events,
            recorder,
            _recording: recording,
        };
        Ok((daemon, queues))
    }

    fn handle(&mut self, event: Event) {
        let input = match event {
            Event::Accepted(stream, peer) => {
                Input::Opened { conn: self.serve(stream), peer: peer.ip(), token: Token(rand::random()) }
            }
            Event::Redialed(node, Ok(stream)) => Input::Redialed { node, conn: self.serve(stream) },
            Event::Redialed(node, Err(error)) => {
                tracing::debug!(%node, %error, "a suspect node could not be dialled");
                Input::RedialFailed { node }
            }
            Event::Message(conn, message) => Input::Received { conn, message },
            Event::Ended(conn) => {
                self.connections.remove(&conn);
                Input::Ended { conn }
            }
            Event::Datagram(from, message) => Input::Datagram { from, message },
        };
        self.tell(input);
    }

    fn tell(&mut self, input: Input) {
        let now = self.clock.now();
        self.recorder.cluster_input(now, &input);
        input.tell(now, &mut self.cluster);
    }

    /// Takes in what has come already. Otherwise a node would be lost whose heartbeat waits to be read, for no other reason
    /// than that the machine had other work to do.
    fn catch_up(&mut self, inbox: &mut mpsc::Receiver<Event>) {
        for _ in 0..EVENTS_MAX {
            let Ok(event) = inbox.try_recv() else { break };
            self.handle(event);
        }
        // They came later than those that are in the inbox.
        for event in self.control.waiting_datagrams() {
            self.handle(event);
        }
    }

    fn serve(&mut self, stream: TcpStream) -> ConnId {
        self.connections_opened += 1;
        let conn = ConnId(self.connections_opened);
        self.connections.insert(conn, Connection::serve(conn, stream, self.events.clone()));
        conn
    }

    fn deadline(&self) -> Instant {
        let cluster = self.cluster.deadline();
        self.plane.lock().deadline().map_or(cluster, |plane| plane.min(cluster))
    }

    fn timeout(&mut self) {
        self.plane.lock().timeout(self.clock.now(), &mut self.cluster);
    }

    /// Lets the cluster look at the flows, or asks the kernel for them first.
    fn look(&mut self) {
        let now = self.clock.now();
        if self.kernel.is_asked() || !self.cluster.wants_look(now) {
            return;
        }
        let mut plane = self.plane.lock();
        if plane.as_steer().is_some_and(|steer| steer.wants_entries()) {
            plane.ask(now, &mut self.cluster);
            drop(plane);
            self.kernel.ask();
        } else {
            plane.look(now, &mut self.cluster);
            drop(plane);
            self.carry_out();
        }
    }

    /// The kernel has said which connections it tracks.
    fn survey(&mut self, answer: io::Result<Vec<Entry>>) {
        match answer {
            Ok(answer) => {
                let again = |flow| self.kernel.connection(flow);
                self.plane.lock().survey(self.clock.now(), answer, again, &mut self.cluster);
            }
            Err(error) => tracing::error!(%error, "the kernel does not say what it tracks; it is asked again"),
        }
    }

    fn keep_house(&mut self) {
        let mut plane = self.plane.lock();
        plane.expire(self.clock.now());
        tracing::debug!(flows = plane.flow_count(), counters = ?plane.counters(), "flow table");
        drop(plane);
        for number in self.queues.numbers() {
            tracing::debug!(number, queue = ?QueueStatus::of(number), "packets in the kernel");
        }
        tracing::debug!(ignored = self.cluster.beats_ignored(), "datagrams that were no heartbeat of a session");
        self.kernel.keep_house(&self.plane);
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.cluster.poll() {
            match output {
                Output::Send(conn, message) => {
                    let sent = self.connections.get(&conn).map(|connection| connection.send(encode(&message)));
                    if sent == Some(Sent::GivenUp) {
                        tracing::warn!(conn = conn.0, "a node does not read what it is sent; its connection is closed");
                        self.connections.remove(&conn);
                        self.tell(Input::GivenUp { conn });
                    }
                }
                Output::Close(conn) => {
                    self.connections.remove(&conn);
                }
                Output::Beat(to, message) => self.control.send_datagram(to, &encode(&message)),
                Output::Redial(node, admin) => redial(node, admin, self.redial_timeout, self.events.clone()),
                Output::End(flow, toward) => self.plane.lock().end(self.clock.now(), flow, toward),
                Output::Publish(routing) => self.kernel.publish(self.clock, &self.plane, routing),
                Output::Note(note) => log(&note),
            }
        }
        self.kernel.carry_out(&self.plane);
        self.transmit();
    }

    fn transmit(&self) {
        let mut plane = self.plane.lock();
        let packets: Vec<Transmit> = std::iter::from_fn(|| plane.poll_transmit()).collect();
        drop(plane);
        if packets.is_empty() {
            return;
        }
        // They do not overtake what was decided about before them.
        let _nothing_under_way = self.plane.at_rest();
        for Transmit { packet, mark } in packets {
            if let Err(error) = self.answerer.send(&packet, mark) {
                tracing::debug!(%error, "a packet of the plane's own could not be sent");
            }
        }
    }
}

/// Binds the queues and installs the rules: those of the plane that is wanted, or of `rewrite` if the system lacks what that
/// one needs. The queues are bound before a rule can send packets to them, so that none is lost.
fn take_hold(config: &Config) -> anyhow::Result<(PlaneKind, Vec<Queue>, Kernel, Former)> {
    let take = |kind| -> anyhow::Result<_> {
        let open = |number| {
            Queue::open(number, plane::queue_config(kind, config.queue_len))
                .with_context(|| format!("NFQUEUE {number} cannot be used (try `halod check`)"))
        };
        let queues = config.queues_of(kind).numbers().map(open).collect::<Result<_, _>>()?;
        let (kernel, former) =
            Kernel::install(kind, config).context("the packet rules cannot be installed (try `halod check`)")?;
        Ok((kind, queues, kernel, former))
    };
    match take(config.plane) {
        Err(error) if config.plane == PlaneKind::Steer => {
            let in_its_place = |other| anyhow::anyhow!("{error:#}; nor can `rewrite` take its place: {other:#}");
            let fallen_back = take(PlaneKind::Rewrite).map_err(in_its_place)?;
            tracing::warn!("the plane `steer` is not possible here, `rewrite` takes its place: {error:#}");
            Ok(fallen_back)
        }
        other => other,
    }
}

/// Every address of this host's interfaces: no node may claim one.
fn own_addresses() -> anyhow::Result<Vec<IpAddr>> {
    let interfaces = nix::ifaddrs::getifaddrs().context("the addresses of this host cannot be listed")?;
    let of_interfaces = interfaces.filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::V4(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::V6(address.ip())))
    });
    Ok(of_interfaces.collect())
}

fn log(note: &Note) {
    match note {
        Note::Resumed { active } => tracing::info!(active, "the last table is in force again; its nodes are awaited"),
        Note::Recovered { missing } => tracing::info!(missing, "recovered"),
        Note::Joined { name, id: Some(id) } => tracing::info!(name, %id, "node active"),
        Note::Joined { name, id: None } => tracing::info!(name, "node waits"),
        Note::Leaving { name } => tracing::info!(name, "node leaves"),
        Note::Left { name } => tracing::info!(name, "node has left"),
        Note::Cleared { name } => tracing::info!(name, "node is in order again"),
        Note::Lost { name, how } => tracing::warn!(name, ?how, "node lost"),
        Note::Changed { epoch, active, moved } => tracing::info!(%epoch, active, moved, "routes changed"),
        Note::Refused { peer, code } => tracing::info!(%peer, ?code, "control connection refused"),
    }
}
