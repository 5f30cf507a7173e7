use super::*;

fn ask(conn: u64, request: u32) -> String {
    let id = format!("flow-{conn}-{request}");
    format!(
        "send {conn} Orbit 1.0\r\nEvent\r\nid: {id}\r\nrecipient: nobody-{id}, 0, /demo\r\nlength: {}\r\n\r\n{id}",
        id.len()
    )
}

fn flow_failed(index: u32) -> String {
    format!("FlowFailed {{ index: {index} }}")
}

/// An app that holds flows 0, 1, 2 on connections 1, 2, 3, all answered.
fn holding() -> Stage<App> {
    let mut app = Stage::new(App::new(config(&[], 24)));
    assert_eq!(
        app.command(AppCommand::Hold { flows: 3, routes: 2 }),
        ["dial 1 10.0.0.1:9001", "dial 2 10.0.0.1:9002", "dial 3 10.0.0.1:9001"]
    );
    for conn in 1..=3 {
        assert_eq!(app.input(Input::Connected(ConnId(conn))), [ask(conn, 1)]);
        let answered = app.received(ConnId(conn), failure(format!("flow-{conn}-1")));
        assert_eq!(answered, [format!("FlowAnswered {{ index: {} }}", conn - 1)]);
    }
    assert_eq!(app.actor.deadline(), None);
    app
}

#[test]
fn held_flows_are_answered_probed_and_released() {
    let mut app = holding();
    assert_eq!(app.command(AppCommand::Probe), [ask(1, 2), ask(2, 2), ask(3, 2)]);
    assert_eq!(app.received(ConnId(2), failure("flow-2-2")), ["FlowAnswered { index: 1 }"]);
    assert_eq!(app.command(AppCommand::ReleaseAll), ["finish 1", "finish 2", "finish 3"]);
    assert_eq!(app.command(AppCommand::Probe), Vec::<String>::new());
}

#[test]
fn the_answer_of_another_flow_fails_the_flow() {
    let mut app = holding();
    app.command(AppCommand::Probe);
    assert_eq!(
        app.received(ConnId(1), failure("flow-2-2")),
        ["Mismatched { id: \"flow-2-2\" }", "abort 1", &flow_failed(0)]
    );
    // Nobody asked again, and nobody exists who could be reached.
    let lines = app.received(ConnId(2), success("flow-2-2"));
    assert_eq!(lines, ["Mismatched { id: \"flow-2-2\" }", "abort 2", &flow_failed(1)]);
}

#[test]
fn a_flow_that_is_lost_fails_again_at_each_probe() {
    let mut app = holding();
    assert_eq!(app.input(Input::Ended(ConnId(1), End::Reset)), [flow_failed(0)]);
    assert_eq!(app.input(Input::PeerFinished(ConnId(2))), ["finish 2".into(), flow_failed(1)]);
    assert_eq!(app.input(Input::Ended(ConnId(2), End::Closed)), Vec::<String>::new());
    assert_eq!(app.command(AppCommand::Probe), [flow_failed(0), flow_failed(1), ask(3, 2)]);
}

#[test]
fn a_flow_without_an_answer_fails() {
    let mut app = holding();
    app.command(AppCommand::Probe);
    app.received(ConnId(2), failure("flow-2-2"));
    assert_eq!(app.pass_ms(10_000), ["abort 1".into(), flow_failed(0), "abort 3".into(), flow_failed(2)]);
}

#[test]
fn a_dial_that_is_not_established_is_given_up() {
    let mut app = Stage::new(App::new(config(&[], 24)));
    app.command(AppCommand::Hold { flows: 1, routes: 1 });
    assert_eq!(app.command(AppCommand::ReleaseAll), ["abort 1"]);
    assert_eq!(app.actor.deadline(), None);
}
