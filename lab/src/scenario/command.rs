//! Command lines of a scenario, with places for what is known only when it runs.

use halod_core::ids::{RouteId, Side};

/// A command line with placeholders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    parts: Vec<Part>,
}

/// What a placeholder stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placeholder {
    /// `{service}`: the address of the router's service, in brackets if it is IPv6, as URLs have it.
    Service,
    /// `{browser-port:R}` or `{app-port:R}`: a port of route R.
    Port(Side, RouteId),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(Placeholder),
}

impl Command {
    /// Reads a command line for a router with `routes` routes; the error says what is wrong with a placeholder.
    pub(crate) fn parse(line: &str, routes: u16) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut text = String::new();
        let mut rest = line;
        while let Some(brace) = rest.find(['{', '}']) {
            text.push_str(&rest[..brace]);
            let open = rest[brace..].starts_with('{');
            rest = &rest[brace + 1..];
            if let Some(after) = rest.strip_prefix(if open { '{' } else { '}' }) {
                text.push(if open { '{' } else { '}' });
                rest = after;
                continue;
            }
            let (name, after) = rest.split_once('}').filter(|_| open).ok_or("a single brace is written twice")?;
            if !text.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut text)));
            }
            parts.push(Part::Placeholder(Placeholder::parse(name, routes)?));
            rest = after;
        }
        text.push_str(rest);
        if !text.is_empty() {
            parts.push(Part::Text(text));
        }
        if parts.is_empty() { Err("the command is empty".into()) } else { Ok(Self { parts }) }
    }

    /// The command line with each placeholder replaced by what `value` says.
    pub fn render(&self, mut value: impl FnMut(Placeholder) -> String) -> String {
        let parts = self.parts.iter().map(|part| match part {
            Part::Text(text) => text.clone(),
            Part::Placeholder(placeholder) => value(*placeholder),
        });
        parts.collect()
    }
}

impl Placeholder {
    fn parse(text: &str, routes: u16) -> Result<Self, String> {
        let (side, route) = match text.split_once(':') {
            None if text == "service" => return Ok(Placeholder::Service),
            Some(("browser-port", route)) => (Side::Browser, route),
            Some(("app-port", route)) => (Side::App, route),
            _ => return Err(format!("{{{text}}} is none of {{service}}, {{browser-port:R}}, {{app-port:R}}")),
        };
        let route = route.parse().ok().and_then(RouteId::new).filter(|route| route.number() <= routes);
        let route = route.ok_or_else(|| format!("{{{text}}} names no route: they are 1 to {routes}"))?;
        Ok(Placeholder::Port(side, route))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(line: &str, expected: Result<&str, &str>) {
        let rendered = Command::parse(line, 24).map(|command| {
            command.render(|placeholder| match placeholder {
                Placeholder::Service => "[fd00::1]".into(),
                Placeholder::Port(side, route) => format!("<{side} {route}>"),
            })
        });
        assert_eq!(rendered, expected.map(str::to_owned).map_err(str::to_owned));
    }

    #[test]
    fn placeholders_are_replaced() {
        check("curl http://{service}:{browser-port:3}/demo", Ok("curl http://[fd00::1]:<browser 3>/demo"));
        check("{app-port:24}", Ok("<app 24>"));
        check("awk '{{print $1}}'", Ok("awk '{print $1}'"));
    }

    #[test]
    fn wrong_placeholders_are_named() {
        check("{port:3}", Err("{port:3} is none of {service}, {browser-port:R}, {app-port:R}"));
        check("{app-port:25}", Err("{app-port:25} names no route: they are 1 to 24"));
        check("{app-port:0}", Err("{app-port:0} names no route: they are 1 to 24"));
        check("{app-port:x}", Err("{app-port:x} names no route: they are 1 to 24"));
        check("a { b", Err("a single brace is written twice"));
        check("a } b", Err("a single brace is written twice"));
        check("", Err("the command is empty"));
    }
}
