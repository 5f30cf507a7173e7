//! What a right file means.

use super::*;

#[test]
fn what_is_not_given_has_a_default() {
    let scenario = with_steps("  - join: n1\n");
    let router = &scenario.router;
    assert_eq!((router.routes, router.reserve, router.misses, router.family), (24, 1, 3, Family::V4));
    assert_eq!((router.heartbeat, router.drain), (Duration::from_millis(50), Duration::from_secs(10)));
    assert_eq!((scenario.seed, scenario.always.len()), (1, Invariant::ALL.len()));
    assert!(scenario.nodes.iter().all(|node| node.link == Link::default() && node.success == Success::Acknowledged));
    assert_eq!(scenario.steps[0].expect, [Expectation::SETTLED]);
    assert_eq!(Expectation::SETTLED.within, WITHIN_DEFAULT);
}

#[test]
fn links_are_inherited_property_by_property() {
    let links = "links: {default: {delay: 1ms}, n: {loss: 2%}, n2: {delay: 4ms..6ms, mtu: 1400}, b: {mtu: 1300}}\n";
    let scenario = parse(&format!("{HEAD}{links}steps: []\n")).unwrap();
    let shown = |link: &Link| {
        let Link { delay, loss, mtu, .. } = link;
        format!("{}-{} ms, {} ppm, {mtu}", delay.min.as_millis(), delay.max.as_millis(), loss.per_million())
    };
    let nodes: Vec<String> = scenario.nodes.iter().take(2).map(|node| shown(&node.link)).collect();
    assert_eq!(nodes, ["1-1 ms, 20000 ppm, 1500", "4-6 ms, 20000 ppm, 1400"]);
    assert_eq!(scenario.browsers.iter().map(|group| shown(&group.link)).collect::<Vec<_>>(), ["1-1 ms, 0 ppm, 1300"]);
}

#[test]
fn references_are_resolved() {
    let scenario = with_steps(
        "  - join: [n3, n1..n2]  # in this order\n    expect: [{active: n1..n2, within: 1s}]\n\
         \x20 - stray: {from: c1, to: {route: 3, side: app}, flags: [ack], answer: rst}\n\
         \x20 - run: {on: n3, command: 'true'}\n",
    );
    let Action::Join(nodes) = &scenario.steps[0].action else { panic!("it joins") };
    let names: Vec<&str> = nodes.iter().map(|&node| scenario.nodes[node].name.as_str()).collect();
    assert_eq!(names, ["n3", "n1", "n2"]);
    assert_eq!((scenario.steps[0].text.as_str(), scenario.steps[0].line), ("join: [n3, n1..n2]", 9));
    assert_eq!(scenario.steps[0].expect.len(), 3);
    assert_eq!(scenario.steps[0].expect[1].within, Duration::from_secs(1));

    let Action::Stray(stray) = &scenario.steps[1].action else { panic!("it is a packet") };
    let StrayPath::ToService { from, route, side } = stray.path else { panic!("it goes to the service") };
    assert_eq!((scenario.clients[from].name.as_str(), route, side), ("c1", RouteId::from_index(2), Side::App));
}

#[test]
fn browsers_have_users_and_transports_in_turn() {
    let source = HEAD.replace("{count: 240}", "{count: 3, transports: [iframe, sse]}");
    let scenario = parse(&format!("{source}steps: []\n")).unwrap();
    let group = scenario.browsers.iter().next().unwrap();
    let browsers: Vec<_> = (0..group.count).map(|index| (group.user(index), group.transport(index))).collect();
    let expected = [("b1", Transport::Iframe), ("b2", Transport::Sse), ("b3", Transport::Iframe)];
    assert_eq!(browsers, expected.map(|(user, transport)| (user.to_owned(), transport)));
}

#[test]
fn one_engine_and_programs_can_be_asked_for() {
    let scenario = parse(&format!(
        "{HEAD}only: {{engine: kernel, because: it runs curl}}\nneeds: [sh, no-such-program]\nsteps: []\n"
    ))
    .unwrap();
    assert_eq!(scenario.obstacle(Engine::Kernel), None);
    assert_eq!(scenario.obstacle(Engine::Sim), Some("it runs curl"));
    assert_eq!(scenario.missing_programs("/nowhere:/bin".as_ref()), ["no-such-program"]);
}

#[test]
fn browsers_come_at_a_rate_and_fill_their_rooms() {
    let steps = "  - join: n1\n  - connect: {browsers: b, rate: 100/s}\n  - load: {app: a, events: 12, rate: 3/s, room: 40}\n    expect: [{delivered: 480}]\n";
    let [_, connect, load] = &with_steps(steps).steps[..] else { panic!("three steps") };
    assert!(matches!(connect.action, Action::Connect(_, Some(rate)) if rate.per_second() == 100));
    assert!(matches!(&load.action, Action::Load(load) if (load.room, load.deliveries()) == (40, 480)));
    check_steps(
        "  - connect: {browsers: b, rate: 0/s}\n  - load: {app: a, events: 5, rate: 1/s, room: 7}\n",
        &["\"0/s\" is not a rate | at least 1/s", "240 users do not fill rooms of 7 | all rooms have the same size"],
    );
}
