//! The service ports: one browser port and one app port a route, each kind a run of consecutive ports.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

use serde::{Deserialize, Serialize};

use crate::ids::{RouteId, Side};

/// The ports that are exposed for N routes. Route r has the r-th port of each range.
///
/// A value is always valid: at least one route, no port 0, no port in both ranges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "[RangeInclusive<u16>; 2]", into = "[RangeInclusive<u16>; 2]")]
pub struct ServicePorts {
    routes: u16,
    browser_first: u16,
    app_first: u16,
}

/// Why two port ranges cannot serve a number of routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ServicePortsError {
    /// There is nothing to route to.
    #[error("at least one route is needed")]
    NoRoutes,
    /// TCP has no port 0.
    #[error("the {0} ports begin at port 0, which does not exist")]
    PortZero(Side),
    /// A range has more or fewer ports than there are routes.
    #[error("{routes} routes need {routes} {side} ports, but the range has {ports}")]
    WrongCount {
        /// The range.
        side: Side,
        /// Its number of ports.
        ports: usize,
        /// The number of routes.
        routes: u16,
    },
    /// A port is in both ranges.
    #[error("the browser ports and the app ports share port {0}")]
    Overlap(u16),
}

impl ServicePorts {
    /// The ports of `routes` routes.
    ///
    /// # Errors
    ///
    /// [`ServicePortsError`] unless both ranges have exactly `routes` ports, none of them 0 and none in both.
    pub fn new(routes: u16, browser: RangeInclusive<u16>, app: RangeInclusive<u16>) -> Result<Self, ServicePortsError> {
        if routes == 0 {
            return Err(ServicePortsError::NoRoutes);
        }
        for (side, range) in [(Side::Browser, &browser), (Side::App, &app)] {
            if *range.start() == 0 {
                return Err(ServicePortsError::PortZero(side));
            }
            let ports = range.len();
            if ports != usize::from(routes) {
                return Err(ServicePortsError::WrongCount { side, ports, routes });
            }
        }
        let shared_first = *browser.start().max(app.start());
        if browser.contains(&shared_first) && app.contains(&shared_first) {
            return Err(ServicePortsError::Overlap(shared_first));
        }
        Ok(Self { routes, browser_first: *browser.start(), app_first: *app.start() })
    }

    /// Number of routes, N.
    pub const fn routes(&self) -> u16 {
        self.routes
    }

    /// All ports of one side, route 1 first.
    pub const fn range(&self, side: Side) -> RangeInclusive<u16> {
        let first = self.first(side);
        first..=first + (self.routes - 1)
    }

    /// What `port` is exposed for; `None` if it is no service port.
    pub fn locate(&self, port: u16) -> Option<(Side, RouteId)> {
        [Side::Browser, Side::App].into_iter().find_map(|side| {
            let index = port.checked_sub(self.first(side)).filter(|&index| index < self.routes)?;
            Some((side, RouteId::from_index(usize::from(index))))
        })
    }

    /// The port that `route` has on `side`.
    ///
    /// # Panics
    ///
    /// If `route` is beyond N.
    pub fn port(&self, side: Side, route: RouteId) -> u16 {
        assert!(route.number() <= self.routes, "route {route} of {} routes", self.routes);
        self.first(side) + (route.number() - 1)
    }

    const fn first(&self, side: Side) -> u16 {
        match side {
            Side::Browser => self.browser_first,
            Side::App => self.app_first,
        }
    }
}

/// The service ports on the addresses that they are exposed on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services {
    /// The ports.
    pub ports: ServicePorts,
    /// The addresses.
    pub addresses: Vec<IpAddr>,
}

impl Services {
    /// What an address and port is exposed for, if it is.
    pub fn locate(&self, destination: SocketAddr) -> Option<(Side, RouteId)> {
        self.ports.locate(destination.port()).filter(|_| self.addresses.contains(&destination.ip()))
    }
}

/// The browser ports, then the app ports.
impl TryFrom<[RangeInclusive<u16>; 2]> for ServicePorts {
    type Error = ServicePortsError;

    fn try_from([browser, app]: [RangeInclusive<u16>; 2]) -> Result<Self, Self::Error> {
        // More ports than a number of routes can say are too many for the app ports in any case.
        Self::new(u16::try_from(browser.len()).unwrap_or(u16::MAX), browser, app)
    }
}

impl From<ServicePorts> for [RangeInclusive<u16>; 2] {
    fn from(ports: ServicePorts) -> Self {
        [Side::Browser, Side::App].map(|side| ports.range(side))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn route(number: u16) -> RouteId {
        RouteId::new(number).unwrap()
    }

    #[test]
    fn every_port_is_located_at_its_own_route_and_no_other_port_is() {
        let ports = ServicePorts::new(24, 8001..=8024, 9001..=9024).unwrap();
        let located: Vec<_> = (0..=u16::MAX).filter_map(|port| Some((port, ports.locate(port)?))).collect();
        let expected: Vec<_> = [(8001, Side::Browser), (9001, Side::App)]
            .into_iter()
            .flat_map(|(first, side)| (1..=24).map(move |number| (first + number - 1, (side, route(number)))))
            .collect();
        assert_eq!(located, expected);
    }

    #[test]
    fn ranges_that_cannot_serve_the_routes_are_refused() {
        use ServicePortsError::*;
        let check = |routes, browser, app, expected| {
            assert_eq!(ServicePorts::new(routes, browser, app), Err(expected));
        };
        check(0, 1..=1, 2..=2, NoRoutes);
        check(2, 0..=1, 2..=3, PortZero(Side::Browser));
        check(1, 1..=1, 0..=0, PortZero(Side::App));
        check(3, 1..=2, 4..=6, WrongCount { side: Side::Browser, ports: 2, routes: 3 });
        check(3, 1..=3, 4..=7, WrongCount { side: Side::App, ports: 4, routes: 3 });
        #[expect(clippy::reversed_empty_ranges, reason = "an empty range is the case")]
        check(1, 5..=4, 6..=6, WrongCount { side: Side::Browser, ports: 0, routes: 1 });
        check(4, 10..=13, 13..=16, Overlap(13));
        check(4, 13..=16, 10..=13, Overlap(13));
        check(4, 10..=13, 10..=13, Overlap(10));
    }

    #[test]
    fn the_highest_port_is_usable() {
        let ports = ServicePorts::new(1, 65535..=65535, 1..=1).unwrap();
        assert_eq!(ports.locate(65535), Some((Side::Browser, route(1))));
        assert_eq!(ports.range(Side::Browser), 65535..=65535);
    }

    proptest! {
        #[test]
        fn locate_inverts_port(routes in 1u16..=30_000, gap in 0u16..5_000, number in 1u16..=30_000, swap: bool) {
            let number = 1 + (number - 1) % routes;
            let (low, high) = (1..=routes, routes + 1 + gap..=2 * routes + gap);
            let (browser, app) = if swap { (high, low) } else { (low, high) };
            let ports = ServicePorts::new(routes, browser.clone(), app).unwrap();
            prop_assert_eq!(ports.range(Side::Browser), browser);
            for side in [Side::Browser, Side::App] {
                prop_assert_eq!(ports.locate(ports.port(side, route(number))), Some((side, route(number))));
            }
        }
    }
}
