//! Names in steps: what they name, or what they were probably meant to name.

use std::ops::Range;

use super::steps::Walk;
use crate::scenario::diagnostic::hint;
use crate::scenario::file::Names;
use crate::scenario::located::{At, Either};
use crate::scenario::{App, BrowserGroup, Node, Ref, Table};

impl Walk<'_> {
    /// The nodes that `names` means, each with the place where it is named.
    pub(super) fn nodes(&mut self, names: &Names) -> Vec<(Ref<Node>, Range<usize>)> {
        let one = |text: &String| vec![At { value: text.clone(), span: names.span.clone() }];
        let items = match &names.value {
            Either::Short(text) => one(text),
            Either::Long(items) => items.clone(),
        };
        if items.is_empty() {
            self.mistakes.add(&names.span, "no node is named", "at least one");
        }
        let mut nodes = Vec::new();
        for At { value: text, span } in items {
            for name in self.expand(&text, &span) {
                nodes.extend(self.node(&name, &span).map(|node| (node, span.clone())));
            }
        }
        nodes
    }

    /// The names that a range such as `n1..n8` stands for; any other text stands for itself.
    fn expand(&mut self, text: &str, span: &Range<usize>) -> Vec<String> {
        let Some((first, last)) = text.split_once("..") else { return vec![text.to_owned()] };
        match (numbered(first), numbered(last)) {
            (Some((group, low)), Some((other, high))) if group == other && low < high => {
                (low..=high).map(|number| format!("{group}{number}")).collect()
            }
            _ => {
                self.mistakes.add(span, format!("\"{text}\" is not a range of nodes"), "as in n1..n8, lowest first");
                Vec::new()
            }
        }
    }

    pub(super) fn node(&mut self, name: &str, span: &Range<usize>) -> Option<Ref<Node>> {
        let node = self.hosts.node(name);
        if node.is_none() {
            let label = match self.hosts.node_ranges().join(", ") {
                none if none.is_empty() => "the scenario has none".to_owned(),
                ranges => format!("the nodes are {ranges}"),
            };
            self.mistakes.add(span, format!("unknown node \"{name}\""), label);
        }
        node
    }

    /// The node called `name`, where a client could stand as well.
    pub(super) fn host_of(&mut self, name: &str, span: &Range<usize>, kinds: &str) -> Option<Ref<Node>> {
        let node = self.hosts.node(name);
        if node.is_none() {
            let clients = names(&self.hosts.clients, |client| &client.name);
            let mut known: Vec<String> = clients.into_iter().map(str::to_owned).collect();
            known.extend(self.hosts.node_ranges());
            let label = hint(name, &format!("the {kinds} are"), known.iter().map(String::as_str));
            self.mistakes.add(span, format!("unknown host \"{name}\""), label);
        }
        node
    }

    pub(super) fn group(&mut self, name: &At<String>) -> Option<Ref<BrowserGroup>> {
        let group = self.hosts.browsers.find(|group| group.name == name.value);
        if group.is_none() {
            let known = names(&self.hosts.browsers, |group| &group.name);
            self.unknown("group of browsers", &name.value, &name.span, &known);
        }
        group
    }

    pub(super) fn app(&mut self, name: &At<String>) -> Option<Ref<App>> {
        let app = self.hosts.apps.find(|app| app.name == name.value);
        if app.is_none() {
            let known = names(&self.hosts.apps, |app| &app.name);
            self.unknown("app", &name.value, &name.span, &known);
        }
        app
    }

    pub(super) fn unknown(&mut self, kind: &str, name: &str, span: &Range<usize>, known: &[&str]) {
        let label = match known {
            [] => "the scenario has none".to_owned(),
            _ => hint(name, "there is", known.iter().copied()),
        };
        self.mistakes.add(span, format!("unknown {kind} \"{name}\""), label);
    }
}

pub(super) fn names<T>(table: &Table<T>, name: impl Fn(&T) -> &String) -> Vec<&str> {
    table.iter().map(|entry| name(entry).as_str()).collect()
}

/// `n12` is number 12 of group `n`.
fn numbered(name: &str) -> Option<(&str, u16)> {
    let group = name.trim_end_matches(|c: char| c.is_ascii_digit());
    name[group.len()..].parse().ok().map(|number| (group, number))
}
