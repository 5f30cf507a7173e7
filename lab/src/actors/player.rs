//! Whoever runs on a host of the network, where hosts of all kinds are driven together.

use std::net::SocketAddr;

use halod_core::time::Instant;

use super::app::{App, AppCommand};
use super::browser::{Browser, BrowserCommand};
use super::node::{Node, NodeCommand};
use super::{Actor, ConnId, Input, Output};

/// A player.
#[derive(Debug)]
pub enum Player {
    /// A fake node.
    Node(Box<Node>),
    /// An app.
    App(Box<App>),
    /// A browser.
    Browser(Box<Browser>),
}

/// What a player is told, which is one of its kind.
#[derive(Debug)]
pub enum PlayerCommand {
    /// For a node.
    Node(NodeCommand),
    /// For an app.
    App(AppCommand),
    /// For a browser.
    Browser(BrowserCommand),
}

impl Actor for Player {
    type Command = PlayerCommand;

    /// # Panics
    ///
    /// If the command is for a player of another kind.
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
