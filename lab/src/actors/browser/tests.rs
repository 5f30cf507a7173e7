use super::super::End;
use super::*;

/// Drives a browser and writes down, as one word or two each, what it does.
struct Pump {
    browser: Browser,
    now: Instant,
}

const BACKOFF_FIRST: Duration = Duration::from_millis(100);

impl Pump {
    fn new(transport: Transport) -> Self {
        let config = BrowserConfig {
            user: "b-3".into(),
            transport,
            server: "10.0.0.1:8001".parse().unwrap(),
            seed: 7,
            backoff_first: BACKOFF_FIRST,
            backoff_max: Duration::from_secs(1),
        };
        Self { browser: Browser::new(config), now: Instant::ORIGIN }
    }

    /// A browser whose connection 0 is established.
    fn connected(transport: Transport) -> Self {
        let mut pump = Self::new(transport);
        assert_eq!(pump.command(BrowserCommand::Connect), "dial 0");
        pump.connect(0);
        pump
    }

    fn command(&mut self, command: BrowserCommand) -> String {
        self.browser.command(self.now, command);
        self.outputs()
    }

    fn handle(&mut self, input: Input<'_>) -> String {
        self.browser.handle(self.now, input);
        self.outputs()
    }

    fn connect(&mut self, id: u64) {
        assert_eq!(self.handle(Input::Connected(ConnId(id))), format!("send {id}, connected"));
    }

    fn receive(&mut self, id: u64, text: &str) -> String {
        self.handle(Input::Received(ConnId(id), text.as_bytes()))
    }

    fn peer_finishes(&mut self, id: u64) -> String {
        self.handle(Input::PeerFinished(ConnId(id)))
    }

    fn end(&mut self, id: u64, end: End) -> String {
        self.handle(Input::Ended(ConnId(id), end))
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now + time;
    }

    /// Lets the time of the next dial come; how long that took, and what happened then.
    fn wait(&mut self) -> (Duration, String) {
        let waited = self.browser.deadline().expect("the browser waits for something").since(self.now);
        self.pass(waited - Duration::from_nanos(1));
        assert_eq!(self.handle(Input::Timeout), "", "too early");
        self.pass(Duration::from_nanos(1));
        (waited, self.handle(Input::Timeout))
    }

    fn outputs(&mut self) -> String {
        let outputs: Vec<_> = std::iter::from_fn(|| self.browser.poll()).collect();
        assert!(self.browser.connections.len() <= CONNECTIONS_MAX);
        outputs.into_iter().map(|output| self.word(output)).collect::<Vec<_>>().join(", ")
    }

    fn word(&self, output: Output) -> String {
        let me = |user: String| assert_eq!(user, "b-3");
        match output {
            Output::Dial(id, server) => {
                assert_eq!(server, self.browser.config.server);
                format!("dial {}", id.0)
            }
            Output::Send(id, bytes) => {
                let (request, length) = Request::parse(&bytes).unwrap().unwrap();
                assert_eq!((request.user.as_str(), request.transport), ("b-3", self.browser.config.transport));
                assert_eq!(length, bytes.len());
                let since = request.last_event_id.map(|id| format!(" since {id}")).unwrap_or_default();
                format!("send {}{since}", id.0)
            }
            Output::Finish(id) => format!("finish {}", id.0),
            Output::Abort(id) => format!("abort {}", id.0),
            Output::Observe(Observation::Connected { user }) => (me(user), "connected".into()).1,
            Output::Observe(Observation::FirstByte { user }) => (me(user), "first byte".into()).1,
            Output::Observe(Observation::Disconnected { user }) => (me(user), "disconnected".into()).1,
            Output::Observe(Observation::Shown { user, event }) => (me(user), format!("shown {event}")).1,
            Output::Observe(Observation::Repeated { user, event }) => (me(user), format!("repeated {event}")).1,
            Output::Observe(Observation::Garbled { user, why }) => (me(user), format!("garbled: {why}")).1,
            other => panic!("no output of a browser: {other:?}"),
        }
    }
}

fn body(event: EventId) -> String {
    format!("{{\"event\":{event},\"user\":\"b-3\"}}")
}

fn page() -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<html>{}", "<span></span>".repeat(100))
}

fn script(event: EventId) -> String {
    format!("<script>e({});</script>", body(event))
}

const RECONNECT: &str = "<script>r();</script>";
const SSE_HEAD: &str = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";

#[test]
fn the_request_names_the_browser() {
    let mut browser = Pump::new(Transport::XhrStream).browser;
    browser.command(Instant::ORIGIN, BrowserCommand::Connect);
    browser.handle(Instant::ORIGIN, Input::Connected(ConnId(0)));
    let request = b"GET /lab?user=b-3&session=0&transport=xhr_stream HTTP/1.1\r\nHost: orbited\r\n\r\n".to_vec();
    let outputs: Vec<_> = std::iter::from_fn(|| browser.poll()).collect();
    assert_eq!(outputs[1], Output::Send(ConnId(0), request));
}

#[test]
fn each_event_is_shown_once_also_out_of_order() {
    let mut pump = Pump::connected(Transport::Raw);
    assert_eq!(pump.receive(0, &body(4)), "first byte, shown 4");
    assert_eq!(pump.receive(0, &(body(9) + &body(4) + &body(6))), "shown 9, repeated 4, shown 6");
    assert_eq!(pump.receive(0, &body(10)[..5]), "");
    assert_eq!(pump.receive(0, &body(10)[5..]), "shown 10");
}

#[test]
fn an_event_of_another_is_garbled() {
    let mut pump = Pump::connected(Transport::Raw);
    let other = body(1).replace("b-3", "b-4");
    assert_eq!(pump.receive(0, &(other + "{}" + &body(1))), {
        "first byte, garbled: an event of b-4, garbled: a body of no app of the lab, shown 1"
    });
}

#[test]
fn bytes_of_another_transport_end_the_connection() {
    let mut pump = Pump::connected(Transport::Sse);
    let garbled = "garbled: a line that is not a field of this event stream, abort 0, disconnected, dial 1";
    assert_eq!(pump.receive(0, SSE_HEAD), "first byte");
    assert_eq!(pump.receive(0, &(script(1) + "\n")), garbled);
    assert_eq!(pump.receive(0, "id: 1\n"), "", "an ended connection says nothing");
    // The second one in a row that is of no use is followed by a wait.
    pump.connect(1);
    pump.receive(1, SSE_HEAD);
    assert_eq!(pump.receive(1, "x\n"), garbled.replace("abort 0, disconnected, dial 1", "abort 1, disconnected"));
    assert_eq!(pump.wait().1, "dial 2");
}

#[test]
fn a_lost_connection_is_dialled_again_at_once() {
    let mut pump = Pump::connected(Transport::XhrStream);
    pump.pass(BACKOFF_FIRST);
    assert_eq!(pump.peer_finishes(0), "finish 0, disconnected, dial 1");
    assert_eq!(pump.end(0, End::Closed), "");
    pump.connect(1);
    pump.pass(BACKOFF_FIRST);
    assert_eq!(pump.end(1, End::Reset), "disconnected, dial 2");
}

#[test]
fn refusals_are_followed_by_longer_and_longer_waits() {
    let mut pump = Pump::connected(Transport::Iframe);
    pump.pass(BACKOFF_FIRST);
    assert_eq!(pump.end(0, End::Reset), "disconnected, dial 1");
    for (refused, span_ms) in (1..).zip([100, 200, 400, 800, 1_000, 1_000]) {
        assert_eq!(pump.end(refused, End::Refused), "disconnected");
        let (waited, then) = pump.wait();
        let span = Duration::from_millis(span_ms);
        assert!(waited >= span / 2 && waited < span, "{waited:?} of {span:?}");
        assert_eq!(then, format!("dial {}", refused + 1));
    }
    // A connection that is lost at once is no better than a refusal; one that brings an event is.
    pump.connect(7);
    assert_eq!(pump.peer_finishes(7), "finish 7, disconnected");
    assert_eq!(pump.wait().1, "dial 8");
    pump.connect(8);
    assert_eq!(pump.receive(8, &(page() + &script(1))), "first byte, shown 1");
    assert_eq!(pump.peer_finishes(8), "finish 8, disconnected, dial 9");
}

#[test]
fn a_seed_gives_the_same_waits_and_another_one_others() {
    let waits = |seed| {
        let mut pump = Pump::new(Transport::Raw);
        pump.browser = Browser::new(BrowserConfig { seed, ..pump.browser.config });
        pump.command(BrowserCommand::Connect);
        (0..5).map(|id| (pump.end(id, End::Refused), pump.wait()).1.0).collect::<Vec<_>>()
    };
    assert_eq!(waits(1), waits(1));
    assert_ne!(waits(1), waits(2));
}

#[test]
fn a_long_poll_is_followed_by_the_next() {
    let mut pump = Pump::connected(Transport::Xhr);
    assert_eq!(pump.receive(0, &body(1)), "first byte");
    assert_eq!(pump.peer_finishes(0), "shown 1, finish 0, dial 1");
    pump.connect(1);
    assert_eq!(pump.end(0, End::Closed), "");
    pump.pass(Duration::from_secs(30));
    assert_eq!(pump.peer_finishes(1), "finish 1, dial 2");
    assert_eq!(pump.end(2, End::Refused), "disconnected");
    assert_eq!(pump.wait().1, "dial 3");
    pump.connect(3);
    // What was acknowledged is read before the reset is acted on, but half an event is none.
    assert_eq!(pump.receive(3, &body(2)), "first byte");
    assert_eq!(pump.end(3, End::Reset), "shown 2, disconnected, dial 4");
    pump.connect(4);
    assert_eq!(pump.receive(4, &body(3)[..10]), "first byte");
    assert_eq!(pump.end(4, End::Reset), "disconnected");
}

#[test]
fn a_poll_with_two_bodies_is_garbled() {
    let mut pump = Pump::connected(Transport::Xhr);
    pump.receive(0, &(body(1) + &body(2)));
    let garbled = "garbled: bytes after the body of a poll, ";
    assert_eq!(pump.peer_finishes(0), garbled.to_owned() + "abort 0, disconnected, dial 1");
    pump.connect(1);
    pump.receive(1, &(body(1) + &body(2)));
    assert_eq!(pump.end(1, End::Reset), garbled.to_owned() + "disconnected", "nothing to abort");
}

#[test]
fn sse_tells_what_it_had_and_waits_as_it_is_told() {
    let mut pump = Pump::connected(Transport::Sse);
    assert_eq!(
        pump.receive(0, &format!("{SSE_HEAD}retry: 600\n\nid: 4\ndata: {}\n\n", body(4))),
        "first byte, shown 4"
    );
    // An id without its event is not had.
    assert_eq!(pump.receive(0, &format!("id: 5\ndata: {}\n", body(5))), "");
    assert_eq!(pump.peer_finishes(0), "finish 0, disconnected, dial 1");
    assert_eq!(pump.end(1, End::Refused), "disconnected");
    let (waited, then) = pump.wait();
    assert!(waited >= Duration::from_millis(300) && waited < Duration::from_millis(600), "{waited:?}");
    assert_eq!(then, "dial 2");
    assert_eq!(pump.handle(Input::Connected(ConnId(2))), "send 2 since 4, connected");
}

#[test]
fn iframe_makes_the_new_connection_before_it_breaks_the_old_one() {
    let mut pump = Pump::connected(Transport::Iframe);
    assert_eq!(pump.receive(0, &(page() + RECONNECT + &script(1))), "first byte, dial 1, shown 1");
    assert_eq!(pump.receive(0, RECONNECT), "", "asked twice");
    pump.connect(1);
    assert_eq!(pump.receive(0, &script(2)), "shown 2");
    assert_eq!(pump.receive(1, "HTTP"), "first byte, finish 0");
    assert_eq!(pump.receive(0, &script(3)), "shown 3", "what is in flight is read");
    assert_eq!(pump.receive(1, &(page()[4..].to_owned() + &script(3))), "repeated 3");
    assert_eq!(pump.peer_finishes(0), "");
    assert_eq!(pump.end(0, End::Closed), "");
    assert_eq!(pump.end(1, End::Reset), "disconnected, dial 2");
}

#[test]
fn the_old_connection_stays_while_the_new_one_fails() {
    let mut pump = Pump::connected(Transport::Iframe);
    assert_eq!(pump.receive(0, &(page() + RECONNECT)), "first byte, dial 1");
    assert_eq!(pump.end(1, End::Refused), "", "there is still an open one");
    assert_eq!(pump.receive(0, &(script(1) + RECONNECT)), "shown 1");
    assert_eq!(pump.wait().1, "dial 2");
    assert_eq!(pump.peer_finishes(0), "finish 0, disconnected", "a dial is under way already");
    pump.connect(2);
    assert_eq!(pump.receive(2, &page()), "first byte");
}

#[test]
fn there_are_never_more_than_three_connections() {
    let mut pump = Pump::connected(Transport::Iframe);
    for id in 0..3 {
        let left = if id == 0 { String::new() } else { format!(", finish {}", id - 1) };
        let aborted = if id == 2 { ", abort 0" } else { "" };
        let expected = format!("first byte{left}{aborted}, dial {}", id + 1);
        assert_eq!(pump.receive(id, &(page() + RECONNECT)), expected);
        pump.connect(id + 1);
    }
    // The one that still works is kept, even though it is the oldest.
    assert_eq!(pump.end(1, End::Closed), "");
    assert_eq!(pump.peer_finishes(3), "finish 3, dial 4");
    pump.connect(4);
    assert_eq!(pump.peer_finishes(4), "finish 4");
    assert_eq!(pump.wait().1, "abort 3, dial 5");
    assert_eq!(pump.receive(2, &script(1)), "shown 1");
}

#[test]
fn an_abandoned_connection_answers_with_rst_and_shows_nothing() {
    let mut pump = Pump::connected(Transport::Raw);
    assert_eq!(pump.command(BrowserCommand::Abandon), "finish 0");
    assert_eq!(pump.command(BrowserCommand::Connect), "dial 1");
    assert_eq!(pump.receive(0, &body(1)), "abort 0");
    pump.connect(1);
    assert_eq!(pump.command(BrowserCommand::Abort), "abort 1");
    assert_eq!(pump.browser.deadline(), None);
    assert_eq!(pump.command(BrowserCommand::Connect), "dial 2");
}

#[test]
fn a_closed_browser_stays_away_until_it_is_told() {
    let mut pump = Pump::connected(Transport::Raw);
    assert_eq!(pump.command(BrowserCommand::Connect), "", "connected already");
    assert_eq!(pump.command(BrowserCommand::Close), "finish 0");
    assert_eq!(pump.receive(0, &body(1)), "first byte, shown 1");
    assert_eq!(pump.peer_finishes(0), "");
    assert_eq!(pump.end(0, End::Closed), "");
    assert_eq!(pump.browser.deadline(), None);
    assert_eq!(pump.command(BrowserCommand::Connect), "dial 1");
    assert_eq!(pump.command(BrowserCommand::Close), "abort 1");
    assert_eq!(pump.command(BrowserCommand::Connect), "dial 2");
    assert_eq!(pump.end(2, End::Refused), "disconnected");
    assert_eq!(pump.command(BrowserCommand::Close), "");
    assert_eq!(pump.browser.deadline(), None);
    assert_eq!(pump.handle(Input::Timeout), "");
}
