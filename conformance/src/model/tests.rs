use super::*;

/// What a failure prints must compile: this program is here twice, once as code.
#[test]
fn a_program_is_printed_as_code_and_as_json() {
    use super::{Act::*, By::*, Op::*, Step::*, Trouble::*};

    let steps = vec![
        Do(Create(vec![New {
            name: 0,
            params: 1,
            id: Some(2),
            key: None,
            priority: -1,
            due: Some(-3),
            max_retries: None,
        }])),
        Other(Claim {
            names: vec![0, 1],
            limit: 0,
            lease: 9,
        }),
        Fails(
            DroppedAt(1),
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
        ),
        Do(List {
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
        }),
        Do(Reopen),
    ];
    let expected = "\
#[test]
fn store_and_model_agree() {
    use jobstore_conformance::model::{
        Act::*, By::*, Change, Filter, New, Op::*, Step::*, Trouble::*, replay,
    };

    let steps = vec![
        Do(Create(vec![New { name: 0, params: 1, id: Some(2), key: None, priority: -1, due: Some(-3), max_retries: None }])),
        Other(Claim { names: vec![0, 1], limit: 0, lease: 9 }),
        Fails(DroppedAt(1), Update(vec![Change { job: 0, by: Holder, act: Finish(Some(1)) }, Change { job: 1, by: Id, act: Reset }])),
        Do(List { filter: Filter { names: vec![], statuses: vec![2], params: None, from: None, to: None, expired: None, ids: Some(vec![0]) }, size: 3, descending: true }),
        Do(Reopen),
    ];
    replay(&MyHarness, steps); // your harness here
}

As JSON, to be kept: ";
    let shown = shown(&steps);
    let (code, json) = shown.split_at(expected.len().min(shown.len()));
    assert_eq!(code, expected);
    let read: Vec<Step> = serde_json::from_str(json).expect("is JSON");
    assert_eq!(read, steps);
}

#[test]
fn every_program_of_the_collection_can_be_read_and_says_what_it_found() {
    for kept in kept::collection() {
        assert!(!kept.found.is_empty() && !kept.steps.is_empty(), "{kept:?}");
    }
}
