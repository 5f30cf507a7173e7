//! A list of routes in a message, short enough that every list fits into a line.
//!
//! A node owns thousands of routes, most of them neighbours: runs of three or more are `[first,last]`, so that
//! `[1,2,[5,9]]` is routes 1, 2 and 5 to 9. A list has each route once and ascends, so whatever a peer sends, it is never
//! longer than all the routes that there can be. For use with `#[serde(with = "routes")]`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::RouteId;

#[derive(Serialize, Deserialize)]
#[serde(untagged, expecting = "a list of routes has numbers and pairs [first,last], from 1 to 65535")]
enum Item {
    One(RouteId),
    Run(RouteId, RouteId),
}

pub(super) fn serialize<S: Serializer>(routes: &[RouteId], serializer: S) -> Result<S::Ok, S::Error> {
    let runs = routes.chunk_by(|one, next| next.index() == one.index() + 1);
    serializer.collect_seq(
        runs.flat_map(|run| match *run {
            [first, _, .., last] => [Some(Item::Run(first, last)), None],
            [first, second] => [Some(Item::One(first)), Some(Item::One(second))],
            [only] => [Some(Item::One(only)), None],
            [] => [None, None],
        })
        .flatten(),
    )
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RouteId>, D::Error> {
    let mut routes: Vec<RouteId> = Vec::new();
    for item in Vec::<Item>::deserialize(deserializer)? {
        let (first, last) = match item {
            Item::One(route) => (route, route),
            Item::Run(first, last) => (first, last),
        };
        if first > last || routes.last().is_some_and(|&former| former >= first) {
            return Err(D::Error::custom(format!("routes must ascend, but {first} comes too late")));
        }
        routes.extend((first.index()..=last.index()).map(RouteId::from_index));
    }
    Ok(routes)
}
