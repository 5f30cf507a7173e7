//! The table of N routes and M nodes, by the three rules of the design and with no thought for cost.

/// The tables of up to some number of nodes, each made from the one before.
#[derive(Debug)]
pub(super) struct Tables {
    routes: u16,
    /// Of 0 nodes, 1 node and so on: the owner of each route, 0 for none.
    owners: Vec<Vec<u16>>,
}

impl Tables {
    pub(super) fn new(routes: u16) -> Self {
        Self { routes, owners: vec![vec![0; usize::from(routes)]] }
    }

    /// The owner of each route among `nodes` nodes, 0 for none.
    pub(super) fn of(&mut self, nodes: usize) -> &[u16] {
        while self.owners.len() <= nodes {
            let next = join(self.routes, self.owners.last().expect("there is a table of no nodes"), self.owners.len());
            self.owners.push(next);
        }
        &self.owners[nodes]
    }
}

/// Node number `joiner` joins.
fn join(routes: u16, former: &[u16], joiner: usize) -> Vec<u16> {
    let joiner_id = u16::try_from(joiner).expect("there are no more active nodes than routes");
    if joiner == 1 {
        return vec![1; former.len()];
    }
    // Most routes first, then the lowest id.
    let owned = |id: u16| (1..=routes).filter(move |route| former[usize::from(route - 1)] == id);
    let mut lists: Vec<(u16, Vec<u16>)> = (1..joiner_id).map(|id| (id, owned(id).collect())).collect();
    lists.sort_by_key(|(id, list)| (std::cmp::Reverse(list.len()), *id));
    let mut next = former.to_vec();
    let mut quota = usize::from(routes) / joiner;
    while quota > 0 {
        for (_, list) in &mut lists {
            if let (1.., Some(route)) = (quota, list.pop()) {
                next[usize::from(route - 1)] = joiner_id;
                quota -= 1;
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn at_the_seventh_node_routes_4_16_and_12_move() {
        let mut tables = Tables::new(24);
        let before = tables.of(6).to_vec();
        let moved: Vec<usize> = (0..24).filter(|&index| tables.of(7)[index] != before[index]).collect();
        assert_eq!(moved, [3, 11, 15]);
    }
}
