//! Every target on some dozens or thousands of inputs, as long as a second lasts: bytes at random, and good ones that were changed.
//!
//! A failure prints the shortest input found. `JOBSTORE_FUZZ_CASES` is the number of inputs for each.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_oneof};
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};

/// A change of an input.
#[derive(Clone, Debug)]
enum Change {
    Set(Index, u8),
    Insert(Index, u8),
    Remove(Index),
    Cut(Index),
    /// What stands between two places, once more.
    Repeat(Index, Index),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        match self {
            Self::Insert(at, byte) => bytes.insert(at.index(len + 1), *byte),
            _ if len == 0 => {}
            Self::Set(at, byte) => bytes[at.index(len)] = *byte,
            Self::Remove(at) => _ = bytes.remove(at.index(len)),
            Self::Cut(at) => bytes.truncate(at.index(len)),
            Self::Repeat(from, to) => {
                let (from, to) = (from.index(len), to.index(len));
                let (from, to) = (from.min(to), from.max(to));
                let part = bytes[from..to].to_vec();
                bytes.splice(to..to, part);
            }
        }
    }
}

/// A byte that means something to most readers, or any.
fn byte() -> impl Strategy<Value = u8> {
    prop_oneof![
        2 => select(&b"{}[]:,\"\\/.-+eE0123456789ntfu%?#@=& \0\xff"[..]),
        1 => any::<u8>(),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let at = any::<Index>;
    prop_oneof![
        3 => (at(), byte()).prop_map(|(at, byte)| Change::Set(at, byte)),
        2 => (at(), byte()).prop_map(|(at, byte)| Change::Insert(at, byte)),
        2 => at().prop_map(Change::Remove),
        1 => at().prop_map(Change::Cut),
        1 => (at(), at()).prop_map(|(from, to)| Change::Repeat(from, to)),
    ]
}

/// Tries a target on this many inputs.
fn some(cases: u32, seeds: &'static [&'static [u8]], target: fn(&[u8])) {
    let changed = (select(seeds), vec(change(), 0..6)).prop_map(|(seed, changes)| {
        let mut bytes = seed.to_vec();
        for change in &changes {
            change.apply(&mut bytes);
        }
        bytes
    });
    let input = prop_oneof![
        6 => changed,
        1 => vec(byte(), 0..64),
        1 => vec(any::<u8>(), 0..200),
        1 => (byte(), 0..400_usize).prop_map(|(byte, times)| vec![byte; times]),
        1 => Just(Vec::new()),
    ];
    let number = std::env::var("JOBSTORE_FUZZ_CASES").ok();
    let config = Config {
        cases: number.and_then(|text| text.parse().ok()).unwrap_or(cases),
        // The input is printed; a file of seeds would add nothing.
        failure_persistence: None,
        ..Config::default()
    };
    let tried = TestRunner::new(config).run(&input, |bytes| {
        target(&bytes);
        Ok(())
    });
    if let Err(error) = tried {
        panic!("{error}");
    }
}

#[test]
fn a_page_token_is_one_of_ours_or_refused() {
    some(
        4_000,
        &[
            // Of the greatest id at the epoch, ascending.
            b"\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x05\x01",
            b"\xff\xff\xff\xff\xff\xff\xff\x7f\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x28\x40",
            b"AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        ],
        jobstore_fuzz::token,
    );
}

#[test]
fn params_are_taken_and_compared_as_another_reader_does() {
    some(
        4_000,
        &[
            b"{\"a\":1}\xff{\"b\":2,\"a\":1.0}",
            b"{\"a\":1e400,\"b\":[1,{}]}\xff{\"b\":[10e-1,{}],\"a\":10e399}",
            b"{\"\\u0061\":\"\\ud83d\\ude00\"}\xff{\"a\":\"\xf0\x9f\x98\x80\"}",
            b"{\"a\":{\"b\":null,\"c\":true}}\xff {\"a\" : {\"c\":true, \"b\":null}}",
            b"{\"a\":-0.0}\xff{\"a\":1,\"a\":0e9}",
            b"{\"a\":1e-100000000000000000000000000000000000}\xff{\"a\":0.1e-99999999999999999999999999999999999}",
            b"{\"a\":[[[[[[[[1]]]]]]]]}",
        ],
        jobstore_fuzz::params,
    );
}

#[test]
fn a_url_that_is_read_is_shown_and_read_again() {
    some(
        6_000,
        &[
            b"memory:",
            b"sqlite://jobs.db",
            b"sqlite::memory:",
            b"sqlite:///var/a%3Fb%25%40.db",
            b"sled://dir/jobs",
            b"redb:///jobs.redb",
            b"postgres://ada:secret@db.example:5433/jobs?sslmode=verify-full&max_connections=4",
            b"postgresql:///jobs?host=%2Frun%2Fpostgresql&schema=a%22b",
            b"mysql://root@[::1]:3306/test?ssl-mode=REQUIRED&socket=%2Frun%2Fa",
            b"mariadb://u%40:p%3A@h/d",
        ],
        jobstore_fuzz::url,
    );
}

#[test]
fn a_damaged_entry_of_a_store_is_reported_and_harms_no_other() {
    some(
        400,
        &[
            // Which entry, how it is damaged, and by what.
            b"\x01\x00\x01\x01\x01a\x02\x02{}\x05\x01\x00",
            b"\x02\x01\x01\x01a\x02\x02{}\x05\x01\x00\x08\x01\x00\x0a\x01\x00",
            b"\x03\x02\x00\x01\x05\x80\x07\x02",
            b"\x04\x03\x21",
            b"\x05\x04\x09\x01",
            b"\x06\x05\x10",
            b"\x00\x02\x08\xff",
        ],
        jobstore_fuzz::value,
    );
}

#[test]
fn a_row_is_the_job_that_its_columns_say_or_reported() {
    some(
        400,
        &[
            // A column and its value, then another.
            b"\x00\x24000000A0-0000-4000-8000-000000000000",
            b"\x00\x24200000A0-0000-4000-8000-000000000000\x0e\x01\x07",
            b"\x00\x2020000000000040008000000000000000",
            b"\x01\x02a\xff",
            b"\x02\x03{\xff}\x03\x04done",
            b"\x08\x01\x06",
            b"\x08\x02\x00\x00\x00\x00\x01\x00\x00\x00",
            b"\x09\x02\xff\xff\xff\xff\x00\x00\x00\x00\x0d\x01\xff",
            b"\x0f\x01\xff\x0b\x02\x00\x80\x00\x00\x00\x00\x00\x00",
            b"\x10\x02\x00\x00\x00\x00\x00\x00\xf0\x7f\x07\x02\x00\x00\x00\x00\x00\x00\x00\x80",
            b"\x05\x01b\x06\x00\x04\xff\x0e\x00",
        ],
        jobstore_fuzz::row,
    );
}
