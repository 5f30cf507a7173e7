//! A network namespace for each test, and what the kernel says is in it.

use std::io;

use libtest_mimic::{Failed, Trial};
use netlink_sys::Socket;
use netlink_sys::protocols::{NETLINK_NETFILTER, NETLINK_ROUTE};
use nix::libc;
use nix::sched::{CloneFlags, unshare};

/// A test that panics when it fails, in a namespace of its own. Without the right to make one it is ignored.
pub(crate) fn trials(tests: &[(&'static str, fn())]) -> Vec<Trial> {
    trials_that_need(|| Ok(()), tests)
}

/// As [`trials`], ignored too without what is `needed`.
pub(crate) fn trials_that_need(needed: fn() -> Result<(), String>, tests: &[(&'static str, fn())]) -> Vec<Trial> {
    let obstacle = needed().and_then(|()| in_namespace(|| ())).err();
    let trial = |&(name, test): &(&'static str, fn())| {
        let run = move || in_namespace(test).map_err(Failed::from);
        // libtest has no word for "skipped, because"; the kind is shown beside the name.
        let kind = obstacle.as_ref().map_or(String::new(), |reason| format!("skipped: {reason}"));
        Trial::test(name, run).with_ignored_flag(obstacle.is_some()).with_kind(kind)
    };
    tests.iter().map(trial).collect()
}

/// Runs `test` on a thread of its own in a new network namespace whose loopback is up.
fn in_namespace(test: fn()) -> Result<(), String> {
    let outcome = std::thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("no network namespace: {}", error.desc()))?;
        set_loopback(true).map_err(|error| format!("no loopback: {error}"))?;
        test();
        Ok(())
    });
    outcome.join().unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(text.unwrap_or("the test panicked").to_owned())
    })
}

/// The names of all tables, as the kernel lists them.
pub(crate) fn tables() -> Vec<String> {
    const NFTA_TABLE_NAME: u16 = 1;
    let message_type = (libc::NFNL_SUBSYS_NFTABLES << 8) | libc::NFT_MSG_GETTABLE;
    let mut socket = Socket::new(NETLINK_NETFILTER).unwrap();
    socket.bind_auto().unwrap();
    let request = netlink_request(message_type as u16, libc::NLM_F_DUMP as u16, &[libc::AF_UNSPEC as u8, 0, 0, 0]);
    socket.send(&request, 0).unwrap();

    let mut replies = Vec::with_capacity(64 * 1024);
    socket.recv(&mut replies, 0).unwrap();
    let mut names = Vec::new();
    let mut rest = &replies[..];
    while rest.len() >= 20 {
        let length = u32::from_ne_bytes(rest[..4].try_into().unwrap()) as usize;
        let attribute = rest.get(20..length).unwrap_or_default();
        if attribute.len() > 4 && attribute[2..4] == NFTA_TABLE_NAME.to_ne_bytes() {
            let name_length = usize::from(u16::from_ne_bytes(attribute[..2].try_into().unwrap()));
            names.push(String::from_utf8(attribute[4..name_length - 1].to_vec()).unwrap());
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    names.sort_unstable();
    names
}

/// Brings this namespace's loopback up, or down.
pub(crate) fn set_loopback(up: bool) -> io::Result<()> {
    const LOOPBACK_INDEX: u32 = 1;
    set_link(LOOPBACK_INDEX, up)
}

/// Brings an interface of this namespace up, or down.
pub(crate) fn set_link(index: u32, up: bool) -> io::Result<()> {
    const UP: u32 = libc::IFF_UP as u32;
    // struct ifinfomsg {family, pad, type, index, flags, change}
    let mut link = vec![0; 4];
    link.extend([index, if up { UP } else { 0 }, UP].into_iter().flat_map(u32::to_ne_bytes));
    change_network(libc::RTM_NEWLINK, &link)
}

/// Tells the kernel of a change of this namespace's interfaces and addresses, an `RTM_NEW*`.
pub(crate) fn change_network(message_type: u16, payload: &[u8]) -> io::Result<()> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.send(&netlink_request(message_type, libc::NLM_F_ACK as u16, payload), 0)?;
    let mut reply = Vec::with_capacity(4096);
    socket.recv(&mut reply, 0)?;
    match i32::from_ne_bytes(reply[16..20].try_into().expect("four bytes")) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(-code)),
    }
}

fn netlink_request(message_type: u16, flags: u16, payload: &[u8]) -> Vec<u8> {
    let length = 16 + payload.len() as u32;
    let mut request = length.to_ne_bytes().to_vec();
    request.extend_from_slice(&message_type.to_ne_bytes());
    request.extend_from_slice(&(flags | libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(payload);
    request
}
