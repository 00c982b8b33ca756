use std::collections::BTreeMap;
use std::fmt;

use jobstore_core::{JobFilter, JobParams, NewJob, validate};
use num_bigint::BigInt;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Takes the bytes before the first `0xFF` as a filter and those after it as params, or all of them
/// as both: what is refused, and whether they meet, must be as another reader says.
///
/// That reader takes texts apart with `serde_json` and compares numbers with big integers.
///
/// # Panics
///
/// When the two differ.
pub fn params(bytes: &[u8]) {
    let cut = bytes.iter().position(|byte| *byte == 0xff);
    let (filter, params) = match cut {
        Some(cut) => (&bytes[..cut], &bytes[cut + 1..]),
        None => (bytes, bytes),
    };
    let (filter, params) = (
        String::from_utf8_lossy(filter).into_owned(),
        String::from_utf8_lossy(params).into_owned(),
    );
    let (wanted, found) = (Value::object(&filter), Value::object(&params));

    let created = validate::new_jobs(&[NewJob::new("a", &*params)]);
    assert_eq!(created.is_ok(), found.is_some(), "params {params:?}");
    assert_eq!(
        JobParams::new(&*params).terms().is_some(),
        found.is_some(),
        "terms of {params:?}"
    );

    let by_params = JobFilter::default().with_params(&*filter);
    let compiled = by_params.compile();
    assert_eq!(compiled.is_ok(), wanted.is_some(), "filter {filter:?}");
    let (Ok(matcher), Some(wanted)) = (compiled, wanted) else {
        return;
    };
    let meets = match &found {
        _ if wanted.is_empty() => true,
        Some(found) => wanted
            .iter()
            .all(|(key, value)| found.get(key) == Some(value)),
        None => false,
    };
    let stored = JobParams::new(&*params);
    assert_eq!(
        matcher.matches_params(&stored),
        meets,
        "whether {params:?} meet {filter:?}"
    );
    if meets && let (Some(wanted), Some(found)) = (matcher.params_terms(), stored.terms()) {
        let all = wanted.iter().all(|term| found.contains(term));
        assert!(all, "an index would not find {params:?} by {filter:?}");
    }
}

/// A JSON value, equal to those that mean the same.
#[derive(Debug, PartialEq)]
enum Value {
    Null,
    Bool(bool),
    /// An integer without trailing zeros, times ten to the power of the other.
    Number(BigInt, BigInt),
    String(String),
    Array(Vec<Self>),
    Object(BTreeMap<String, Self>),
}

/// The deepest nesting that is taken.
const DEPTH: usize = 127;

impl Value {
    /// The members of an object; none if the text is no object of strict JSON.
    fn object(text: &str) -> Option<BTreeMap<String, Self>> {
        let raw: &RawValue = serde_json::from_str(text).ok()?;
        match Self::read(raw, 0)? {
            Self::Object(members) => Some(members),
            _ => None,
        }
    }

    fn read(raw: &RawValue, depth: usize) -> Option<Self> {
        let text = raw.get();
        match text.as_bytes().first()? {
            b'n' => Some(Self::Null),
            b't' | b'f' => Some(Self::Bool(text == "true")),
            b'"' => serde_json::from_str(text).ok().map(Self::String),
            b'[' if depth < DEPTH => {
                let items: Vec<&RawValue> = serde_json::from_str(text).ok()?;
                let items = items.into_iter().map(|item| Self::read(item, depth + 1));
                items.collect::<Option<_>>().map(Self::Array)
            }
            b'{' if depth < DEPTH => {
                let members = serde_json::Deserializer::from_str(text).deserialize_map(Members);
                let members = members.ok()?.into_iter();
                // Of duplicate keys the last wins, but the others must be JSON as well.
                let members = members.map(|(key, item)| Some((key, Self::read(item, depth + 1)?)));
                members.collect::<Option<_>>().map(Self::Object)
            }
            b'[' | b'{' => None,
            _ => Some(Self::number(text)),
        }
    }

    fn number(text: &str) -> Self {
        let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let read = |digits: &str| -> BigInt { digits.parse().expect("is a number by now") };
        let mut integer = read(&format!("{whole}{fraction}"));
        let mut power = read(exponent.trim_start_matches('+')) - fraction.len();
        if integer == BigInt::ZERO {
            return Self::Number(integer.clone(), integer);
        }
        while &integer % 10 == BigInt::ZERO {
            integer /= 10;
            power += 1;
        }
        Self::Number(integer, power)
    }
}

/// Takes an object apart without reading its values.
struct Members;

impl<'de> Visitor<'de> for Members {
    type Value = Vec<(String, &'de RawValue)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = Vec::new();
        while let Some(member) = map.next_entry()? {
            members.push(member);
        }
        Ok(members)
    }
}
