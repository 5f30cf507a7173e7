//! Whoever runs on a host of the network.

use std::net::SocketAddr;

use halod_core::time::Instant;

use crate::actors::app::{App, AppCommand};
use crate::actors::browser::{Browser, BrowserCommand};
use crate::actors::node::{Node, NodeCommand};
use crate::actors::{Actor, ConnId, Input, Output};

/// A player.
#[derive(Debug)]
pub(super) enum Player {
    Node(Box<Node>),
    App(Box<App>),
    Browser(Box<Browser>),
}

/// What a player is told, which is one of its kind.
#[derive(Debug)]
pub(super) enum PlayerCommand {
    Node(NodeCommand),
    App(AppCommand),
    Browser(BrowserCommand),
}

impl Actor for Player {
    type Command = PlayerCommand;

    fn command(&mut self, now: Instant, command: PlayerCommand) {
        match (self, command) {
            (Player::Node(node), PlayerCommand::Node(command)) => node.command(now, command),
            (Player::App(app), PlayerCommand::App(command)) => app.command(now, command),
            (Player::Browser(browser), PlayerCommand::Browser(command)) => browser.command(now, command),
            (player, command) => unreachable!("{player:?} is told {command:?}"),
        }
    }

    fn accept(&mut self, now: Instant, local: SocketAddr, peer: SocketAddr) -> ConnId {
        match self {
            Player::Node(node) => node.accept(now, local, peer),
            Player::App(app) => app.accept(now, local, peer),
            Player::Browser(browser) => browser.accept(now, local, peer),
        }
    }

    fn handle(&mut self, now: Instant, input: Input<'_>) {
        match self {
            Player::Node(node) => node.handle(now, input),
            Player::App(app) => app.handle(now, input),
            Player::Browser(browser) => browser.handle(now, input),
        }
    }

    fn poll(&mut self) -> Option<Output> {
        match self {
            Player::Node(node) => node.poll(),
            Player::App(app) => app.poll(),
            Player::Browser(browser) => browser.poll(),
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match self {
            Player::Node(node) => node.deadline(),
            Player::App(app) => app.deadline(),
            Player::Browser(browser) => browser.deadline(),
        }
    }
}
