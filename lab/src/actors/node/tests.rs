//! Exact inputs to a node, exact outputs.

mod control;
mod delivery;
mod drain;
mod polling;

use super::*;
use crate::actors::transcript::Stage;

const BROWSER: &str = "10.0.1.1:8000";
const APP: &str = "10.0.1.1:9000";
const ADMIN: &str = "10.0.1.1:9001";

fn node_with(success: Success) -> Stage<Node> {
    Stage::new(Node::new(config(success)).unwrap())
}

fn config(success: Success) -> NodeConfig {
    let address = |text: &str| text.parse().unwrap();
    NodeConfig {
        name: "n1".into(),
        control: address("10.0.0.1:7000"),
        browser: vec![address(BROWSER)],
        app: vec![address(APP)],
        admin: address(ADMIN),
        incarnation: 0xabc,
        success,
        obeys: true,
        seed: 1,
        half_close: Duration::from_secs(5),
    }
}

fn node() -> Stage<Node> {
    node_with(Success::Acknowledged)
}

/// A node with an established session: connection 1.
fn welcomed() -> Stage<Node> {
    welcome(node())
}

fn welcome(mut node: Stage<Node>) -> Stage<Node> {
    node.command(NodeCommand::Join);
    node.input(Input::Connected(ConnId(1)));
    node.received(ConnId(1), WELCOME);
    node
}

const WELCOME: &str = "{\"type\":\"welcome\",\"version\":1,\"token\":\"00000000000000ff\",\"state\":\"active\",\
                       \"id\":1,\"routes\":[1,2],\"epoch\":1,\"heartbeat_ms\":50,\"misses\":1000}\n";

/// A browser's connection, without what it makes the node do.
fn browser(node: &mut Stage<Node>, user: &str, transport: &str, peer: &str) -> ConnId {
    let conn = node.accept(BROWSER, peer);
    node.received(conn, get(user, transport));
    conn
}

fn get(user: &str, transport: &str) -> String {
    format!("GET /demo?user={user}&transport={transport} HTTP/1.1\r\n\r\n")
}

fn poll(user: &str) -> String {
    format!("GET /demo|{user},0,xhr HTTP/1.1\r\n\r\n")
}

fn app(node: &mut Stage<Node>) -> ConnId {
    node.accept(APP, "10.0.9.1:5000")
}

fn orbit(id: &str, users: &[&str], body: &str) -> String {
    let recipients: String = users.iter().map(|user| format!("recipient: {user}, 0, /demo\r\n")).collect();
    format!("Orbit 1.0\r\nEvent\r\nid: {id}\r\n{recipients}length: {}\r\n\r\n{body}", body.len())
}

fn success(conn: ConnId, id: &str) -> String {
    format!("send {} Success\r\nid: {id}\r\n\r\n", conn.0)
}

fn failure(conn: ConnId, id: &str, users: &[&str]) -> String {
    let recipients: String = users.iter().map(|user| format!("recipient: ({user}, 0, /demo)\r\n")).collect();
    format!("send {} Failure\r\nid: {id}\r\nmsg: Failed to reach one or more recipients\r\n{recipients}\r\n", conn.0)
}

fn finish(conn: ConnId) -> String {
    format!("finish {}", conn.0)
}

fn send(conn: ConnId, text: &str) -> String {
    format!("send {} {text}", conn.0)
}

fn detached(user: &str) -> String {
    format!("Detached {{ user: {user:?} }}")
}

fn attached(user: &str, transport: &str, peer: &str) -> String {
    format!("Attached {{ user: {user:?}, transport: {transport}, peer: {peer} }}")
}

#[test]
fn a_node_listens_for_browsers_apps_and_a_redial() {
    let addresses: Vec<String> = node().actor.listen().iter().map(ToString::to_string).collect();
    assert_eq!(addresses, [BROWSER, APP, ADMIN]);
}

#[test]
fn addresses_that_nobody_can_reach_are_refused() {
    let config = NodeConfig { browser: Vec::new(), ..node().actor.config };
    assert!(Node::new(config).is_err());
}

#[test]
fn nothing_a_peer_sends_makes_a_node_panic() {
    let moved = "{\"type\":\"route_moved\",\"route\":1,\"epoch\":2,\"deadline_ms\":9}\n";
    let named = "{\"type\":\"reconnect\",\"route\":1,\"epoch\":2,\"side\":\"browser\",\"peers\":[\"10.9.0.1:4000\"],\
                 \"left\":0}\n";
    let texts = [
        get("alice", "raw"),
        get("alice", "iframe"),
        poll("alice"),
        poll("bob"),
        orbit("1", &["alice", "bob"], "x"),
        WELCOME.into(),
        moved.into(),
        named.into(),
        named.replace("browser", "app"),
    ];
    let texts: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    for seed in 0..20 {
        let mut node = node();
        node.command(NodeCommand::Join);
        node.endure(seed, &[BROWSER, APP, ADMIN], &texts);
        node.command(NodeCommand::Leave);
    }
}
