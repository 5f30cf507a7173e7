//! Who becomes active, who waits, and what moves.

use halod_core::protocol::FromNode;

use crate::bench::Bench;

#[test]
fn a_joiner_takes_its_share_and_only_the_former_owner_hears_of_it() {
    let mut bench = Bench::new(4, 0);
    assert_eq!(bench.join(1), "epoch 1 held by n1\nn1 <- welcome as 1 with 1,2,3,4\n");
    assert_eq!(
        bench.join(2),
        "epoch 2 held by n1 n2\n\
         n1 <- moved 3 for 30000 ms\n\
         n1 <- moved 4 for 30000 ms\n\
         n2 <- welcome as 2 with 3,4\n"
    );
}

#[test]
fn reserves_wait_and_are_not_demoted() {
    let mut bench = Bench::new(4, 1);
    bench.join(1);
    assert_eq!(bench.join(2), "epoch 1 held by n1\nn2 <- welcome in reserve\n");
    assert!(bench.join(3).ends_with("n3 <- welcome as 2 with 3,4\n"));
}

#[test]
fn more_nodes_than_routes_wait_in_reserve() {
    let mut bench = Bench::new(1, 0);
    bench.join(1);
    assert!(bench.join(2).ends_with("n2 <- welcome in reserve\n"));
}

#[test]
fn a_reserve_takes_the_id_of_a_node_that_leaves() {
    let mut bench = Bench::new(2, 1);
    bench.join(1);
    bench.join(2);
    assert_eq!(
        bench.say(1, FromNode::Leave),
        "epoch 2 held by n2\n\
         n1 <- moved 1 for 30000 ms\n\
         n1 <- moved 2 for 30000 ms\n\
         n2 <- assigned 1 with 1,2\n"
    );
}

#[test]
fn without_reserve_the_highest_id_takes_over_and_its_routes_return() {
    // Of 24 routes among 4 nodes, id 1 is given up: 7 and 8 stay on n4's process, 19, 20, 23, 24 go back.
    let mut bench = Bench::new(24, 0);
    for number in 1..=4 {
        bench.join(number);
    }
    let text = bench.say(1, FromNode::Leave);
    let moved: Vec<&str> = text.lines().filter(|line| line.contains("moved")).collect();
    let expected: Vec<String> = [1, 2, 3, 4, 5, 6]
        .map(|number| format!("n1 <- moved {number} for 30000 ms"))
        .into_iter()
        .chain([19, 20, 23, 24].map(|number| format!("n4 <- moved {number} for 30000 ms")))
        .collect();
    assert_eq!(moved, expected);
    let told: Vec<&str> = text.lines().filter(|line| line.contains("assigned") || line.contains("returned")).collect();
    assert_eq!(
        told,
        [
            "n2 <- returned 19",
            "n2 <- returned 20",
            "n3 <- returned 23",
            "n3 <- returned 24",
            "n2 <- assigned 2 with 13,14,15,16,17,18,19,20",
            "n3 <- assigned 3 with 9,10,11,12,21,22,23,24",
            "n4 <- assigned 1 with 1,2,3,4,5,6,7,8",
        ]
    );
}
