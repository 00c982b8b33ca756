use super::*;

/// What a failure prints must compile: this program is here twice, once as code.
#[test]
fn a_program_is_printed_as_code() {
    use super::{Act::*, By::*, Op::*};

    let ops = vec![
        Create(vec![New {
            name: 0,
            params: 1,
            id: Some(2),
            key: None,
            priority: -1,
            due: Some(-3),
            max_retries: None,
        }]),
        Claim {
            names: vec![0, 1],
            limit: 0,
            lease: 9,
        },
        Update(vec![
            Change {
                job: 0,
                by: Holder,
                act: Finish(Some(1)),
            },
            Change {
                job: 1,
                by: Id,
                act: Reset,
            },
        ]),
        List {
            filter: Filter {
                names: vec![],
                statuses: vec![2],
                params: None,
                from: None,
                to: None,
                expired: None,
                ids: Some(vec![0]),
            },
            size: 3,
            descending: true,
        },
        Reopen,
    ];
    let expected = "\
#[test]
fn store_and_model_agree() {
    use jobstore_conformance::model::{Act::*, By::*, Change, Filter, New, Op::*, replay};

    let ops = vec![
        Create(vec![New { name: 0, params: 1, id: Some(2), key: None, priority: -1, due: Some(-3), max_retries: None }]),
        Claim { names: vec![0, 1], limit: 0, lease: 9 },
        Update(vec![Change { job: 0, by: Holder, act: Finish(Some(1)) }, Change { job: 1, by: Id, act: Reset }]),
        List { filter: Filter { names: vec![], statuses: vec![2], params: None, from: None, to: None, expired: None, ids: Some(vec![0]) }, size: 3, descending: true },
        Reopen,
    ];
    replay(&MyHarness, ops); // your harness here
}
";
    assert_eq!(as_code(&ops), expected);
}
