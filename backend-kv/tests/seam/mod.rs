//! What the seam promises of every engine.

use std::ops::ControlFlow;

use jobstore_core::Order;
use jobstore_kv::{Changes, Durability, Engine, Opening};

type Entry = (Vec<u8>, Vec<u8>);

pub(crate) fn entries_shown_where_they_lie_are_those_of_the_range<E: Engine>() {
    let folder = tempfile::tempdir().expect("makes a folder");
    let opening = Opening::new(true, 1 << 20);
    let engine = E::open(&folder.path().join("jobs"), &opening).expect("opens");
    // More than fit one page of any engine.
    let changes: Changes = (0..2000_u32)
        .map(|number| (number.to_be_bytes().to_vec(), Some(vec![7; 40])))
        .collect();
    engine
        .apply(&changes, Durability::Immediate)
        .expect("applies");
    let view = engine.view().expect("shows");
    let (from, to) = (100_u32.to_be_bytes(), 1900_u32.to_be_bytes());
    for order in [Order::Ascending, Order::Descending] {
        let range = view.range(&from, &to, order).expect("reads");
        let range: Vec<Entry> = range.map(|entry| entry.expect("reads")).collect();
        assert_eq!(range.len(), 1800);
        for wanted in [1, 700, 1800, 5000] {
            let mut shown: Vec<Entry> = Vec::new();
            let mut each = |key: &[u8], value: &[u8]| {
                shown.push((key.to_vec(), value.to_vec()));
                Ok(match shown.len() == wanted {
                    true => ControlFlow::Break(()),
                    false => ControlFlow::Continue(()),
                })
            };
            view.scan(&from, &to, order, &mut each).expect("reads");
            assert_eq!(shown, range[..wanted.min(1800)], "{order:?}, {wanted}");
        }
    }
}
